package snapshot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// TestNestedAgainstGit compares random repositories in repositories, submodules and what
// only looks like them with git: whether git status shows anything, and which files the
// outer repository would take.
func TestNestedAgainstGit(t *testing.T) {
	isolate(t)
	cases, first := testenv.Cases(2000), testenv.Seed()
	template := nestedTemplate(t)
	var next, clean, refused atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := int(next.Add(1)) - 1; i < cases && !t.Failed(); i = int(next.Add(1)) - 1 {
					c := &nestedCase{t: t, r: rand.New(rand.NewPCG(uint64(first+i), 18)), seed: first + i}
					switch c.check(template) {
					case "":
						clean.Add(1)
					case "refused":
						refused.Add(1)
					}
				}
			})
		}
	})
	t.Logf("of %d, %d clean, %d that git refuses", cases, clean.Load(), refused.Load())
	require.Greater(t, int(clean.Load()), cases/20)
	require.Less(t, int(refused.Load()), cases/2)
}

// nestedTemplate makes the folders that the cases are put together from: an outer
// repository with two commits, and one to be nested.
func nestedTemplate(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"outer", "inner"} {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Join(at, "d"), 0o755))
		runGit(t, at, "init", "-q", "-b", "main", "--template=")
		for _, file := range []string{"f", "d/g"} {
			require.NoError(t, os.WriteFile(filepath.Join(at, file), []byte(name), 0o644))
		}
		runGit(t, at, "add", "-A")
		runGit(t, at, "commit", "-q", "-m", "1")
		require.NoError(t, os.WriteFile(filepath.Join(at, "f"), []byte(name+" again"), 0o644))
		runGit(t, at, "commit", "-q", "-a", "-m", "2")
	}
	return dir
}

type nestedCase struct {
	t    *testing.T
	r    *rand.Rand
	seed int
	root string
	from string // the template
	said []string
}

func (c *nestedCase) say(format string, args ...any) {
	c.said = append(c.said, fmt.Sprintf(format, args...))
}

func (c *nestedCase) write(name, text string) {
	path := filepath.Join(c.root, name)
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil && os.WriteFile(path, []byte(text), 0o644) == nil {
		c.say("%s: %q", name, text)
	}
}

// git runs git, which may fail.
func (c *nestedCase) git(in string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = filepath.Join(c.root, in)
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@b", "GIT_CEILING_DIRECTORIES="+filepath.Dir(c.root))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("git %v: %w: %s", args, err, errs.String())
	}
	return string(out), err
}

// do runs git and writes down that it did.
func (c *nestedCase) do(in string, args ...string) {
	if _, err := c.git(in, args...); err == nil {
		c.say("in %q: git %v", in, args)
	}
}

// place puts a repository, or what looks like one, into a folder.
func (c *nestedCase) place(at string) {
	r := c.r
	full := filepath.Join(c.root, at)
	switch r.IntN(8) {
	case 0:
		require.NoError(c.t, os.MkdirAll(full, 0o755))
		c.do(at, "init", "-q", "--template=", "-b", "main")
	case 1:
		c.write(at+"/.git", pick(r, "", "garbage", "gitdir: nowhere\n", "gitdir: "+c.root+"/nowhere", "gitdir:"+c.root+
			"/.git", "gitdir: ", "gitdir: "+c.root+"/.git\n"))
	case 2:
		c.write(at+"/.git/"+pick(r, "x", "HEAD", "config"), "")
	default:
		if os.CopyFS(full, os.DirFS(filepath.Join(c.from, "inner"))) == nil {
			c.say("inner at %s", at)
		}
	}
	for range r.IntN(3) {
		c.write(at+"/"+pick(r, "new", "e/new", "f"), "x")
	}
}

// submodule makes a folder one, with .gitmodules or without.
func (c *nestedCase) submodule(at string) {
	r := c.r
	if os.CopyFS(filepath.Join(c.root, at), os.DirFS(filepath.Join(c.from, "inner"))) != nil {
		return
	}
	head, err := c.git(at, "rev-parse", pick(r, "HEAD", "HEAD", "HEAD", "HEAD~1"))
	if err != nil {
		return
	}
	c.do("", "update-index", "--add", "--cacheinfo", "160000,"+strings.TrimSpace(head)+","+at)
	if r.IntN(4) > 0 {
		file, _ := os.ReadFile(filepath.Join(c.root, ".gitmodules"))
		text := string(file)
		if text == "" {
			text = pick(r, "", "\xef\xbb\xbf")
		}
		name := pick(r, at, at, "mine", "a.b", "../x")
		text += fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = ./x\n", name, at)
		if r.IntN(3) == 0 {
			text += "\tignore = " + pick(r, "none", "untracked", "dirty", "all", "nonsense", "") + "\n"
		}
		c.write(".gitmodules", text)
		if r.IntN(4) == 0 {
			c.do("", "config", "submodule."+name+".ignore", pick(r, "none", "untracked", "dirty", "all"))
		}
		if r.IntN(8) > 0 {
			c.do("", "add", ".gitmodules")
		}
	}
	if r.IntN(3) == 0 { // as git itself keeps them since long
		moved := filepath.Join(c.root, ".git", "modules", at)
		if os.MkdirAll(filepath.Dir(moved), 0o755) == nil && os.Rename(filepath.Join(c.root, at, ".git"),
			moved) == nil {
			c.write(at+"/.git", "gitdir: "+moved+"\n")
			c.do(at, "config", "core.worktree", filepath.Join(c.root, at))
		}
	}
}

