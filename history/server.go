package history

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Version is the MLflow whose REST API the server offers. Clients ask for it and
// leave out what an older server does not know.
const Version = "3.0.0"

// Server offers a store through the MLflow tracking REST API. It is for programs
// on the same machine: it answers requests for a loopback name only, so that no
// page in a browser can reach it under a name of its own, and where a token is
// set, only with it.
type Server struct {
	store *Store
	token string // "" asks for none
}

// NewServer returns the handler. The token is what a client sends as
// "Authorization: Bearer TOKEN" (MLFLOW_TRACKING_TOKEN).
func NewServer(s *Store, token string) *Server { return &Server{s, token} }

// Serve listens on a loopback address such as 127.0.0.1:0 until stop is called,
// which waits for the requests under way.
func (v *Server) Serve(addr string) (base string, stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: v, ReadHeaderTimeout: 30 * time.Second}
	go srv.Serve(l)
	return "http://" + l.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	}, nil
}

// maxBody bounds a request of JSON; artifacts are streamed. MLflow's clients send
// 1 MB at most.
const maxBody = 64 << 20

func (v *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := v.admit(r); err != nil {
		respond(w, nil, err)
		return
	}
	p := r.URL.Path
	switch {
	case p == "/health":
		io.WriteString(w, "OK")
		return
	case p == "/version":
		io.WriteString(w, Version)
		return
	}
	for _, prefix := range []string{"/api/2.0/", "/ajax-api/2.0/"} {
		rest, ok := strings.CutPrefix(p, prefix)
		if !ok {
			continue
		}
		if file, ok := strings.CutPrefix(rest, "mlflow-artifacts/artifacts"); ok {
			v.artifact(w, r, strings.TrimPrefix(file, "/"))
			return
		}
		if call, ok := strings.CutPrefix(rest, "mlflow/"); ok {
			answer, err := v.call(r, call)
			respond(w, answer, err)
			return
		}
	}
	respond(w, nil, noEndpoint(r))
}

func noEndpoint(r *http.Request) error {
	return &Error{codeNoEndpoint, fmt.Sprintf("%s %s is no part of the tracking API that aml-train offers (MLflow %s: experiments, runs, metrics, logged models, artifacts)", r.Method, r.URL.Path, Version)}
}

func (v *Server) admit(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return &Error{codeForbidden, "this server answers to localhost only"}
	}
	if v.token == "" {
		// Without a token, a page in a browser must not be able to write.
		if r.Header.Get("Origin") != "" && r.Method != http.MethodGet {
			return &Error{codeForbidden, "this server takes no writes from a browser"}
		}
		return nil
	}
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(given), []byte(v.token)) != 1 {
		return &Error{codeSignIn, "the token in MLFLOW_TRACKING_TOKEN is missing or not this run's"}
	}
	return nil
}

var httpStatus = map[string]int{
	codeInvalid: 400, codeExists: 400, codeNotFound: 404, codeNoEndpoint: 404, codeState: 500,
	codeInternal: 500, codeUnavailable: 503, codeForbidden: 403, codeSignIn: 401,
}

func respond(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{codeInternal, err.Error()}
			if errors.Is(err, ErrRunExists) {
				e.Code = codeExists
			}
		}
		w.WriteHeader(httpStatus[e.Code])
		json.NewEncoder(w).Encode(e)
		return
	}
	if answer == nil {
		answer = struct{}{}
	}
	json.NewEncoder(w).Encode(answer)
}

// request is every field that a call of the API can have; one request has some of
// them. GET requests carry them in the query.
type request struct {
	ExperimentID   string          `json:"experiment_id"`
	ExperimentName string          `json:"experiment_name"`
	ExperimentIDs  []string        `json:"experiment_ids"`
	Name           string          `json:"name"`
	NewName        string          `json:"new_name"`
	Location       string          `json:"artifact_location"`
	RunID          string          `json:"run_id"`
	RunUUID        string          `json:"run_uuid"`
	RunName        string          `json:"run_name"`
	UserID         string          `json:"user_id"`
	Status         enum            `json:"status"`
	StartTime      Int             `json:"start_time"`
	EndTime        Int             `json:"end_time"`
	Key            string          `json:"key"`
	Value          json.RawMessage `json:"value"`
	Timestamp      Int             `json:"timestamp"`
	Step           Int             `json:"step"`
	ModelID        string          `json:"model_id"`
	DatasetName    string          `json:"dataset_name"`
	DatasetDigest  string          `json:"dataset_digest"`
	Metrics        []Metric        `json:"metrics"`
	Params         []KeyValue      `json:"params"`
	Tags           []KeyValue      `json:"tags"`
	Filter         string          `json:"filter"`
	View           enum            `json:"run_view_type"`
	ViewType       enum            `json:"view_type"`
	MaxResults     Int             `json:"max_results"`
	OrderBy        json.RawMessage `json:"order_by"`
	PageToken      string          `json:"page_token"`
	MetricKey      string          `json:"metric_key"`
	Path           string          `json:"path"`
	ModelJSON      string          `json:"model_json"`
	ModelType      string          `json:"model_type"`
	SourceRunID    string          `json:"source_run_id"`
	Datasets       []DatasetInput  `json:"datasets"`
	Models         []ModelRef      `json:"models"`
}

