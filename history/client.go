package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/org/aml-train/internal/clip"
)

// Client reads and writes the run history of any server of the MLflow tracking
// REST API.
type Client struct {
	Base string // such as http://127.0.0.1:5000

	// HTTP signs in, and sends again what may pass the next time: reads, and the writes
	// of this API, may all be repeated.
	HTTP interface {
		Do(*http.Request) (*http.Response, error)
	}
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	kind := ""
	if body != nil {
		kind = "application/json"
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.send(ctx, method, path, kind, bytes.NewReader(text), int64(len(text)))
}

// send sends a body of that type and size.
func (c *Client) send(
	ctx context.Context, method, path, kind string, body io.Reader, size int64,
) (*http.Response, error) {
	if size == 0 {
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Base, "/")+path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := c.HTTP.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		err = answer(res)
	}
	if err != nil {
		return nil, fmt.Errorf("tracking server %s: %w", c.Base, err)
	}
	return res, nil
}

// NotFound tells an answer that what was asked for is not there.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == codeNotFound
}

// answer turns a refusal into an error.
func answer(res *http.Response) error {
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	e := &Error{}
	if json.Unmarshal(text, e) != nil || e.Code == "" {
		e = &Error{codeInternal, fmt.Sprintf("the server answered %s: %s", res.Status,
			clip.Bytes(strings.TrimSpace(string(text)), 300))}
		if res.StatusCode == http.StatusNotFound {
			e.Code = codeNotFound
		}
	}
	return e
}

func (c *Client) call(ctx context.Context, method, name string, query url.Values, body, out any) error {
	res, err := c.do(ctx, method, "/api/2.0/mlflow/"+name, query, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("tracking server %s: %s: %w", c.Base, name, err)
	}
	return nil
}

// Run returns a run with its last metrics, parameters, tags, inputs and outputs.
func (c *Client) Run(ctx context.Context, id string) (*Run, error) {
	var out struct{ Run *Run }
	err := c.call(ctx, "GET", "runs/get", url.Values{"run_id": {id}}, nil, &out)
	return out.Run, err
}

// SearchRuns returns a page of runs and the token of the next one.
func (c *Client) SearchRuns(ctx context.Context, q Query) ([]*Run, string, error) {
	body := map[string]any{"experiment_ids": q.ExperimentIDs, "filter": q.Filter, "order_by": q.OrderBy,
		"page_token": q.PageToken}
	if q.MaxResults > 0 {
		body["max_results"] = q.MaxResults
	}
	if q.View != "" {
		body["run_view_type"] = q.View
	}
	var out struct {
		Runs []*Run
		Next string `json:"next_page_token"`
	}
	err := c.call(ctx, "POST", "runs/search", nil, body, &out)
	return out.Runs, out.Next, err
}

// SearchExperiments returns a page of experiments and the token of the next one.
func (c *Client) SearchExperiments(ctx context.Context, q Query) ([]*Experiment, string, error) {
	body := map[string]any{"filter": q.Filter, "page_token": q.PageToken, "max_results": max(q.MaxResults, 200)}
	var out struct {
		Experiments []*Experiment
		Next        string `json:"next_page_token"`
	}
	err := c.call(ctx, "POST", "experiments/search", nil, body, &out)
	return out.Experiments, out.Next, err
}

// ExperimentByName returns an experiment by its name.
func (c *Client) ExperimentByName(ctx context.Context, name string) (*Experiment, error) {
	var out struct{ Experiment *Experiment }
	err := c.call(ctx, "GET", "experiments/get-by-name", url.Values{"experiment_name": {name}}, nil, &out)
	return out.Experiment, err
}

// LogBatch logs metrics, parameters and tags, in as many requests as the API's
// limits of one make necessary.
func (c *Client) LogBatch(ctx context.Context, run string, metrics []Metric, params, tags []KeyValue) error {
	m, p, t := slices.Collect(slices.Chunk(metrics,
		maxBatchMetrics-2*maxBatchParams)), slices.Collect(slices.Chunk(params, maxBatchParams)),
		slices.Collect(slices.Chunk(tags, maxBatchParams))
	for i := range max(len(m), len(p), len(t)) {
		body := map[string]any{"run_id": run}
		if i < len(m) {
			body["metrics"] = m[i]
		}
		if i < len(p) {
			body["params"] = p[i]
		}
		if i < len(t) {
			body["tags"] = t[i]
		}
		if err := c.call(ctx, "POST", "runs/log-batch", nil, body, nil); err != nil {
			return err
		}
	}
	return nil
}

