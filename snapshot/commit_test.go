package snapshot

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/require"
)

func takeCommit(t *testing.T, dir, rev string) *Snapshot {
	t.Helper()
	s, err := TakeCommit(context.Background(), dir, rev, Options{})
	require.NoError(t, err)
	return s
}

func commit(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		runGit(t, dir, "init", "-q", "-b", "main")
	}
	runGit(t, dir, "add", "-A", "-f")
	runGit(t, dir, "commit", "-q", "-m", "x")
}

func read(t *testing.T, s *Snapshot, path string) string {
	t.Helper()
	f := s.Find(path)
	require.NotNil(t, f, path)
	r, err := s.Open(f)
	require.NoError(t, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, f.Size, int64(len(text)), path)
	return string(text)
}

// Whatever names it and however it is stored, a commit's files are those of its
// tree, and the working tree does not matter.
func TestCommit(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "train.py", "1", "src/a.py", strings.Repeat("line\n", 500), "src/deep/b.py", "2", "é", "3",
		".gitignore", "*.log\n", "kept.log", "4", "gone/c.py", "5")
	require.NoError(t, os.Chmod(filepath.Join(dir, "train.py"), 0o755))
	require.NoError(t, os.Symlink("../train.py", filepath.Join(dir, "src", "link")))
	commit(t, dir)
	runGit(t, dir, "tag", "-a", "-m", "x", "v1")
	first := runGit(t, dir, "rev-parse", "HEAD")
	write(t, dir, "src/a.py", strings.Repeat("line\n", 500)+"more\n")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "gone")))
	commit(t, dir)
	write(t, dir, "src/a.py", "dirty", "untracked.py", "1")

	for _, packed := range []bool{false, true} {
		if packed {
			runGit(t, dir, "gc", "-q")
		}
		for _, rev := range []string{"HEAD", "@", "main", "refs/heads/main", "HEAD~1", "v1", "tags/v1", first,
			first[:9], "HEAD^{tree}"} {
			if rev == "HEAD^{tree}" {
				rev = runGit(t, dir, "rev-parse", rev)
			}
			s := takeCommit(t, dir, rev)
			require.Equal(t, runGit(t, dir, "rev-parse", rev+"^{tree}"), s.ID, rev)
			require.Equal(t, runGit(t, dir, "-c", "core.quotePath=false", "ls-tree", "-r", "--name-only", rev),
				strings.Join(strings.Fields(paths(s)), "\n"), rev)
			for i := range s.Files {
				f := &s.Files[i]
				h := plumbing.ComputeHash(plumbing.BlobObject, []byte(read(t, s, f.Path)))
				require.Equal(t, f.OID, h, f.Path)
			}
			require.Equal(t, s.ID, s.tree().id.String(), "the tree that the files make is the commit's")
			require.Equal(t, runGit(t, dir, "rev-parse", rev+":src/deep"),
				takeCommit(t, filepath.Join(dir, "src", "deep"), rev).ID)
		}
	}
	require.Equal(t, runGit(t, dir, "rev-parse", "v1:gone"), takeCommit(t, filepath.Join(dir, "gone"), "v1").ID,
		"a folder that is no longer there")
	require.Equal(t, filemode.Executable, takeCommit(t, dir, "HEAD").Find("train.py").Mode)

	for rev, want := range map[string]string{
		"nowhere": "nowhere names no commit of " + dir,
		"1234567890123456789012345678901234567890": "the object is not in this repository; git fetch gets what " +
			"the remote has",
		runGit(t, dir, "rev-parse", "HEAD:src/a.py"): "is a file, not a commit",
	} {
		_, err := TakeCommit(context.Background(), dir, rev, Options{})
		require.ErrorContains(t, err, want)
	}
	_, err := TakeCommit(context.Background(), filepath.Join(dir, "gone"), "HEAD", Options{})
	require.ErrorContains(t, err, "the commit HEAD has no folder gone")
	_, err = TakeCommit(context.Background(), t.TempDir(), "HEAD", Options{})
	require.ErrorContains(t, err, "no git repository, so there is no commit HEAD")
	_, err = TakeCommit(context.Background(), dir, "HEAD", Options{MaxBytes: 100})
	var large *TooLargeError
	require.ErrorAs(t, err, &large)
	require.Equal(t, "src/a.py", large.Largest[0].Path)

	// Without a limit nothing asks for the sizes, until somebody does.
	s, err := TakeCommit(context.Background(), dir, "HEAD", Options{MaxBytes: -1})
	require.NoError(t, err)
	require.Zero(t, s.Bytes)
	require.NoError(t, s.Sizes(context.Background()))
	require.Equal(t, takeCommit(t, dir, "HEAD").Bytes, s.Bytes)
	require.Equal(t, int64(2505), s.Find("src/a.py").Size)
}