// enum is an enum, which protocol buffers' JSON writes as its name or number.
type enum string

func (e *enum) UnmarshalJSON(text []byte) error {
	*e = enum(unquote(text))
	return nil
}

var viewNames = map[enum]string{"1": "ACTIVE_ONLY", "2": "DELETED_ONLY", "3": "ALL"}

func (e enum) view() string {
	if n, ok := viewNames[e]; ok {
		return n
	}
	return string(e)
}

func decode(r *http.Request) (*request, error) {
	q := &request{}
	if r.Method == http.MethodGet {
		for name, values := range r.URL.Query() {
			value := values[0]
			switch name {
			case "experiment_id":
				q.ExperimentID = value
			case "experiment_name":
				q.ExperimentName = value
			case "run_id", "run_uuid":
				q.RunID = value
			case "metric_key":
				q.MetricKey = value
			case "path", "artifact_directory_path":
				q.Path = value
			case "page_token":
				q.PageToken = value
			case "filter":
				q.Filter = value
			case "view_type":
				q.ViewType = enum(value)
			case "max_results":
				n, err := strconv.Atoi(value)
				if err != nil {
					return nil, invalid("max_results is %q; it has to be a whole number", value)
				}
				q.MaxResults = Int(n)
			case "order_by":
				q.OrderBy, _ = json.Marshal(values)
			}
		}
		return q, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, invalid("the request cannot be read: %v", err)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, q); err != nil {
			return nil, invalid("the request is no JSON of the tracking API: %v", err)
		}
	}
	if q.RunID == "" {
		q.RunID = q.RunUUID
	}
	return q, nil
}

func (q *request) query() (Query, error) {
	out := Query{ExperimentIDs: q.ExperimentIDs, Filter: q.Filter, View: q.View.view(), MaxResults: int(q.MaxResults), PageToken: q.PageToken}
	if len(q.OrderBy) > 0 {
		if err := json.Unmarshal(q.OrderBy, &out.OrderBy); err != nil {
			return out, invalid("order_by has to be a list of strings")
		}
	}
	return out, nil
}

