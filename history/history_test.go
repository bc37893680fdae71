package history

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var ctx = context.Background()

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), ".aml-train"))
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func newRun(t testing.TB, s *Store, id string) *Run {
	t.Helper()
	r, err := s.CreateRun(ctx, NewRun{ID: id, ExperimentID: "0", Start: time.Now(),
		Tags: []KeyValue{{TagTarget, "local"}}})
	require.NoError(t, err)
	return r
}

func TestOpen(t *testing.T) {
	home := filepath.Join(t.TempDir(), "with blank & 50%", ".aml-train")
	s, err := Open(home)
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(home, ".gitignore"))
	require.NoError(t, err)
	require.Equal(t, "*\n", string(text))
	newRun(t, s, "a")
	require.NoError(t, s.Close())
	s, err = Open(home)
	require.NoError(t, err)
	_, err = s.Run(ctx, "a")
	require.NoError(t, err)
	require.NoError(t, s.Close())

	none, err := OpenExisting(t.TempDir())
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestOpenWhatIsNoHistory(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, "history.db"), []byte(strings.Repeat("no database\n", 1000)),
		0o644))
	_, err := Open(home)
	require.ErrorContains(t, err, "move it away, and a new one is started")
}

// Several processes create and use one history at the same time.
func TestTogether(t *testing.T) {
	for range 10 {
		home := t.TempDir()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				s, err := Open(home)
				if !errorFree(t, err) {
					return
				}
				defer s.Close()
				r, err := s.CreateRun(ctx, NewRun{ID: fmt.Sprint("run-", i), ExperimentID: "0", Start: time.Now()})
				if !errorFree(t, err) {
					return
				}
				for step := range 5 {
					errorFree(t, s.LogBatch(ctx, r.Info.RunID, []Metric{{Key: "loss", Value: 1, Step: Int(step)}}, nil,
						nil))
				}
			})
		}
		wg.Wait()
		s, err := Open(home)
		require.NoError(t, err)
		n, err := s.CountRuns(ctx, "run-")
		require.NoError(t, err)
		require.Equal(t, 8, n)
		require.NoError(t, s.Close())
	}
}

