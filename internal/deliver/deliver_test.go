package deliver

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReserved(t *testing.T) {
	for _, name := range []string{".git", ".GIT", ".Git", "git~1", "GIT~1", ".git.", ".git ", ".git. .",
		".git::$INDEX_ALLOCATION", ".g\u200cit", ".git\ufeff", ".aml-train", ".AML-train"} {
		require.True(t, reserved(name), "%q", name)
	}
	for _, name := range []string{"git", ".gitignore", ".github", "x.git", "outputs", ".aml-train.yaml", "git~2"} {
		require.False(t, reserved(name), "%q", name)
	}
}

// tree lists what lies below a folder, with contents.
func tree(t *testing.T, dir string) string {
	var b strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		var text []byte
		if e.Type()&fs.ModeNamedPipe == 0 {
			text, _ = os.ReadFile(name)
		}
		fmt.Fprintf(&b, "%s %v %q\n", name, e.Type(), text)
		return err
	}))
	return b.String()
}

// Whatever links lie in a checkout, what is written to a place in it changes nothing
// outside, nor in its .git, nor any other file in it.
func TestRandomLinks(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		top := t.TempDir()
		repo := filepath.Join(top, "repo")
		for _, dir := range []string{"outside/folder", "repo/.git/hooks", "repo/a/b", "repo/to/outputs"} {
			require.NoError(t, os.MkdirAll(filepath.Join(top, dir), 0o755))
		}
		for _, name := range []string{"outside/file", "outside/folder/x", "repo/.git/config", "repo/a/x",
			"repo/to/outputs/x"} {
			require.NoError(t, os.WriteFile(filepath.Join(top, name), []byte("precious"), 0o644))
		}
		targets := []string{"../outside", "../../outside/folder", "../outside/file", ".git", "../.git/hooks", "a",
			"../a", "b", "..", ".", "missing", filepath.Join(top, "outside"), filepath.Join(repo, ".git/config")}
		places := []string{"to", "a", "to/outputs", "to/outputs/x", "to/new", "a/b", "r.md", "to/r.md"}
		for range 1 + r.IntN(3) {
			name := filepath.Join(repo, places[r.IntN(len(places))])
			os.RemoveAll(name)
			os.Symlink(targets[r.IntN(len(targets))], name)
		}
		before, git := tree(t, filepath.Join(top, "outside")), tree(t, filepath.Join(repo, ".git"))
		t.Chdir(repo)
		to := []string{"to", "to/outputs", "a/b", "new/deep", ".", "to/../a", repo + "/to"}[r.IntN(7)]
		if f, err := Open(to); err == nil {
			for _, name := range []string{"x", "outputs/x", "../x", "../../outside/file", "/etc/x", "new/x",
				".git/config", "outputs/../../x", "b/x", "a//x", "", "."} {
				f.Write(name, strings.NewReader("changed"))
			}
			require.NoError(t, f.Close())
		}
		for _, name := range []string{"r.md", "to/r.md", "a/b/r.md", "missing/r.md", "../repo/to/r.md"} {
			err := Check(name)
			if err == nil {
				File(name, strings.NewReader("changed"))
			} else {
				require.Error(t, File(name, strings.NewReader("changed")), "%s: %v", name, err)
			}
		}
		require.Equal(t, before, tree(t, filepath.Join(top, "outside")), "seed %d", seed)
		require.Equal(t, git, tree(t, filepath.Join(repo, ".git")), "seed %d", seed)
		require.NotContains(t, tree(t, repo), ".aml-train-", "seed %d", seed)
		t.Chdir(top)
	}
}

// A file keeps its mode, and its holes.
func TestFile(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("report.md", []byte("old and longer"), 0o600))
	require.NoError(t, File("report.md", strings.NewReader("new")))
	text, err := os.ReadFile("report.md")
	require.NoError(t, err)
	require.Equal(t, "new", string(text))
	info, err := os.Stat("report.md")
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	require.ErrorIs(t, File("missing/report.md", strings.NewReader("new")), fs.ErrNotExist)

	content := append(append([]byte("a"), make([]byte, 1<<20)...), "z"...)
	f, err := Open("got")
	require.NoError(t, err)
	n, err := f.Write("outputs/model", bytes.NewReader(content))
	require.NoError(t, err)
	require.EqualValues(t, len(content), n)
	require.NoError(t, f.Close())
	text, err = os.ReadFile("got/outputs/model")
	require.NoError(t, err)
	require.Equal(t, content, text)
}

// What cannot be written is told by the name that was asked for, not by that of the file that
// would have become it.
func TestUnwritableIsNamed(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	_, err = put(root, "gone/report.md", strings.NewReader("x")) // a reason that root has, too
	require.ErrorIs(t, err, fs.ErrNotExist)
	var failed *fs.PathError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "write "+filepath.Join(root.Name(), "gone/report.md"), failed.Op+" "+failed.Path)
}
