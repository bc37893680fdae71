package github

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
)

// keeping is a step of an action, whose runner lets it write artifacts.
func keeping(api string, run int64) *Workflow {
	w := pushed(api, run, newHead)
	w.Server = "https://github.com"
	w.results, w.runtime = api+"/", githubtest.RuntimeToken
	return w
}

// What is kept is found again by its name, by the runs of this repository's own branches, and
// read in three requests.
func TestArtifacts(t *testing.T) {
	g, api := gitHubDouble(t)
	w := keeping(api, 50)
	require.True(t, w.CanWriteArtifacts())
	g.Runner = githubtest.Runner{ID: 50, Commit: newHead, Branch: "main"}
	large := make([]byte, 2*blockBytes+7)
	rand.Read(large)
	for name, text := range map[string][]byte{"small": []byte("zip"), "large": large, "empty": nil} {
		link, err := WriteArtifact(t.Context(), w, name, bytes.NewReader(text))
		require.NoError(t, err)
		require.Regexp(t, `^https://github.com/org/x/actions/runs/50/artifacts/\d+$`, link)
		_, err = WriteArtifact(t.Context(), w, name, bytes.NewReader(text))
		require.ErrorIs(t, err, ErrArtifactExists)
		asked := 0
		g.Seen = func(*http.Request, []byte) { asked++ }
		later := keeping(api, 51)
		found, err := ListArtifacts(t.Context(), later, githubtest.Workflow, name)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, Artifact{found[0].ID, int64(len(text)), newHead, "main", 50}, found[0])
		got, err := ReadArtifact(t.Context(), later, githubtest.Workflow, found[0], 1<<30)
		require.NoError(t, err)
		require.Equal(t, len(text), len(got))
		require.True(t, bytes.Equal(text, got))
		require.Equal(t, 3, asked)
		g.Seen = nil
		if len(text) > 0 {
			_, err = ReadArtifact(t.Context(), later, githubtest.Workflow, found[0], int64(len(text)-1))
			require.Error(t, err)
			found[0].Size = 0 // what GitHub says of it is not what comes
			_, err = ReadArtifact(t.Context(), later, githubtest.Workflow, found[0], int64(len(text)-1))
			require.ErrorContains(t, err, "more than")
		}
	}
}

// What a fork's workflow wrote is not among them, nor what is about to be forgotten, nor what
// this run itself wrote.
func TestArtifactsOfForks(t *testing.T) {
	g, api := gitHubDouble(t)
	for i, by := range []githubtest.Runner{{ID: 50, Commit: newHead, Branch: "main", Fork: true},
		{ID: 51, Commit: newHead, Branch: "main"}, {ID: 52, Commit: newHead, Branch: "main"}, {ID: 53}} {
		g.Artifacts = append(g.Artifacts, githubtest.Artifact{ID: int64(i + 1), Name: "run", By: by,
			Expired: by.ID == 52})
	}
	found, err := ListArtifacts(t.Context(), keeping(api, 53), githubtest.Workflow, "run")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, int64(51), found[0].Run)
}

// However many artifacts of the name forks have written since, the repository's own is found; and
// a list of theirs that has no end is given up.
func TestArtifactsBehindForks(t *testing.T) {
	for _, at := range []int{1, 3, 0} {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			head := 9
			if asked == at {
				head = 1
			}
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, asked+1))
			fmt.Fprintf(w, `{"artifacts": [{"id": %d, "name": "run", "workflow_run": {"id": 41, "repository_id": 1, `+
				`"head_repository_id": %d}}]}`, asked, head)
		}))
		defer server.Close()
		w := &Workflow{API: server.URL, Server: "https://github.com", Repository: "org/x"}
		found, err := ListArtifacts(t.Context(), w, "token", "run")
		require.NoError(t, err)
		if at == 0 {
			require.Empty(t, found)
			require.Equal(t, artifactPages, asked)
			continue
		}
		require.Len(t, found, 1)
		require.Equal(t, int64(at), found[0].ID)
		require.Equal(t, at, asked)
	}
}

// Without the right, the error says so; an answer that is none is an error, and no secret is
// in it.
func TestArtifactsRefused(t *testing.T) {
	g, api := gitHubDouble(t)
	g.NoArtifacts = true
	_, err := ListArtifacts(t.Context(), keeping(api, 53), githubtest.Workflow, "run")
	require.ErrorContains(t, err, "403")
	for _, token := range []string{"", "x", "a.b.c", "e30.e30.x"} {
		w := keeping(api, 50)
		w.runtime = token
		require.Equal(t, token != "", w.CanWriteArtifacts())
		_, err := WriteArtifact(t.Context(), w, "x", bytes.NewReader(nil))
		require.ErrorContains(t, err, "ACTIONS_RUNTIME_TOKEN")
	}
	g.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == http.MethodPut
	}
	_, err = WriteArtifact(t.Context(), keeping(api, 50), "x", bytes.NewReader([]byte("zip")))
	require.ErrorContains(t, err, "cannot be uploaded")
	require.NotContains(t, err.Error(), "signature")
	require.Empty(t, g.Artifacts)
}
