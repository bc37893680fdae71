package history

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/org/aml-train/internal/home"
)

//go:embed schema.sql
var schema string

// Store is the run history of one repository, in the folder .aml-train: a SQLite
// database in MLflow's schema, which MLflow itself opens and may bring to its own
// newest revision, and the artifacts beside it. Several processes may use it at
// the same time.
type Store struct {
	Home  string   // the folder, absolute
	Files *os.Root // the folder, through which all below it is reached
	db    *sql.DB
}

// database is the file's name in the folder.
const database = "history.db"

// Open opens the history in the folder dir, and creates it where it is not there.
func Open(dir string) (*Store, error) {
	h, err := home.Make(dir)
	if err != nil {
		return nil, err
	}
	return openHome(h)
}

// OpenExisting is Open for a command that only looks: it creates no history, and
// returns nil where there is none.
func OpenExisting(dir string) (*Store, error) {
	h, err := home.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := h.Stat(database); errors.Is(err, fs.ErrNotExist) {
		return nil, h.Close()
	}
	return openHome(h)
}

func openHome(h *home.Home) (*Store, error) {
	s := &Store{Home: h.Dir, Files: h.Root}
	if err := s.connect(); err != nil {
		return nil, errors.Join(fmt.Errorf("run history %s: %w", filepath.Join(h.Dir, database), explain(err)), h.Close())
	}
	return s, nil
}

func (s *Store) connect() (err error) {
	where := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(filepath.Join(s.Home, database)), "/")}
	where.RawQuery = url.Values{"_txlock": {"immediate"}, "_pragma": {
		// The three that MLflow sets on its own connections; a commit outlives a kill.
		"busy_timeout(20000)", "foreign_keys(1)", "case_sensitive_like(1)", "synchronous(NORMAL)",
		// What stands in the file is data, whoever wrote it.
		"trusted_schema(0)", "cell_size_check(1)",
	}}.Encode()
	if s.db, err = sql.Open("sqlite", where.String()); err != nil {
		return err
	}
	if err = patiently(s.migrate); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// Close releases the database and the folder.
func (s *Store) Close() error { return errors.Join(s.db.Close(), s.Files.Close()) }

// patiently tries again what failed because another process uses the database.
// SQLite itself waits as busy_timeout says, but not everywhere: turning the
// write-ahead log on and recovering it fail at once.
func patiently(f func() error) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		var e *sqlite.Error
		if !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(end) {
			return err
		}
	}
}

func explain(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			return fmt.Errorf("%w; the file is damaged: move it away, and a new one is started", err)
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			return fmt.Errorf("the run history cannot be written, most often because the disk or the quota is full; make room and run the command again: %w", err)
		}
	}
	return err
}

