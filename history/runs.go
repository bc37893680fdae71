package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/hexid"
)

// NewRun is what a run starts with.
type NewRun struct {
	ID           string // "" for one of MLflow's kind, 32 hex digits
	ExperimentID string
	Name         string
	User         string
	Start        time.Time
	Tags         []KeyValue
	Status       string // MLflow's; "" is RUNNING
	Owner        string // the run whose script makes it, or the sweep that it is a trial of
}

// ErrRunExists is CreateRun's answer to an id that is taken.
var ErrRunExists = errors.New("a run of that id exists")

// name is what the run is called, which its tags say too.
func (n NewRun) name(id string) (string, error) {
	name := n.Name
	for _, t := range n.Tags {
		switch {
		case t.Key != TagDisplayName || t.Value == "":
		case name == "":
			name = t.Value
		case name != t.Value:
			return "", invalid("Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different "+
				"values (run_name='%s', mlflow.runName='%s').", name, t.Value)
		}
	}
	if name == "" {
		name = id
	}
	return name, nil
}

// owner is the run that a new one belongs to: who made it, else its parent.
func (n NewRun) owner() string {
	if n.Owner != "" {
		return n.Owner
	}
	parent := ""
	for _, t := range n.Tags {
		switch t.Key {
		case TagTarget:
			return "" // it was submitted
		case TagParent:
			parent = t.Value
		}
	}
	return parent
}

// CreateRun makes a run.
func (s *Store) CreateRun(ctx context.Context, n NewRun) (*Run, error) {
	id := n.ID
	if id == "" {
		id = hexid.New(32)
	}
	if !ValidID(id) {
		return nil, invalid("a run's id holds letters, digits, -, _ and dots, the first a letter or digit, at most "+
			"255: %q", clip.Bytes(id, 80))
	}
	if n.Status == "" {
		n.Status = mlflowRunning
	}
	err := s.changeExperiment(ctx, n.ExperimentID, func(tx *sql.Tx, experiment int64, stage string) error {
		if stage != "active" {
			return invalid("The experiment %d must be in the 'active' state. Current state is %s.", experiment, stage)
		}
		name, err := n.name(id)
		if err != nil {
			return err
		}
		uri := s.location(fmt.Sprint(experiment)) + "/" + path.Join(id, "artifacts")
		_, err = tx.Exec(`INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id,
			status, start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
			VALUES (?, ?, 'UNKNOWN', ?, '', ?, ?, ?, '', 'active', ?, ?)`, id, name, n.owner(), n.User, n.Status,
			n.Start.UnixMilli(), uri, experiment)
		var taken *sqlite.Error
		if errors.As(err, &taken) && taken.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return ErrRunExists
		}
		if err != nil {
			return err
		}
		// MLflow takes the tags of a new run as they are.
		return setTags(tx, id, append([]KeyValue{{TagDisplayName, name}}, n.Tags...))
	})
	if err != nil {
		return nil, err
	}
	return s.Run(ctx, id)
}

const runColumns = `r.run_uuid, coalesce(r.name, ''), r.experiment_id, coalesce(r.user_id, ''), coalesce(r.status, ''), coalesce(r.start_time, 0), coalesce(r.end_time, 0), coalesce(r.artifact_uri, ''), coalesce(r.lifecycle_stage, '')`

func scanRun(row scanner) (*Run, error) {
	r := &Run{}
	i := &r.Info
	err := row.Scan(&i.RunID, &i.RunName, &i.ExperimentID, &i.UserID, &i.Status, &i.StartTime, &i.EndTime,
		&i.ArtifactURI, &i.LifecycleStage)
	i.RunUUID = i.RunID
	if err == nil && (!ValidID(i.RunID) || !validExperiment(i.ExperimentID)) {
		err = errStrange
	}
	return r, err
}

// one returns the only element of a list, or the error that there is none.
func one[T any](list []*T, err error) func(missing error) (*T, error) {
	return func(missing error) (*T, error) {
		if err == nil && len(list) == 0 {
			err = missing
		}
		if err != nil {
			return nil, err
		}
		return list[0], nil
	}
}

// Run returns a run with its last metrics, parameters, tags, inputs and outputs.
func (s *Store) Run(ctx context.Context, id string) (*Run, error) {
	return one(s.runs(ctx, `r.run_uuid = ?`, id))(notFound("Run with id=%s not found", clip.Bytes(id, 60)))
}

