package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/hexid"
)

// LoggedModel is a model that a run logged (MLflow 3).
type LoggedModel struct {
	Info LoggedModelInfo `json:"info"`
	Data LoggedModelData `json:"data"`
}

type LoggedModelInfo struct {
	ModelID       string     `json:"model_id"`
	ExperimentID  string     `json:"experiment_id"`
	Name          string     `json:"name"`
	Created       Int        `json:"creation_timestamp_ms"`
	Updated       Int        `json:"last_updated_timestamp_ms"`
	ArtifactURI   string     `json:"artifact_uri"`
	Status        string     `json:"status"`
	ModelType     string     `json:"model_type,omitempty"`
	SourceRunID   string     `json:"source_run_id,omitempty"`
	StatusMessage string     `json:"status_message,omitempty"`
	Tags          []KeyValue `json:"tags,omitempty"`
}

type LoggedModelData struct {
	Params  []KeyValue `json:"params,omitempty"`
	Metrics []Metric   `json:"metrics,omitempty"`
}

// modelStatuses is the enum LoggedModelStatus (service.proto) by its number,
// which is what the schema holds.
var modelStatuses = []string{"LOGGED_MODEL_STATUS_UNSPECIFIED", "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY",
	"LOGGED_MODEL_UPLOAD_FAILED"}

func (s *Store) createModel(ctx context.Context, m LoggedModel) (*LoggedModel, error) {
	id := "m-" + hexid.New(32)
	if m.Info.Name == "" {
		m.Info.Name = "model"
	}
	if strings.ContainsAny(m.Info.Name, "/:.%\"'") {
		return nil, invalid("Invalid model name '%s': it cannot hold any of / : . %% \" '", clip.Bytes(m.Info.Name,
			maxKey))
	}
	now := time.Now().UnixMilli()
	err := s.changeExperiment(ctx, m.Info.ExperimentID, func(tx *sql.Tx, experiment int64, stage string) error {
		if stage != "active" {
			return invalid("The experiment %d must be in the 'active' state. Current state is %s.", experiment, stage)
		}
		uri := s.location(fmt.Sprint(experiment)) + "/models/" + id + "/artifacts"
		if _, err := tx.Exec(`INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id)
			VALUES (?, ?, ?, ?, ?, ?, 1, 'active', ?, ?)`, id, experiment, m.Info.Name, uri, now, now, m.Info.ModelType, m.Info.SourceRunID); err != nil {
			return err
		}
		if err := modelParams.add(tx, id, experiment, m.Data.Params); err != nil {
			return err
		}
		return modelTags.add(tx, id, experiment, m.Info.Tags)
	})
	if err != nil {
		return nil, err
	}
	return s.model(ctx, id)
}

// modelTable is a table of what a logged model has by name.
type modelTable struct{ what, name, key, value string }

var (
	modelTags   = modelTable{"tag", "logged_model_tags", "tag_key", "tag_value"}
	modelParams = modelTable{"parameter", "logged_model_params", "param_key", "param_value"}
)

// set replaces what is there; add refuses it, and a name that is given twice.
func (t modelTable) set(tx *sql.Tx, model string, experiment int64, pairs []KeyValue) error {
	return t.insert(tx, "INSERT OR REPLACE", model, experiment, pairs)
}

func (t modelTable) add(tx *sql.Tx, model string, experiment int64, pairs []KeyValue) error {
	err := t.insert(tx, "INSERT", model, experiment, pairs)
	var taken *sqlite.Error
	if errors.As(err, &taken) && taken.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
		return invalid("A %s of the logged model has that name already, or two have the same name", t.what)
	}
	return err
}

func (t modelTable) insert(tx *sql.Tx, how, model string, experiment int64, pairs []KeyValue) error {
	var args []any
	for _, p := range pairs {
		args = append(args, model, experiment, p.Key, p.Value)
	}
	return insert(tx, how+` INTO `+t.name+` (model_id, experiment_id, `+t.key+`, `+t.value+`)`, 4, args, "")
}

const modelColumns = `model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, coalesce(model_type, ''), coalesce(source_run_id, ''), coalesce(status_message, '')`