// MetricHistory calls each for every value of a metric, page by page. Their order
// is the server's.
func (c *Client) MetricHistory(ctx context.Context, run, key string, each func(Metric)) error {
	for token := ""; ; {
		if err := ctx.Err(); err != nil { // each may end it
			return err
		}
		query := url.Values{"run_id": {run}, "metric_key": {key}, "max_results": {"25000"}}
		if token != "" {
			query.Set("page_token", token)
		}
		var out struct {
			Metrics []Metric
			Next    string `json:"next_page_token"`
		}
		if err := c.call(ctx, "GET", "metrics/get-history", query, nil, &out); err != nil {
			return err
		}
		for _, m := range out.Metrics {
			each(m)
		}
		if token = out.Next; token == "" {
			return nil
		}
	}
}

// Series returns every value of a metric in the order of its steps.
func (c *Client) Series(ctx context.Context, run, key string) ([]float64, error) {
	var all []Metric
	if err := c.MetricHistory(ctx, run, key, func(m Metric) { all = append(all, m) }); err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b Metric) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Timestamp, b.Timestamp))
	})
	out := make([]float64, len(all))
	for i, m := range all {
		out[i] = float64(m.Value)
	}
	return out, nil
}

// Curve returns a metric over its steps, drawn together to at most points values.
func (c *Client) Curve(ctx context.Context, run, key string, points int) (Curve, error) {
	var out Curve
	sums := map[int64][2]float64{} // by step: sum and number
	err := c.MetricHistory(ctx, run, key, func(m Metric) {
		out.Count++
		if v := float64(m.Value); math.IsNaN(v) || math.Abs(v) >= math.MaxFloat64 {
			out.Gaps++
			return
		}
		s := sums[int64(m.Step)]
		sums[int64(m.Step)] = [2]float64{s[0] + float64(m.Value), s[1] + 1}
	})
	if err != nil || len(sums) == 0 {
		return out, err
	}
	steps := make([]int64, 0, len(sums))
	for s := range sums {
		steps = append(steps, s)
	}
	slices.Sort(steps)
	width := bucket(steps[0], steps[len(steps)-1], points)
	var total [2]float64
	for i, s := range steps {
		if i == 0 || (s-steps[0])/width != (steps[i-1]-steps[0])/width {
			out.Points = append(out.Points, Point{Step: s})
			total = [2]float64{}
		}
		total[0], total[1] = total[0]+sums[s][0], total[1]+sums[s][1]
		out.Points[len(out.Points)-1].Value = total[0] / total[1]
	}
	return out, nil
}

// Artifacts lists every file among a run's artifacts, by path.
func (c *Client) Artifacts(ctx context.Context, r *Run) ([]File, error) {
	var out []File
	folders := []string{""}
	for len(folders) > 0 {
		query := url.Values{"run_id": {r.Info.RunID}}
		if folders[0] != "" {
			query.Set("path", folders[0])
		}
		folders = folders[1:]
		for {
			var page struct {
				Files []File
				Next  string `json:"next_page_token"`
			}
			if err := c.call(ctx, "GET", "artifacts/list", query, nil, &page); err != nil {
				return nil, err
			}
			for _, f := range page.Files {
				if f.IsDir {
					folders = append(folders, f.Path)
				} else {
					out = append(out, f)
				}
			}
			if page.Next == "" {
				break
			}
			query.Set("page_token", page.Next)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

// OpenArtifact opens one file of a run's artifacts through the server.
func (c *Client) OpenArtifact(ctx context.Context, r *Run, p string) (io.ReadCloser, error) {
	p, err := cleanArtifact(p)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(r.Info.ArtifactURI)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "mlflow-artifacts" {
		// A server that names a file of this machine is not believed.
		return nil, errors.New("the artifacts of run " + r.Info.RunID + " lie at " + u.Scheme +
			":, which cannot be read from here")
	}
	res, err := c.do(ctx, "GET", "/api/2.0/mlflow-artifacts/artifacts/"+(&url.URL{Path: strings.Trim(u.Path, "/") +
		"/" + p}).EscapedPath(), nil, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// Holds tells whether the server itself takes and hands out the files of a run.
func (c *Client) Holds(run *Run) bool { return c.served(run) != "" }

// PutFile writes a file of that many bytes among a run's artifacts through the server. Writing
// it again changes nothing.
func (c *Client) PutFile(ctx context.Context, run *Run, name string, size int64, file io.ReadSeeker) error {
	at := url.URL{Path: "/api/2.0/mlflow-artifacts/artifacts/" + path.Join(c.served(run), name)}
	res, err := c.send(ctx, http.MethodPut, at.EscapedPath(), "application/octet-stream", readSeekNopCloser{file}, size)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// readSeekNopCloser is a body that can be sent again, and that its owner closes.
type readSeekNopCloser struct{ io.ReadSeeker }

func (readSeekNopCloser) Close() error { return nil }
