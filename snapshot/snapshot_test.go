package snapshot

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, dir string, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		at := filepath.Join(dir, files[i])
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(files[i+1]), 0o644))
	}
}

func take(t *testing.T, dir string) *Snapshot {
	t.Helper()
	s, err := Take(context.Background(), dir, Options{})
	require.NoError(t, err)
	return s
}

func paths(s *Snapshot) string {
	var out []string
	for _, f := range s.Files {
		out = append(out, f.Path)
	}
	return strings.Join(out, " ")
}

// plainTree is the id of a folder's files, every repository in it forgotten.
func plainTree(t *testing.T, dir string) string {
	t.Helper()
	flat := filepath.Join(t.TempDir(), "flat")
	require.NoError(t, os.CopyFS(flat, os.DirFS(dir)))
	require.NoError(t, filepath.WalkDir(flat, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == ".git" {
			require.NoError(t, os.RemoveAll(p))
			if e.IsDir() {
				return filepath.SkipDir
			}
		}
		return err
	}))
	runGit(t, flat, "init", "-q")
	write(t, flat, ".git/info/attributes", "* -text -ident\n")
	runGit(t, flat, "add", "-A", "-f")
	return runGit(t, flat, "write-tree")
}

// The files of a submodule and of a nested repository travel, by their own rules.
func TestNestedRepositories(t *testing.T) {
	isolate(t)
	base := t.TempDir()
	sub := filepath.Join(base, "sub")
	write(t, sub, "lib.py", "1", ".gitignore", "*.log\n")
	runGit(t, sub, "init", "-q")
	runGit(t, sub, "add", "-A")
	runGit(t, sub, "commit", "-q", "-m", "x")
	top := filepath.Join(base, "top")
	write(t, top, "train.py", "1", ".gitignore", "*.tmp\n")
	runGit(t, top, "init", "-q")
	runGit(t, top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../sub", "vendor/lib")
	runGit(t, top, "add", "-A")
	runGit(t, top, "commit", "-q", "-m", "x")

	s := take(t, top)
	require.Equal(t, ".gitignore .gitmodules train.py vendor/lib/.gitignore vendor/lib/lib.py", paths(s))
	require.Equal(t, plainTree(t, top), s.ID)
	status := func() bool { return runGit(t, top, "status", "--porcelain") != "" }
	require.False(t, s.Dirty)
	require.False(t, status())

	write(t, top, "vendor/lib/x.log", "ignored there", "vendor/lib/x.tmp", "ignored by the outer repository only")
	s = take(t, top)
	require.Equal(t, ".gitignore .gitmodules train.py vendor/lib/.gitignore vendor/lib/lib.py vendor/lib/x.tmp",
		paths(s))
	require.True(t, s.Dirty)
	require.True(t, status())
	require.NoError(t, os.Remove(filepath.Join(top, "vendor/lib/x.tmp")))

	runGit(t, filepath.Join(top, "vendor/lib"), "commit", "-q", "--allow-empty", "-m", "y")
	require.True(t, take(t, top).Dirty, "the submodule is at another commit")
	require.True(t, status())
	runGit(t, filepath.Join(top, "vendor/lib"), "reset", "-q", "--hard", "HEAD~1")
	require.False(t, take(t, top).Dirty)

	nested := filepath.Join(top, "nested")
	write(t, nested, "a.py", "1")
	runGit(t, nested, "init", "-q")
	runGit(t, nested, "add", "-A")
	runGit(t, nested, "commit", "-q", "-m", "x")
	s = take(t, top)
	require.NotNil(t, s.Find("nested/a.py"))
	require.True(t, s.Dirty)
	require.True(t, status())
}

// What a sparse checkout leaves out belongs to the tree, and is read from the
// object store.
func TestSparseCheckout(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "in/a.py", "1", "out/b.py", "22", "out/.gitignore", "*.log\n", "c.py", "3")
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "commit", "-q", "-m", "x")
	want := runGit(t, dir, "rev-parse", "HEAD^{tree}")
	runGit(t, dir, "sparse-checkout", "set", "in")
	require.NoFileExists(t, filepath.Join(dir, "out/b.py"))
	s := take(t, dir)
	require.Equal(t, want, s.ID)
	require.False(t, s.Dirty)
	r, err := s.Open(s.Find("out/b.py"))
	require.NoError(t, err)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "22", string(text))
}

