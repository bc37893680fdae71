package history

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world is a history in which a job's script has its token: with a run, an experiment, a
// logged and a registered model of the job, and the same of another one.
type world struct {
	*Store
	handler http.Handler
	ids     map[string]string
}

func (w *world) send(t *testing.T, method, name, body string) (int, map[string]any) {
	t.Helper()
	req := httptest.NewRequest(method, "http://127.0.0.1/api/2.0/"+name, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, req)
	answer := map[string]any{}
	json.Unmarshal(rec.Body.Bytes(), &answer)
	return rec.Code, answer
}

func (w *world) as(run string) { w.handler = NewServer(w.Store, Access{Run: run}) }

// must sends a call that has to succeed.
func (w *world) must(t *testing.T, method, name, body string) map[string]any {
	t.Helper()
	code, answer := w.send(t, method, name, body)
	require.Equal(t, 200, code, "%s %s %s: %v", method, name, body, answer)
	return answer
}

func newWorld(t *testing.T) *world {
	w := &world{Store: open(t), ids: map[string]string{}}
	for _, run := range []string{"own", "other"} {
		newRun(t, w.Store, run)
		require.NoError(t, w.SetTags(ctx, run, KeyValue{"azureml.git.commit", "c0ffee"},
			KeyValue{"mlflow.source.git.commit", "c0ffee"},
			KeyValue{"mlflow.source.name", "train.py"}, KeyValue{TagUser, "me"}, KeyValue{"team", "blue"}))
		require.NoError(t, os.MkdirAll(filepath.Join(w.Home, "artifacts/0", run, "artifacts/user_logs"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(w.Home, "artifacts/0", run, "artifacts", ConsoleLog),
			[]byte("what was printed"), 0o644))
		w.as(run)
		w.ids[run] = run
		w.ids[run+" experiment"] = w.must(t, "POST", "mlflow/experiments/create", fmt.Sprintf(`{"name": "of %s", "tags": [{"key": "k", "value": "v"}]}`, run))["experiment_id"].(string)
		child := w.must(t, "POST", "mlflow/runs/create", fmt.Sprintf(`{"experiment_id": %q, "tags": [{"key": "mlflow.user", "value": "me"}, {"key": "mlflow.parentRunId", "value": %q}]}`, w.ids[run+" experiment"], run))
		w.ids[run+" child"] = child["run"].(map[string]any)["info"].(map[string]any)["run_id"].(string)
		model := w.must(t, "POST", "mlflow/logged-models", `{"experiment_id": "0", "name": "m", "tags": [{"key": "k", "value": "v"}]}`)
		w.ids[run+" model"] = model["model"].(map[string]any)["info"].(map[string]any)["model_id"].(string)
	}
	w.as("own")
	return w
}

// state is everything that the database and the artifacts hold, less the times at which
// something was changed.
func (w *world) state(t *testing.T) string {
	var out strings.Builder
	tables, err := query(ctx, w.db, value[string], `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`)
	require.NoError(t, err)
	for _, table := range tables {
		rows, err := w.db.Query(`SELECT * FROM "` + table + `" ORDER BY 1`)
		require.NoError(t, err)
		columns, err := rows.Columns()
		require.NoError(t, err)
		for rows.Next() {
			row := make([]any, len(columns))
			for i := range row {
				row[i] = new(any)
			}
			require.NoError(t, rows.Scan(row...))
			fmt.Fprint(&out, table)
			for i := range row {
				fmt.Fprintf(&out, " %s=%v", columns[i], *row[i].(*any))
			}
			fmt.Fprintln(&out)
		}
		require.NoError(t, rows.Close())
	}
	require.NoError(t, filepath.WalkDir(filepath.Join(w.Home, "artifacts"),
		func(p string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(p)
			fmt.Fprintf(&out, "%s %q\n", p, text)
			return err
		}))
	return out.String()
}

// writes is every call that changes something of a run, of an experiment or of a logged
// model; ID stands for the one, EXP for the experiment in which it is.
var writes = map[string][][3]string{
	"run": {
		{"POST", "mlflow/runs/update", `{"run_id": "ID", "status": "FAILED", "run_name": "changed"}`},
		{"POST", "mlflow/runs/update", `{"run_uuid": "ID", "run_name": "changed"}`},
		{"POST", "mlflow/runs/log-metric", `{"run_id": "ID", "key": "m", "value": 1, "timestamp": 1}`},
		{"POST", "mlflow/runs/log-parameter", `{"run_id": "ID", "key": "p", "value": "1"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "ID", "key": "mlflow.note.content", "value": "1"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "ID", "key": "mlflow.runName", "value": "1"}`},
		{"POST", "mlflow/runs/log-batch", `{"run_id": "ID", "metrics": [{"key": "m", "value": 1, "timestamp": 1}], "params": [{"key": "q", "value": "1"}], "tags": [{"key": "t", "value": "1"}]}`},
		{"POST", "mlflow/runs/delete-tag", `{"run_id": "ID", "key": "t"}`},
		{"POST", "mlflow/runs/log-inputs", `{"run_id": "ID", "datasets": [{"dataset": {"name": "d", "digest": "1", "source_type": "local", "source": "x"}}]}`},
		{"POST", "mlflow/runs/outputs", `{"run_id": "ID", "models": []}`},
		{"POST", "mlflow/runs/log-model", `{"run_id": "ID", "model_json": "{\"artifact_path\": \"m\", \"run_id\": \"ID\", \"utc_time_created\": \"x\", \"flavors\": {}}"}`},
		{"POST", "mlflow/logged-models", `{"experiment_id": "0", "name": "x", "source_run_id": "ID"}`},
		{"PUT", "mlflow-artifacts/artifacts/EXP/ID/artifacts/new.txt", "changed"},
		{"DELETE", "mlflow-artifacts/artifacts/EXP/ID/artifacts/new.txt", ""},
	},
	"run's life": {
		{"POST", "mlflow/runs/delete", `{"run_id": "ID"}`},
		{"POST", "mlflow/runs/restore", `{"run_id": "ID"}`},
	},
	"experiment": {
		{"POST", "mlflow/experiments/update", `{"experiment_id": "ID", "new_name": "changed"}`},
		{"POST", "mlflow/experiments/set-experiment-tag", `{"experiment_id": "ID", "key": "t", "value": "1"}`},
		{"POST", "mlflow/experiments/delete-experiment-tag", `{"experiment_id": "ID", "key": "t"}`},
		{"POST", "mlflow/experiments/delete", `{"experiment_id": "ID"}`},
		{"POST", "mlflow/experiments/restore", `{"experiment_id": "ID"}`},
	},
	"model": {
		{"PATCH", "mlflow/logged-models/ID", `{"status": "LOGGED_MODEL_READY"}`},
		{"PATCH", "mlflow/logged-models/ID/tags", `{"tags": [{"key": "t", "value": "1"}]}`},
		{"DELETE", "mlflow/logged-models/ID/tags/t", ""},
		{"POST", "mlflow/logged-models/ID/params", `{"params": [{"key": "p", "value": "1"}]}`},
		{"POST", "mlflow/runs/outputs", `{"run_id": "own", "models": [{"model_id": "ID"}]}`},
		{"PUT", "mlflow-artifacts/artifacts/0/models/ID/artifacts/model.pkl", "changed"},
		{"DELETE", "mlflow-artifacts/artifacts/0/models/ID/artifacts/model.pkl", ""},
		{"DELETE", "mlflow/logged-models/ID", ""},
	},
}

// The token of a run changes that run and what it made, reads the rest, and changes
// nothing else.
func TestTokenWrites(t *testing.T) {
	for _, test := range []struct {
		calls, id, experiment string
		allowed               bool
	}{
		{"run", "own", "", true},
		{"run", "own child", "own experiment", true},
		{"run", "other", "", false},
		{"run", "other child", "other experiment", false},
		{"run's life", "own", "", false},
		{"run's life", "own child", "", true},
		{"run's life", "other", "", false},
		{"run's life", "other child", "", false},
		{"experiment", "own experiment", "", true},
		{"experiment", "other experiment", "", false},
		{"experiment", "0", "", false},
		{"model", "own model", "", true},
		{"model", "other model", "", false},
	} {
		w := newWorld(t)
		fill := strings.NewReplacer("ID", cmp.Or(w.ids[test.id], test.id), "EXP", cmp.Or(w.ids[test.experiment], "0"))
		for _, c := range writes[test.calls] {
			before := w.state(t)
			code, answer := w.send(t, c[0], fill.Replace(c[1]), fill.Replace(c[2]))
			if test.allowed {
				require.Equal(t, 200, code, "%s of %s: %v", c, test.id, answer)
				continue
			}
			require.Equal(t, 403, code, "%s of %s: %v", c, test.id, answer)
			require.Equal(t, codeForbidden, answer["error_code"])
			require.Equal(t, before, w.state(t), "%s of %s was refused, and changed something", c, test.id)
		}
	}
}

// What aml-train recorded of a job stays as it recorded it.
func TestTokenKeepsTheRecord(t *testing.T) {
	w := newWorld(t)
	before := w.state(t)
	for _, c := range [][3]string{
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "azureml.git.commit", "value": "0"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "azureml.git.branch", "value": "0"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "mlflow.source.git.commit", "value": "0"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "mlflow.source.git.branch", "value": "0"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "mlflow.source.name", "value": "0"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "mlflow.user", "value": "0"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "mlflow.parentRunId", "value": "other"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_uuid": "own", "key": "aml-train.status", "value": "Completed"}`},
		{"POST", "mlflow/runs/set-tag", `{"run_id": "own", "RUN_ID": "own", "key": "x", "KEY": "aml-train.status", "value": "Completed"}`},
		{"POST", "mlflow/runs/log-batch", `{"run_id": "own", "tags": [{"key": "fine", "value": "1"}, {"key": "aml-train.job", "value": "0"}]}`},
		{"POST", "mlflow/runs/log-batch", `{"run_id": "own", "tags": [{"key": "fine", "value": "1"}, {"key": "mlflow.user", "value": "0"}]}`},
		{"POST", "mlflow/runs/delete-tag", `{"run_id": "own", "key": "mlflow.user"}`},
		{"POST", "mlflow/runs/delete-tag", `{"run_id": "own", "key": "azureml.git.commit"}`},
		{"POST", "mlflow/runs/delete-tag", `{"run_id": "own", "key": "aml-train.target"}`},
		{"POST", "mlflow/runs/create", `{"experiment_id": "0", "tags": [{"key": "aml-train.target", "value": "local"}]}`},
		{"POST", "mlflow/runs/create", `{"experiment_id": "0", "tags": [{"key": "azureml.git.commit", "value": "0"}]}`},
		{"POST", "mlflow/experiments/create", `{"name": "x", "tags": [{"key": "aml-train.owner", "value": "other"}]}`},
		{"PUT", "mlflow-artifacts/artifacts/0/own/artifacts/user_logs/std_log.txt", "changed"},
		{"PUT", "mlflow-artifacts/artifacts/0/own/artifacts/USER_LOGS/STD_LOG.TXT", "changed"},
		{"PUT", "mlflow-artifacts/artifacts/0/own/artifacts/user_logs%2fstd_log.txt", "changed"},
		{"DELETE", "mlflow-artifacts/artifacts/0/own/artifacts/user_logs", ""},
		{"DELETE", "mlflow-artifacts/artifacts/0/own/artifacts/user_logs/std_log.txt", ""},
	} {
		code, answer := w.send(t, c[0], c[1], c[2])
		require.Contains(t, []int{400, 403}, code, "%s: %v", c, answer)
		require.Equal(t, before, w.state(t), c)
	}
	// Saying again what is recorded is no change.
	w.must(t, "POST", "mlflow/runs/set-tag", `{"run_id": "own", "key": "mlflow.source.git.commit", "value": "c0ffee"}`)
	// The supervisor alone says how the job ends.
	w.must(t, "POST", "mlflow/runs/update", `{"run_id": "own", "status": "FINISHED", "end_time": 99}`)
	r, err := w.Run(ctx, "own")
	require.NoError(t, err)
	require.Equal(t, mlflowRunning, r.Info.Status)
	require.Zero(t, r.Info.EndTime)
	require.NoError(t, w.SetStatus(ctx, "own", Failed, "out of memory"))
	w.must(t, "POST", "mlflow/runs/update", `{"run_id": "own", "status": "FINISHED"}`)
	r, err = w.Run(ctx, "own")
	require.NoError(t, err)
	require.Equal(t, mlflowFailed, r.Info.Status)
}

// Runs of a script end with its job, and are told from jobs.
func TestOwner(t *testing.T) {
	w := newWorld(t)
	// A tag does not make another run one's own, nor a run somebody else's.
	w.must(t, "POST", "mlflow/runs/create", `{"experiment_id": "0", "run_name": "claims", "tags": [{"key": "mlflow.parentRunId", "value": "other"}]}`)
	runs, _, err := w.SearchRuns(ctx, Query{Owner: "own"})
	require.NoError(t, err)
	require.Len(t, runs, 2)
	runs, _, err = w.SearchRuns(ctx, Query{Submitted: true})
	require.NoError(t, err)
	require.Len(t, runs, 2)

	// An experiment that others use by now is nobody's to change.
	_, err = w.CreateRun(ctx, NewRun{ID: "later", ExperimentID: w.ids["own experiment"],
		Tags: []KeyValue{{TagTarget, "local"}}})
	require.NoError(t, err)
	code, _ := w.send(t, "POST", "mlflow/experiments/delete", fmt.Sprintf(`{"experiment_id": %q}`, w.ids["own experiment"]))
	require.Equal(t, 403, code)

	require.NoError(t, w.SetStatus(ctx, "own", Canceled, ""))
	for id, want := range map[string]string{"own child": mlflowKilled, "other child": mlflowRunning,
		"later": mlflowRunning} {
		r, err := w.Run(ctx, cmp.Or(w.ids[id], id))
		require.NoError(t, err)
		require.Equal(t, want, r.Info.Status, id)
		require.Equal(t, want == mlflowKilled, !r.Ended().IsZero(), id)
	}
}

// A metric of one's own run that names another run's model is kept, and changes nothing
// of the model.
func TestTokenMetricOfModel(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"own model", "other model"} {
		w.must(t, "POST", "mlflow/runs/log-metric", fmt.Sprintf(`{"run_id": "own", "key": "m", "value": 1, "timestamp": 1, "model_id": %q}`, w.ids[id]))
	}
	for id, n := range map[string]int{"own model": 1, "other model": 0} {
		m, err := w.model(ctx, w.ids[id])
		require.NoError(t, err)
		require.Len(t, m.Data.Metrics, n, id)
	}
	code, _ := w.send(t, "POST", "mlflow/runs/log-metric", `{"run_id": "own", "key": "m", "value": 1, "timestamp": 1, "model_id": "m-0"}`)
	require.Equal(t, 404, code)
}

