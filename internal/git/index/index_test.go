package index

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/testing/testenv"
)

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	return strings.TrimSpace(out.String())
}

// staged lists an index as git ls-files --stage does.
func staged(x *Index) string {
	var b strings.Builder
	for i := range x.Len() {
		fmt.Fprintf(&b, "%06o %s %d\t%s\n", uint32(x.Mode(i)), x.ID(i), x.Stage(i), x.Name(i))
	}
	return strings.TrimSpace(b.String())
}

// repository makes one with names that share starts, a long one, a link and an
// executable file.
func repository(t testing.TB) string {
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	for _, name := range []string{"a.py", "a-b.py", "a/b.py", "a/bc.py", "deep/er/x", "deep/er/y", "deep/z", "aé", "z",
		strings.Repeat(strings.Repeat("n", 200)+"/", 4) + "end"} {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(name), 0o644))
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "a.py"), 0o755))
	require.NoError(t, os.Symlink("a.py", filepath.Join(dir, "link")))
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "x")
	return dir
}

// Every form that git writes is read as git reads it.
func TestRead(t *testing.T) {
	for name, steps := range map[string][]string{
		"version 2": {"update-index --index-version 2"},
		"version 3": {"update-index --skip-worktree a.py", "add -N new"},
		"version 4": {"update-index --index-version 4"},
		"version 4, flags": {"update-index --index-version 4", "update-index --assume-unchanged a/b.py", "add -N new",
			"update-index --skip-worktree deep/z"},
		"split": {"update-index --split-index"},
		"split, then changed": {"update-index --split-index", "config splitIndex.maxPercentChange 100",
			"rm -q --cached a/b.py deep/er/x", "add new",
			"update-index --chmod=+x deep/z",
			"update-index --add --cacheinfo 100644,ce013625030ba8dba906f756967f9e9ca394464a,a/0"},
		"split, version 4": {"update-index --index-version 4", "update-index --split-index",
			"config splitIndex.maxPercentChange 100", "rm -q --cached a/b.py", "add new"},
		"split, version 4, then replaced": {"update-index --index-version 4", "update-index --split-index",
			"config splitIndex.maxPercentChange 100", "update-index --chmod=+x deep/z z"},
		"split, version 4, then marked": {"update-index --index-version 4", "update-index --split-index",
			"config splitIndex.maxPercentChange 100", "update-index --skip-worktree a.py z"},
		"a very long name": {"update-index --add --cacheinfo 100644,ce013625030ba8dba906f756967f9e9ca394464a," +
			strings.Repeat("m/", 2500) + "a/0"},
		"untracked cache": {"update-index --untracked-cache", "status"},
		"fsmonitor":       {"config core.fsmonitor .git/hooks/none", "update-index --fsmonitor", "status"},
		"no checksum":     {"config index.skipHash true", "update-index --force-write-index"},
		"no cache tree":   {"read-tree HEAD", "add new"},
		"threads":         {"config index.threads 2", "update-index --force-write-index"},
		"submodule":       {"update-index --add --cacheinfo 160000,ce013625030ba8dba906f756967f9e9ca394464a,sub"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := repository(t)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o644))
			for _, s := range steps {
				git(t, dir, strings.Fields(s)...)
			}
			x, err := Read(filepath.Join(dir, ".git", "index"), filepath.Join(dir, ".git"), nil)
			require.NoError(t, err)
			require.Equal(t, git(t, dir, "-c", "core.quotePath=false", "ls-files", "--stage"), staged(x))
			// What ls-files calls H (tracked), S (skip-worktree); small when assumed unchanged.
			for line := range strings.Lines(git(t, dir, "-c", "core.quotePath=false", "ls-files", "-v")) {
				tag, path, _ := strings.Cut(strings.TrimSpace(line), " ")
				i := x.Find(path)
				require.GreaterOrEqual(t, i, 0, path)
				require.Equal(t, strings.EqualFold(tag, "S"), x.SkipWorktree(i), path)
				require.Equal(t, tag == strings.ToLower(tag), x.AssumeValid(i), path)
				info, err := os.Lstat(filepath.Join(dir, path))
				if err == nil && !x.IntentToAdd(i) && x.Mode(i) != filemode.Submodule && name != "no cache tree" {
					require.Equal(t, info.ModTime().UnixNano(), x.Mtime(i), path)
					require.Equal(t, uint32(info.Size()), x.Size(i), path)
				}
			}
			if i := x.Find("new"); i >= 0 {
				require.Equal(t, strings.Contains(strings.Join(steps, " "), "add -N new"), x.IntentToAdd(i))
			}
		})
	}
}

// A sparse index holds folders; they are read as the files in them.
func TestSparse(t *testing.T) {
	dir := repository(t)
	want := git(t, dir, "-c", "core.quotePath=false", "ls-files", "--stage")
	git(t, dir, "sparse-checkout", "set", "--cone", "--sparse-index", "a")
	require.Contains(t, git(t, dir, "ls-files", "--sparse"), "deep/\n")
	objects := object.New(filepath.Join(dir, ".git", "objects"))
	defer objects.Close()
	x, err := Read(filepath.Join(dir, ".git", "index"), filepath.Join(dir, ".git"), objects)
	require.NoError(t, err)
	require.Equal(t, want, staged(x))
	require.True(t, x.SkipWorktree(x.Find("deep/er/x")))
	require.False(t, x.SkipWorktree(x.Find("a/b.py")))

	x, err = Read(filepath.Join(dir, ".git", "index"), filepath.Join(dir, ".git"), nil)
	require.NoError(t, err)
	require.Equal(t, git(t, dir, "-c", "core.quotePath=false", "ls-files", "--sparse", "--stage"), staged(x))
}

