package history

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"
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
var modelStatuses = []string{"LOGGED_MODEL_STATUS_UNSPECIFIED", "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"}

func (s *Store) createModel(ctx context.Context, m LoggedModel) (*LoggedModel, error) {
	e, err := s.Experiment(ctx, m.Info.ExperimentID)
	if err != nil {
		return nil, err
	}
	id := "m-" + newID()
	if m.Info.Name == "" {
		m.Info.Name = "model"
	}
	if strings.ContainsAny(m.Info.Name, "/:.%\"'") {
		return nil, invalid("Invalid model name %q: it cannot hold any of / : . %% \" '", m.Info.Name)
	}
	now := time.Now().UnixMilli()
	uri := strings.TrimSuffix(e.Location, "/") + "/models/" + id + "/artifacts"
	err = s.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id)
			VALUES (?, ?, ?, ?, ?, ?, 1, 'active', ?, ?)`, id, e.ID, m.Info.Name, uri, now, now, m.Info.ModelType, m.Info.SourceRunID); err != nil {
			return err
		}
		if err := modelPairs(tx, "logged_model_params", "param_key", "param_value", id, e.ID, m.Data.Params); err != nil {
			return err
		}
		return modelPairs(tx, "logged_model_tags", "tag_key", "tag_value", id, e.ID, m.Info.Tags)
	})
	if err != nil {
		return nil, err
	}
	return s.model(ctx, id)
}

func modelPairs(tx *sql.Tx, table, key, value, id, experiment string, pairs []KeyValue) error {
	for _, p := range pairs {
		if _, err := tx.Exec(`INSERT OR REPLACE INTO `+table+` (model_id, experiment_id, `+key+`, `+value+`) VALUES (?, ?, ?, ?)`, id, experiment, p.Key, p.Value); err != nil {
			return err
		}
	}
	return nil
}

const modelColumns = `model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, coalesce(model_type, ''), coalesce(source_run_id, ''), coalesce(status_message, '')`

func scanModel(row scanner) (*LoggedModel, error) {
	m := &LoggedModel{}
	i := &m.Info
	var status int
	err := row.Scan(&i.ModelID, &i.ExperimentID, &i.Name, &i.ArtifactURI, &i.Created, &i.Updated, &status, &i.ModelType, &i.SourceRunID, &i.StatusMessage)
	if status >= 0 && status < len(modelStatuses) {
		i.Status = modelStatuses[status]
	}
	if err == nil && (!ValidID(i.ModelID) || !validExperiment(i.ExperimentID)) {
		err = errStrange
	}
	return m, err
}

func (s *Store) model(ctx context.Context, id string) (*LoggedModel, error) {
	m, err := scanModel(s.db.QueryRowContext(ctx, `SELECT `+modelColumns+` FROM logged_models WHERE model_id = ? AND lifecycle_stage = 'active'`, id))
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, errStrange) {
		return nil, notFound("Logged model with ID '%s' not found.", id)
	}
	if err != nil {
		return nil, err
	}
	return m, s.fillModel(ctx, m)
}

func (s *Store) fillModel(ctx context.Context, m *LoggedModel) (err error) {
	id := m.Info.ModelID
	if m.Info.Tags, err = s.pairs(ctx, `SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ? ORDER BY tag_key`, id); err != nil {
		return err
	}
	if m.Data.Params, err = s.pairs(ctx, `SELECT param_key, param_value FROM logged_model_params WHERE model_id = ? ORDER BY param_key`, id); err != nil {
		return err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT metric_name, coalesce(metric_value, 'NaN'), metric_timestamp_ms, metric_step, run_id, coalesce(dataset_name, ''), coalesce(dataset_digest, '') FROM logged_model_metrics WHERE model_id = ? ORDER BY metric_name, metric_step`, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		x := Metric{ModelID: id}
		if err := rows.Scan(&x.Key, &x.Value, &x.Timestamp, &x.Step, &x.RunID, &x.DatasetName, &x.DatasetDigest); err != nil {
			return err
		}
		m.Data.Metrics = append(m.Data.Metrics, x)
	}
	return rows.Err()
}

// updateModel runs a statement that ends in "WHERE model_id = ?".
func (s *Store) updateModel(ctx context.Context, id, query string, args ...any) error {
	res, err := s.db.ExecContext(ctx, query, append(args, id)...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return notFound("Logged model with ID '%s' not found.", id)
	}
	return nil
}