// Artifacts lie in one place, whatever a client or the database says.
func TestArtifactLocation(t *testing.T) {
	secret := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(secret, "precious"), []byte("secret"), 0o644))
	w := newWorld(t)
	for i, location := range []string{"file://" + secret + "#", "file://" + secret, secret, "../../" + secret,
		"s3://bucket/x", "dbfs:/x", "http://127.0.0.1:1/x", "file://" + secret + "?a=..",
		"file://" + secret + ";x", "%2e%2e/x", "mlflow-artifacts:/../..", "mlflow-artifacts:/0/other/artifacts",
		"runs:/other/x", "file:%2f%2f" + secret, strings.Repeat("x", 3000), "file://%zz"} {
		code, answer := w.send(t, "POST", "mlflow/experiments/create", fmt.Sprintf(`{"name": "e%d", "artifact_location": %q}`, i, location))
		if code == 400 {
			continue
		}
		require.Equal(t, 200, code, location)
		id := answer["experiment_id"].(string)
		got := w.must(t, "GET", "mlflow/experiments/get?experiment_id="+id, "")["experiment"].(map[string]any)
		require.Equal(t, "mlflow-artifacts:/"+id, got["artifact_location"], location)
		info := w.must(t, "POST", "mlflow/runs/create", fmt.Sprintf(`{"experiment_id": %q}`, id))["run"].(map[string]any)["info"].(map[string]any)
		require.Equal(t, "mlflow-artifacts:/"+id+"/"+info["run_id"].(string)+"/artifacts", info["artifact_uri"],
			location)
		list := w.must(t, "GET", "mlflow/artifacts/list?run_id="+info["run_id"].(string), "")
		require.Empty(t, list["files"], location)
	}
	// Nor does a database that was tampered with.
	for _, uri := range []string{"file://" + secret, secret, "file://" + secret + "#", "mlflow-artifacts:/../.."} {
		for _, sql := range []string{`UPDATE runs SET artifact_uri = ?`, `UPDATE experiments SET artifact_location = ?`, `UPDATE logged_models SET artifact_location = ?`} {
			_, err := w.db.Exec(sql, uri)
			require.NoError(t, err)
		}
		for _, call := range []string{"mlflow/artifacts/list?run_id=own", "mlflow/runs/get?run_id=own",
			"mlflow/experiments/get?experiment_id=0", "mlflow/logged-models/" + w.ids["own model"],
			"mlflow/logged-models/" + w.ids["own model"] + "/artifacts/directories",
			"mlflow-artifacts/artifacts?path=0/own/artifacts"} {
			text, err := json.Marshal(w.must(t, "GET", call, ""))
			require.NoError(t, err)
			require.NotContains(t, string(text), secret, call)
			require.NotContains(t, string(text), "precious", call)
		}
		code, _ := w.send(t, "GET", "mlflow-artifacts/artifacts/0/own/artifacts/precious", "")
		require.Equal(t, 404, code)
	}
	// A link that a script left among its artifacts leads nowhere.
	require.NoError(t, os.Symlink(secret, filepath.Join(w.Home, "artifacts/0/own/artifacts/link")))
	require.NoError(t, os.Symlink("../../other/artifacts", filepath.Join(w.Home, "artifacts/0/own/artifacts/within")))
	before := w.state(t)
	for _, name := range []string{"link/precious", "within/user_logs/std_log.txt", "within/new.txt"} {
		code, _ := w.send(t, "GET", "mlflow-artifacts/artifacts/0/own/artifacts/"+name, "")
		require.NotEqual(t, 200, code, name)
		code, _ = w.send(t, "PUT", "mlflow-artifacts/artifacts/0/own/artifacts/"+name, "changed")
		require.NotEqual(t, 200, code, name)
		w.send(t, "DELETE", "mlflow-artifacts/artifacts/0/own/artifacts/"+name, "")
	}
	require.Equal(t, before, w.state(t))
	text, err := os.ReadFile(filepath.Join(secret, "precious"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(text))
}