func (s *Store) migrate() error {
	// A write-ahead log, so that readers do not wait for a writer. The file
	// remembers it.
	var mode string
	if err := s.db.QueryRow(`PRAGMA journal_mode`).Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		if _, err := s.db.Exec(`PRAGMA journal_mode = WAL`); err != nil {
			return err
		}
	}
	return s.write(context.Background(), func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM sqlite_master WHERE name IN ('experiments', 'runs', 'alembic_version')`).Scan(&n); err != nil {
			return err
		}
		switch n {
		case 3:
			return checkSchema(tx)
		case 0:
		default:
			return errors.New("it is a database, but not MLflow's; move it away")
		}
		if _, err := tx.Exec(schema); err != nil {
			return err
		}
		now := time.Now().UnixMilli()
		_, err := tx.Exec(`INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)
			VALUES (0, 'Default', ?, 'active', ?, ?)`, s.location("0"), now, now)
		return err
	})
}

// write runs f in a transaction that takes the database's write lock at its
// start: one that is taken later can fail without waiting.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	return explain(patiently(func() error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := f(tx); err != nil {
			return err
		}
		return tx.Commit()
	}))
}

// location is the file: URL of an experiment's artifacts, as MLflow's own server
// needs it to find them.
func (s *Store) location(experiment string) string {
	p := filepath.ToSlash(filepath.Join(s.Home, artifactsDir, experiment))
	return (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(p, "/")}).String()
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// experimentID checks an experiment's id, which is an integer in the schema.
func experimentID(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id { // it becomes a folder's name
		return 0, notFound("No experiment with id=%s exists", id)
	}
	return n, nil
}

// CreateExperiment makes an experiment and returns its id.
func (s *Store) CreateExperiment(ctx context.Context, name, location string, tags []KeyValue) (string, error) {
	if name == "" || len(name) > 500 {
		return "", invalid("an experiment's name has 1 to 500 characters, not %d", len(name))
	}
	var id int64
	err := s.write(ctx, func(tx *sql.Tx) error {
		var stage string
		switch err := tx.QueryRow(`SELECT lifecycle_stage FROM experiments WHERE name = ?`, name).Scan(&stage); {
		case err == nil && stage == "deleted":
			return &Error{codeExists, fmt.Sprintf("Experiment %q exists and is archived; restore it, or choose another name", name)}
		case err == nil:
			return &Error{codeExists, fmt.Sprintf("Experiment(name=%s) already exists.", name)}
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		now := time.Now().UnixMilli()
		res, err := tx.Exec(`INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time) VALUES (?, ?, 'active', ?, ?)`, name, location, now, now)
		if err != nil {
			return err
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
		if location == "" {
			if _, err := tx.Exec(`UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?`, s.location(strconv.FormatInt(id, 10)), id); err != nil {
				return err
			}
		}
		for _, t := range tags {
			if _, err := tx.Exec(`INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)`, t.Key, t.Value, id); err != nil {
				return err
			}
		}
		return nil
	})
	return strconv.FormatInt(id, 10), err
}

const experimentColumns = `experiment_id, name, coalesce(artifact_location, ''), lifecycle_stage, coalesce(creation_time, 0), coalesce(last_update_time, 0)`

type scanner interface{ Scan(...any) error }

func scanExperiment(row scanner) (*Experiment, error) {
	e := &Experiment{}
	err := row.Scan(&e.ID, &e.Name, &e.Location, &e.LifecycleStage, &e.CreationTime, &e.LastUpdateTime)
	if err == nil {
		_, err = experimentID(e.ID)
	}
	return e, err
}

func (s *Store) experimentTags(ctx context.Context, e *Experiment) (err error) {
	e.Tags, err = s.pairs(ctx, `SELECT key, coalesce(value, '') FROM experiment_tags WHERE experiment_id = ? ORDER BY key`, e.ID)
	return err
}

func (s *Store) pairs(ctx context.Context, query string, args ...any) ([]KeyValue, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []KeyValue
	for rows.Next() {
		var kv KeyValue
		if err := rows.Scan(&kv.Key, &kv.Value); err != nil {
			return nil, err
		}
		out = append(out, kv)
	}
	return out, rows.Err()
}

// Experiment returns an experiment by its id.
func (s *Store) Experiment(ctx context.Context, id string) (*Experiment, error) {
	n, err := experimentID(id)
	if err != nil {
		return nil, err
	}
	e, err := scanExperiment(s.db.QueryRowContext(ctx, `SELECT `+experimentColumns+` FROM experiments WHERE experiment_id = ?`, n))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("No Experiment with id=%s exists", id)
	}
	if err != nil {
		return nil, err
	}
	return e, s.experimentTags(ctx, e)
}

// ExperimentByName returns an experiment by its name, archived ones included.
func (s *Store) ExperimentByName(ctx context.Context, name string) (*Experiment, error) {
	e, err := scanExperiment(s.db.QueryRowContext(ctx, `SELECT `+experimentColumns+` FROM experiments WHERE name = ?`, name))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("Could not find experiment with name '%s'", name)
	}
	if err != nil {
		return nil, err
	}
	return e, s.experimentTags(ctx, e)
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
	rows, err := s.db.QueryContext(ctx, `SELECT `+experimentColumns+` FROM experiments WHERE `+where+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(args, limit+1, offset)...)
	if err != nil {
		return nil, "", err
	}
	var out []*Experiment
	for rows.Next() {
		e, err := scanExperiment(rows)
		if err != nil {
			rows.Close()
			return nil, "", err
		}
		out = append(out, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, "", err
	}
	token := ""
	if len(out) > limit {
		out, token = out[:limit], strconv.Itoa(offset+limit)
	}
	for _, e := range out {
		if err := s.experimentTags(ctx, e); err != nil {
			return nil, "", err
		}
	}
	return out, token, nil
}

func (s *Store) updateExperiment(ctx context.Context, id, query string, args ...any) error {
	n, err := experimentID(id)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec(query, append(args, n)...)
		if err != nil {
			return err
		}
		if count, err := res.RowsAffected(); err == nil && count == 0 {
			return notFound("No Experiment with id=%s exists", id)
		}
		return err
	})
}

// RenameExperiment gives an experiment another name.
func (s *Store) RenameExperiment(ctx context.Context, id, name string) error {
	if name == "" {
		return invalid("an experiment's name is empty")
	}
	return s.updateExperiment(ctx, id, `UPDATE experiments SET name = ?, last_update_time = ? WHERE experiment_id = ?`, name, time.Now().UnixMilli())
}

// ArchiveExperiment hides an experiment and its runs from lists, or shows them
// again.
func (s *Store) ArchiveExperiment(ctx context.Context, id string, archived bool) error {
	stage, was := "deleted", "active"
	if !archived {
		stage, was = was, stage
	}
	now := time.Now().UnixMilli()
	if err := s.updateExperiment(ctx, id, `UPDATE experiments SET lifecycle_stage = ?, last_update_time = ? WHERE experiment_id = ?`, stage, now); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, `UPDATE runs SET lifecycle_stage = ?, deleted_time = CASE ? WHEN 'deleted' THEN ? END WHERE experiment_id = ? AND lifecycle_stage = ?`, stage, stage, now, id, was)
	return err
}

// SetExperimentTag sets a tag; DeleteExperimentTag removes it.
func (s *Store) SetExperimentTag(ctx context.Context, id string, tag KeyValue) error {
	if err := checkKey("tag", tag.Key, 250); err != nil {
		return err
	}
	if _, err := s.Experiment(ctx, id); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, `INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)`, tag.Key, tag.Value, id)
	return err
}

func (s *Store) DeleteExperimentTag(ctx context.Context, id, key string) error {
	return s.updateExperiment(ctx, id, `DELETE FROM experiment_tags WHERE key = ? AND experiment_id = ?`, key)
}

// NewRun is what a run starts with.
type NewRun struct {
	ID           string // "" for one of MLflow's kind, 32 hex digits
	ExperimentID string
	Name         string
	User         string
	Start        time.Time
	Tags         []KeyValue
	Status       string // MLflow's; "" is RUNNING
}

// ErrRunExists is CreateRun's answer to an id that is taken.
var ErrRunExists = errors.New("a run of that id exists")

// CreateRun makes a run.
func (s *Store) CreateRun(ctx context.Context, n NewRun) (*Run, error) {
	e, err := s.Experiment(ctx, n.ExperimentID)
	if err != nil {
		return nil, err
	}
	if e.LifecycleStage != "active" {
		return nil, &Error{codeState, fmt.Sprintf("The experiment %s must be in the 'active' state. Current state is deleted.", e.ID)}
	}
	id := n.ID
	if id == "" {
		id = newID()
	}
	if !ValidID(id) {
		return nil, invalid("a run's id holds letters, digits, -, _ and dots, the first a letter or digit, at most 255: %q", clip(id, 80))
	}
	name := n.Name
	for _, t := range n.Tags {
		if t.Key == TagDisplayName && name == "" {
			name = t.Value
		}
	}
	if name == "" {
		name = id
	}
	if n.Status == "" {
		n.Status = mlflowRunning
	}
	for _, t := range n.Tags {
		if err := checkTag(t); err != nil {
			return nil, err
		}
	}
	tags := append([]KeyValue{{TagDisplayName, name}}, n.Tags...)
	uri := strings.TrimSuffix(e.Location, "/") + "/" + path.Join(id, "artifacts")
	err = s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
			VALUES (?, ?, 'UNKNOWN', '', '', ?, ?, ?, '', 'active', ?, ?)`, id, name, n.User, n.Status, n.Start.UnixMilli(), uri, e.ID)
		var taken *sqlite.Error
		if errors.As(err, &taken) && taken.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return ErrRunExists
		}
		if err != nil {
			return err
		}
		return setTags(tx, id, tags)
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
	err := row.Scan(&i.RunID, &i.RunName, &i.ExperimentID, &i.UserID, &i.Status, &i.StartTime, &i.EndTime, &i.ArtifactURI, &i.LifecycleStage)
	i.RunUUID = i.RunID
	if err == nil && (!ValidID(i.RunID) || !validExperiment(i.ExperimentID)) {
		err = errStrange
	}
	return r, err
}

