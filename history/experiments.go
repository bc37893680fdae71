package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/org/aml-train/internal/clip"
)

// experimentID checks an experiment's id, which is an integer in the schema.
func experimentID(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id { // it becomes a folder's name
		return 0, notFound("No Experiment with id=%s exists", clip.Bytes(id, 60))
	}
	return n, nil
}

// checkExperimentName checks a name as MLflow does.
func checkExperimentName(name string) error {
	if name == "" {
		return invalid("Invalid experiment name: '%s'", name)
	}
	if n := utf8.RuneCountInString(name); n > maxExperimentName {
		return invalid("'name' exceeds the maximum length of %d characters", maxExperimentName)
	}
	return nil
}

// checkLocation refuses what MLflow's server refuses as a place of artifacts
// (mlflow/server/handlers.py). Any other that a client names is not used: the artifacts
// of this history lie in one place, and its clients reach them through its server.
func checkLocation(location string) error {
	u, err := url.Parse(location)
	query := ""
	if err == nil {
		query, err = url.QueryUnescape(u.RawQuery)
	}
	switch {
	case err != nil:
		return invalid("'artifact_location' is no URL: %v", err)
	case strings.ContainsAny(location, "#;"):
		return invalid("'artifact_location' URL can't include fragments or params.")
	case strings.Contains(query, ".."):
		return invalid("Invalid query string: %s", u.RawQuery)
	case strings.HasPrefix(location, "runs:"):
		return invalid("Artifact location cannot be a runs:/ URI. Given: '%s'", location)
	case len(location) > 2048:
		return invalid("'artifact_location' has %d characters; the most is 2048", len(location))
	}
	return nil
}

// NewExperiment is what an experiment starts with.
type NewExperiment struct {
	Name  string
	Tags  []KeyValue
	Owner string // the run whose script makes it, "" for a person
}