func (s *Store) finalizeModel(ctx context.Context, id, status string) (*LoggedModel, error) {
	for n, name := range modelStatuses {
		if name == status || strconv.Itoa(n) == status {
			if err := s.updateModel(ctx, id, `UPDATE logged_models SET status = ?, last_updated_timestamp_ms = ? WHERE model_id = ?`, n, time.Now().UnixMilli()); err != nil {
				return nil, err
			}
			return s.model(ctx, id)
		}
	}
	return nil, invalid("Invalid model status %q", status)
}

func (s *Store) searchModels(ctx context.Context, q Query) ([]*LoggedModel, string, error) {
	where, args := "lifecycle_stage = 'active' AND experiment_id IN (NULL"+strings.Repeat(",?", len(q.ExperimentIDs))+")", []any{}
	for _, id := range q.ExperimentIDs {
		args = append(args, id)
	}
	conditions, err := parseFilter(q.Filter)
	if err != nil {
		return nil, "", err
	}
	columns := map[string]string{"name": "name", "model_id": "model_id", "model_type": "model_type", "source_run_id": "source_run_id",
		"creation_timestamp": "creation_timestamp_ms", "creation_time": "creation_timestamp_ms", "last_updated_timestamp": "last_updated_timestamp_ms"}
	tables := map[string][3]string{"tag": {"logged_model_tags", "tag_key", "tag_value"}, "parameter": {"logged_model_params", "param_key", "param_value"}, "metric": {"logged_model_metrics", "metric_name", "metric_value"}}
	for _, c := range conditions {
		column, ok := columns[c.key]
		if c.entity == "attribute" && ok {
			sql, with, err := c.compare(column, strings.Contains(column, "timestamp"))
			if err != nil {
				return nil, "", err
			}
			where, args = where+" AND "+sql, append(args, with...)
			continue
		}
		t, ok := tables[c.entity]
		if !ok {
			return nil, "", invalid("Invalid filter on %s '%s' of logged models", c.entity, c.key)
		}
		sql, with, err := c.exists(t[0]+" x WHERE x.model_id = logged_models.model_id", t[1], "x."+t[2], c.entity == "metric")
		if err != nil {
			return nil, "", err
		}
		where, args = where+" AND "+sql, append(args, with...)
	}
	offset, limit, err := q.page(100, 1000)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT `+modelColumns+` FROM logged_models WHERE `+where+` ORDER BY creation_timestamp_ms DESC, model_id LIMIT ? OFFSET ?`, append(args, limit+1, offset)...)
	if err != nil {
		return nil, "", err
	}
	var out []*LoggedModel
	for rows.Next() {
		m, err := scanModel(rows)
		if errors.Is(err, errStrange) {
			continue
		}
		if err != nil {
			rows.Close()
			return nil, "", err
		}
		out = append(out, m)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, "", err
	}
	token := ""
	if len(out) > limit {
		out, token = out[:limit], strconv.Itoa(offset+limit)
	}
	for _, m := range out {
		if err := s.fillModel(ctx, m); err != nil {
			return nil, "", err
		}
	}
	return out, token, nil
}

// modelMetrics records the metrics that name a logged model with that model too.
func (s *Store) modelMetrics(tx *sql.Tx, run string, metrics []Metric) error {
	for i := range metrics {
		m := &metrics[i]
		if m.ModelID == "" {
			continue
		}
		var experiment string
		switch err := tx.QueryRow(`SELECT experiment_id FROM logged_models WHERE model_id = ?`, m.ModelID).Scan(&experiment); {
		case errors.Is(err, sql.ErrNoRows):
			return notFound("Logged model with ID '%s' not found.", m.ModelID)
		case err != nil:
			return err
		}
		var dataset sql.NullString
		if m.DatasetName != "" {
			tx.QueryRow(`SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?`, experiment, m.DatasetName, m.DatasetDigest).Scan(&dataset)
		}
		v, nan := column(m.Value)
		value := sql.NullFloat64{Float64: v, Valid: !nan}
		if _, err := tx.Exec(`INSERT OR REPLACE INTO logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, experiment_id, run_id, dataset_uuid, dataset_name, dataset_digest)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), nullif(?, ''))`, m.ModelID, m.Key, int64(m.Timestamp), int64(m.Step), value, experiment, run, dataset, m.DatasetName, m.DatasetDigest); err != nil {
			return err
		}
	}
	return nil
}

// logInputs records what a run read; logOutputs what it made.
func (s *Store) logInputs(ctx context.Context, run string, datasets []DatasetInput, models []ModelRef) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := active(tx, run); err != nil {
			return err
		}
		var experiment int64
		if err := tx.QueryRow(`SELECT experiment_id FROM runs WHERE run_uuid = ?`, run).Scan(&experiment); err != nil {
			return err
		}
		for _, d := range datasets {
			if d.Dataset.Name == "" || d.Dataset.Digest == "" {
				return invalid("a dataset needs a name and a digest")
			}
			var id string
			if err := tx.QueryRow(`INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (experiment_id, name, digest) DO UPDATE SET name = excluded.name RETURNING dataset_uuid`,
				newID(), experiment, d.Dataset.Name, d.Dataset.Digest, d.Dataset.SourceType, d.Dataset.Source, d.Dataset.Schema, d.Dataset.Profile).Scan(&id); err != nil {
				return err
			}
			input, err := link(tx, "DATASET", id, "RUN", run, 0)
			if err != nil {
				return err
			}
			for _, t := range d.Tags {
				if _, err := tx.Exec(`INSERT OR REPLACE INTO input_tags (input_uuid, name, value) VALUES (?, ?, ?)`, input, t.Key, t.Value); err != nil {
					return err
				}
			}
		}
		for _, m := range models {
			if _, err := link(tx, "RUN_INPUT", run, "MODEL_INPUT", m.ModelID, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) logOutputs(ctx context.Context, run string, models []ModelRef) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := active(tx, run); err != nil {
			return err
		}
		for _, m := range models {
			if _, err := link(tx, "RUN_OUTPUT", run, "MODEL_OUTPUT", m.ModelID, m.Step); err != nil {
				return err
			}
		}
		return nil
	})
}

func link(tx *sql.Tx, sourceType, source, destinationType, destination string, step Int) (id string, err error) {
	err = tx.QueryRow(`INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (source_type, source_id, destination_type, destination_id) DO UPDATE SET step = excluded.step RETURNING input_uuid`,
		newID(), sourceType, source, destinationType, destination, int64(step)).Scan(&id)
	return id, err
}

func (s *Store) fillInputs(ctx context.Context, r *Run) error {
	refs := func(source, destination string) ([]ModelRef, error) {
		rows, err := s.db.QueryContext(ctx, `SELECT destination_id, step FROM inputs WHERE source_type = ? AND source_id = ? AND destination_type = ? ORDER BY destination_id`, source, r.Info.RunID, destination)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var out []ModelRef
		for rows.Next() {
			var m ModelRef
			if err := rows.Scan(&m.ModelID, &m.Step); err != nil {
				return nil, err
			}
			out = append(out, m)
		}
		return out, rows.Err()
	}
	var err error
	if r.Inputs.ModelInputs, err = refs("RUN_INPUT", "MODEL_INPUT"); err != nil {
		return err
	}
	if r.Outputs.ModelOutputs, err = refs("RUN_OUTPUT", "MODEL_OUTPUT"); err != nil {
		return err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, coalesce(d.dataset_schema, ''), coalesce(d.dataset_profile, '')
		FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = ? ORDER BY d.name, d.digest`, r.Info.RunID)
	if err != nil {
		return err
	}
	var ids []string
	for rows.Next() {
		var id string
		var d Dataset
		if err := rows.Scan(&id, &d.Name, &d.Digest, &d.SourceType, &d.Source, &d.Schema, &d.Profile); err != nil {
			rows.Close()
			return err
		}
		ids = append(ids, id)
		r.Inputs.DatasetInputs = append(r.Inputs.DatasetInputs, DatasetInput{Dataset: d})
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for i, id := range ids {
		if r.Inputs.DatasetInputs[i].Tags, err = s.pairs(ctx, `SELECT name, value FROM input_tags WHERE input_uuid = ? ORDER BY name`, id); err != nil {
			return err
		}
	}
	return nil
}