// Run returns a run with its last metrics, parameters, tags, inputs and outputs.
func (s *Store) Run(ctx context.Context, id string) (*Run, error) {
	r, err := scanRun(s.db.QueryRowContext(ctx, `SELECT `+runColumns+` FROM runs r WHERE r.run_uuid = ?`, id))
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, errStrange) {
		return nil, notFound("Run with id=%s not found", id)
	}
	if err != nil {
		return nil, err
	}
	return r, s.fill(ctx, r)
}

func (s *Store) fill(ctx context.Context, r *Run) (err error) {
	id := r.Info.RunID
	if r.Data.Metrics, err = s.metrics(ctx, `SELECT key, value, timestamp, step, is_nan FROM latest_metrics WHERE run_uuid = ? ORDER BY key`, id); err != nil {
		return err
	}
	if r.Data.Params, err = s.pairs(ctx, `SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key`, id); err != nil {
		return err
	}
	if r.Data.Tags, err = s.pairs(ctx, `SELECT key, coalesce(value, '') FROM tags WHERE run_uuid = ? ORDER BY key`, id); err != nil {
		return err
	}
	return s.fillInputs(ctx, r)
}

// UpdateRun sets what is not zero: MLflow's status, the end, the name.
func (s *Store) UpdateRun(ctx context.Context, id, status string, end time.Time, name string) (*Run, error) {
	switch status {
	case "", mlflowRunning, mlflowScheduled, mlflowFinished, mlflowFailed, mlflowKilled:
	default:
		return nil, invalid("Invalid run status %q", status)
	}
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := active(tx, id); err != nil {
			return err
		}
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
		if _, err := tx.Exec(`UPDATE runs SET name = ? WHERE run_uuid = ?`, name, id); err != nil {
			return err
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
// nearest and the reason; a terminal state ends the run.
func (s *Store) SetStatus(ctx context.Context, id string, status Status, reason string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		var now string
		if err := tx.QueryRow(`SELECT value FROM tags WHERE run_uuid = ? AND key = ?`, id, TagStatus).Scan(&now); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if Status(now).Terminal() {
			return ErrEnded
		}
		tags := []KeyValue{{TagStatus, string(status)}}
		if reason != "" {
			tags = append(tags, KeyValue{TagError, clip(reason, maxTagValue)})
		}
		if err := setTags(tx, id, tags); err != nil {
			return err
		}
		var end any
		if status.Terminal() {
			end = time.Now().UnixMilli()
		}
		_, err := tx.Exec(`UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?`, status.mlflow(), end, id)
		return err
	})
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}