func (v *Server) call(r *http.Request, name string) (any, error) {
	q, err := decode(r)
	if err != nil {
		return nil, err
	}
	ctx, s := r.Context(), v.store
	if id, ok := strings.CutPrefix(name, "logged-models"); ok {
		return v.model(r, q, strings.Split(strings.Trim(id, "/"), "/"))
	}
	if r.Method == http.MethodPost {
		for _, t := range append(q.Tags, KeyValue{Key: q.Key}) {
			if strings.HasPrefix(t.Key, reserved) {
				return nil, invalid("Invalid tag or metric name: '%s'. Names that start with %s are aml-train's own", t.Key, reserved)
			}
		}
	}
	switch r.Method + " " + name {
	case "POST experiments/create":
		location := q.Location
		if strings.HasPrefix(location, "mlflow-artifacts:") {
			location = ""
		}
		id, err := s.CreateExperiment(ctx, q.Name, location, q.Tags)
		return map[string]string{"experiment_id": id}, err
	case "GET experiments/get":
		e, err := s.Experiment(ctx, q.ExperimentID)
		return v.experiment(e), err
	case "GET experiments/get-by-name":
		e, err := s.ExperimentByName(ctx, q.ExperimentName)
		return v.experiment(e), err
	case "POST experiments/search", "GET experiments/search":
		query, err := q.query()
		if err != nil {
			return nil, err
		}
		query.View = q.ViewType.view()
		list, token, err := s.SearchExperiments(ctx, query)
		for _, e := range list {
			e.Location = v.proxied(e.Location)
		}
		return page("experiments", list, token), err
	case "POST experiments/update":
		return nil, s.RenameExperiment(ctx, q.ExperimentID, q.NewName)
	case "POST experiments/delete":
		return nil, s.ArchiveExperiment(ctx, q.ExperimentID, true)
	case "POST experiments/restore":
		return nil, s.ArchiveExperiment(ctx, q.ExperimentID, false)
	case "POST experiments/set-experiment-tag":
		return nil, s.SetExperimentTag(ctx, q.ExperimentID, KeyValue{q.Key, q.text()})
	case "POST experiments/delete-experiment-tag":
		return nil, s.DeleteExperimentTag(ctx, q.ExperimentID, q.Key)
	case "POST runs/create":
		start := q.StartTime
		if start == 0 {
			start = Int(time.Now().UnixMilli())
		}
		id := q.ExperimentID
		if id == "" {
			id = "0"
		}
		run, err := s.CreateRun(ctx, NewRun{ExperimentID: id, Name: q.RunName, User: q.UserID, Start: time.UnixMilli(int64(start)), Tags: q.Tags})
		return v.run(run), err
	case "GET runs/get":
		run, err := s.Run(ctx, q.RunID)
		return v.run(run), err
	case "POST runs/update":
		run, err := s.UpdateRun(ctx, q.RunID, runStatus(q.Status), at(q.EndTime), q.RunName)
		if err != nil {
			return nil, err
		}
		run.Info.ArtifactURI = v.proxied(run.Info.ArtifactURI)
		return map[string]any{"run_info": run.Info}, nil
	case "POST runs/delete":
		return nil, s.ArchiveRun(ctx, q.RunID, true)
	case "POST runs/restore":
		return nil, s.ArchiveRun(ctx, q.RunID, false)
	case "POST runs/search":
		query, err := q.query()
		if err != nil {
			return nil, err
		}
		if query.ExperimentIDs == nil {
			query.ExperimentIDs = []string{}
		}
		runs, token, err := s.SearchRuns(ctx, query)
		for _, r := range runs {
			r.Info.ArtifactURI = v.proxied(r.Info.ArtifactURI)
		}
		return page("runs", runs, token), err
	case "POST runs/log-metric":
		m := Metric{Key: q.Key, Timestamp: q.Timestamp, Step: q.Step, ModelID: q.ModelID, DatasetName: q.DatasetName, DatasetDigest: q.DatasetDigest}
		if len(q.Value) == 0 {
			return nil, invalid("Missing value for required parameter 'value'")
		}
		if err := json.Unmarshal(q.Value, &m.Value); err != nil {
			return nil, invalid("Got invalid value %s for metric '%s' (timestamp=%d). Please specify value as a valid double (64-bit floating point)", q.Value, q.Key, q.Timestamp)
		}
		return nil, s.LogBatch(ctx, q.RunID, []Metric{m}, nil, nil)
	case "POST runs/log-parameter":
		return nil, s.LogBatch(ctx, q.RunID, nil, []KeyValue{{q.Key, q.text()}}, nil)
	case "POST runs/set-tag":
		return nil, s.SetTags(ctx, q.RunID, KeyValue{q.Key, q.text()})
	case "POST runs/delete-tag":
		return nil, s.DeleteTag(ctx, q.RunID, q.Key)
	case "POST runs/log-batch":
		return nil, s.LogBatch(ctx, q.RunID, q.Metrics, q.Params, q.Tags)
	case "POST runs/log-inputs":
		return nil, s.logInputs(ctx, q.RunID, q.Datasets, q.Models)
	case "POST runs/outputs":
		return nil, s.logOutputs(ctx, q.RunID, q.Models)
	case "POST runs/log-model":
		return nil, v.recordModel(ctx, q)
	case "GET metrics/get-history":
		if _, err := s.Run(ctx, q.RunID); err != nil {
			return nil, err
		}
		list, token, err := s.MetricHistory(ctx, q.RunID, q.MetricKey, q.PageToken, int(q.MaxResults))
		return page("metrics", list, token), err
	case "GET artifacts/list":
		run, err := s.Run(ctx, q.RunID)
		if err != nil {
			return nil, err
		}
		files, err := s.ListArtifacts(run, q.Path)
		return map[string]any{"root_uri": v.proxied(run.Info.ArtifactURI), "files": files}, err
	}
	return nil, noEndpoint(r)
}

// recordModel keeps the description of a model that an older client logs, as
// MLflow does: in a tag.
func (v *Server) recordModel(ctx context.Context, q *request) error {
	run, err := v.store.Run(ctx, q.RunID)
	if err != nil {
		return err
	}
	var list []json.RawMessage
	json.Unmarshal([]byte(run.Tag("mlflow.log-model.history")), &list)
	if !json.Valid([]byte(q.ModelJSON)) {
		return invalid("Malformed model info: model_json is no JSON")
	}
	text, err := json.Marshal(append(list, json.RawMessage(q.ModelJSON)))
	if err != nil {
		return err
	}
	return v.store.SetTags(ctx, q.RunID, KeyValue{"mlflow.log-model.history", string(text)})
}

