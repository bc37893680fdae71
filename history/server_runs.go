package history

import (
	"context"
	"encoding/json"
	"time"

	"github.com/org/aml-train/internal/clip"
)

// Requests of the API (mlflow/protos/service.proto).
type (
	experimentRef struct {
		ExperimentID string `json:"experiment_id" required:"true"`
	}
	// runRef names a run; run_uuid is its old name.
	runRef struct {
		RunID   string `json:"run_id"`
		RunUUID string `json:"run_uuid"`
	}
	searchRef struct {
		Filter     string        `json:"filter"`
		MaxResults *Int          `json:"max_results"`
		OrderBy    batch[string] `json:"order_by"`
		PageToken  string        `json:"page_token"`
	}
)

func (r *runRef) check() error {
	if r.RunID == "" {
		r.RunID = r.RunUUID
	}
	if r.RunID == "" {
		return invalid("Missing value for required parameter 'run_id'. See the API docs for more information about " +
			"request parameters.")
	}
	return nil
}

// query is the search; a page of no results is not one.
func (q *searchRef) query() (Query, error) {
	out := Query{Filter: q.Filter, OrderBy: q.OrderBy, PageToken: q.PageToken}
	if q.MaxResults != nil {
		if out.MaxResults = int(*q.MaxResults); out.MaxResults <= 0 {
			return out, invalid("Invalid value %d for parameter 'max_results' supplied: It must be a positive "+
				"integer", out.MaxResults)
		}
	}
	return out, nil
}

func (v *Server) experimentCalls() {
	call(v, "POST experiments/create", v.createExperiment)
	call(v, "GET experiments/get", v.getExperiment)
	call(v, "GET experiments/get-by-name", v.getExperimentByName)
	call(v, "GET experiments/search", v.searchExperiments)
	call(v, "POST experiments/search", v.searchExperiments)
	call(v, "POST experiments/update", v.updateExperiment)
	call(v, "POST experiments/delete", v.archiveExperiment(true))
	call(v, "POST experiments/restore", v.archiveExperiment(false))
	call(v, "POST experiments/set-experiment-tag", v.setExperimentTag)
	call(v, "POST experiments/delete-experiment-tag", v.deleteExperimentTag)
}

func (v *Server) createExperiment(ctx context.Context, q *struct {
	Name     string          `json:"name" required:"true"`
	Location string          `json:"artifact_location"`
	Tags     batch[KeyValue] `json:"tags"`
}) (any, error) {
	if err := checkLocation(q.Location); err != nil {
		return nil, err
	}
	if err := v.reservedTags(q.Tags...); err != nil {
		return nil, err
	}
	id, err := v.store.CreateExperiment(ctx, NewExperiment{Name: q.Name, Tags: q.Tags, Owner: v.access.Run})
	return map[string]string{"experiment_id": id}, err
}

func (v *Server) getExperiment(ctx context.Context, q *experimentRef) (any, error) {
	return experimentAnswer(v.store.Experiment(ctx, q.ExperimentID))
}

func (v *Server) getExperimentByName(ctx context.Context, q *struct {
	Name string `json:"experiment_name" required:"true"`
}) (any, error) {
	return experimentAnswer(v.store.ExperimentByName(ctx, q.Name))
}

func (v *Server) searchExperiments(ctx context.Context, q *struct {
	searchRef
	View enum `json:"view_type"`
}) (any, error) {
	query, err := q.query()
	if err != nil {
		return nil, err
	}
	query.View = q.View.view()
	list, token, err := v.store.SearchExperiments(ctx, query)
	for _, e := range list {
		e.Location = "mlflow-artifacts:/" + e.ID
	}
	return page("experiments", list, token, err)
}

func (v *Server) updateExperiment(ctx context.Context, q *struct {
	experimentRef
	Name string `json:"new_name" required:"true"`
}) (any, error) {
	if err := v.mayWriteExperiment(ctx, q.ExperimentID); err != nil {
		return nil, err
	}
	return nil, v.store.RenameExperiment(ctx, q.ExperimentID, q.Name)
}

