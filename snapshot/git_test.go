package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runGit runs the installed git, away from the configuration of the machine.
func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "git %v: %s", args, errs.String())
	return strings.TrimRight(out.String(), "\n")
}

// isolate keeps the person's own git configuration out of the tests.
func isolate(t testing.TB) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
}

// oracle is what git makes of the source folder: the tree that it would write
// and the files in it, from a copy, so that the repository under test stays as
// it is.
func oracle(t testing.TB, root, source string) (id, files string, dirty bool) {
	t.Helper()
	duplicate := filepath.Join(t.TempDir(), "copy")
	out, err := exec.Command("cp", "-a", root, duplicate).CombinedOutput()
	require.NoError(t, err, string(out))
	dirty = runGit(t, filepath.Join(duplicate, source), "status", "--porcelain", ".") != ""
	runGit(t, duplicate, "add", "-A")
	files = runGit(t, filepath.Join(duplicate, source), "ls-files", "-z", "--format=%(objectmode) %(objectname) %(path)")
	if files == "" {
		return "", "", dirty
	}
	return runGit(t, duplicate, "rev-parse", runGit(t, duplicate, "write-tree")+":"+source), files, dirty
}

var (
	names = []string{"a", "b", "c", "ab", "abc", "a.py", "b.py", "data", "Data", "x y", "[x]", "é", "a-b", ".env", "build", "lib", "foo"}
	globs = []string{
		"*", "*.py", "a*", "?", "[a-c]", "[!a]", "[^b]*", "a[", "[]a]", "[[:alpha:]]", "[[:upper:]]*", "[[:nope:]]", "[a-", "[b-a]", `\a`, `a\`, `\[x\]`, `x\ y`, "x y ",
		"**", "a/**", "**/a", "**/b.py", "a/**/b", "/a", "a/", "/a/", "a/b", "a/*", "*/b", "a*/b", "lib**/b", "**a", "a**", "foo/**/", "/*", "!*/", "!a", "!a/", "!/a/b", "!*.py", "!b.py", "!data", "!data/**",
		"data/", "data", "Data", "#a", `\#a`, "!", "/", "", "  ", "a ", `a\ `, "\ta", "a\t", "*/", "*/*", "*/a/*", "**/", "/**", "/**/a", "b/../a", "./a", "é", "?é", "*b*", "[a-b]*[!c]", "a?c", "*a*b*", "[\\a]", "[a\\]]", "[!-b]", "[a-a]", "**/*b/a",
	}
)

// plant fills dir with a random tree and returns its files.
func plant(r *rand.Rand, names []string, dir string, depth int, files *[]string, root string) {
	for range 1 + r.IntN(5) {
		name := names[r.IntN(len(names))]
		at := filepath.Join(dir, name)
		if depth < 4 && r.IntN(5) < 2 {
			if os.MkdirAll(at, 0o755) == nil {
				plant(r, names, at, depth+1, files, root)
			}
			continue
		}
		mode := os.FileMode(0o644)
		if r.IntN(6) == 0 {
			mode = 0o755
		}
		if os.WriteFile(at, fmt.Appendf(nil, "%d", r.IntN(1000)), mode) == nil {
			rel, _ := filepath.Rel(root, at)
			*files = append(*files, rel)
		}
	}
	if r.IntN(3) == 0 {
		os.WriteFile(filepath.Join(dir, ".gitignore"), patterns(r), 0o644)
	}
	if r.IntN(12) == 0 {
		os.Symlink(names[r.IntN(len(names))], filepath.Join(dir, "link"))
	}
}

func patterns(r *rand.Rand) []byte {
	end := "\n"
	if r.IntN(6) == 0 {
		end = "\r\n"
	}
	var b strings.Builder
	if r.IntN(10) == 0 {
		b.WriteString("\xef\xbb\xbf")
	}
	for range 1 + r.IntN(4) {
		p := globs[r.IntN(len(globs))]
		if r.IntN(6) == 0 {
			p = "!" + p
		}
		if r.IntN(8) == 0 {
			p += "/" + globs[r.IntN(len(globs))]
		}
		b.WriteString(p + end)
	}
	s := b.String()
	if r.IntN(5) == 0 {
		s = strings.TrimSuffix(s, end)
	}
	return []byte(s)
}

// TestAgainstGit compares the ids of random repositories with those that git
// writes. AML_TRAIN_CASES sets how many; a failing case names its seed.
func TestAgainstGit(t *testing.T) {
	isolate(t)
	cases := 300
	if s := os.Getenv("AML_TRAIN_CASES"); s != "" {
		cases, _ = strconv.Atoi(s)
	}
	for seed := range cases {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			root := t.TempDir()
			runGit(t, root, "init", "-q")
			names := names
			if r.IntN(4) == 0 {
				runGit(t, root, "config", "core.ignorecase", "true")
				// git refuses two names that differ in case only, then.
				names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "Data" })
			}
			if r.IntN(4) == 0 {
				require.NoError(t, os.WriteFile(filepath.Join(root, ".git", "info", "exclude"), patterns(r), 0o644))
			}
			if r.IntN(4) == 0 {
				require.NoError(t, os.WriteFile(filepath.Join(root, ".git", "mine"), patterns(r), 0o644))
				runGit(t, root, "config", "core.excludesFile", filepath.Join(root, ".git", "mine"))
			}
			var files []string
			plant(r, names, root, 0, &files, root)
			if r.IntN(8) == 0 {
				runGit(t, root, "config", "core.fileMode", "false")
			}
			for _, f := range files { // some tracked, whatever the patterns say
				if r.IntN(3) == 0 {
					runGit(t, root, "add", "-f", "--", ":(literal)"+f)
				}
			}
			if r.IntN(2) == 0 {
				runGit(t, root, "commit", "-q", "--allow-empty", "-m", "x")
			}
			if r.IntN(10) == 0 {
				runGit(t, root, "update-index", "--index-version", "4")
			}
			for _, f := range files { // some dirty
				switch at := filepath.Join(root, f); r.IntN(12) {
				case 0:
					os.WriteFile(at, fmt.Appendf(nil, "new %d", r.IntN(100)), 0o644)
				case 1:
					os.Remove(at)
				case 2:
					if os.Remove(at) == nil && os.Mkdir(at, 0o755) == nil {
						os.WriteFile(filepath.Join(at, "below"), nil, 0o644)
					}
				case 3:
					os.Chmod(at, 0o755)
				}
			}
			source := ""
			if dirs, _ := filepath.Glob(filepath.Join(root, "*", "")); r.IntN(3) == 0 {
				for _, d := range dirs {
					if info, err := os.Lstat(d); err == nil && info.IsDir() && filepath.Base(d) != ".git" {
						source = filepath.Base(d)
					}
				}
			}
			want, list, dirty := oracle(t, root, source)
			got, err := Take(context.Background(), filepath.Join(root, source), Options{})
			if want == "" {
				require.ErrorContains(t, err, "no file travels")
				return
			}
			require.NoError(t, err)
			var lines strings.Builder
			for _, f := range got.Files {
				fmt.Fprintf(&lines, "%06o %s %s\x00", uint32(f.Mode), f.OID, f.Path)
			}
			require.Equal(t, list, lines.String())
			require.Equal(t, want, got.ID)
			if runGit(t, root, "-c", "core.quotePath=false", "ls-files", "--", ":(literal)"+source) != source || source == "" {
				// Of a folder that replaced a tracked file git status shows nothing, seen from inside.
				require.Equal(t, dirty, got.Dirty)
			}
		})
	}
}