// disturb changes something in a folder.
func (c *nestedCase) disturb(at string) {
	r := c.r
	full := filepath.Join(c.root, at)
	switch r.IntN(13) {
	case 0:
		c.write(at+"/new", "x")
	case 1:
		c.write(at+"/f", "changed")
	case 2:
		c.do(at, "checkout", "-q", "HEAD~1")
	case 3:
		c.say("removed %s", at)
		os.RemoveAll(full)
	case 4:
		c.say("emptied %s", at)
		os.RemoveAll(full)
		os.MkdirAll(full, 0o755)
	case 5:
		os.RemoveAll(full)
		c.write(at, "a file")
	case 6:
		os.RemoveAll(filepath.Join(full, ".git"))
		c.say("no .git in %s", at)
	case 7:
		os.RemoveAll(filepath.Join(full, ".git"))
		c.write(at+"/.git", pick(r, "garbage", "gitdir: nowhere\n", ""))
	case 8:
		c.do(at, "config", "status.showUntrackedFiles", "no")
		c.write(at+"/new", "x")
	case 9:
		os.RemoveAll(filepath.Join(full, ".git", "HEAD"))
		c.say("no HEAD in %s", at)
	case 10:
		c.do(at, "update-ref", "-d", "HEAD")
	}
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// check makes a case and compares: it returns what git status says, or "refused".
func (c *nestedCase) check(template string) string {
	t, r := c.t, c.r
	base, err := os.MkdirTemp(memory(), "nested")
	require.NoError(t, err)
	defer os.RemoveAll(base)
	c.root, c.from = filepath.Join(base, "r"), template
	require.NoError(t, os.CopyFS(c.root, os.DirFS(filepath.Join(template, "outer"))))
	places := []string{"d", "d/e", "n", "n/m", "sub", "s/t", "sub/n"}
	for range r.IntN(2) {
		c.place(pick(r, places...))
	}
	for range r.IntN(3) {
		c.submodule(pick(r, "sub", "s/t", "n"))
	}
	if r.IntN(6) > 0 {
		c.do("", "commit", "-q", "-m", "3")
	}
	if r.IntN(4) == 0 {
		c.do("", "config", "status.showUntrackedFiles", pick(r, "no", "no", "normal", "all"))
	}
	if r.IntN(6) == 0 {
		c.do("", "config", "diff.ignoreSubmodules", pick(r, "none", "untracked", "dirty", "all", "all"))
	}
	if r.IntN(6) == 0 {
		c.write(".gitignore", pick(r, "n/", "sub", "new", "d/e\n", "*\n!f\n", ".git\n"))
	}
	for range r.IntN(2) * r.IntN(3) {
		c.disturb(pick(r, "sub", "s/t", "n", "d", "d/e", "sub/n"))
	}
	c.do("", "update-index", "-q", "--refresh")
	return c.compare()
}

func (c *nestedCase) compare() string {
	t := c.t
	note := func() string { return fmt.Sprintf("seed %d\n%s", c.seed, strings.Join(c.said, "\n")) }
	status, gitErr := c.git("", "--no-optional-locks", "status", "--porcelain", ".")
	dirty, err := Dirty(context.Background(), nil, c.root)
	if gitErr != nil {
		// What differs may be found before what git stumbles over.
		require.True(t, err != nil || dirty, "%v\n%s", gitErr, note())
		return "refused"
	}
	require.NoError(t, err, "git says %q\n%s", status, note())
	require.Equal(t, status != "", dirty, "git says %q\n%s", status, note())
	s, err := Take(context.Background(), c.root, Options{})
	require.NoError(t, err, note())
	var got, want []string
	nested := c.files(&want)
	for _, f := range s.Files {
		if !slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(f.Path, dir) }) {
			got = append(got, f.Path)
		}
	}
	slices.Sort(want)
	require.Equal(t, slices.Compact(want), got, note())
	return status
}

// files lists the files that git has or would take, and the folders that are
// repositories of their own.
func (c *nestedCase) files(list *[]string) (nested []string) {
	staged, err := c.git("", "ls-files", "-z", "--stage")
	require.NoError(c.t, err)
	for line := range strings.SplitSeq(strings.TrimSuffix(staged, "\x00"), "\x00") {
		mode, name, _ := strings.Cut(line, "\t")
		info, err := os.Lstat(filepath.Join(c.root, name))
		if strings.HasPrefix(mode, "160000") && err == nil && info.IsDir() {
			nested = append(nested, name+"/")
		} else if err == nil && !info.IsDir() {
			*list = append(*list, name)
		}
	}
	others, err := c.git("", "ls-files", "-z", "--others", "--exclude-standard")
	require.NoError(c.t, err)
	for name := range strings.SplitSeq(strings.TrimSuffix(others, "\x00"), "\x00") {
		if strings.HasSuffix(name, "/") {
			nested = append(nested, name)
		} else if name != "" {
			*list = append(*list, name)
		}
	}
	return nested
}
