package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/faulttest"
	"github.com/org/aml-train/internal/testing/mlflowtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// plainServer is a server that takes every tag, as MLflow's own does.
func plainServer(t *testing.T) (base string) {
	server := httptest.NewServer(mlflowtest.AnyTags(NewServer(open(t), Access{})))
	t.Cleanup(server.Close)
	return server.URL
}

// theRecord is a record, as a zip and as it is read.
func theRecord(t *testing.T) (rec *Record, zip []byte) {
	_, _, zip = travelled(t)
	rec, err := ReadRecord(bytes.NewReader(zip), int64(len(zip)))
	require.NoError(t, err)
	return rec, zip
}

// publishedOnce looks whether the server has the run of a record once, in whole.
func publishedOnce(t *testing.T, c *Client, experiment string, rec *Record) {
	t.Helper()
	e, err := c.ExperimentByName(ctx, experiment)
	require.NoError(t, err)
	runs, _, err := c.SearchRuns(ctx, Query{ExperimentIDs: []string{e.ID}, MaxResults: 100})
	require.NoError(t, err)
	require.Len(t, runs, 1)
	found, err := c.Published(ctx, experiment,
		map[string]string{TagSnapshot: rec.Run.Tag(TagSnapshot), "team": "ours"}, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
	run := found[0]
	require.Equal(t, rec.Run.Info.EndTime, run.Info.EndTime)
	require.Equal(t, rec.Run.Info.StartTime, run.Info.StartTime)
	require.Equal(t, "a name", run.Info.RunName)
	require.Equal(t, []KeyValue{{"lr", "0.1"}}, run.Data.Params)
	count := 0
	require.NoError(t, c.MetricHistory(ctx, run.Info.RunID, "loss", func(Metric) { count++ }))
	require.Equal(t, 1500, count)
	files, err := c.Artifacts(ctx, run)
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	require.Equal(t, []string{recordFile, "outputs/empty", "outputs/metrics.json"}, names)
	got, err := c.ReadPublished(ctx, run, "iris")
	require.NoError(t, err)
	require.Equal(t, asJSON(t, rec), asJSON(t, got))
	require.Equal(t, len(rec.files), len(got.files))
}

func asJSON(t *testing.T, v any) string {
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

// A record is a run on the server, once: at whichever request it fails, and however, the next
// try completes it, and before that no run counts that is not whole.
func TestPublishFaults(t *testing.T) {
	rec, zip := theRecord(t)
	base, made := plainServer(t), 0
	publishFaults(t, rec, zip, func() (*Client, string) {
		made++
		return &Client{Base: base}, fmt.Sprint("shared ", made)
	}, faulttest.Fault{}, faulttest.Fault{After: true}, faulttest.Fault{Dies: true},
		faulttest.Fault{After: true, Dies: true})
}

// publishFaults fails in each of the ways at each request, in an experiment of its own.
func publishFaults(
	t *testing.T, rec *Record, zip []byte, server func() (*Client, string), faults ...faulttest.Fault,
) {
	for at, last := 1, 100; at <= last; at++ {
		for _, kind := range faults {
			f := &faulttest.Client{Fault: kind, At: at}
			c, in := server()
			c.HTTP = f
			_, err := c.Publish(ctx, rec, zip, in)
			last = min(last, len(f.Asked()))
			if f.Dies {
				require.Error(t, err)
			}
			c.HTTP = http.DefaultClient
			if found, err := c.Published(ctx, in, nil, 10); err == nil && len(found) > 0 {
				publishedOnce(t, c, in, rec)
			}
			for range 2 {
				run, err := c.Publish(ctx, rec, zip, in)
				require.NoError(t, err, "after %+v of %v", kind, f.Asked())
				require.Equal(t, mlflowFinished, run.Info.Status)
			}
			publishedOnce(t, c, in, rec)
		}
	}
}

// Several that write the same record at once, with faults at random, leave one run.
func TestPublishTogether(t *testing.T) {
	rec, zip := theRecord(t)
	base := plainServer(t)
	for n := range testenv.Cases(30) {
		seed := testenv.Seed() + n
		rng := rand.New(rand.NewPCG(uint64(seed), 0))
		experiment := fmt.Sprint("shared ", seed)
		var wg sync.WaitGroup
		for range 3 {
			f := &faulttest.Client{At: rng.IntN(12), Fault: faulttest.Fault{After: rng.IntN(2) == 0}}
			wg.Go(func() {
				var err error
				for range 10 { // another writer's run may be gone while it is written
					if _, err = (&Client{Base: base, HTTP: f}).Publish(ctx, rec, zip, experiment); err == nil {
						return
					}
				}
				t.Errorf("seed %d: %v", seed, err)
			})
		}
		wg.Wait()
		publishedOnce(t, &Client{Base: base, HTTP: http.DefaultClient}, experiment, rec)
	}
}

// A run is found with two requests and read with one; a server that does not hand out
// artifacts is asked for each metric.
func TestReadPublished(t *testing.T) {
	rec, zip := theRecord(t)
	base := plainServer(t)
	f := &faulttest.Client{}
	c := &Client{Base: base, HTTP: f}
	none, err := c.Published(ctx, "shared", nil, 10)
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = c.Publish(ctx, rec, zip, "shared")
	require.NoError(t, err)
	before := len(f.Asked())
	found, err := c.Published(ctx, "shared", map[string]string{TagTarget: "local"}, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
	_, err = c.ReadPublished(ctx, found[0], "iris")
	require.NoError(t, err)
	require.Len(t, f.Asked(), before+3)

	found[0].Info.ArtifactURI = "s3://bucket/1/artifacts"
	got, err := c.ReadPublished(ctx, found[0], "iris")
	require.NoError(t, err)
	require.Equal(t, rec.Left+len(rec.files), got.Left)
	to := open(t)
	require.NoError(t, to.Import(ctx, got))
	want := open(t)
	require.NoError(t, want.Import(ctx, rec))
	a, err := to.Run(ctx, "iris-1")
	require.NoError(t, err)
	b, err := want.Run(ctx, "iris-1")
	require.NoError(t, err)
	require.Equal(t, asJSON(t, b.Data), asJSON(t, a.Data))
	for _, key := range []string{"loss", "bad"} {
		x, err := to.Curve(ctx, "iris-1", key, 2000)
		require.NoError(t, err)
		y, err := want.Curve(ctx, "iris-1", key, 2000)
		require.NoError(t, err)
		require.Equal(t, y, x)
	}
}

// What a server says is input from outside: it is checked as any record is.
func TestPublishedChecks(t *testing.T) {
	rec, zip := theRecord(t)
	for name, change := range map[string]map[string]string{
		"fork": {TagFork: "eve/x"}, "run": {tagRecord: "0 0 ../../victim"}, "form": {tagRecord: "x"},
		"files": {tagRecord: "0 -1 a"}, "status": {TagStatus: "Failed"}, "snapshot": {TagSnapshot: "short"},
		"source": {TagSource: "/etc"}} {
		base := plainServer(t)
		c := &Client{Base: base, HTTP: http.DefaultClient}
		run, err := c.Publish(ctx, rec, zip, "shared")
		require.NoError(t, err)
		run = run.With(change)
		if name != "run" && name != "form" && name != "files" {
			run.Info.ArtifactURI = "" // else the record itself says it
		} else if _, err := c.ReadPublished(ctx, run, "iris"); true {
			require.ErrorContains(t, err, "another run's", name)
			run.Info.ArtifactURI = ""
		}
		_, err = c.ReadPublished(ctx, run, "iris")
		require.Error(t, err, name)
	}
	// Artifacts that are none, or of another run.
	base := plainServer(t)
	c := &Client{Base: base, HTTP: http.DefaultClient}
	run, err := c.Publish(ctx, rec, zip, "shared")
	require.NoError(t, err)
	other := *rec
	other.Run.Info.EndTime++
	require.NoError(t, c.PutFile(ctx, run, recordFile, 6, strings.NewReader("no zip")))
	_, err = c.ReadPublished(ctx, run, "iris")
	require.Error(t, err)
	text := asJSON(t, &other)
	forged := pack(t, map[string]string{recordJSON: text})
	require.NoError(t, c.PutFile(ctx, run, recordFile, int64(len(forged)), bytes.NewReader(forged)))
	_, err = c.ReadPublished(ctx, run, "iris")
	require.ErrorContains(t, err, "another run's")
	// A page in the way of the server, which is no MLflow.
	for _, page := range []string{"{}", "[]", "<html>", `{"experiment": {"experiment_id": "1"}, "runs": [null]}`} {
		web := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) })
		c := &Client{Base: "http://page", HTTP: answerer{web}}
		_, err := c.Publish(ctx, rec, zip, "shared")
		require.Error(t, err, page)
		found, _ := c.Published(ctx, "shared", nil, 10)
		require.Empty(t, slices.DeleteFunc(found, func(r *Run) bool { return strings.Contains(page, "null") }), page)
	}
}

