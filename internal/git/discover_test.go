package git_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestDiscoveryAgainstGit compares which repository random layouts and environments
// give a folder with git rev-parse: the working tree, the git directories, the index,
// the objects, or that there is none.
func TestDiscoveryAgainstGit(t *testing.T) {
	isolateConfig(t)
	none, bare, found, planted := 0, 0, 0, 0
	for i := range testenv.Cases(2000) {
		seed := testenv.Seed() + i
		c := newDiscoveryCase(t, seed)
		want, gitErr := c.git()
		got, err := c.ours()
		switch {
		case gitErr != "":
			none++
			require.True(t, err != nil || got == "", "seed %d: git says %q, and we %s\n%s", seed, gitErr, got, c)
			if strings.Contains(gitErr, "not a git repository (or any") &&
				(err == nil || !strings.Contains(err.Error(), ".git is damaged")) {
				require.NoError(t, err, "seed %d\n%s", seed, c)
			} else {
				require.Error(t, err, "seed %d: git says %q\n%s", seed, gitErr, c)
			}
			continue
		case errors.Is(err, git.ErrPlanted): // git obeys it, unless it is told not to
			_, refusal := c.git("-c", "safe.bareRepository=explicit")
			require.Contains(t, refusal, "bare repository", "seed %d: %v\n%s", seed, err, c)
			planted++
			continue
		case strings.HasPrefix(want, "outside"): // git would work on another folder
			require.ErrorContains(t, err, "working tree", "seed %d: git says %q\n%s", seed, want, c)
			continue
		case strings.Contains(want, "bare"):
			bare++
		default:
			found++
		}
		require.NoError(t, err, "seed %d: git says %q\n%s", seed, want, c)
		require.Equal(t, want, got, "seed %d\n%s", seed, c)
	}
	t.Logf("%d found, %d without a working tree, %d none, %d planted", found, bare, none, planted)
	require.Greater(t, 2*(found+bare), none)
	require.Positive(t, bare)
	require.Positive(t, planted)
	require.Less(t, planted, bare)
}

type discoveryCase struct {
	r             *rand.Rand
	t             *testing.T
	top, dir, cwd string
	said          []string
}

// variables are those that say where a repository is.
var variables = []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_CEILING_DIRECTORIES", "GIT_INDEX_FILE",
	"GIT_OBJECT_DIRECTORY", "GIT_IMPLICIT_WORK_TREE", "GIT_DISCOVERY_ACROSS_FILESYSTEM"}