// CreateExperiment makes an experiment and returns its id.
func (s *Store) CreateExperiment(ctx context.Context, n NewExperiment) (string, error) {
	if err := checkExperimentName(n.Name); err != nil {
		return "", err
	}
	named := map[string]bool{}
	for _, t := range n.Tags {
		if err := checkExperimentTag(t); err != nil {
			return "", err
		}
		if named[t.Key] {
			return "", &Error{codeExists, fmt.Sprintf("Two tags of the experiment are named %s.", clip.Bytes(t.Key,
				60))}
		}
		named[t.Key] = true
	}
	if n.Owner != "" {
		n.Tags = append(n.Tags, KeyValue{tagOwner, n.Owner})
	}
	var id int64
	err := s.write(ctx, func(tx *sql.Tx) error {
		var stage string
		switch err := tx.QueryRow(`SELECT lifecycle_stage FROM experiments WHERE name = ?`, n.Name).Scan(&stage); {
		case err == nil && stage == "deleted":
			return &Error{codeExists, fmt.Sprintf("Experiment '%s' exists and is archived; restore it, or choose "+
				"another name", n.Name)}
		case err == nil:
			return &Error{codeExists, fmt.Sprintf("Experiment(name=%s) already exists.", n.Name)}
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		now := time.Now().UnixMilli()
		res, err := tx.Exec(`INSERT INTO experiments (name, lifecycle_stage, creation_time, last_update_time) VALUES
			(?, 'active', ?, ?)`, n.Name, now, now)
		if err != nil {
			return err
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?`,
			s.location(strconv.FormatInt(id, 10)), id); err != nil {
			return err
		}
		return setExperimentTags(tx, id, n.Tags)
	})
	return strconv.FormatInt(id, 10), err
}

func setExperimentTags(tx *sql.Tx, id int64, tags []KeyValue) error {
	var args []any
	for _, t := range tags {
		args = append(args, t.Key, t.Value, id)
	}
	return insert(tx, `INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id)`, 3, args, "")
}

func checkExperimentTag(t KeyValue) error {
	if err := checkKey("tag", t.Key); err != nil {
		return err
	}
	if utf8.RuneCountInString(t.Value) > maxExperimentTag {
		return invalid("'value' exceeds the maximum length of %d characters", maxExperimentTag)
	}
	return nil
}

const experimentColumns = `experiment_id, name, coalesce(artifact_location, ''), lifecycle_stage, coalesce(creation_time, 0), coalesce(last_update_time, 0)`

func scanExperiment(row scanner) (*Experiment, error) {
	e := &Experiment{}
	err := row.Scan(&e.ID, &e.Name, &e.Location, &e.LifecycleStage, &e.CreationTime, &e.LastUpdateTime)
	if err == nil && !validExperiment(e.ID) {
		err = errStrange
	}
	return e, err
}

// experiments runs a query of experiments and adds their tags.
func (s *Store) experiments(ctx context.Context, where string, args ...any) ([]*Experiment, error) {
	list, err := query(ctx, s.db, scanExperiment, `SELECT `+experimentColumns+` FROM experiments WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	byID := map[string]*Experiment{}
	for _, e := range list {
		byID[e.ID] = e
	}
	return list, eachOf(ctx, s.db, byID,
		`SELECT experiment_id, key, coalesce(value, '') FROM experiment_tags WHERE key != '`+tagOwner+
			`' AND experiment_id IN %s ORDER BY key`,
		func(row scanner) (id string, add func(*Experiment), err error) {
			var kv KeyValue
			err = row.Scan(&id, &kv.Key, &kv.Value)
			return id, func(e *Experiment) { e.Tags = append(e.Tags, kv) }, err
		})
}

// Experiment returns an experiment by its id.
func (s *Store) Experiment(ctx context.Context, id string) (*Experiment, error) {
	n, err := experimentID(id)
	if err != nil {
		return nil, err
	}
	return one(s.experiments(ctx, `experiment_id = ?`, n))(notFound("No Experiment with id=%s exists", id))
}

// ExperimentByName returns an experiment by its name, archived ones included.
func (s *Store) ExperimentByName(ctx context.Context, name string) (*Experiment, error) {
	return one(s.experiments(ctx, `name = ?`, name))(notFound("Could not find experiment with name '%s'",
		clip.Bytes(name, 500)))
}

// SearchExperiments returns a page of experiments and the token of the next one.
func (s *Store) SearchExperiments(ctx context.Context, q Query) ([]*Experiment, string, error) {
	where, args, err := experimentFilter(q)
	if err != nil {
		return nil, "", err
	}
	order, err := experimentOrder(q.OrderBy)
	if err != nil {
		return nil, "", err
	}
	offset, limit, err := q.page(1000, 50_000)
	if err != nil {
		return nil, "", err
	}
	list, err := s.experiments(ctx, where+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(args, limit+1, offset)...)
	if err != nil {
		return nil, "", err
	}
	list, token := cut(list, offset, limit)
	return list, token, nil
}

// changeExperiment runs f in a transaction, where the experiment exists.
func (s *Store) changeExperiment(ctx context.Context, id string,
	f func(tx *sql.Tx, id int64, stage string) error) error {
	n, err := experimentID(id)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		stage, err := queryOne(ctx, tx, notFound("No Experiment with id=%s exists", id), value[string],
			`SELECT lifecycle_stage FROM experiments WHERE experiment_id = ?`, n)
		if err != nil {
			return err
		}
		return f(tx, n, stage)
	})
}

// RenameExperiment gives an experiment another name.
func (s *Store) RenameExperiment(ctx context.Context, id, name string) error {
	if err := checkExperimentName(name); err != nil {
		return err
	}
	return s.changeExperiment(ctx, id, func(tx *sql.Tx, id int64, stage string) error {
		if stage != "active" {
			return invalid("Cannot rename a non-active experiment.")
		}
		other, err := query(ctx, tx, value[int64],
			`SELECT experiment_id FROM experiments WHERE name = ? AND experiment_id != ?`, name, id)
		if err != nil {
			return err
		}
		if len(other) > 0 {
			return &Error{codeExists, fmt.Sprintf("Experiment(name=%s) already exists.", name)}
		}
		_, err = tx.Exec(`UPDATE experiments SET name = ?, last_update_time = ? WHERE experiment_id = ?`, name,
			time.Now().UnixMilli(), id)
		return err
	})
}

// ArchiveExperiment hides an experiment and its runs from lists, or shows them
// again.
func (s *Store) ArchiveExperiment(ctx context.Context, id string, archived bool) error {
	to, from := "deleted", "active"
	if !archived {
		to, from = from, to
	}
	return s.changeExperiment(ctx, id, func(tx *sql.Tx, n int64, stage string) error {
		if stage != from {
			return notFound("No Experiment with id=%s exists that is %s", id, from)
		}
		now := time.Now().UnixMilli()
		if _, err := tx.Exec(`UPDATE experiments SET lifecycle_stage = ?, last_update_time = ? WHERE
			experiment_id = ?`, to, now, n); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE runs SET lifecycle_stage = ?, deleted_time = CASE ? WHEN 'deleted' THEN ? END
			WHERE experiment_id = ? AND lifecycle_stage = ?`, to, to, now, n, from)
		return err
	})
}

// SetExperimentTag sets a tag of an experiment that is not archived.
func (s *Store) SetExperimentTag(ctx context.Context, id string, tag KeyValue) error {
	if err := checkExperimentTag(tag); err != nil {
		return err
	}
	return s.changeExperiment(ctx, id, func(tx *sql.Tx, id int64, stage string) error {
		if stage != "active" {
			return invalid("The experiment %d must be in the 'active' state. Current state is %s.", id, stage)
		}
		return setExperimentTags(tx, id, []KeyValue{tag})
	})
}

// DeleteExperimentTag removes a tag of an experiment that is not archived.
func (s *Store) DeleteExperimentTag(ctx context.Context, id, key string) error {
	return s.changeExperiment(ctx, id, func(tx *sql.Tx, n int64, stage string) error {
		if stage != "active" {
			return invalid("The experiment %d must be in the 'active' state. Current state is %s.", n, stage)
		}
		res, err := tx.Exec(`DELETE FROM experiment_tags WHERE key = ? AND experiment_id = ?`, key, n)
		return changed(res, err, notFound("No tag with name: %s in experiment with id %s", key, id))
	})
}

// experimentOwner returns the run whose script made an experiment, "" for a person or a
// job, and whether it has runs that are not that run's.
func (s *Store) experimentOwner(ctx context.Context, id string) (owner string, shared bool, err error) {
	n, err := experimentID(id)
	if err != nil {
		return "", false, err
	}
	err = s.db.QueryRowContext(ctx, `SELECT coalesce(o.value, ''), EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id
		= e.experiment_id AND r.source_name IS NOT o.value)
		FROM experiments e LEFT JOIN experiment_tags o ON o.experiment_id = e.experiment_id AND o.key = ? WHERE
			e.experiment_id = ?`, tagOwner, n).Scan(&owner, &shared)
	if errors.Is(err, sql.ErrNoRows) {
		err = notFound("No Experiment with id=%s exists", id)
	}
	return owner, shared, err
}