// The .amlignore that counts is the commit's, and it is checked as git would
// check it.
func TestCommitAmlignore(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "src/.amlignore", "*.csv\n/tests/\n", "src/a.py", "1", "src/data/a.csv", "1", "src/data/.amlignore",
		"!keep.csv\n", "src/data/keep.csv", "1", "src/tests/t.py", "1", "top.csv", "1")
	commit(t, dir)
	want := take(t, filepath.Join(dir, "src"))
	write(t, dir, "src/.amlignore", "*\n")
	s := takeCommit(t, filepath.Join(dir, "src"), "HEAD")
	require.Equal(t, ".amlignore a.py data/.amlignore data/keep.csv", paths(s))
	require.Equal(t, want.ID, s.ID)
	require.Equal(t, want.Excluded, s.Excluded)
	write(t, dir, ".aml-train/history.db", "x")
	commit(t, dir)
	require.Nil(t, takeCommit(t, dir, "HEAD").Find(".aml-train/history.db"), "never travels")
}

// A pointer of git-LFS stands for its content.
func TestCommitLFS(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	content := strings.Repeat("weights", 1000)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	pointer := func(sum string, size int) string {
		return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sum, size)
	}
	write(t, dir, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n", "model.bin",
		pointer(sum, len(content)), "plain.bin", "no pointer",
		"note.txt", pointer(sum, len(content)), "train.py", "1")
	commit(t, dir)

	_, err := TakeCommit(context.Background(), dir, "HEAD", Options{})
	require.ErrorContains(t, err, "model.bin is kept by git-LFS, and its content (7000 bytes, sha256:"+sum+
		") is not on this machine; get it with: git lfs fetch origin "+runGit(t, dir, "rev-parse", "HEAD"))

	at := filepath.Join("objects", sum[:2], sum[2:4], sum)
	write(t, dir, ".git/lfs/"+at, content)
	s := takeCommit(t, dir, "HEAD")
	require.Equal(t, content, read(t, s, "model.bin"))
	require.Equal(t, "no pointer", read(t, s, "plain.bin"))
	require.Equal(t, pointer(sum, len(content)), read(t, s, "note.txt"), "no attribute says that it is one")
	// The id is that of the files as they travel, as in a working tree that holds them.
	write(t, dir, "model.bin", content)
	tree := take(t, dir)
	require.Equal(t, tree.ID, s.ID)
	require.False(t, tree.Dirty, "what git-lfs checked out is what is committed")
	write(t, dir, "model.bin", content+"!")
	require.True(t, take(t, dir).Dirty)

	write(t, dir, ".git/lfs/"+at, content[1:])
	_, err = TakeCommit(context.Background(), dir, "HEAD", Options{})
	require.ErrorContains(t, err, "has 6999 bytes, and its git-LFS pointer says 7000")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".git/lfs")))
	runGit(t, dir, "config", "lfs.storage", "elsewhere")
	write(t, dir, ".git/elsewhere/"+at, content)
	require.Equal(t, tree.ID, takeCommit(t, dir, "HEAD").ID)
}