// newDiscoveryCase makes a tree of folders a/b/c/d with repositories of every kind in
// some of them.
func newDiscoveryCase(t *testing.T, seed int) *discoveryCase {
	top, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	c := &discoveryCase{r: rand.New(rand.NewPCG(uint64(seed), 17)), t: t, top: top}
	r := c.r
	t.Setenv("HOME", filepath.Join(top, "home"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("XDG_CONFIG_HOME", "")
	for _, name := range variables {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	dirs := []string{"a", "a/b", "a/b/c", "a/b/c/d", "x", "x/y"}
	for _, d := range dirs {
		require.NoError(t, os.MkdirAll(filepath.Join(top, d), 0o755))
	}
	c.write("home/.gitconfig", pick(r, "", "", "[safe]\n\tdirectory = *\n"))
	c.repository("store.git", true)
	for range 2 + r.IntN(3) {
		at := pick(r, dirs...)
		switch r.IntN(12) {
		case 0, 1, 2, 8, 9, 10, 11:
			c.repository(at+"/.git", false)
		case 3: // among the files of another one, or not
			c.repository(at, true)
			if r.IntN(3) == 0 {
				c.repository(pick(r, "a", filepath.Dir(at))+"/.git", false)
			}
		case 4:
			c.gitFile(at)
		case 5: // a linked working tree
			main := pick(r, "store.git", "x/.git")
			if main != "store.git" {
				c.repository(main, false)
			}
			c.write(main+"/worktrees/w/HEAD", "ref: refs/heads/w\n")
			c.write(main+"/worktrees/w/commondir", pick(r, "../..\n", "../..", filepath.Join(top, main)+"\n"))
			c.write(main+"/worktrees/w/gitdir", filepath.Join(top, at, ".git")+"\n")
			if r.IntN(2) == 0 {
				c.write(main+"/worktrees/w/config.worktree", c.config(false))
			}
			c.write(at+"/.git", "gitdir: "+filepath.Join(top, main, "worktrees/w")+"\n")
		case 6: // not one, by a little
			c.repository(at+"/.git", false)
			part := pick(r, "HEAD", "refs", "objects")
			os.RemoveAll(filepath.Join(top, at, ".git", part))
			if r.IntN(2) == 0 {
				c.write(at+"/.git/HEAD", pick(r, "", "ref: x\n", "ref:refs/heads/x\n", "ref: \trefs/heads/\n",
					strings.Repeat("a", 40), strings.Repeat("a", 39)+"\n", strings.Repeat("A", 50), "x"))
			}
		case 7:
			os.Symlink(filepath.Join(top, pick(r, "store.git", "x/.git", "a/b/.git")), filepath.Join(top, at, ".git"))
		}
	}
	if r.IntN(3) == 0 {
		os.Symlink(pick(r, "a/b", "x", filepath.Join(top, "a/b/c")), filepath.Join(top, "link"))
	}
	at := pick(r, append(dirs, "a/b/c/d", "a/b/c", "link", "link", "store.git", "x/.git", "a/b/.git/refs", "a/.git")...)
	if info, err := os.Stat(filepath.Join(top, at)); err != nil || !info.IsDir() {
		at = "a/b/c/d"
	}
	c.dir = filepath.Join(top, at)
	c.environment(at)
	return c
}

// write writes a file, and the folders for it, where something else is not there already.
func (c *discoveryCase) write(name, text string) {
	path := filepath.Join(c.top, name)
	if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(text), 0o644) != nil {
		return
	}
	c.said = append(c.said, fmt.Sprintf("%s: %q", name, text))
}

func (c *discoveryCase) repository(at string, bare bool) {
	if info, err := os.Lstat(filepath.Join(c.top, at)); err == nil && !info.IsDir() {
		return // it is something else already
	}
	for _, d := range []string{"objects", "refs/heads"} {
		os.MkdirAll(filepath.Join(c.top, at, d), 0o755)
	}
	c.write(at+"/HEAD", "ref: refs/heads/main\n")
	if c.r.IntN(10) > 0 {
		c.write(at+"/config", c.config(bare))
	}
}

func (c *discoveryCase) config(bare bool) string {
	r := c.r
	text := "[core]\n" + pick(r, "\trepositoryformatversion = 0\n", "\trepositoryformatversion = 0\n",
		"\trepositoryformatversion = 1\n", "")
	if r.IntN(30) == 0 {
		text += "\trepositoryformatversion = 2\n"
	}
	if r.IntN(10) > 0 {
		text += fmt.Sprintf("\tbare = %t\n", bare)
	}
	if r.IntN(5) == 0 {
		text += "\tworktree = " + pick(r, "..", ".", "../..", filepath.Join(c.top, "a"), filepath.Join(c.top, "x/y"),
			"../c", "nowhere") + "\n"
	}
	return text + pick(r, "", "", "", "", "[extensions]\n\tworktreeConfig = true\n", "[extensions]\n\tnoop = x\n",
		pick(r, "", "", "[extensions]\n\tunheard = true\n"), "[include]\n\tpath = more\n")
}

// gitFile writes a file called .git.
func (c *discoveryCase) gitFile(at string) {
	c.write(at+"/.git", pick(c.r, "gitdir: ", "gitdir: ", "gitdir: ", "gitdir:", "", "gitdir:  ", "GITDIR: ")+
		pick(c.r, filepath.Join(c.top, "store.git"), filepath.Join(c.top, "store.git"), filepath.Join(c.top, "x/.git"),
			"../store.git", "nowhere", "", ".", filepath.Join(c.top, "home"))+
		pick(c.r, "\n", "", "\r\n", "\n\n", " \n", "\nx\n"))
}

// environment sets variables, and where the command runs.
func (c *discoveryCase) environment(at string) {
	r := c.r
	c.cwd = c.dir
	set := func(name, value string) {
		c.t.Setenv(name, value)
		c.said = append(c.said, name+"="+value)
	}
	abs := func(list ...string) string { return filepath.Join(c.top, pick(r, list...)) }
	if r.IntN(3) == 0 {
		set("GIT_DIR", pick(r, ".git", ".", "../.git", abs("store.git"), abs("a/b/.git"),
			abs("store.git", "a/.git", "x/.git", "a/b/.git", "x", "link/.git", "nowhere")))
	}
	if r.IntN(4) == 0 {
		set("GIT_WORK_TREE", pick(r, ".", "..", "...", abs("a", "a/b", "x", "link", "nowhere", "nowhere/x"),
			abs("a", "a/b"), at))
	}
	if r.IntN(5) == 0 {
		set("GIT_CEILING_DIRECTORIES", pick(r, "", ":")+abs("a", "a/b", "a/b/c", "link", "x", "a/b/")+
			pick(r, "", ":"+c.top, ":relative", "::"+abs("link", "a")))
	}
	if r.IntN(12) == 0 {
		set("GIT_COMMON_DIR", abs("store.git", "a/.git", "x/.git"))
	}
	if r.IntN(12) == 0 {
		set("GIT_IMPLICIT_WORK_TREE", pick(r, "0", "1", "false"))
	}
	if r.IntN(8) == 0 {
		set("GIT_INDEX_FILE", pick(r, abs("home/index"), "index2"))
	}
	if r.IntN(8) == 0 {
		set("GIT_OBJECT_DIRECTORY", abs("store.git/objects", "home", "home", "nowhere"))
	}
}

func (c *discoveryCase) ours() (string, error) {
	c.t.Chdir(c.cwd)
	r, err := git.Find(c.dir)
	if err != nil || r == nil {
		return "", err
	}
	tree := r.Root
	if r.Bare {
		tree = "bare"
	}
	return strings.Join([]string{tree, real(r.GitDir), real(r.CommonDir), real(r.IndexFile), real(r.ObjectDir)}, "\n"),
		nil
}

// real is a path without links, as far as it is there.
func real(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(real, filepath.Base(path))
	}
	return path
}

// git returns the same as ours, from git, or what git says where there is none.
func (c *discoveryCase) git(options ...string) (answer, refusal string) {
	ask := func(args ...string) string {
		cmd := exec.Command("git", slices.Concat(options, []string{"rev-parse"}, args)...)
		cmd.Dir = c.cwd
		cmd.Env = append(os.Environ(), "PWD="+c.cwd)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			refusal = strings.TrimSpace(errs.String())
		}
		return strings.TrimSuffix(string(out), "\n")
	}
	said := ask("--is-inside-work-tree", "--absolute-git-dir", "--path-format=absolute", "--git-common-dir",
		"--git-path", "index", "--git-path", "objects")
	if refusal != "" {
		return "", refusal
	}
	lines := strings.Split(said, "\n")
	for i := range lines {
		if i > 0 {
			lines[i] = real(lines[i])
		}
	}
	top := ask("--show-toplevel")
	switch {
	case lines[0] == "true":
		lines[0] = top
	case top != "":
		return "outside " + top, ""
	default:
		lines[0] = "bare"
	}
	return strings.Join(lines, "\n"), ""
}

func (c *discoveryCase) String() string { return "in " + c.dir + "\n" + strings.Join(c.said, "\n") }