func errorFree(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

func TestLatestMetric(t *testing.T) {
	s := open(t)
	r := newRun(t, s, "a")
	log := func(m ...Metric) { require.NoError(t, s.LogBatch(ctx, "a", m, nil, nil)) }
	log(Metric{Key: "m", Value: 1, Step: 5, Timestamp: 10}, Metric{Key: "m", Value: 2, Step: 7, Timestamp: 1})
	log(Metric{Key: "m", Value: 3, Step: 6, Timestamp: 99})
	log(Metric{Key: "m", Value: 2, Step: 7, Timestamp: 1}) // the same again
	log(Metric{Key: "nan", Value: Float(math.NaN())}, Metric{Key: "inf", Value: Float(math.Inf(-1))})
	r, err := s.Run(ctx, r.Info.RunID)
	require.NoError(t, err)
	v, _ := r.Metric("m")
	require.Equal(t, 2.0, v)
	v, _ = r.Metric("nan")
	require.True(t, math.IsNaN(v))
	v, _ = r.Metric("inf")
	require.True(t, math.IsInf(v, -1))
	all, token, err := s.MetricHistory(ctx, "a", "m", "", 2)
	require.NoError(t, err)
	require.Len(t, all, 2)
	rest, last, err := s.MetricHistory(ctx, "a", "m", token, 2)
	require.NoError(t, err)
	require.Empty(t, last)
	require.Equal(t, []Int{7, 5, 6}, []Int{all[0].Step, all[1].Step, rest[0].Step})
}

func TestBatchIsWholeOrNothing(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	require.NoError(t, s.LogBatch(ctx, "a", nil, []KeyValue{{"depth", "3"}}, nil))
	err := s.LogBatch(ctx, "a", []Metric{{Key: "m", Value: 1}}, []KeyValue{{"depth", "4"}}, []KeyValue{{"tag", "x"}})
	require.ErrorContains(t, err, "Changing param values is not allowed")
	r, err := s.Run(ctx, "a")
	require.NoError(t, err)
	require.Empty(t, r.Data.Metrics)
	require.Empty(t, r.Tag("tag"))
}

func TestLimits(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	for name, err := range map[string]error{
		"1001 metrics": s.LogBatch(ctx, "a", make([]Metric, 1001), nil, nil),
		"101 params":   s.LogBatch(ctx, "a", nil, make([]KeyValue, 101), nil),
		"long key":     s.LogBatch(ctx, "a", []Metric{{Key: strings.Repeat("k", 251)}}, nil, nil),
		"no key":       s.LogBatch(ctx, "a", []Metric{{}}, nil, nil),
		"path":         s.LogBatch(ctx, "a", []Metric{{Key: "../x"}}, nil, nil),
		"sign":         s.LogBatch(ctx, "a", []Metric{{Key: "a*b"}}, nil, nil),
		"no run":       s.SetTags(ctx, "b", KeyValue{"k", "v"}),
	} {
		var e *Error
		require.ErrorAs(t, err, &e, name)
		require.Contains(t, []string{codeInvalid, codeNotFound}, e.Code, name)
	}
	require.NoError(t, s.LogBatch(ctx, "a", []Metric{{Key: strings.Repeat("ü", 250)}, {Key: "ünï/code 1:x"}}, nil, nil))

	// As in MLflow, what is too long of a value is cut off, by characters.
	require.NoError(t, s.LogBatch(ctx, "a", nil, []KeyValue{{"k", strings.Repeat("ü", 6001)}},
		[]KeyValue{{"k", strings.Repeat("ü", 8001)}}))
	r, err := s.Run(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("ü", 6000), r.Data.Params[0].Value)
	require.Equal(t, strings.Repeat("ü", 8000), r.Tag("k"))
}

func TestCurve(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	var batch []Metric
	for i := range 1000 {
		v := Float(i)
		if i%100 == 50 {
			v = Float(math.NaN())
		}
		batch = append(batch, Metric{Key: "m", Value: v, Step: Int(i)})
	}
	require.NoError(t, s.LogBatch(ctx, "a", batch, nil, nil))
	c, err := s.Curve(ctx, "a", "m", 100)
	require.NoError(t, err)
	require.Equal(t, 1000, c.Count)
	require.Equal(t, 10, c.Gaps)
	require.LessOrEqual(t, len(c.Points), 100)
	require.Equal(t, Point{0, 4.5}, c.Points[0])
	c, err = s.Curve(ctx, "a", "m", 5000)
	require.NoError(t, err)
	require.Len(t, c.Points, 990)
	c, err = s.Curve(ctx, "a", "none", 10)
	require.NoError(t, err)
	require.Empty(t, c.Points)
}

func TestStatus(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	for _, step := range []Status{Preparing, Running, CancelRequested, Finalizing} {
		require.NoError(t, s.SetStatus(ctx, "a", step, ""))
		unfinished, err := s.Unfinished(ctx, "local")
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, unfinished)
	}
	require.NoError(t, s.SetStatus(ctx, "a", Canceled, "by you"))
	require.ErrorIs(t, s.SetStatus(ctx, "a", Running, ""), ErrEnded)
	r, err := s.Run(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, Canceled, r.Status())
	require.Equal(t, "KILLED", r.Info.Status)
	require.Equal(t, "by you", r.Tag(TagError))
	require.False(t, r.Ended().IsZero())
	unfinished, err := s.Unfinished(ctx, "local")
	require.NoError(t, err)
	require.Empty(t, unfinished)
}

// A long series is stored whole, in as many batches as it takes.
func TestLongSeries(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	metrics := make([]Metric, 3500)
	for i := range metrics {
		metrics[i] = Metric{Key: "loss", Value: 0.5, Step: Int(i)}
	}
	require.NoError(t, s.LogMetrics(ctx, "a", metrics))
	c, err := s.Curve(ctx, "a", "loss", 10)
	require.NoError(t, err)
	require.Equal(t, 3500, c.Count)
}

