package job

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/snapshot"
)

// What a job names comes from the commit, links among it; only data that the commit does
// not have is the working tree's.
func TestCommit(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"},
			args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	git("init", "-q", "-b", "main")
	write("data/a.csv", "committed")
	write("data/in/deep.csv", "deep")
	write("data2/b.csv", "of another folder")
	for name, text := range map[string]string{"data/link": "a.csv", "data/folder": "in", "current": "data",
		"data2/out": "../data/a.csv", "git": ".git/config"} {
		require.NoError(t, os.Symlink(text, filepath.Join(dir, name)))
	}
	git("add", "-A")
	git("commit", "-q", "-m", "x")
	write("data/a.csv", "changed")
	write("data/new.csv", "new")
	write("only-here.csv", "here")
	commit, err := snapshot.Commit(t.Context(), nil, dir, "HEAD")
	require.NoError(t, err)
	j := &Job{Dir: dir, place: inside.Place{Dir: dir, FS: commit.FS()}}

	for _, name := range []string{"data", "current"} {
		tree, err := j.OpenInput(Input{Path: name})
		require.NoError(t, err)
		files, err := tree.Files(t.Context())
		require.NoError(t, err)
		got := map[string]string{}
		for _, f := range files {
			r, err := f.Open()
			require.NoError(t, err)
			text, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			got[f.Path] = string(text)
			require.EqualValues(t, len(text), f.Info.Size(), "sizes are known without asking for all of them")
		}
		require.Equal(t, map[string]string{"a.csv": "committed", "link": "committed", "in/deep.csv": "deep",
			"folder/deep.csv": "deep"}, got)
		to := t.TempDir()
		at, err := tree.Copy(t.Context(), to)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(to, name), at)
		text, err := os.ReadFile(filepath.Join(at, "folder", "deep.csv"))
		require.NoError(t, err)
		require.Equal(t, "deep", string(text))
	}
	tree, err := j.OpenInput(Input{Path: "data2"})
	require.NoError(t, err)
	_, err = tree.Files(t.Context())
	require.ErrorAs(t, err, new(*inside.OutsideError))
	_, err = j.OpenInput(Input{Path: "git"})
	require.ErrorAs(t, err, new(*inside.OutsideError))
	here, err := j.OpenInput(Input{Path: "only-here.csv"})
	require.NoError(t, err)
	require.True(t, here.Disk)
	require.NoError(t, here.Close())
	_, err = j.Open("only-here.csv", false)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Of two jobs in a repository that name the same file, the flag decides whether one
// outside may be meant; in a workflow none may.
func TestOutside(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	dir := filepath.Join(top, "repo")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(top, "data.csv"), []byte("x"), 0o644))
	require.NoError(t, os.Symlink("../data.csv", filepath.Join(dir, "link")))
	t.Chdir(dir)
	file := filepath.Join(dir, "src", "job.yml")
	load := func(path string, o Options) error {
		text := "command: cat ${{inputs.data}}\ncode: .\ninputs:\n  data: {type: uri_file, path: " + path + "}\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		o.Files = inside.Place{Dir: dir}
		_, err := Load(t.Context(), "src/job.yml", o)
		return err
	}
	outside := filepath.Join(top, "data.csv")
	for _, path := range []string{"../../data.csv", outside, "file://" + outside, "../link"} {
		require.ErrorContains(t, load(path, Options{}), "--input data="+outside, path)
		require.ErrorContains(t, load(path, Options{Workflow: true}), "in a workflow a job reads only files of "+
			"its repository", path)
		require.NoError(t, load(path, Options{Inputs: []string{"data=" + outside}}))
		require.ErrorContains(t, load(path, Options{Inputs: []string{"data=" + outside}, Workflow: true}),
			"in a workflow")
		require.ErrorContains(t, load(path, Options{Inputs: []string{"data=./link"}}), "link is a link to ../data.csv")
	}
	for _, code := range []string{"../..", top} {
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "command: ls\ncode: %s\n", code), 0o644))
		_, err := Load(t.Context(), "src/job.yml", Options{Files: inside.Place{Dir: dir}})
		require.ErrorContains(t, err, "--source-directory "+top)
		_, err = Load(t.Context(), "src/job.yml", Options{Files: inside.Place{Dir: dir}, SourceDirectory: ".."})
		require.NoError(t, err)
		_, err = Load(t.Context(), "src/job.yml",
			Options{Files: inside.Place{Dir: dir}, SourceDirectory: "..", Workflow: true})
		require.ErrorContains(t, err, "in a workflow")
	}
}