// With a content filter between the two, the id is that of the bytes on disk, and
// a file that git calls unchanged is not dirty.
func TestContentFilter(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, ".gitattributes", "* text=auto eol=crlf\n", "a.txt", "1\r\n2\r\n")
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "commit", "-q", "-m", "x")
	s := take(t, dir)
	require.Equal(t, runGit(t, dir, "-c", "core.attributesFile=/dev/null", "hash-object", "--no-filters", "a.txt"),
		s.Find("a.txt").OID.String())
	require.False(t, s.Dirty)
	write(t, dir, "a.txt", "1\r\n3\r\n")
	require.True(t, take(t, dir).Dirty)
}

// A file that is unchanged by its stat data is not read; one written in the same
// instant as the index is.
func TestIndexIsACache(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1", "b.py", "2")
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	s := take(t, dir)
	want := s.ID
	// The index is made younger than the files: nothing has to be read.
	index := filepath.Join(dir, ".git", "index")
	info, err := os.Stat(filepath.Join(dir, "b.py"))
	require.NoError(t, err)
	later := info.ModTime().Add(5e9)
	require.NoError(t, os.Chtimes(index, later, later))
	s = take(t, dir)
	require.Equal(t, 0, s.Hashed)
	require.Equal(t, want, s.ID)
	// Same size, same modification time: the change time tells.
	times := info.ModTime()
	write(t, dir, "b.py", "3")
	require.NoError(t, os.Chtimes(filepath.Join(dir, "b.py"), times, times))
	s = take(t, dir)
	require.Equal(t, 1, s.Hashed)
	require.NotEqual(t, want, s.ID)
}

func TestChangedAfterTheSnapshot(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1")
	s := take(t, dir)
	write(t, dir, "a.py", "22")
	_, err := s.Open(s.Find("a.py"))
	require.ErrorContains(t, err, "a.py: it changed while it was read after the snapshot was taken; run the "+
		"command again")
}

// An unchanged file is not read although its line ends could have been converted:
// its blob would have another size.
func TestTextAutoIsNotRead(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	earlier := time.Now().Add(-time.Hour)
	write(t, dir, ".gitattributes", "* text=auto\n*.id ident\n", "unix.py", "1\n2\n", "dos.py", "1\r\n2\r\n", "a.bin",
		"\x00\r\n", "a.id", "$Id$")
	for _, name := range []string{".gitattributes", "unix.py", "dos.py", "a.bin", "a.id"} {
		require.NoError(t, os.Chtimes(filepath.Join(dir, name), earlier, earlier))
	}
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	s := take(t, dir)
	require.Equal(t, 2, s.Hashed, "dos.py is stored with other line ends, and a.id could be")
	require.Equal(t, plainTree(t, dir), s.ID)
	runGit(t, dir, "gc", "-q")
	require.Equal(t, 2, take(t, dir).Hashed, "from a pack as from loose objects")
}

// The folders that a sparse index keeps as one entry are in the snapshot.
func TestSparseIndex(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "in/a.py", "1", "out/b.py", "22", "out/deep/c.py", "333", "d.py", "4")
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "commit", "-q", "-m", "x")
	want := runGit(t, dir, "rev-parse", "HEAD^{tree}")
	runGit(t, dir, "sparse-checkout", "set", "--cone", "--sparse-index", "in")
	require.Contains(t, runGit(t, dir, "ls-files", "--sparse"), "out/")
	s := take(t, dir)
	require.Equal(t, want, s.ID)
	require.False(t, s.Dirty)
	require.Equal(t, "333", read(t, s, "out/deep/c.py"))
}

// Where links cannot be made, git leaves a file with a link's text, which stays a
// link in the tree.
func TestNoSymlinks(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1")
	require.NoError(t, os.Symlink("a.py", filepath.Join(dir, "link")))
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "commit", "-q", "-m", "x")
	runGit(t, dir, "config", "core.symlinks", "false")
	require.NoError(t, os.Remove(filepath.Join(dir, "link")))
	runGit(t, dir, "checkout", "-q", "link")
	info, err := os.Lstat(filepath.Join(dir, "link"))
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
	s := take(t, dir)
	require.Equal(t, runGit(t, dir, "rev-parse", "HEAD^{tree}"), s.ID)
	require.Equal(t, "a.py", read(t, s, "link"))
	write(t, dir, "link", "../../etc/passwd")
	_, err = Take(context.Background(), dir, Options{})
	require.ErrorContains(t, err, "leads out of the source directory")
}