// No page in a browser reads or writes, whatever it asks for, with a token or without.
func TestServerAnswersNoBrowser(t *testing.T) {
	for _, token := range []string{"", "secret"} {
		handler := NewServer(open(t), Access{Token: token})
		for _, headers := range []map[string]string{
			{"Origin": "https://evil.example.com"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:8888"},
			{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
			{"Sec-Fetch-Site": "same-origin"}, {"Host": "evil.example.com"}, {"Host": "evil.example.com:5000"},
			{"Host": "127.0.0.1.evil.example.com"}, {"Host": "localhost.evil.example.com"}, {"Host": ""},
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				for _, name := range []string{"/health", "/version", "/api/2.0/mlflow/experiments/get?experiment_id=0",
					"/api/2.0/mlflow/runs/search", "/ajax-api/2.0/mlflow/runs/search",
					"/api/2.0/mlflow-artifacts/artifacts/0/a/artifacts/x"} {
					req := httptest.NewRequest(method, "http://127.0.0.1"+name, strings.NewReader("{}"))
					req.Header.Set("Content-Type", "application/json")
					req.Header.Set("Authorization", "Bearer "+token)
					for k, v := range headers {
						req.Header.Set(k, v)
						if k == "Host" {
							req.Host = v
						}
					}
					rec := httptest.NewRecorder()
					handler.ServeHTTP(rec, req)
					require.Equal(t, 403, rec.Code, "%s %s %v", method, name, headers)
					require.Empty(t, rec.Header().Get("Access-Control-Allow-Origin"))
				}
			}
		}
		// A form of a page sends no JSON.
		req := httptest.NewRequest("POST", "http://localhost/api/2.0/mlflow/experiments/create", strings.NewReader(`{"name": "x"}`))
		req.Header.Set("Content-Type", "text/plain")
		req.Header.Set("Authorization", "Bearer "+token)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		require.Equal(t, 400, rec.Code)
	}
}

// A compressed request is refused before one byte of it is read.
func TestServerReadsNoCompression(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	s := open(t)
	newRun(t, s, "a")
	for _, name := range []string{"POST mlflow/runs/log-batch", "PUT mlflow-artifacts/artifacts/0/a/artifacts/x"} {
		method, path, _ := strings.Cut(name, " ")
		req := httptest.NewRequest(method, "http://127.0.0.1/api/2.0/"+path, bytes.NewReader(bomb.Bytes()))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Content-Encoding", "gzip")
		rec := httptest.NewRecorder()
		NewServer(s, Access{}).ServeHTTP(rec, req)
		require.Equal(t, 400, rec.Code, name)
		require.Contains(t, rec.Body.String(), "Content-Encoding")
	}
}

// What a request costs is bounded: by its size, by the elements of its lists, and in
// time by the square of nothing.
func TestServerLimits(t *testing.T) {
	w := newWorld(t)
	tags := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,{"key":"k%d","value":""}`, i)
		}
		return b.String()[1:]
	}
	for body, want := range map[string]int{
		`{"run_id": "own", "metrics": [` + strings.Repeat(`{},`, 500_000) + `{}]}`: 400,
		`{"run_id": "own", "tags": [` + tags(60_000) + `]}`:                        400,
		`{"run_id": "own", "tags": [` + tags(101) + `]}`:                           400,
		`{"run_id": "own", "tags": [` + tags(100) + `]}`:                           200,
		strings.Repeat(" ", maxBody+1) + `{"run_id": "own"}`:                       400,
		strings.Repeat("[", 100_000):                                               400,
		`{"run_id": ` + strings.Repeat(`{"a":`, 100_000):                           400,
	} {
		code, answer := w.send(t, "POST", "mlflow/runs/log-batch", body)
		require.Equal(t, want, code, "%.60s: %v", body, answer)
	}
	code, _ := w.send(t, "POST", "mlflow/runs/create", `{"experiment_id": "0", "tags": [`+tags(60_000)+`]}`)
	require.Equal(t, 400, code)
	w.must(t, "POST", "mlflow/runs/create", `{"experiment_id": "0", "tags": [`+tags(1000)+`]}`)
}

// A client that sends nothing more loses its connection; one that sends an artifact
// slowly does not. The times are the server's, made short.
func TestSlowClients(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	srv := httptest.NewUnstartedServer(NewServer(s, Access{}))
	srv.Config.ReadHeaderTimeout, srv.Config.ReadTimeout, srv.Config.WriteTimeout = 200*time.Millisecond,
		200*time.Millisecond, 400*time.Millisecond
	srv.Start()
	t.Cleanup(srv.Close)
	for name, sent := range map[string]string{
		"headers": "GET /health HTTP/1.1\r\nHost: localhost\r\n",
		"body": "POST /api/2.0/mlflow/runs/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: " +
			"application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(c, sent)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
		_, err = io.Copy(io.Discard, c) // ends when the server hangs up
		require.NoError(t, err, name)
		c.Close()
	}
	slow, feed := io.Pipe()
	go func() {
		for range 8 {
			feed.Write([]byte("part "))
			<-time.After(100 * time.Millisecond)
		}
		feed.Close()
	}()
	req, err := http.NewRequest("PUT", srv.URL+"/api/2.0/mlflow-artifacts/artifacts/0/a/artifacts/slow.txt", slow)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, 200, res.StatusCode)
	f, err := s.OpenArtifact(ctx, &Run{Info: RunInfo{RunID: "a", ExperimentID: "0"}}, "slow.txt")
	require.NoError(t, err)
	defer f.Close()
	text, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("part ", 8), string(text))
}