func TestConflict(t *testing.T) {
	dir := repository(t)
	for i, branch := range []string{"one", "two"} {
		git(t, dir, "checkout", "-q", "-b", branch, "master")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a.py"), fmt.Append(nil, i), 0o755))
		git(t, dir, "commit", "-q", "-a", "-m", branch)
	}
	cmd := exec.Command("git", "-c", "user.name=a", "-c", "user.email=a@b", "merge", "one")
	cmd.Dir = dir
	require.Error(t, cmd.Run())
	x, err := Read(filepath.Join(dir, ".git", "index"), filepath.Join(dir, ".git"), nil)
	require.NoError(t, err)
	require.Equal(t, git(t, dir, "-c", "core.quotePath=false", "ls-files", "--stage"), staged(x))
	require.Equal(t, 3, x.Special)
	lo, hi := x.Range("a.py")
	require.Equal(t, 3, hi-lo)
}

func TestDamaged(t *testing.T) {
	dir := repository(t)
	git(t, dir, "update-index", "--split-index")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o644))
	git(t, dir, "add", "new")
	text, err := os.ReadFile(filepath.Join(dir, ".git", "index"))
	require.NoError(t, err)
	for _, c := range []struct {
		text []byte
		want string
	}{
		{nil, "the file is damaged"},
		{text[:len(text)-30], "the file is damaged"},
		{bytes.Replace(text, []byte("DIRC\x00\x00\x00\x02"), []byte("DIRC\x00\x00\x00\x05"), 1), "it has version 5"},
		{bytes.Replace(text, []byte("link"), []byte("wxyz"), 1), `it needs the extension "wxyz"`},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "index"), c.text, 0o644))
		_, err := Read(filepath.Join(dir, ".git", "index"), filepath.Join(dir, ".git"), nil)
		require.ErrorContains(t, err, c.want)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "index"), text, 0o644))
	shared, err := filepath.Glob(filepath.Join(dir, ".git", "sharedindex.*"))
	require.NoError(t, err)
	require.Len(t, shared, 1)
	require.NoError(t, os.Remove(shared[0]))
	_, err = Read(filepath.Join(dir, ".git", "index"), filepath.Join(dir, ".git"), nil)
	require.ErrorContains(t, err, "the part that others share cannot be read")

	x, err := Read(filepath.Join(t.TempDir(), "index"), t.TempDir(), nil)
	require.NoError(t, err, "a repository in which nothing was added")
	require.Zero(t, x.Len())
}

// Compressed names, a list that is shared and folders stand for more than the file has.
// What they may stand for is in proportion to it.
func TestLimits(t *testing.T) {
	compressed := func(names int, first string) string {
		record := strings.Repeat("\x00", atFlags) + "\x0f\xff"
		text := "DIRC\x00\x00\x00\x04\x00\x00" + string([]byte{byte(names >> 8), byte(names)})
		return text + record + "\x00" + first + "a\x00" + strings.Repeat(record+"\x00a\x00", names-1) +
			strings.Repeat("\x00", 20)
	}
	require.LessOrEqual(t, testenv.Allocated(func() {
		_, err := parse(compressed(4000, strings.Repeat("n", 500_000)), nil, nil) // 2 GB
		require.ErrorContains(t, err, "the list of its names has more than")
	}), int64(400<<20))
	x, err := parse(compressed(4000, strings.Repeat("n", 2_000)), nil, nil)
	require.NoError(t, err)
	require.Equal(t, 4000, x.Len())

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index"), []byte("DIRC"), 0o644))
	require.NoError(t, os.Truncate(filepath.Join(dir, "index"), 1<<40))
	require.LessOrEqual(t, testenv.Allocated(func() {
		_, err = Read(filepath.Join(dir, "index"), dir, nil)
		require.ErrorContains(t, err, filepath.Join(dir, "index")+" has more than 1 GiB")
	}), int64(1<<20))
}

// What both readers understand, they understand alike.
func FuzzRead(f *testing.F) {
	for _, version := range []string{"2", "4"} {
		dir := repository(f)
		git(f, dir, "update-index", "--index-version", version)
		git(f, dir, "update-index", "--skip-worktree", "a.py")
		for _, name := range []string{"index", "split"} {
			if name == "split" {
				git(f, dir, "update-index", "--split-index")
			}
			text, err := os.ReadFile(filepath.Join(dir, ".git", "index"))
			require.NoError(f, err)
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var x *Index
		var err error
		if got := testenv.Allocated(func() {
			x, err = parse(string(text), func(string) (string, error) { return string(text), nil }, nil)
		}); got > 1<<20+1000*int64(len(text)) {
			t.Fatalf("%d bytes for %d", got, len(text))
		}
		if err != nil {
			return
		}
		for i := range x.Len() {
			if x.Find(x.Name(i)) < 0 || x.Stage(i) > 3 {
				t.Fatalf("entry %d, %q", i, x.Name(i))
			}
			x.Mtime(i)
			x.Size(i)
		}
		other := &index.Index{}
		if index.NewDecoder(bytes.NewReader(text)).Decode(other) != nil {
			return
		}
		require.Equal(t, len(other.Entries), x.Len())
		for i, e := range other.Entries {
			require.Equal(t, e.Name, x.Name(i))
			require.Equal(t, e.Hash, x.ID(i))
			require.Equal(t, e.SkipWorktree, x.SkipWorktree(i))
			require.Equal(t, int(e.Stage), x.Stage(i))
		}
	})
}
