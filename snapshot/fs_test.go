package snapshot

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// The files of a commit and of a working tree are a file system as any other.
func TestFS(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a.txt", "a/b.txt", "a/c/d.txt", "a-b/x", "z"}
	for _, name := range names {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
	tree, err := Take(t.Context(), dir, Options{})
	require.NoError(t, err)
	commit, err := TakeCommit(t.Context(), dir, "HEAD", Options{})
	require.NoError(t, err)
	for _, s := range []*Snapshot{tree, commit} {
		require.NoError(t, fstest.TestFS(s.FS(), names...))
	}
}

// Of a whole commit nothing is left out, and no link is refused: it is looked at.
func TestWhole(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".amlignore"), []byte("secret\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), nil, 0o644))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	runGit(t, dir, "init", "-q")
	runGit(t, dir, "add", "-A")
	runGit(t, dir, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
	_, err := TakeCommit(t.Context(), dir, "HEAD", Options{})
	require.ErrorContains(t, err, "link leads out")
	whole, err := Commit(t.Context(), nil, dir, "HEAD")
	require.NoError(t, err)
	require.Len(t, whole.Files, 3)
}