func FuzzMetricName(f *testing.F) {
	for _, name := range []string{"mAP@0.5", "a//b/../c", "/", strings.Repeat("é/", 200), "\xff\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		as := MetricName(name)
		if as != "" {
			require.NoError(t, checkKey("metric", as))
		}
		if checkKey("metric", name) == nil {
			require.Equal(t, name, as)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"metrics.loss < 0.1 AND params.`a b` = 'x'", "run_id IN ('a', \"b\")",
		"tags.x IS NOT NULL", "a.b.c LIKE '%'"} {
		f.Add(s)
	}
	s, err := Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		// Whatever is accepted is SQL that the database accepts, too.
		for _, q := range []Query{{Filter: filter}, {OrderBy: []string{filter}}} {
			_, _, err := s.SearchRuns(ctx, q)
			if e, ok := err.(*Error); err != nil && (!ok || e.Code != codeInvalid) {
				t.Fatal(err)
			}
		}
	})
}

func serve(t *testing.T, token string) (*Store, string) {
	s := open(t)
	base, stop, err := NewServer(s, Access{Token: token}).Serve("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(stop)
	return s, base
}

func get(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	if method != "GET" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

func TestServerAdmits(t *testing.T) {
	_, base := serve(t, "secret")
	url := base + "/api/2.0/mlflow/experiments/get?experiment_id=0"
	code, _ := get(t, "GET", url, "")
	require.Equal(t, 401, code)
	code, _ = get(t, "GET", url, "", "Authorization", "Bearer other")
	require.Equal(t, 401, code)
	code, _ = get(t, "GET", url, "", "Authorization", "Bearer secret")
	require.Equal(t, 200, code)
	code, _ = get(t, "GET", url, "", "Authorization", "Bearer secret", "Host", "evil.example.com")
	require.Equal(t, 403, code, "a name of somebody's own that points to loopback")

	_, base = serve(t, "")
	code, _ = get(t, "POST", base+"/api/2.0/mlflow/experiments/create", `{"name": "x"}`, "Origin",
		"https://evil.example.com")
	require.Equal(t, 403, code, "a page in a browser")
	code, _ = get(t, "POST", base+"/api/2.0/mlflow/experiments/create", `{"name": "x"}`)
	require.Equal(t, 200, code)
}

func TestServerAnswers(t *testing.T) {
	s, base := serve(t, "")
	newRun(t, s, "a")
	api := base + "/api/2.0/mlflow/"
	for _, test := range []struct {
		method, call, body string
		code               int
		text               string
	}{
		{"GET", "runs/get?run_id=a", "", 200, `"artifact_uri":"mlflow-artifacts:/0/a/artifacts"`},
		{"GET", "runs/get?run_id=b", "", 404, codeNotFound},
		{"GET", "no/such", "", 404, codeNoEndpoint},
		{"POST", "runs/log-metric", `{"run_id": "a", "key": "m", "value": "x"}`, 400, codeInvalid},
		{"POST", "runs/log-metric", `{"run_id": "a", "key": "m", "value": "NaN", "timestamp": "5", "step": 1.0}`, 200,
			"{}"},
		{"POST", "runs/log-metric", `{"run_id": "a", "key": "m", "value": 1, "step": 1.5}`, 400, codeInvalid},
		{"POST", "runs/log-metric", `{"run_id": "a"`, 400, codeInvalid},
		{"POST", "runs/log-metric", `[]`, 400, codeInvalid},
		{"POST", "runs/search", `{"experiment_ids": ["0"], "max_results": 1000000}`, 400, codeInvalid},
		{"POST", "runs/search", `{"experiment_ids": ["0"], "page_token": "x"}`, 400, codeInvalid},
		{"POST", "runs/search", `{"experiment_ids": ["0"]}`, 200, `"run_id":"a"`},
		{"POST", "runs/search", `{"experiment_ids": []}`, 200, "{}"},
		{"POST", "runs/update", `{"run_id": "a", "status": "DONE"}`, 400, codeInvalid},
		{"POST", "experiments/create", `{"name": "Default"}`, 400, codeExists},
		{"POST", "experiments/create", `{"name": ""}`, 400, codeInvalid},
		{"GET", "experiments/get?experiment_id=x", "", 404, codeNotFound},
		{"GET", "metrics/get-history?run_id=a&metric_key=m", "", 200, `"value":"NaN"`},
		{"GET", "logged-models/m-0", "", 404, codeNotFound},
		{"POST", "runs/set-tag", `{"run_id": "a", "key": "aml-train.status", "value": "Completed"}`, 400, codeInvalid},
		{"POST", "runs/log-batch", `{"run_id": "a", "tags": [{"key": "aml-train.error", "value": "x"}]}`, 400,
			codeInvalid},
		{"POST", "runs/delete-tag", `{"run_id": "a", "key": "aml-train.target"}`, 400, codeInvalid},
		{"POST", "logged-models", `{"experiment_id": "0", "name": "a/b"}`, 400, codeInvalid},
	} {
		code, text := get(t, test.method, api+test.call, test.body)
		require.Equal(t, test.code, code, "%s %s %s: %s", test.method, test.call, test.body, text)
		require.Contains(t, text, test.text, "%s %s", test.method, test.call)
	}
}

// Nothing that the server is asked for or given lies outside the artifacts.
func TestServerKeepsToTheArtifacts(t *testing.T) {
	s, base := serve(t, "")
	newRun(t, s, "a")
	require.NoError(t, os.WriteFile(filepath.Join(s.Home, "outside.txt"), []byte("secret"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(s.Home, "artifacts/0/a/artifacts"), 0o755))
	require.NoError(t, os.Symlink(s.Home, filepath.Join(s.Home, "artifacts/0/a/artifacts/link")))
	api := base + "/api/2.0/mlflow-artifacts/artifacts/"
	for _, name := range []string{"../outside.txt", "0/..%2f..%2foutside.txt", "%2e%2e/outside.txt",
		"0/a/artifacts/link/outside.txt", "..%5coutside.txt", "/etc/passwd"} {
		_, text := get(t, "GET", api+name, "")
		require.NotContains(t, text, "secret", name)
		require.NotContains(t, text, "root:", name)
		get(t, "PUT", api+name, "changed")
		get(t, "DELETE", api+name, "")
	}
	text, err := os.ReadFile(filepath.Join(s.Home, "outside.txt"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(text))
	code, _ := get(t, "DELETE", api+"0/a", "")
	require.Equal(t, 400, code, "a whole run")
	code, _ = get(t, "PUT", api+"0/a/artifacts/x/y.txt", "hello")
	require.Equal(t, 200, code)
	_, got := get(t, "GET", api+"0/a/artifacts/x/y.txt", "")
	require.Equal(t, "hello", got)
}

// A history that was moved is found where it is.
func TestMoved(t *testing.T) {
	old := filepath.Join(t.TempDir(), "a b", ".aml-train")
	s, err := Open(old)
	require.NoError(t, err)
	newRun(t, s, "a")
	require.NoError(t, s.Close())
	home := filepath.Join(t.TempDir(), ".aml-train")
	require.NoError(t, os.Rename(old, home))
	s, err = Open(home)
	require.NoError(t, err)
	defer s.Close()
	base, stop, err := NewServer(s, Access{}).Serve("127.0.0.1:0")
	require.NoError(t, err)
	defer stop()
	_, text := get(t, "GET", base+"/api/2.0/mlflow/runs/get?run_id=a", "")
	require.Contains(t, text, `"artifact_uri":"mlflow-artifacts:/0/a/artifacts"`)
}

// bearer signs in with a token.
type bearer string

func (b bearer) Do(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultClient.Do(req)
}

func TestClient(t *testing.T) {
	s, base := serve(t, "secret")
	newRun(t, s, "a")
	c := &Client{Base: base, HTTP: bearer("secret")}
	exercise(t, c, "a")
	_, err := (&Client{Base: base, HTTP: http.DefaultClient}).Run(ctx, "a")
	require.ErrorContains(t, err, "MLFLOW_TRACKING_TOKEN")
}

// exercise goes through what a client does with a run of any server.
func exercise(t *testing.T, c *Client, run string) {
	var metrics []Metric
	for i := range 2500 {
		metrics = append(metrics, Metric{Key: "loss", Value: Float(i), Step: Int(i), Timestamp: 1})
	}
	metrics = append(metrics, Metric{Key: "loss", Value: Float(math.NaN()), Step: 3000, Timestamp: 1})
	require.NoError(t, c.LogBatch(ctx, run, metrics, []KeyValue{{"depth", "3"}}, []KeyValue{{"team", "blue"}}))
	r, err := c.Run(ctx, run)
	require.NoError(t, err)
	require.Equal(t, "blue", r.Tag("team"))
	require.Equal(t, []KeyValue{{"depth", "3"}}, r.Data.Params)
	curve, err := c.Curve(ctx, run, "loss", 100)
	require.NoError(t, err)
	require.Equal(t, 2501, curve.Count)
	require.Equal(t, 1, curve.Gaps)
	require.LessOrEqual(t, len(curve.Points), 100)
	require.Equal(t, int64(0), curve.Points[0].Step)
	e, err := c.ExperimentByName(ctx, "Default")
	require.NoError(t, err)
	found, _, err := c.SearchRuns(ctx, Query{ExperimentIDs: []string{e.ID}, Filter: "tags.team = 'blue'",
		MaxResults: 5})
	require.NoError(t, err)
	require.Len(t, found, 1)
	_, err = c.Run(ctx, "nosuchrun")
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, codeNotFound, refused.Code)
	files, err := c.Artifacts(ctx, r)
	require.NoError(t, err)
	require.Empty(t, files)
}

// The server's curve and the client's are the same.
func TestCurvesAgree(t *testing.T) {
	s, base := serve(t, "")
	newRun(t, s, "a")
	var batch []Metric
	for i := range 900 {
		batch = append(batch, Metric{Key: "m", Value: Float(math.Sin(float64(i))), Step: Int(i * i), Timestamp: 1})
	}
	require.NoError(t, s.LogBatch(ctx, "a", batch, nil, nil))
	for _, n := range []int{1, 7, 60, 100000} {
		own, err := s.Curve(ctx, "a", "m", n)
		require.NoError(t, err)
		far, err := (&Client{Base: base, HTTP: http.DefaultClient}).Curve(ctx, "a", "m", n)
		require.NoError(t, err)
		require.Equal(t, len(own.Points), len(far.Points))
		for i := range own.Points {
			require.Equal(t, own.Points[i].Step, far.Points[i].Step)
			require.InDelta(t, own.Points[i].Value, far.Points[i].Value, 1e-9)
		}
	}
}

// The fields of a query ask what their filters would.
func TestQueryFields(t *testing.T) {
	s := open(t)
	for i, id := range []string{"a", "b", "c", "d"} {
		newRun(t, s, id)
		require.NoError(t, s.SetTags(ctx, id, KeyValue{TagCommit, strings.Repeat(id, 40)},
			KeyValue{"my tag", fmt.Sprint(i % 2)}))
		_, err := s.db.Exec(`UPDATE runs SET start_time = ?, status = ? WHERE run_uuid = ?`, 1000+i,
			[]string{mlflowFinished, mlflowFailed}[i/2], id)
		require.NoError(t, err)
	}
	for _, test := range []struct {
		q    Query
		want string
	}{
		{Query{Commit: "bb"}, "b"}, {Query{Commit: "x"}, ""}, {Query{Completed: true}, "ba"},
		{Query{Before: 1002}, "ba"}, {Query{Before: 1000}, ""},
		{Query{Tags: map[string]string{"my tag": "1"}}, "db"},
		{Query{Tags: map[string]string{"my tag": "1", TagCommit: strings.Repeat("b", 40)}, Completed: true,
			Before: 2000}, "b"},
		{Query{Filter: "run_id != 'b'", Tags: map[string]string{"my tag": "1"}}, "d"},
	} {
		runs, _, err := s.SearchRuns(ctx, test.q)
		require.NoError(t, err)
		got := ""
		for _, r := range runs {
			got += r.Info.RunID
		}
		require.Equal(t, test.want, got, "%+v", test.q)
	}
}