// runs runs a query of runs and adds what was logged, with as many statements for a
// thousand runs as for one.
func (s *Store) runs(ctx context.Context, where string, args ...any) ([]*Run, error) {
	list, err := query(ctx, s.db, scanRun, `SELECT `+runColumns+` FROM runs r WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	byID := map[string]*Run{}
	for _, r := range list {
		byID[r.Info.RunID] = r
	}
	pair := func(to func(*Run) *[]KeyValue) func(scanner) (string, func(*Run), error) {
		return func(row scanner) (id string, add func(*Run), err error) {
			var kv KeyValue
			err = row.Scan(&id, &kv.Key, &kv.Value)
			return id, func(r *Run) { *to(r) = append(*to(r), kv) }, err
		}
	}
	return list, errors.Join(
		eachOf(ctx, s.db, byID, `SELECT run_uuid, key, value, timestamp, step, is_nan FROM latest_metrics WHERE
			run_uuid IN %s ORDER BY key`,
			func(row scanner) (id string, add func(*Run), err error) {
				m, err := scanMetric(row, &id)
				return id, func(r *Run) { r.Data.Metrics = append(r.Data.Metrics, m) }, err
			}),
		eachOf(ctx, s.db, byID, `SELECT run_uuid, key, value FROM params WHERE run_uuid IN %s ORDER BY key`,
			pair(func(r *Run) *[]KeyValue { return &r.Data.Params })),
		eachOf(ctx, s.db, byID, `SELECT run_uuid, key, coalesce(value, '') FROM tags WHERE run_uuid IN %s ORDER BY key`,
			pair(func(r *Run) *[]KeyValue { return &r.Data.Tags })),
		s.fillInputs(ctx, byID))
}

// change runs f in a transaction, where the run exists and is not archived.
func (s *Store) change(ctx context.Context, run string, f func(*sql.Tx) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		stage, err := queryOne(ctx, tx, notFound("Run with id=%s not found", clip.Bytes(run, 60)), value[string],
			`SELECT lifecycle_stage FROM runs WHERE run_uuid = ?`, run)
		if err == nil && stage != "active" {
			err = invalid("The run %s must be in the 'active' state. Current state is %s.", run, stage)
		}
		if err != nil {
			return err
		}
		return f(tx)
	})
}

// UpdateRun sets what is not zero: MLflow's status, the end, the name.
func (s *Store) UpdateRun(ctx context.Context, id, status string, end time.Time, name string) (*Run, error) {
	switch status {
	case "", mlflowRunning, mlflowScheduled, mlflowFinished, mlflowFailed, mlflowKilled:
	default:
		return nil, invalid("Invalid run status '%s'", clip.Bytes(status, 60))
	}
	err := s.change(ctx, id, func(tx *sql.Tx) error {
		if status != "" {
			if _, err := tx.Exec(`UPDATE runs SET status = ? WHERE run_uuid = ?`, status, id); err != nil {
				return err
			}
		}
		if !end.IsZero() {
			if _, err := tx.Exec(`UPDATE runs SET end_time = ? WHERE run_uuid = ?`, end.UnixMilli(), id); err != nil {
				return err
			}
		}
		if name == "" {
			return nil
		}
		return setTags(tx, id, []KeyValue{{TagDisplayName, name}})
	})
	if err != nil {
		return nil, err
	}
	return s.Run(ctx, id)
}

// ErrEnded is SetStatus's answer for a run that has ended: it stays as it ended.
var ErrEnded = errors.New("the run has ended already")

// SetStatus records a run's state in Azure ML's words, and with it MLflow's
// nearest and the reason. A terminal state ends the run, and with it the runs that its
// script made and did not end.
func (s *Store) SetStatus(ctx context.Context, id string, status Status, reason string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		now, err := query(ctx, tx, value[string], `SELECT value FROM tags WHERE run_uuid = ? AND key = ?`,
			id, TagStatus)
		if err != nil {
			return err
		}
		if len(now) > 0 && Status(now[0]).Terminal() {
			return ErrEnded
		}
		tags := []KeyValue{{TagStatus, string(status)}}
		if reason != "" {
			tags = append(tags, KeyValue{TagError, clip.Bytes(reason, MaxTagValue)})
		}
		if err := setTags(tx, id, tags); err != nil {
			return err
		}
		var end any
		if status.Terminal() {
			end = time.Now().UnixMilli()
			if _, err := tx.Exec(`UPDATE runs SET status = ?, end_time = ? WHERE source_name = ? AND status IN
				('RUNNING', 'SCHEDULED')`, status.mlflow(), end, id); err != nil {
				return err
			}
		}
		_, err = tx.Exec(`UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?`, status.mlflow(), end, id)
		return err
	})
}

// Reopen lets a run that has ended go on.
func (s *Store) Reopen(ctx context.Context, id string) error {
	return s.change(ctx, id, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM tags WHERE run_uuid = ? AND key IN (?, ?)`, id, TagError,
			TagWarnings); err != nil {
			return err
		}
		if err := setTags(tx, id, []KeyValue{{TagStatus, string(Preparing)}}); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE runs SET status = ?, end_time = NULL WHERE run_uuid = ?`, Preparing.mlflow(), id)
		return err
	})
}

// Trials returns the runs that a sweep made, but for those that are archived.
func (s *Store) Trials(ctx context.Context, sweep string) ([]*Run, error) {
	list, _, err := s.SearchRuns(ctx, Query{Owner: sweep, MaxResults: 50_000})
	return list, err
}

// ArchiveRun hides a run from lists, or shows it again.
func (s *Store) ArchiveRun(ctx context.Context, id string, archived bool) error {
	stage, deleted := "active", any(nil)
	if archived {
		stage, deleted = "deleted", time.Now().UnixMilli()
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec(`UPDATE runs SET lifecycle_stage = ?, deleted_time = ? WHERE run_uuid = ?`,
			stage, deleted, id)
		return changed(res, err, notFound("Run with id=%s not found", clip.Bytes(id, 60)))
	})
}

// SearchRuns returns a page of runs and the token of the next one.
func (s *Store) SearchRuns(ctx context.Context, q Query) ([]*Run, string, error) {
	where, order, args, err := runQuery(q)
	if err != nil {
		return nil, "", err
	}
	offset, limit, err := q.page(1000, 50_000)
	if err != nil {
		return nil, "", err
	}
	list, err := s.runs(ctx, where+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(args, limit+1, offset)...)
	if err != nil {
		return nil, "", err
	}
	list, token := cut(list, offset, limit)
	return list, token, nil
}

// Unfinished returns the ids of the runs on a target that have not ended.
func (s *Store) Unfinished(ctx context.Context, target string) ([]string, error) {
	return query(ctx, s.db, scanID, `SELECT s.run_uuid FROM tags s JOIN tags t ON t.run_uuid = s.run_uuid AND t.key =
		? AND t.value = ?
		WHERE s.key = ? AND s.value NOT IN (?, ?, ?, ?, ?)`, TagTarget, target, TagStatus, Completed, Failed, Canceled,
		NotResponding, Paused)
}

func scanID(row scanner) (id string, err error) {
	if err = row.Scan(&id); err == nil && !ValidID(id) {
		err = errStrange
	}
	return id, err
}

// CountRuns returns how many runs that were submitted have an id that starts with prefix.
func (s *Store) CountRuns(ctx context.Context, prefix string) (int, error) {
	where, args := startsWith(prefix)
	n, err := query(ctx, s.db, value[int],
		`SELECT count(*) FROM runs r WHERE coalesce(r.source_name, '') = '' AND `+where, args...)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// startsWith is a condition on the run's id that its index answers.
func startsWith(prefix string) (string, []any) {
	return `r.run_uuid >= ? AND r.run_uuid < ?`, []any{prefix, prefix + "\U0010FFFF"}
}

// Owner returns the run whose script made a run, "" for one that was submitted.
func (s *Store) Owner(ctx context.Context, run string) (string, error) {
	return queryOne(ctx, s.db, notFound("Run with id=%s not found", clip.Bytes(run, 60)), value[string],
		`SELECT coalesce(source_name, '') FROM runs WHERE run_uuid = ?`, run)
}

// eachOf runs a query, in which %s stands for a list of ids, for the elements of a map,
// a number of them at a time. scan returns the id of a row and what it adds to its
// element.
func eachOf[T any](ctx context.Context, db querier, all map[string]*T, sql string,
	scan func(scanner) (string, func(*T), error)) error {
	ids := slices.Sorted(maps.Keys(all))
	for part := range slices.Chunk(ids, 500) {
		list, args := in(part)
		if _, err := query(ctx, db, func(row scanner) (struct{}, error) {
			id, add, err := scan(row)
			if e := all[id]; err == nil && e != nil {
				add(e)
			}
			return struct{}{}, err
		}, fmt.Sprintf(sql, list), args...); err != nil {
			return err
		}
	}
	return nil
}