func (v *Server) archiveExperiment(archived bool) func(context.Context, *experimentRef) (any, error) {
	return func(ctx context.Context, q *experimentRef) (any, error) {
		if err := v.mayWriteExperiment(ctx, q.ExperimentID); err != nil {
			return nil, err
		}
		return nil, v.store.ArchiveExperiment(ctx, q.ExperimentID, archived)
	}
}

func (v *Server) setExperimentTag(ctx context.Context, q *struct {
	experimentRef
	Key   string `json:"key" required:"true"`
	Value string `json:"value"`
}) (any, error) {
	if err := v.mayTagExperiment(ctx, q.ExperimentID, q.Key); err != nil {
		return nil, err
	}
	return nil, v.store.SetExperimentTag(ctx, q.ExperimentID, KeyValue{q.Key, q.Value})
}

func (v *Server) deleteExperimentTag(ctx context.Context, q *struct {
	experimentRef
	Key string `json:"key" required:"true"`
}) (any, error) {
	if err := v.mayTagExperiment(ctx, q.ExperimentID, q.Key); err != nil {
		return nil, err
	}
	return nil, v.store.DeleteExperimentTag(ctx, q.ExperimentID, q.Key)
}

func (v *Server) mayTagExperiment(ctx context.Context, id, key string) error {
	if err := v.reservedTags(KeyValue{Key: key}); err != nil {
		return err
	}
	return v.mayWriteExperiment(ctx, id)
}

func experimentAnswer(e *Experiment, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	e.Location = "mlflow-artifacts:/" + e.ID
	return map[string]any{"experiment": e}, nil
}

// proxied gives a run the address under which a client reaches its artifacts through
// this server, so that a script in a container needs no path of this machine.
func proxied(r *Run) *Run {
	r.Info.ArtifactURI = folderOf(r).uri()
	return r
}

func runAnswer(r *Run, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"run": proxied(r)}, nil
}

func (v *Server) runCalls() {
	call(v, "POST runs/create", v.createRun)
	call(v, "GET runs/get", v.getRun)
	call(v, "POST runs/update", v.updateRun)
	call(v, "POST runs/delete", v.archiveRun(true))
	call(v, "POST runs/restore", v.archiveRun(false))
	call(v, "POST runs/search", v.searchRuns)
	call(v, "GET artifacts/list", v.listArtifacts)
	v.logCalls()
}

func (v *Server) createRun(ctx context.Context, q *struct {
	ExperimentID string          `json:"experiment_id"`
	UserID       string          `json:"user_id"`
	RunName      string          `json:"run_name"`
	StartTime    Int             `json:"start_time"`
	Tags         batch[KeyValue] `json:"tags"`
}) (any, error) {
	if err := v.reservedTags(q.Tags...); err != nil {
		return nil, err
	}
	n := NewRun{ExperimentID: q.ExperimentID, Name: q.RunName, User: q.UserID,
		Start: time.UnixMilli(int64(q.StartTime)), Tags: q.Tags, Owner: v.access.Run}
	if n.ExperimentID == "" {
		n.ExperimentID = "0"
	}
	if q.StartTime == 0 {
		n.Start = time.Now()
	}
	if _, err := v.store.Experiment(ctx, n.ExperimentID); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, t := range q.Tags {
		if seen[t.Key] {
			return nil, invalid("The tag '%s' is given twice", clip.Bytes(t.Key, maxKey))
		}
		seen[t.Key] = true
	}
	return runAnswer(v.store.CreateRun(ctx, n))
}

func (v *Server) getRun(ctx context.Context, q *runRef) (any, error) {
	return runAnswer(v.store.Run(ctx, q.RunID))
}