// answerer answers requests without a network.
type answerer struct{ http.Handler }

func (a answerer) Do(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Result(), nil
}

// A server that does not keep what it is told, or has pages without end, is given up.
func TestPublishedWithoutEnd(t *testing.T) {
	rec, zip := theRecord(t)
	asked := 0
	forgets := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		fmt.Fprint(w, `{"experiment": {"experiment_id": "1"}, "runs": [{"info": {"run_id": "r", "status": "RUNNING"}}],
			"run": {"info": {"run_id": "r", "status": "RUNNING"}}}`)
	})
	_, err := (&Client{Base: "http://forgets", HTTP: answerer{forgets}}).Publish(ctx, rec, zip, "shared")
	require.ErrorContains(t, err, "http://forgets: it does not find finished what it has taken as such")
	require.Less(t, asked, 100)

	pages := 0
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages++
		page := strings.Repeat(`{"key": "loss", "value": 1, "step": 1},`, 24_999) + `{"key": "loss", "value": 1, "step": 1}`
		fmt.Fprintf(w, `{"metrics": [%s], "next_page_token": "%d"}`, page, pages)
	})
	run := &Run{Data: RunData{Metrics: []Metric{{Key: "loss"}}, Tags: []KeyValue{{tagRecord, rec.identity()}}}}
	_, err = (&Client{Base: "http://endless", HTTP: answerer{endless}}).ReadPublished(ctx, run, "iris")
	require.ErrorContains(t, err, "more than 200000 values of metrics")
	require.LessOrEqual(t, pages, 9)
}
