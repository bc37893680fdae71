package records

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/settings"
)

const anySeries = "0123456789abcdef"

// aRecord is the record of a completed run, as a zip.
func aRecord(t *testing.T, store *history.Store, id string, tags map[string]string) (*history.Record, []byte) {
	ctx := t.Context()
	tags[history.TagTarget], tags[history.TagSeries] = "local", anySeries
	tags[history.TagSnapshot] = strings.Repeat("a", 40)
	var list []history.KeyValue
	for key, value := range tags {
		list = append(list, history.KeyValue{Key: key, Value: value})
	}
	_, err := store.CreateRun(ctx, history.NewRun{ID: id, ExperimentID: "0", Start: time.Now().Add(-time.Minute),
		Tags: list})
	require.NoError(t, err)
	require.NoError(t, store.SetStatus(ctx, id, history.Completed, ""))
	run, err := store.Run(ctx, id)
	require.NoError(t, err)
	var zip bytes.Buffer
	require.NoError(t, store.WriteRecord(ctx, run, &zip))
	rec, err := history.ReadRecord(bytes.NewReader(zip.Bytes()), int64(zip.Len()))
	require.NoError(t, err)
	return rec, zip.Bytes()
}

// runner is one that knows nothing, in a workflow run of a pull request's.
type runner struct {
	*Records
	history *history.Store
}

func fresh(t *testing.T, api, base string, at string) runner {
	store, err := history.Open(filepath.Join(t.TempDir(), ".aml-train"))
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	w := &github.Workflow{API: api, Server: api, Repository: "org/x", RunID: 1 << 30,
		PullRequest: 7, Base: base, BaseRef: "main", HeadRepository: "org/x"}
	r := &Records{seen: map[string]bool{}, backend: artifacts{w, githubtest.Workflow}, Options: Options{Workflow: w,
		Say:   func(format string, args ...any) { fmt.Fprintf(t.Output(), format+"\n", args...) },
		Store: func(context.Context) (*history.Store, error) { return store, nil }}}
	if at == settings.HistoryRef {
		r.backend = &ref{workflow: w, token: githubtest.Workflow}
	}
	return runner{r, store}
}

// A fresh runner finds the run of the base with three requests, ten times out of ten, however
// many others there are and wherever it was interrupted before, and never takes what a fork's
// workflow wrote under the base's name.
func TestBaseOnFreshRunner(t *testing.T) {
	store, err := history.Open(filepath.Join(t.TempDir(), ".aml-train"))
	require.NoError(t, err)
	defer store.Close()
	for n := range testenv.Cases(10) {
		seed := testenv.Seed() + n
		rng := rand.New(rand.NewPCG(uint64(seed), 0))
		g := &githubtest.GitHub{}
		server := httptest.NewServer(g)
		defer server.Close()
		require.NoError(t, g.MakeGit(filepath.Join(t.TempDir(), "x.git")))
		w := &github.Workflow{API: server.URL, Server: server.URL, Repository: "org/x"}
		base, right := rng.IntN(8), ""
		commit := func(i int) string { return fmt.Sprintf("%040x", i+1) }
		for i := range 8 {
			id, branch := fmt.Sprintf("r-%d-%d", seed, i), []string{"main", "other"}[rng.IntN(2)]
			if i == base {
				branch, right = "main", id
			}
			rec, zip := aRecord(t, store, id,
				map[string]string{history.TagCommit: commit(i), history.TagBranch: branch})
			by := githubtest.Runner{ID: int64(i + 1), Commit: commit(i), Branch: branch}
			forged := githubtest.Runner{ID: int64(i + 100), Commit: commit(base), Branch: "main", Fork: true}
			evil, evilZip := aRecord(t, store, "evil-"+id,
				map[string]string{history.TagCommit: commit(base), history.TagBranch: "main"})
			for _, a := range []githubtest.Artifact{{Zip: zip, By: by}, {Zip: evilZip, By: forged}} {
				a.Name, a.ID = recordName("run", anySeries), int64(len(g.Artifacts)+1)
				g.Artifacts = append(g.Artifacts, a)
			}
			for _, r := range []struct {
				rec   *history.Record
				zip   []byte
				token string
			}{{rec, zip, githubtest.Workflow}, {evil, evilZip, githubtest.Fork}} {
				err := github.WriteRef(t.Context(), w, r.token, github.RefRecord{Ended: r.rec.Run.Ended(),
					Commit: r.rec.Run.Tag(history.TagCommit), Branch: r.rec.Run.Tag(history.TagBranch),
					Series: anySeries, Key: shortHash("")}, r.zip)
				require.Equal(t, r.token == githubtest.Fork, err != nil, "%v", err)
			}
		}
		var asked, last atomic.Int64 // where somebody gives up at the last one
		var stop atomic.Pointer[context.CancelFunc]
		g.Seen = func(*http.Request, []byte) {
			if asked.Add(1) == last.Load() {
				(*stop.Load())()
			}
		}
		for _, at := range []string{settings.HistoryArtifacts, settings.HistoryRef} {
			for cut := range int64(4) { // 0: nobody gives up
				a := fresh(t, server.URL, commit(base), at)
				own := &history.Run{Data: history.RunData{Tags: []history.KeyValue{
					{Key: history.TagSeries, Value: anySeries},
					{Key: history.TagBaseBranch, Value: "main"}, {Key: history.TagTarget, Value: "local"},
					{Key: history.TagCommit, Value: commit(99)}}}}
				ctx, cancel := context.WithCancel(t.Context())
				stop.Store(&cancel)
				last.Store(asked.Load() + cut)
				before := asked.Load()
				a.BringBase(ctx, own, "Default", nil)
				if cut == 0 {
					require.EqualValues(t, 3, asked.Load()-before, "%s, seed %d", at, seed)
				} else { // as the comment that follows a run does when that ends; its report asks again
					require.Error(t, ctx.Err())
					a.BringBase(t.Context(), own, "Default", nil)
				}
				cancel()
				there, _, err := a.history.SearchRuns(t.Context(), history.Query{Completed: true, Submitted: true})
				require.NoError(t, err)
				require.Len(t, there, 1, "%s, seed %d, given up at %d", at, seed, cut)
				require.Equal(t, right, there[0].Info.RunID, "%s, seed %d", at, seed)
			}
		}
	}
}
