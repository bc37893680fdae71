package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// TestPlantedLinks puts links to places outside, and files where folders should be,
// at random paths of a run history, and runs every command that only looks, and some
// that do not. Nothing outside changes.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	p := plantation(t)
	rounds := 24
	if testing.Short() {
		rounds = 4
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p.reset(t)
			planted := p.plant(t, rand.New(rand.NewPCG(seed, 0)))
			before := p.outside(t)
			for _, args := range [][]string{
				{"runs"}, {"runs", "--json"}, {"show"}, {"show", "--json"}, {"show", "made"},
				{"logs", "running-1"}, {"watch", "made"}, {"watch", "running-1"},
				{"compare", "made", "running-1"}, {"__complete", "show", ""}, {"__complete", "download", "made", ""},
				{"hook", "status"},
				{"download", "made", "--to", filepath.Join(p.dir, "got")}, {"archive", "made"}, {"cancel", "running-1"},
				{"run", "--command", "mkdir outputs logs; echo 1 > outputs/a; echo 2 > logs/b", "--experiment-name",
					"made"},
				{"submit", "--command", "true", "--experiment-name", "running"}, {"watch"}, {"runs"},
			} {
				out, _ := p.command(args...).CombinedOutput()
				require.NotContains(t, string(out), "panic", "%v", args)
				require.Equal(t, before, p.outside(t), "%v changed it; planted %v; it printed\n%s", args, planted, out)
			}
		})
	}
}

// planted is a folder with a repository, whose history is planted, and everything else
// that must stay as it is.
type planted struct {
	program, dir, repo string
	paths              []string // of a history that has everything, and of the copies of its runs
	targets            []string // what links may lead to
}

func plantation(t *testing.T) *planted {
	dir := t.TempDir()
	p := &planted{program: testenv.Program(t, "aml-train"), dir: dir, repo: filepath.Join(dir, "repo")}
	for name, text := range map[string]string{
		"repo/train.py": "print(1)\n", "outside/bashrc": "mine", "outside/folder/file": "precious",
		"outside/folder/outputs/model":    "precious",
		"outside/folder/wd/outputs/model": "precious", "outside/folder/logs/x": "precious", "outside/folder/lock": "",
		"home/.cache/x": "",
	} {
		p.write(t, name, text)
	}
	for _, name := range []string{"bashrc", "folder", "folder/file", "folder/outputs", "folder/wd", "missing",
		"missing/deeper", "."} {
		p.targets = append(p.targets, filepath.Join(dir, "outside", name))
	}
	p.targets = append(p.targets, filepath.Join(p.repo, ".git"), filepath.Join(p.repo, ".git/hooks"),
		filepath.Join(p.repo, "train.py"))
	git := exec.Command("sh", "-c", "git init -q -b main && git add -A && git -c user.name=a -c user.email=b "+
		"commit -qm x")
	git.Dir = p.repo
	require.NoError(t, git.Run())
	p.reset(t)
	for _, root := range planting {
		require.NoError(t,
			filepath.WalkDir(filepath.Join(p.dir, root), func(name string, _ fs.DirEntry, err error) error {
				rel, _ := filepath.Rel(p.dir, name)
				p.paths = append(p.paths, rel)
				return err
			}))
	}
	// What commands make that is gone when they have ended.
	copies, err := filepath.Glob(filepath.Join(p.dir, planting[1], "*", "runs"))
	require.NoError(t, err)
	require.Len(t, copies, 1)
	rel, err := filepath.Rel(p.dir, copies[0])
	require.NoError(t, err)
	for _, name := range []string{"running-1/spare", "made-2", ".new-x", ".spare/wd/.git"} {
		p.paths = append(p.paths, filepath.Join(rel, name))
	}
	for _, name := range []string{"history.db-wal", "history.db-shm", "history.db-journal", "runs/running-1/cancel",
		"runs/made-2",
		"artifacts/1/running-1/artifacts/outputs", "artifacts/1/running-1/artifacts/logs", "artifacts/2",
		"artifacts/3", "pending", "commit", "hook/20260102-000000.000 abc x.log"} {
		p.paths = append(p.paths, filepath.Join(planting[0], filepath.FromSlash(name)))
	}
	slices.Sort(p.paths)
	p.paths = slices.Compact(p.paths)
	return p
}

// planting is where links are planted.
var planting = []string{filepath.Join("repo", ".aml-train"), filepath.Join("home", ".cache", "aml-train")}

func (p *planted) write(t *testing.T, name, text string) {
	name = filepath.Join(p.dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

func (p *planted) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.program, args...)
	cmd.Dir = p.repo
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(p.dir, "home"), "GIT_CONFIG_NOSYSTEM=1",
		"TMPDIR=" + filepath.Join(p.dir, "tmp")}
	return cmd
}

