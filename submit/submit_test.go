package submit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
)

// What a job names comes from the commit, links among it, and from the working tree
// where the commit does not have it.
func TestLocal(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	git("init", "-q", "-b", "main")
	write("data/a.csv", "committed")
	write("data2/b.csv", "of another folder")
	require.NoError(t, os.Symlink("a.csv", filepath.Join(dir, "data", "link")))
	git("add", "-A")
	git("commit", "-q", "-m", "x")
	write("data/a.csv", "changed")
	write("data/new.csv", "new")
	write("only-here.csv", "here")
	commit, err := snapshot.TakeCommit(t.Context(), dir, "HEAD", snapshot.Options{MaxBytes: -1, Whole: true})
	require.NoError(t, err)

	s := Submission{Job: &job.Job{Dir: dir}, Commit: commit}
	to := t.TempDir()
	data, err := s.Local("data", to)
	require.NoError(t, err)
	for name, want := range map[string]string{"a.csv": "committed", "link": "committed"} {
		text, err := os.ReadFile(filepath.Join(data, name))
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
	require.NoFileExists(t, filepath.Join(data, "new.csv"))
	require.NoDirExists(t, filepath.Join(to, "data2"))
	here, err := s.Local("only-here.csv", to)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "only-here.csv"), here)

	s.Commit = nil
	data, err = s.Local("data", to)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "data"), data)
}