func scanModel(row scanner) (*LoggedModel, error) {
	m := &LoggedModel{}
	i := &m.Info
	var status int
	err := row.Scan(&i.ModelID, &i.ExperimentID, &i.Name, &i.ArtifactURI, &i.Created, &i.Updated, &status,
		&i.ModelType, &i.SourceRunID, &i.StatusMessage)
	if status >= 0 && status < len(modelStatuses) {
		i.Status = modelStatuses[status]
	}
	if err == nil && (!ValidID(i.ModelID) || !validExperiment(i.ExperimentID)) {
		err = errStrange
	}
	return m, err
}

func (s *Store) model(ctx context.Context, id string) (*LoggedModel, error) {
	return one(s.models(ctx, `model_id = ? AND lifecycle_stage = 'active'`, id))(noModel(id))
}

// anyModel is a model that may have been deleted.
func (s *Store) anyModel(ctx context.Context, id string) (*LoggedModel, error) {
	return one(s.models(ctx, `model_id = ?`, id))(noModel(id))
}

func noModel(id string) error {
	return notFound("Logged model with ID '%s' not found.", clip.Bytes(id, 60))
}

// models runs a query of logged models and adds what belongs to them.
func (s *Store) models(ctx context.Context, where string, args ...any) ([]*LoggedModel, error) {
	list, err := query(ctx, s.db, scanModel, `SELECT `+modelColumns+` FROM logged_models WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	byID := map[string]*LoggedModel{}
	for _, m := range list {
		byID[m.Info.ModelID] = m
	}
	pairs := func(t modelTable, to func(*LoggedModel) *[]KeyValue) error {
		return eachOf(ctx, s.db, byID,
			`SELECT model_id, `+t.key+`, `+t.value+` FROM `+t.name+` WHERE model_id IN %s ORDER BY `+t.key,
			func(row scanner) (id string, add func(*LoggedModel), err error) {
				var kv KeyValue
				err = row.Scan(&id, &kv.Key, &kv.Value)
				return id, func(m *LoggedModel) { *to(m) = append(*to(m), kv) }, err
			})
	}
	return list, errors.Join(
		pairs(modelTags, func(m *LoggedModel) *[]KeyValue { return &m.Info.Tags }),
		pairs(modelParams, func(m *LoggedModel) *[]KeyValue { return &m.Data.Params }),
		eachOf(ctx, s.db, byID, `SELECT model_id, metric_name, coalesce(metric_value, 0), metric_timestamp_ms, metric_step, metric_value IS NULL, run_id, coalesce(dataset_name, ''), coalesce(dataset_digest, '')
			FROM logged_model_metrics WHERE model_id IN %s ORDER BY metric_name, metric_step`, scanModelMetric))
}

func scanModelMetric(row scanner) (id string, add func(*LoggedModel), err error) {
	var x Metric
	var v float64
	var nan bool
	err = row.Scan(&id, &x.Key, &v, &x.Timestamp, &x.Step, &nan, &x.RunID, &x.DatasetName, &x.DatasetDigest)
	x.ModelID, x.Value = id, fromColumn(v, nan)
	return id, func(m *LoggedModel) { m.Data.Metrics = append(m.Data.Metrics, x) }, err
}

// changeModel runs f in a transaction, where the model exists: MLflow changes those that were
// deleted, too.
func (s *Store) changeModel(ctx context.Context, id string, f func(tx *sql.Tx, experiment int64) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		experiment, err := queryOne(ctx, tx, noModel(id), value[int64],
			`SELECT experiment_id FROM logged_models WHERE model_id = ?`, id)
		if err != nil {
			return err
		}
		return f(tx, experiment)
	})
}

func (s *Store) finalizeModel(ctx context.Context, id, status string) (*LoggedModel, error) {
	n := slices.IndexFunc(modelStatuses, func(name string) bool { return name == status })
	if n < 0 {
		if i, err := strconv.Atoi(status); err == nil {
			n = i
		}
	}
	if n <= 0 || n >= len(modelStatuses) {
		return nil, invalid("Invalid model status '%s'", clip.Bytes(status, 60))
	}
	err := s.changeModel(ctx, id, func(tx *sql.Tx, _ int64) error {
		_, err := tx.Exec(`UPDATE logged_models SET status = ?, last_updated_timestamp_ms = ? WHERE model_id = ?`, n,
			time.Now().UnixMilli(), id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.anyModel(ctx, id)
}

func (s *Store) deleteModel(ctx context.Context, id string) error {
	return s.changeModel(ctx, id, func(tx *sql.Tx, _ int64) error {
		_, err := tx.Exec(`UPDATE logged_models SET lifecycle_stage = 'deleted', last_updated_timestamp_ms = ? WHERE model_id = ?`, time.Now().UnixMilli(), id)
		return err
	})
}

// setModelTags sets tags of a logged model, and addModelParams adds parameters, which stay as
// they are; deleteModelTag removes a tag.
func (s *Store) setModelTags(ctx context.Context, id string, tags []KeyValue) error {
	return s.changeModel(ctx, id, func(tx *sql.Tx, experiment int64) error {
		return modelTags.set(tx, id, experiment, tags)
	})
}

func (s *Store) addModelParams(ctx context.Context, id string, params []KeyValue) error {
	return s.changeModel(ctx, id, func(tx *sql.Tx, experiment int64) error {
		return modelParams.add(tx, id, experiment, params)
	})
}

func (s *Store) deleteModelTag(ctx context.Context, id, key string) error {
	return s.changeModel(ctx, id, func(tx *sql.Tx, _ int64) error {
		res, err := tx.Exec(`DELETE FROM logged_model_tags WHERE model_id = ? AND tag_key = ?`, id, key)
		return changed(res, err, notFound("No tag with key '%s' found for model with ID '%s'.", clip.Bytes(key,
			maxKey), id))
	})
}

// modelMetrics records the metrics that name a logged model with that model too.
func modelMetrics(ctx context.Context, tx *sql.Tx, run string, metrics []Metric) error {
	experiments := map[string]int64{}
	var args []any
	for i := range metrics {
		m := &metrics[i]
		if m.ModelID == "" {
			continue
		}
		if _, ok := experiments[m.ModelID]; !ok {
			var err error
			if experiments[m.ModelID], err = queryOne(ctx, tx, noModel(m.ModelID), value[int64],
				`SELECT experiment_id FROM logged_models WHERE model_id = ?`, m.ModelID); err != nil {
				return err
			}
		}
		v, nan := column(m.Value)
		args = append(args, m.ModelID, m.Key, int64(m.Timestamp), int64(m.Step),
			sql.NullFloat64{Float64: v, Valid: !nan}, experiments[m.ModelID], run,
			sql.NullString{String: m.DatasetName, Valid: m.DatasetName != ""},
			sql.NullString{String: m.DatasetDigest, Valid: m.DatasetDigest != ""})
	}
	if err := insert(tx, `INSERT OR REPLACE INTO logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, experiment_id, run_id, dataset_name, dataset_digest)`, 9, args, ""); err != nil || len(args) == 0 {
		return err
	}
	_, err := tx.Exec(`UPDATE logged_model_metrics SET dataset_uuid = (SELECT d.dataset_uuid FROM datasets d WHERE d.experiment_id = logged_model_metrics.experiment_id
		AND d.name = dataset_name AND d.digest = dataset_digest) WHERE run_id = ? AND dataset_uuid IS NULL AND dataset_name IS NOT NULL`, run)
	return err
}

// logInputs records what a run read; logOutputs what it made. A dataset that was logged
// before keeps the tags of its first use.
func (s *Store) logInputs(ctx context.Context, run string, datasets []DatasetInput, models []ModelRef) error {
	for _, d := range datasets {
		if err := d.check(); err != nil {
			return err
		}
	}
	return s.change(ctx, run, func(tx *sql.Tx) error {
		var experiment int64
		if err := tx.QueryRow(`SELECT experiment_id FROM runs WHERE run_uuid = ?`, run).Scan(&experiment); err != nil {
			return err
		}
		for _, d := range datasets {
			var id string
			if err := tx.QueryRow(`INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (experiment_id, name, digest) DO UPDATE SET name = excluded.name RETURNING dataset_uuid`,
				hexid.New(32), experiment, d.Dataset.Name, d.Dataset.Digest, d.Dataset.SourceType, d.Dataset.Source,
				d.Dataset.Schema, d.Dataset.Profile).Scan(&id); err != nil {
				return err
			}
			input, first, err := link(tx, "DATASET", id, "RUN", run, 0)
			if err != nil {
				return err
			}
			if !first {
				continue
			}
			var args []any
			for _, t := range d.Tags {
				args = append(args, input, t.Key, t.Value)
			}
			if err := insert(tx, `INSERT OR REPLACE INTO input_tags (input_uuid, name, value)`, 3, args,
				""); err != nil {
				return err
			}
		}
		for _, m := range models {
			if _, _, err := link(tx, "RUN_INPUT", run, "MODEL_INPUT", m.ModelID, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// check holds a dataset to MLflow's limits (mlflow/utils/validation.py).
func (d *DatasetInput) check() error {
	for _, l := range []struct {
		what, value string
		least, most int
	}{{"name", d.Dataset.Name, 1, 500}, {"digest", d.Dataset.Digest, 1, 36}, {"source_type", d.Dataset.SourceType, 1,
		36}, {"source", d.Dataset.Source, 1, 65_535},
		{"schema", d.Dataset.Schema, 0, 1_048_575}, {"profile", d.Dataset.Profile, 0, 16_777_215}} {
		if n := utf8.RuneCountInString(l.value); n < l.least || n > l.most {
			return invalid("The %s of a dataset has %d to %d characters, not %d", l.what, l.least, l.most, n)
		}
	}
	for _, t := range d.Tags {
		if k, v := utf8.RuneCountInString(t.Key), utf8.RuneCountInString(t.Value); k == 0 || k > 255 || v > 500 {
			return invalid("The tag '%s' of a dataset has a name of 1 to 255 and a value of 0 to 500 characters, not "+
				"%d and %d", clip.Bytes(t.Key, 60), k, v)
		}
	}
	return nil
}

func (s *Store) logOutputs(ctx context.Context, run string, models []ModelRef) error {
	return s.change(ctx, run, func(tx *sql.Tx) error {
		for _, m := range models {
			if _, _, err := link(tx, "RUN_OUTPUT", run, "MODEL_OUTPUT", m.ModelID, m.Step); err != nil {
				return err
			}
		}
		return nil
	})
}

// link joins two things and tells whether they were not joined before; the first step stays.
func link(tx *sql.Tx, sourceType, source, destinationType, destination string, step Int) (id string,
	first bool, err error) {
	fresh := hexid.New(32)
	err = tx.QueryRow(`INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (source_type, source_id, destination_type, destination_id) DO UPDATE SET step = inputs.step RETURNING input_uuid`,
		fresh, sourceType, source, destinationType, destination, int64(step)).Scan(&id)
	return id, id == fresh, err
}

// fillInputs adds what runs read and made.
func (s *Store) fillInputs(ctx context.Context, runs map[string]*Run) error {
	refs := func(source, destination string, to func(*Run) *[]ModelRef) error {
		return eachOf(ctx, s.db, runs,
			`SELECT source_id, destination_id, step FROM inputs WHERE source_type = '`+source+`' AND source_id IN %s AND destination_type = '`+destination+`' ORDER BY destination_id`,
			func(row scanner) (id string, add func(*Run), err error) {
				var m ModelRef
				err = row.Scan(&id, &m.ModelID, &m.Step)
				return id, func(r *Run) { *to(r) = append(*to(r), m) }, err
			})
	}
	inputs := map[string]*DatasetInput{} // by the id of the input
	return errors.Join(
		refs("RUN_INPUT", "MODEL_INPUT", func(r *Run) *[]ModelRef { return &r.Inputs.ModelInputs }),
		refs("RUN_OUTPUT", "MODEL_OUTPUT", func(r *Run) *[]ModelRef { return &r.Outputs.ModelOutputs }),
		eachOf(ctx, s.db, runs, `SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, coalesce(d.dataset_schema, ''), coalesce(d.dataset_profile, '')
			FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id IN %s ORDER BY d.name, d.digest`,
			func(row scanner) (run string, add func(*Run), err error) {
				var id string
				in := &DatasetInput{}
				d := &in.Dataset
				err = row.Scan(&run, &id, &d.Name, &d.Digest, &d.SourceType, &d.Source, &d.Schema, &d.Profile)
				inputs[id] = in
				return run, func(r *Run) { r.Inputs.DatasetInputs = append(r.Inputs.DatasetInputs, in) }, err
			}),
		eachOf(ctx, s.db, inputs, `SELECT input_uuid, name, value FROM input_tags WHERE input_uuid IN %s ORDER BY name`,
			func(row scanner) (id string, add func(*DatasetInput), err error) {
				var kv KeyValue
				err = row.Scan(&id, &kv.Key, &kv.Value)
				return id, func(in *DatasetInput) { in.Tags = append(in.Tags, kv) }, err
			}))
}