// reset makes a history anew that has a run which ended, and one that goes on without a
// supervisor.
func (p *planted) reset(t *testing.T) {
	for _, dir := range append(planting, "got", "tmp") {
		require.NoError(t, os.RemoveAll(filepath.Join(p.dir, dir)))
	}
	require.NoError(t, os.Mkdir(filepath.Join(p.dir, "tmp"), 0o755))
	saved := filepath.Join(p.dir, "saved")
	if _, err := os.Stat(saved); err == nil {
		for _, root := range planting {
			require.NoError(t, os.CopyFS(filepath.Join(p.dir, root), os.DirFS(filepath.Join(saved, root))))
		}
		return
	}
	for _, args := range [][]string{
		{"run", "--command", "mkdir outputs; echo '{\"a\": 1}' > outputs/metrics.json", "--experiment-name", "made"},
		{"run", "--command", "true", "--experiment-name", "running"},
	} {
		out, err := p.command(args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	plant := exec.Command("python3", "-c", `
import glob, json, os, sqlite3, sys
home, cache = sys.argv[1:]
db = sqlite3.connect(home + "/history.db")
run, = db.execute("SELECT run_uuid FROM runs WHERE run_uuid LIKE 'running%'").fetchone()
made, = db.execute("SELECT run_uuid FROM runs WHERE run_uuid LIKE 'made%'").fetchone()
for old, new in [(run, "running-1"), (made, "made-1")]:
    db.execute("PRAGMA foreign_keys = OFF")
    for table in ["runs", "tags", "metrics", "latest_metrics", "params"]:
        db.execute(f"UPDATE {table} SET run_uuid = ? WHERE run_uuid = ?", (new, old))
    for folder in glob.glob(home + "/artifacts/*/" + old):
        os.rename(folder, os.path.join(os.path.dirname(folder), new))
db.execute("UPDATE tags SET value = 'Running' WHERE key = 'aml-train.status' AND run_uuid = 'running-1'")
db.execute("UPDATE runs SET status = 'RUNNING', start_time = 1, end_time = NULL WHERE run_uuid = 'running-1'")
db.commit()
folder = home + "/runs/running-1"
os.makedirs(folder)
copy, = glob.glob(cache + "/*/runs")
copy += "/running-1"
os.makedirs(copy + "/wd/outputs/deep")
os.makedirs(copy + "/wd/logs")
os.makedirs(copy + "/named_outputs/x")
for name in ["lock", "reserve", "supervisor.log"]:
    open(folder + "/" + name, "w").close()
for name in ["wd/outputs/deep/file", "wd/outputs/metrics.json", "wd/logs/x", "named_outputs/x/y", "files"]:
    open(copy + "/" + name, "w").close()
json.dump({"Outputs": {"x": {}}, "Mark": "m", "MaxOutputs": 1 << 40}, open(folder + "/plan.json", "w"))
os.makedirs(home + "/hook")
open(home + "/hook/20260102-030405.000 abcdef0 main.log", "w").close()
open(home + "/last", "w").close()
`, filepath.Join(p.dir, planting[0]), filepath.Join(p.dir, planting[1]))
	out, err := plant.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, root := range planting {
		require.NoError(t, os.CopyFS(filepath.Join(saved, root), os.DirFS(filepath.Join(p.dir, root))))
	}
}

// plant replaces some paths, and says which.
func (p *planted) plant(t *testing.T, r *rand.Rand) (done []string) {
	for range 1 + r.IntN(4) {
		rel := p.paths[r.IntN(len(p.paths))]
		name := filepath.Join(p.dir, rel)
		os.RemoveAll(name)
		if os.MkdirAll(filepath.Dir(name), 0o755) != nil {
			continue // a link was planted there
		}
		what := p.targets[r.IntN(len(p.targets))]
		if r.IntN(3) == 0 {
			what, _ = filepath.Rel(filepath.Dir(name), what)
		}
		var err error
		switch r.IntN(8) {
		case 0:
			err = os.Mkdir(name, 0o755)
		case 1:
			err = os.WriteFile(name, []byte("x"), 0o644)
		default:
			err = os.Symlink(what, name)
		}
		require.NoError(t, err)
		done = append(done, rel+" -> "+what)
	}
	return done
}

// outside is what lies beside the planted history: names, kinds, modes and contents.
func (p *planted) outside(t *testing.T) string {
	var b strings.Builder
	for _, top := range []string{"outside", "repo", "home"} {
		require.NoError(t,
			filepath.WalkDir(filepath.Join(p.dir, top), func(name string, e fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if rel, _ := filepath.Rel(p.dir, name); slices.Contains(planting, rel) {
					if e.IsDir() {
						return fs.SkipDir
					}
					return nil
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				text := ""
				if info.Mode().IsRegular() {
					content, err := os.ReadFile(name)
					if err != nil {
						return err
					}
					text = fmt.Sprintf("%x", sha256.Sum256(content))
				}
				rel, _ := filepath.Rel(p.dir, name)
				fmt.Fprintln(&b, rel, info.Mode(), text)
				return nil
			}))
	}
	return b.String()
}