func (v *Server) updateRun(ctx context.Context, q *struct {
	runRef
	Status  enum   `json:"status"`
	EndTime Int    `json:"end_time"`
	RunName string `json:"run_name"`
}) (any, error) {
	if err := v.mayWrite(ctx, q.RunID); err != nil {
		return nil, err
	}
	status, end := q.Status.named(mlflowRunning, mlflowScheduled, mlflowFinished, mlflowFailed,
		mlflowKilled), at(q.EndTime)
	if q.RunID == v.access.Run {
		// mlflow.end_run() says that a script has ended its logging. How the job ends is
		// what its supervisor sees.
		status, end = "", time.Time{}
	}
	r, err := v.store.UpdateRun(ctx, q.RunID, status, end, q.RunName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"run_info": proxied(r).Info}, nil
}

func (v *Server) archiveRun(archived bool) func(context.Context, *runRef) (any, error) {
	return func(ctx context.Context, q *runRef) (any, error) {
		if err := v.mayManage(ctx, q.RunID); err != nil {
			return nil, err
		}
		return nil, v.store.ArchiveRun(ctx, q.RunID, archived)
	}
}

func (v *Server) searchRuns(ctx context.Context, q *struct {
	searchRef
	ExperimentIDs experimentIDs `json:"experiment_ids"`
	View          enum          `json:"run_view_type"`
}) (any, error) {
	query, err := q.query()
	if err != nil {
		return nil, err
	}
	query.View, query.ExperimentIDs = q.View.view(), append([]string{}, q.ExperimentIDs...)
	list, token, err := v.store.SearchRuns(ctx, query)
	for _, r := range list {
		proxied(r)
		r.Inputs.ModelInputs = nil // as MLflow's server leaves them out here
	}
	return page("runs", list, token, err)
}

func (v *Server) listArtifacts(ctx context.Context, q *struct {
	runRef
	Path string `json:"path"`
}) (any, error) {
	if _, err := cleanArtifact(q.Path); err != nil {
		return nil, err
	}
	r, err := v.store.Run(ctx, q.RunID)
	if err != nil {
		return nil, err
	}
	return filesAnswer(folderOf(r))(v.store.ListArtifacts(r, q.Path))
}

func filesAnswer(f folder) func([]File, error) (any, error) {
	return func(files []File, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return map[string]any{"root_uri": f.uri(), "files": files}, nil
	}
}

// logCalls are those by which a script says what happens in a run.
func (v *Server) logCalls() {
	call(v, "POST runs/log-metric", v.logMetric)
	call(v, "POST runs/log-parameter", v.logParameter)
	call(v, "POST runs/set-tag", v.setTag)
	call(v, "POST runs/delete-tag", v.deleteTag)
	call(v, "POST runs/log-batch", v.logRunBatch)
	call(v, "POST runs/log-inputs", v.logInputs)
	call(v, "POST runs/outputs", v.logOutputs)
	call(v, "POST runs/log-model", v.logModel)
	call(v, "GET metrics/get-history", v.getMetricHistory)
}

func (v *Server) logMetric(ctx context.Context, q *struct {
	runRef
	Key           string `json:"key" required:"true"`
	Value         *Float `json:"value" required:"true"`
	Timestamp     *Int   `json:"timestamp" required:"true"`
	Step          Int    `json:"step"`
	ModelID       string `json:"model_id"`
	DatasetName   string `json:"dataset_name"`
	DatasetDigest string `json:"dataset_digest"`
}) (any, error) {
	return nil, v.logBatch(ctx, q.RunID, []Metric{{Key: q.Key, Value: *q.Value, Timestamp: *q.Timestamp,
		Step: q.Step, ModelID: q.ModelID, DatasetName: q.DatasetName, DatasetDigest: q.DatasetDigest}}, nil, nil)
}

func (v *Server) logParameter(ctx context.Context, q *struct {
	runRef
	Key   string `json:"key" required:"true"`
	Value string `json:"value"`
}) (any, error) {
	return nil, v.logBatch(ctx, q.RunID, nil, []KeyValue{{q.Key, q.Value}}, nil)
}

func (v *Server) setTag(ctx context.Context, q *struct {
	runRef
	Key   string `json:"key" required:"true"`
	Value string `json:"value"`
}) (any, error) {
	return nil, v.logBatch(ctx, q.RunID, nil, nil, []KeyValue{{q.Key, q.Value}})
}

