package records

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/githubtest"
)

// zipped is a zip of files of those names and texts.
func zipped(t *testing.T, files ...string) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		f, err := z.Create(files[i])
		require.NoError(t, err)
		_, err = io.WriteString(f, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return out.Bytes()
}

// The outputs of a run are those that the workflow run kept which trained it, of the
// repository's own branches, whatever else is called so; nothing in them leads elsewhere.
func TestOutputs(t *testing.T) {
	g := &githubtest.GitHub{}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	store, err := history.Open(filepath.Join(t.TempDir(), ".aml-train"))
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	r := fresh(t, server.URL, "", "")
	r.Token = githubtest.Workflow
	of := func(build string) *history.Run {
		return (&history.Run{Info: history.RunInfo{RunID: "iris-1-copy"}}).With(map[string]string{
			history.TagLeft: "1 iris-1", history.TagBuild: build})
	}
	require.True(t, Elsewhere(of("x")))
	require.False(t, Elsewhere(&history.Run{}))
	own := githubtest.Runner{ID: 41, Commit: "a", Branch: "main"}
	fork, other := own, own
	fork.Fork, other.ID = true, 42
	model := zipped(t, "outputs/model.bin", "weights", "user_logs/std_log.txt", "")
	build := server.URL + "/org/x/actions/runs/41"
	g.Artifacts = []githubtest.Artifact{{ID: 1, Name: "iris-1", Zip: model, By: own},
		{ID: 2, Name: "iris-1", Zip: zipped(t, "outputs/model.bin", "forged"), By: fork},
		{ID: 3, Name: "iris-1", Zip: zipped(t, "outputs/model.bin", "other"), By: other},
		{ID: 4, Name: "iris-1-copy", Zip: zipped(t, "outputs/model.bin", "other"), By: own}}
	for _, link := range []string{build, build + "/attempts/2"} {
		out, err := r.Outputs(t.Context(), of(link), store)
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"outputs/model.bin": 7, "user_logs/std_log.txt": 0}, out.Sizes())
		f, err := out.Open("outputs/model.bin")
		require.NoError(t, err)
		text, err := io.ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, "weights", string(text))
		require.NoError(t, f.Close())
		_, err = out.Open("outputs/none")
		require.ErrorIs(t, err, os.ErrNotExist)
		require.NoError(t, out.Close())
	}
	left, err := filepath.Glob(filepath.Join(store.Home, ".artifact-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	refused := func(link, why string) {
		t.Helper()
		_, err := r.Outputs(t.Context(), of(link), store)
		require.ErrorContains(t, err, why)
		left, err := filepath.Glob(filepath.Join(store.Home, ".artifact-*"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
	refused(server.URL+"/org/x/actions/runs/40", "has kept no files of it")
	refused(server.URL+"/eve/x/actions/runs/41", "has kept no files of it")
	refused("", "a workflow with the permission")
	for _, name := range []string{"../../x", "/etc/passwd", "a\\..\\b", "a//b", "folder/", "a/../../b"} {
		g.Artifacts[0].Zip = zipped(t, name, "")
		refused(build, fmt.Sprintf("it holds %q, which is no file of a run", name))
	}
	g.Artifacts[0].Zip = zipped(t, "outputs/model.bin", "weights", "outputs/model.bin", "others") // which is it?
	refused(build, `it holds "outputs/model.bin" twice`)
	g.Artifacts[0].Zip = []byte("no zip")
	refused(build, "zip: not a valid zip file")
	g.Artifacts[0].Expired = true
	refused(build, "are gone: GitHub does not keep it any more")
	g.NoArtifacts = true
	refused(build, `(the job needs the permission "actions: read")`)
}