// An .amlignore replaces every .gitignore, tracked files included, and nested ones
// work as nested .gitignore files do.
func TestAmlignore(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, ".amlignore", "*.csv\n/tests/\n", ".gitignore", "*.py\n", "a.py", "1", "a.csv", "1", "tests/t.py",
		"1",
		"data/.amlignore", "!keep.csv\n", "data/keep.csv", "1", "data/drop.csv", "1", "data/.gitignore", "*\n")
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A", "-f")
	runGit(t, dir, "commit", "-q", "-m", "x")
	s := take(t, dir)
	require.Equal(t, ".amlignore .gitignore a.py data/.amlignore data/.gitignore data/keep.csv", paths(s))
	require.False(t, s.Dirty, "dirty is git's word")
	write(t, dir, "tests/t.py", "2")
	require.True(t, take(t, dir).Dirty)
}

func TestLinks(t *testing.T) {
	isolate(t)
	base := t.TempDir()
	dir := filepath.Join(base, "src")
	write(t, base, "outside.txt", "secret")
	write(t, dir, "a/b.py", "1")
	for target, bad := range map[string]string{
		"a/b.py": "", "a": "", "../src/a/b.py": "", "nowhere": "", "loop": "",
		"../outside.txt": "leads out of the source directory", "/etc/passwd": "leads out of the source directory",
		"../nowhere":  "leads out of the source directory",
		".git/config": "leads into .git", "a/../.aml-train/x": "leads into .aml-train",
	} {
		link := filepath.Join(dir, "loop")
		require.NoError(t, os.Symlink(target, link))
		_, err := Take(context.Background(), dir, Options{})
		if bad == "" {
			require.NoError(t, err, target)
		} else {
			require.ErrorContains(t, err, bad, target)
		}
		require.NoError(t, os.Remove(link))
	}
	// A chain that leaves the directory in its second step.
	require.NoError(t, os.Symlink("../outside.txt", filepath.Join(base, "src2")))
	require.NoError(t, os.Symlink("../src2", filepath.Join(dir, "chain")))
	_, err := Take(context.Background(), dir, Options{})
	require.ErrorContains(t, err, "leads out of the source directory")
}

// Of what git tracks an ignore file leaves nothing out: what is said to do besides does.
func TestTooLargeTracked(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1", "it's big/model.bin", strings.Repeat("x", 5000), "new.bin", strings.Repeat("x", 3000))
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "a.py", "it's big")
	_, err := Take(context.Background(), dir, Options{MaxBytes: 1000})
	var large *TooLargeError
	require.ErrorAs(t, err, &large)
	require.Equal(t, []bool{true, false, true}, []bool{large.Largest[0].Tracked, large.Largest[1].Tracked,
		large.Largest[2].Tracked})
	lines := regexp.MustCompile(`line to \.gitignore: (.*)\)`).FindAllStringSubmatch(err.Error(), -1)
	write(t, dir, ".gitignore", lines[0][1]+"\n"+lines[1][1]+"\n")
	_, err = Take(context.Background(), dir, Options{MaxBytes: 1000})
	require.ErrorAs(t, err, &large)
	command := regexp.MustCompile(`after that: (git rm .*)`).FindStringSubmatch(err.Error())[1]
	cmd := exec.Command("sh", "-ec", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	_, err = Take(context.Background(), dir, Options{MaxBytes: 1000})
	require.NoError(t, err)
}

func TestTooLarge(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1", "big/deep/model [1].bin", strings.Repeat("x", 5000), "other/x", strings.Repeat("x", 300))
	_, err := Take(context.Background(), dir, Options{MaxBytes: 1000})
	var large *TooLargeError
	require.ErrorAs(t, err, &large)
	require.Equal(t, "big/deep/model [1].bin", large.Largest[0].Path)
	require.Contains(t, err.Error(), `add this line to .gitignore: /big/deep/model \[1].bin`)
	require.NotContains(t, err.Error(), "git rm")
	// The line does what it says.
	write(t, dir, ".gitignore", `/big/deep/model \[1].bin`+"\n")
	_, err = Take(context.Background(), dir, Options{MaxBytes: 1000})
	require.NoError(t, err)
}

// What was frozen is read as it was, whatever becomes of the working tree; links as they are.
func TestFreeze(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.py", "before", "below/b.sh", "before too")
	require.NoError(t, os.Chmod(filepath.Join(dir, "below", "b.sh"), 0o755))
	require.NoError(t, os.Symlink("a.py", filepath.Join(dir, "link")))
	s := take(t, dir)
	require.NoError(t, s.Freeze(t.TempDir()))
	write(t, dir, "a.py", "after")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "below")))

	to := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(to, "below"), 0o755))
	for i := range s.Files {
		require.NoError(t, s.Copy(&s.Files[i], to))
	}
	require.Equal(t, s.ID, take(t, to).ID)
}