func (v *Server) deleteTag(ctx context.Context, q *struct {
	runRef
	Key string `json:"key" required:"true"`
}) (any, error) {
	if err := v.mayWrite(ctx, q.RunID, KeyValue{Key: q.Key}); err != nil {
		return nil, err
	}
	return nil, v.store.DeleteTag(ctx, q.RunID, q.Key)
}

func (v *Server) logRunBatch(ctx context.Context, q *struct {
	runRef
	Metrics batch[Metric]   `json:"metrics"`
	Params  batch[KeyValue] `json:"params"`
	Tags    batch[KeyValue] `json:"tags"`
}) (any, error) {
	return nil, v.logBatch(ctx, q.RunID, q.Metrics, q.Params, q.Tags)
}

func (v *Server) logInputs(ctx context.Context, q *struct {
	runRef
	Datasets batch[DatasetInput] `json:"datasets"`
	Models   batch[ModelRef]     `json:"models"`
}) (any, error) {
	if err := v.mayWrite(ctx, q.RunID); err != nil {
		return nil, err
	}
	return nil, v.store.logInputs(ctx, q.RunID, q.Datasets, q.Models)
}

func (v *Server) logOutputs(ctx context.Context, q *struct {
	runRef
	Models batch[ModelRef] `json:"models"`
}) (any, error) {
	if err := v.mayWrite(ctx, q.RunID); err != nil {
		return nil, err
	}
	for _, m := range q.Models {
		if err := v.mayWriteModel(ctx, m.ModelID); err != nil {
			return nil, err // what another run made would be told as this one's
		}
	}
	return nil, v.store.logOutputs(ctx, q.RunID, q.Models)
}

func (v *Server) logModel(ctx context.Context, q *struct {
	runRef
	ModelJSON string `json:"model_json" required:"true"`
}) (any, error) {
	if err := v.mayWrite(ctx, q.RunID); err != nil {
		return nil, err
	}
	return nil, v.store.recordModel(ctx, q.RunID, q.ModelJSON)
}

func (v *Server) getMetricHistory(ctx context.Context, q *struct {
	runRef
	Key        string `json:"metric_key" required:"true"`
	PageToken  string `json:"page_token"`
	MaxResults Int    `json:"max_results"`
}) (any, error) {
	list, token, err := v.store.MetricHistory(ctx, q.RunID, q.Key, q.PageToken, int(q.MaxResults))
	return page("metrics", list, token, err)
}

// logBatch logs what a client may log. A metric that names a model of another run is
// kept with the run alone.
func (v *Server) logBatch(ctx context.Context, run string, metrics []Metric, params, tags []KeyValue) error {
	if err := v.mayWrite(ctx, run, tags...); err != nil {
		return err
	}
	for i := range metrics {
		if id := metrics[i].ModelID; id != "" && v.access.Run != "" && v.mayWriteModel(ctx, id) != nil {
			if _, err := v.store.model(ctx, id); err != nil {
				return err
			}
			metrics[i].ModelID = ""
		}
	}
	return v.store.LogBatch(ctx, run, metrics, params, tags)
}

// recordModel keeps the description of a model that an older client logs, as MLflow
// does: in a tag.
func (s *Store) recordModel(ctx context.Context, run, model string) error {
	const tag = "mlflow.log-model.history"
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(model), &fields); err != nil {
		return invalid("Malformed model info. \n %s \n is no object of JSON: %v", clip.Bytes(model, maxKey), err)
	}
	for _, name := range []string{"artifact_path", "flavors", "utc_time_created", "run_id"} {
		if fields[name] == nil {
			return invalid("Model json is missing mandatory fields: {'%s'}", name)
		}
	}
	var list []json.RawMessage
	text, err := s.tag(ctx, run, tag)
	if err != nil {
		return err
	}
	json.Unmarshal([]byte(text), &list) // an unreadable one starts anew
	all, err := json.Marshal(append(list, json.RawMessage(model)))
	if err != nil {
		return err
	}
	return s.SetTags(ctx, run, KeyValue{tag, string(all)})
}