// A submodule's files come from its own repository, at the recorded commit.
func TestCommitSubmodule(t *testing.T) {
	isolate(t)
	base := t.TempDir()
	write(t, base, "sub/lib.py", "1", "sub/deep/x.py", "2")
	commit(t, filepath.Join(base, "sub"))
	top := filepath.Join(base, "top")
	write(t, top, "train.py", "1")
	runGit(t, top, "init", "-q")
	runGit(t, top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../sub", "vendor/lib")
	commit(t, top)
	s := takeCommit(t, top, "HEAD")
	require.Equal(t, ".gitmodules train.py vendor/lib/deep/x.py vendor/lib/lib.py", paths(s))
	require.Equal(t, take(t, top).ID, s.ID)
	require.Equal(t, "2", read(t, s, "vendor/lib/deep/x.py"))
	runGit(t, top, "submodule", "deinit", "-q", "-f", "--all")
	require.Equal(t, s.ID, takeCommit(t, top, "HEAD").ID, "its repository is still there")
	require.NoError(t, os.RemoveAll(filepath.Join(top, ".git/modules")))
	require.Equal(t, ".gitmodules train.py", paths(takeCommit(t, top, "HEAD")), "one that is not set up has no files")
}

// What a clone left out is named, and the command that is named gets it.
func TestCommitOfPartialClones(t *testing.T) {
	isolate(t)
	base := t.TempDir()
	origin := filepath.Join(base, "origin")
	write(t, origin, "a.py", "1")
	commit(t, origin)
	write(t, origin, "a.py", "2")
	commit(t, origin)
	runGit(t, origin, "config", "uploadpack.allowFilter", "true")
	want := runGit(t, origin, "rev-parse", "HEAD^{tree}")
	for name, c := range map[string]struct{ option, rev, advice string }{
		"partial": {"--filter=blob:none", "HEAD", "which is a partial clone; get it with: "},
		"shallow": {"--depth=1", runGit(t, origin, "rev-parse", "HEAD~1"), "which is a shallow clone; get it with: "},
	} {
		clone := filepath.Join(base, name)
		runGit(t, base, "clone", "-q", "--no-checkout", c.option, "file://"+origin, clone)
		_, err := TakeCommit(context.Background(), clone, c.rev, Options{})
		require.ErrorContains(t, err, c.advice)
		_, command, _ := strings.Cut(err.Error(), c.advice)
		runGit(t, clone, strings.Fields(strings.TrimPrefix(command, "git "))...)
		s := takeCommit(t, clone, c.rev)
		if c.rev == "HEAD" {
			require.Equal(t, want, s.ID)
		}
	}
	linked := filepath.Join(base, "linked")
	runGit(t, origin, "worktree", "add", "-q", linked, "HEAD~1")
	require.Equal(t, runGit(t, origin, "rev-parse", "HEAD~1^{tree}"), takeCommit(t, linked, "HEAD").ID)
	require.Equal(t, runGit(t, origin, "rev-parse", "HEAD~1^{tree}"), take(t, linked).ID)
	require.False(t, take(t, linked).Dirty)
}

// A link in a commit is refused as one in the working tree is.
func TestCommitLinks(t *testing.T) {
	isolate(t)
	for link, want := range map[string]string{
		"../outside":  "leads out of the source directory, to ../outside",
		"/etc/passwd": "leads out of the source directory", "a/../../x": "leads out of the source directory",
		".git/config": "leads into .git", "a/.aml-train": "leads into .aml-train", "loop": "", "a/b.py": "",
		"nowhere": "", "a/up/b.py": "", "a/up/../..": "leads out of the source directory", "a/abs/x": "leads out",
	} {
		dir := t.TempDir()
		write(t, dir, "a/b.py", "1")
		require.NoError(t, os.Symlink("../a", filepath.Join(dir, "a/up")))
		if link == "a/abs/x" {
			require.NoError(t, os.Symlink("/", filepath.Join(dir, "a/abs")))
		}
		require.NoError(t, os.Symlink(link, filepath.Join(dir, "loop")))
		commit(t, dir)
		_, err := TakeCommit(context.Background(), dir, "HEAD", Options{})
		if want == "" {
			require.NoError(t, err, link)
		} else {
			require.ErrorContains(t, err, want, link)
		}
	}
}

// A commit that somebody wrote by hand cannot lead out of a copy of it.
func TestCommitNames(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	write(t, dir, "a.py", "1")
	commit(t, dir)
	blob := plumbing.NewHash(runGit(t, dir, "rev-parse", "HEAD:a.py"))
	for name, want := range map[string]string{"../x": "cannot stand in a repository",
		"..": "cannot stand in a repository", ".git": "cannot stand in a repository", "a\nb": "cannot be stored",
		"\xff": "cannot be stored"} {
		body := appendEntry(nil, filemode.Regular, name, blob)
		tree := runGitIn(t, dir, string(body), "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
		_, err := TakeCommit(context.Background(), dir, tree, Options{})
		require.ErrorContains(t, err, want, "%q", name)
	}
}

// Diff says what git diff says, for any two trees.
func TestDiff(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	runGit(t, dir, "init", "-q")
	r := rand.New(rand.NewPCG(3, 3))
	names := []string{"a", "a.b", "a-b", "a0", "b", "c"}
	for range 30 {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for range 15 {
			p := dir
			for range 1 + r.IntN(3) {
				p = filepath.Join(p, names[r.IntN(len(names))])
			}
			switch r.IntN(5) {
			case 0:
				os.RemoveAll(p)
			case 1:
				os.Remove(p)
				os.Symlink("a", p)
			default:
				os.MkdirAll(filepath.Dir(p), 0o755)
				if os.WriteFile(p, fmt.Append(nil, r.IntN(3)), 0o644) == nil {
					os.Chmod(p, []os.FileMode{0o644, 0o755}[r.IntN(2)])
				}
			}
		}
		write(t, dir, "always", "1")
		commitAny(t, dir)
	}
	for i := range 28 {
		old, new := fmt.Sprintf("HEAD~%d", 1+r.IntN(28)), fmt.Sprintf("HEAD~%d", i)
		a, err := TakeCommit(context.Background(), dir, old, Options{MaxBytes: -1})
		require.NoError(t, err)
		b, err := TakeCommit(context.Background(), dir, new, Options{MaxBytes: -1})
		require.NoError(t, err)
		var got []string
		for _, c := range Diff(a, b) {
			got = append(got, c.Status()+"\t"+c.Path())
		}
		require.ElementsMatch(t, strings.Fields(runGit(t, dir, "diff", "--name-status", "--no-renames", old, new)),
			strings.Fields(strings.Join(got, "\n")))
		require.IsNonDecreasing(t, mapped(Diff(a, b)))
	}
	s := takeCommit(t, dir, "HEAD")
	require.Empty(t, Diff(s, s))
	require.Len(t, Diff(nil, s), len(s.Files))
}

func mapped(changes []Change) (paths []string) {
	for _, c := range changes {
		paths = append(paths, c.Path())
	}
	return paths
}

func commitAny(t *testing.T, dir string) {
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "commit", "-q", "--allow-empty", "-m", "x")
}

// A tree is written as go-git writes it, whatever the names.
func FuzzTree(f *testing.F) {
	f.Add("a\nb/c\nb.d\nb-e/f\né")
	f.Add("a/b/c\na/b.c\na.b/c\na0")
	f.Fuzz(func(t *testing.T, list string) {
		files := map[string]File{}
		folders := map[string]bool{}
		for i, p := range strings.Split(list, "\n") {
			if p == "" || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || strings.Contains(p, "//") ||
				strings.Contains(p, "\x00") {
				continue
			}
			f := File{Path: p, Mode: []filemode.FileMode{filemode.Regular, filemode.Executable, filemode.Symlink}[i%3]}
			f.OID[0], f.OID[19] = byte(i), 1
			files[p] = f
			for j, c := range p {
				if c == '/' {
					folders[p[:j]] = true
				}
			}
		}
		var sorted []File
		for p, f := range files {
			if !folders[p] { // no file has the path of a folder
				sorted = append(sorted, f)
			}
		}
		slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
		got := newTree(sorted, "", 0)
		if want := encode(t, sorted, ""); got.id != want {
			t.Fatalf("%q: %s, go-git %s", list, got.id, want)
		}
		if got.lo != 0 || got.hi != len(sorted) {
			t.Fatalf("%d files, [%d, %d)", len(sorted), got.lo, got.hi)
		}
	})
}

// encode makes the tree with go-git.
func encode(t *testing.T, files []File, path string) plumbing.Hash {
	entries := map[string]object.TreeEntry{}
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.Path, path)
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		switch {
		case !deeper:
			entries[name] = object.TreeEntry{Name: name, Mode: f.Mode, Hash: f.OID}
		case entries[name].Name == "":
			entries[name] = object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: encode(t, files, path+name+"/")}
		}
	}
	tree := object.Tree{}
	for _, e := range entries {
		tree.Entries = append(tree.Entries, e)
	}
	sort.Sort(object.TreeEntrySorter(tree.Entries))
	o := &plumbing.MemoryObject{}
	require.NoError(t, tree.Encode(o))
	return o.Hash()
}
