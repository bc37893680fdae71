package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/job"
)

// An environment that is a list of packages is built once, below this person's cache
// folder, where no checkout reaches, and found again by what the list says and by the
// interpreter that it is for.

// Names in the folder of an environment, besides its lock.
const (
	environmentsDir = "environments"
	packagesDir     = "env"   // the environment
	readyFile       = "ready" // says that it is complete
)

// unused is how long an environment that no run has used is kept.
const unused = 90 * 24 * time.Hour

// packages is an environment with its tool.
type packages struct {
	job.Packages
	Tool string // the interpreter of which it is a virtual environment, or the conda tool; absolute
	Name string // for people
}

// condaTools can make an environment of a conda file, the fastest first.
var condaTools = []string{"micromamba", "mamba", "conda"}

// packagesOf is what has to be built for a job on this machine, nil where nothing has.
func (t *Target) packagesOf(j *job.Job) (*packages, error) {
	if InContainer(j) {
		return nil, nil
	}
	list, err := j.Packages()
	if list == nil || err != nil {
		return nil, err
	}
	p := &packages{Packages: *list, Name: j.Environment.Text()}
	if p.Conda == "" {
		if p.Tool, err = t.python(); err == nil {
			p.Tool, err = interpreter(p.Tool)
		}
		return p, err
	}
	for _, name := range condaTools {
		if p.Tool, err = exec.LookPath(name); err == nil {
			p.Tool, err = filepath.Abs(p.Tool)
			return p, err
		}
	}
	return nil, fmt.Errorf("the environment %s is a conda file, and there is no %s on PATH; install one of them, or "+
		"list the packages for pip (--environment pip:requirements.txt)", p.Name, strings.Join(condaTools, ", "))
}

// key is by what an environment is known: what it lists and who builds it. An interpreter
// that was upgraded is another one.
func (p *packages) key() (string, error) {
	tool, err := filepath.EvalSymlinks(p.Tool)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(tool)
	if err != nil {
		return "", err
	}
	identity := []string{p.Pip, p.Constraints, p.Conda, filepath.Base(tool)}
	if p.Conda == "" {
		identity = append(identity, tool, info.ModTime().UTC().String(), fmt.Sprint(info.Size()))
	}
	text, err := json.Marshal(identity)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:10]), err
}

// ready returns the environment of a list of packages, and builds it where it is not there
// yet. Who comes while somebody else builds it waits.
func (p *packages) ready(ctx context.Context, env map[string]string, console *os.File) (string, outcome) {
	failed := func(err error) (string, outcome) {
		return "", stopped(ctx, fmt.Errorf("the environment %s: %w", p.Name, err))
	}
	key, err := p.key()
	if err != nil {
		return failed(err)
	}
	all, dir, err := openEnvironment(key)
	if err != nil {
		return failed(err)
	}
	defer all.Close()
	defer dir.Close()
	at := filepath.Join(dir.Name(), packagesDir)
	now := time.Now()
	if dir.Chtimes(readyFile, now, now) == nil {
		return at, outcome{status: history.Completed}
	}
	lock, err := tryLock(dir)
	if lock == nil && err == nil {
		fmt.Fprintf(console, "aml-train: another run builds the environment %s; waiting for it\n", p.Name)
		lock, err = waitLock(ctx, dir)
	}
	if err != nil {
		return failed(err)
	}
	defer lock.Close()
	if isFile(dir, readyFile) {
		return at, outcome{status: history.Completed}
	}
	forgetUnused(all, key)
	removeAll(dir, packagesDir) // what a killed build left
	fmt.Fprintf(console, "aml-train: building the environment %s\n", p.Name)
	end := p.build(ctx, dir, env, console)
	if end.status == history.Completed {
		if err := dir.WriteFile(readyFile, nil, 0o600); err != nil {
			return failed(err)
		}
		return at, end
	}
	removeAll(dir, packagesDir)
	if end.status == history.Failed {
		end.reason = fmt.Sprintf("the environment %s could not be built: %s", p.Name, end.reason)
	}
	return "", end
}

// openEnvironment opens the folder of all environments, and that of one.
func openEnvironment(key string) (all, dir *os.Root, err error) {
	around, err := home.Private(cacheDir(), true)
	if err != nil {
		return nil, nil, err
	}
	defer around.Close()
	if all, err = home.Folder(around.Root, environmentsDir, true); err != nil {
		return nil, nil, err
	}
	if dir, err = home.Folder(all, key, true); err != nil {
		all.Close()
	}
	return all, dir, err
}

// forgetUnused removes the environments that nobody has used for long, but for one.
func forgetUnused(all *os.Root, but string) {
	entries, _ := fs.ReadDir(all.FS(), ".")
	for _, e := range entries {
		info, err := all.Lstat(filepath.Join(e.Name(), readyFile))
		if err == nil && e.Name() != but && time.Since(info.ModTime()) > unused {
			removeAll(all, e.Name())
		}
	}
}

// build makes the environment, with what its tool says on the console.
func (p *packages) build(ctx context.Context, dir *os.Root, env map[string]string, console *os.File) outcome {
	failed := func(err error) outcome { return stopped(ctx, err) }
	at := filepath.Join(dir.Name(), packagesDir)
	file := func(name, text string) (string, error) {
		return filepath.Join(dir.Name(), name), dir.WriteFile(name, []byte(text), 0o600)
	}
	var steps [][]string
	if p.Conda != "" {
		name, err := file("environment.yml", p.Conda)
		if err != nil {
			return failed(err)
		}
		env["CONDA_ALWAYS_YES"], env["MAMBA_ALWAYS_YES"] = "true", "true" // not every version has --yes here
		steps = [][]string{{p.Tool, "env", "create", "-p", at, "-f", name}}
	} else {
		name, err := file("requirements.txt", p.Pip)
		constraints, cerr := file("constraints.txt", p.Constraints)
		if err := errors.Join(err, cerr); err != nil {
			return failed(err)
		}
		steps = [][]string{
			{p.Tool, "-m", "venv", at},
			{pythonOf(at), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off",
				"-r", name, "-c", constraints},
		}
	}
	for _, argv := range steps {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir.Name(), pairs(env), console, console
		if end := (&processes{list: []*process{{cmd: cmd}}}).execute(ctx); end.status != history.Completed {
			return end
		}
	}
	return outcome{status: history.Completed}
}

// pythonOf is the interpreter of an environment.
func pythonOf(dir string) string {
	if isWindows {
		return filepath.Join(dir, "Scripts", "python.exe")
	}
	return filepath.Join(dir, "bin", "python")
}

// use lets a run find the environment at dir, as activating it would.
func (p *packages) use(dir string, env map[string]string) {
	bin := filepath.Dir(pythonOf(dir))
	if p.Conda == "" {
		env["VIRTUAL_ENV"] = dir
		delete(env, "CONDA_PREFIX")
	} else {
		env["CONDA_PREFIX"], env["CONDA_DEFAULT_ENV"] = dir, dir
		delete(env, "VIRTUAL_ENV")
		if isWindows {
			bin = strings.Join([]string{dir, filepath.Join(dir, "Library", "bin"), bin}, string(os.PathListSeparator))
		}
	}
	delete(env, "PYTHONHOME")
	env["PATH"] = bin + string(os.PathListSeparator) + env["PATH"]
}

// activate runs what the packages of a conda environment do when it is activated, before
// the command.
func (p *packages) activate(command string) string {
	if p == nil || p.Conda == "" || isWindows {
		return command
	}
	return `for each in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do test ! -e "$each" || . "$each"; done; ` + command
}