func (v *Server) model(r *http.Request, q *request, parts []string) (any, error) {
	ctx, s := r.Context(), v.store
	id := parts[0]
	wrap := func(m *LoggedModel, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		m.Info.ArtifactURI = v.proxied(m.Info.ArtifactURI)
		return map[string]any{"model": m}, nil
	}
	switch sub := strings.Join(parts[1:], "/"); {
	case r.Method == "POST" && id == "":
		return wrap(s.createModel(ctx, LoggedModel{
			Info: LoggedModelInfo{ExperimentID: q.ExperimentID, Name: q.Name, ModelType: q.ModelType, SourceRunID: q.SourceRunID, Tags: q.Tags},
			Data: LoggedModelData{Params: q.Params}}))
	case r.Method == "POST" && id == "search":
		query := Query{ExperimentIDs: q.ExperimentIDs, Filter: q.Filter, MaxResults: int(q.MaxResults), PageToken: q.PageToken}
		list, token, err := s.searchModels(ctx, query)
		for _, m := range list {
			m.Info.ArtifactURI = v.proxied(m.Info.ArtifactURI)
		}
		return page("models", list, token), err
	case r.Method == "GET" && sub == "":
		return wrap(s.model(ctx, id))
	case r.Method == "PATCH" && sub == "":
		return wrap(s.finalizeModel(ctx, id, string(q.Status)))
	case r.Method == "DELETE" && sub == "":
		return nil, s.updateModel(ctx, id, `UPDATE logged_models SET lifecycle_stage = 'deleted' WHERE model_id = ?`)
	case r.Method == "GET" && sub == "artifacts/directories":
		m, err := s.model(ctx, id)
		if err != nil {
			return nil, err
		}
		files, err := s.list(path.Join(m.Info.ExperimentID, "models", id, "artifacts"), q.Path)
		return map[string]any{"root_uri": v.proxied(m.Info.ArtifactURI), "files": files}, err
	}
	m, err := s.model(ctx, id)
	if err != nil {
		return nil, err
	}
	save := func(table, key, value string, pairs []KeyValue) error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := modelPairs(tx, table, key, value, id, m.Info.ExperimentID, pairs); err != nil {
			return err
		}
		return tx.Commit()
	}
	switch {
	case r.Method == "PATCH" && parts[1] == "tags":
		if err := save("logged_model_tags", "tag_key", "tag_value", q.Tags); err != nil {
			return nil, err
		}
		return wrap(s.model(ctx, id))
	case r.Method == "DELETE" && parts[1] == "tags" && len(parts) > 2:
		_, err := s.db.ExecContext(ctx, `DELETE FROM logged_model_tags WHERE model_id = ? AND tag_key = ?`, id, strings.Join(parts[2:], "/"))
		return nil, err
	case r.Method == "POST" && parts[1] == "params":
		return nil, save("logged_model_params", "param_key", "param_value", q.Params)
	}
	return nil, noEndpoint(r)
}

func runStatus(s enum) string {
	names := map[enum]string{"1": mlflowRunning, "2": mlflowScheduled, "3": mlflowFinished, "4": mlflowFailed, "5": mlflowKilled}
	if n, ok := names[s]; ok {
		return n
	}
	return string(s)
}

func (q *request) text() string {
	var s string
	if json.Unmarshal(q.Value, &s) != nil {
		return string(q.Value)
	}
	return s
}

func page(name string, list any, token string) map[string]any {
	out := map[string]any{name: list}
	if token != "" {
		out["next_page_token"] = token
	}
	return out
}

func (v *Server) experiment(e *Experiment) any {
	if e != nil {
		e.Location = v.proxied(e.Location)
	}
	return map[string]any{"experiment": e}
}

func (v *Server) run(r *Run) any {
	if r != nil {
		r.Info.ArtifactURI = v.proxied(r.Info.ArtifactURI)
	}
	return map[string]any{"run": r}
}

// proxied turns the place of artifacts in the store into the URI under which a
// client reaches them through this server, so that a script in a container needs
// no path of this machine. Any other place stays as it is.
func (v *Server) proxied(uri string) string {
	rest, ok := strings.CutPrefix(uri, strings.TrimSuffix(v.store.location(""), "/")+"/")
	if !ok && strings.HasPrefix(uri, "file:") {
		// A history that was moved keeps the old absolute paths.
		_, rest, ok = strings.Cut(uri, "/.aml-train/artifacts/")
	}
	p, err := url.PathUnescape(rest)
	if !ok || err != nil {
		return uri
	}
	return "mlflow-artifacts:/" + p
}