// ArchiveRun hides a run from lists, or shows it again.
func (s *Store) ArchiveRun(ctx context.Context, id string, archived bool) error {
	stage, deleted := "active", any(nil)
	if archived {
		stage, deleted = "deleted", time.Now().UnixMilli()
	}
	res, err := s.db.ExecContext(ctx, `UPDATE runs SET lifecycle_stage = ?, deleted_time = ? WHERE run_uuid = ?`, stage, deleted, id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return notFound("Run with id=%s not found", id)
	}
	return nil
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
	rows, err := s.db.QueryContext(ctx, `SELECT `+runColumns+` FROM runs r WHERE `+where+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(args, limit+1, offset)...)
	if err != nil {
		return nil, "", err
	}
	var out []*Run
	for rows.Next() {
		r, err := scanRun(rows)
		if errors.Is(err, errStrange) {
			continue
		}
		if err != nil {
			rows.Close()
			return nil, "", err
		}
		out = append(out, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, "", err
	}
	token := ""
	if len(out) > limit {
		out, token = out[:limit], strconv.Itoa(offset+limit)
	}
	for _, r := range out {
		if err := s.fill(ctx, r); err != nil {
			return nil, "", err
		}
	}
	return out, token, nil
}

// Unfinished returns the ids of the runs on a target that have not ended.
func (s *Store) Unfinished(ctx context.Context, target string) ([]string, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT s.run_uuid FROM tags s JOIN tags t ON t.run_uuid = s.run_uuid AND t.key = ? AND t.value = ?
		WHERE s.key = ? AND s.value NOT IN (?, ?, ?, ?, ?)`, TagTarget, target, TagStatus, Completed, Failed, Canceled, NotResponding, Paused)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		if ValidID(id) {
			out = append(out, id)
		}
	}
	return out, rows.Err()
}

// CountRuns returns how many runs have an id that starts with prefix.
func (s *Store) CountRuns(ctx context.Context, prefix string) (n int, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM runs WHERE substr(run_uuid, 1, ?) = ?`, len(prefix), prefix).Scan(&n)
	return n, err
}
