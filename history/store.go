package history

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/org/aml-train/internal/debuglog"
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
	begin := time.Now()
	defer func() { debuglog.Step(begin, "run history %s opened", filepath.Join(h.Dir, database)) }()
	s := &Store{Home: h.Dir, Files: h.Root}
	if err := s.connect(); err != nil {
		return nil, errors.Join(fmt.Errorf("run history %s: %w", filepath.Join(h.Dir, database), explain(err)),
			h.Close())
	}
	return s, nil
}

func (s *Store) connect() (err error) {
	path := filepath.ToSlash(filepath.Join(s.Home, database))
	where := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(path, "/")}
	where.RawQuery = url.Values{"_txlock": {"immediate"}, "_pragma": {
		// The three that MLflow sets on its own connections; a commit outlives a kill.
		"busy_timeout(20000)", "foreign_keys(1)", "case_sensitive_like(1)", "synchronous(NORMAL)",
		// What stands in the file is data, whoever wrote it.
		"trusted_schema(0)", "cell_size_check(1)",
	}}.Encode()
	if s.db, err = sql.Open("sqlite", where.String()); err != nil {
		return err
	}
	if err = retryBusy(s.migrate); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// Close releases the database and the folder.
func (s *Store) Close() error { return errors.Join(s.db.Close(), s.Files.Close()) }

// retryBusy tries again what failed because another process uses the database.
// SQLite itself waits as busy_timeout says, but not everywhere: turning the
// write-ahead log on and recovering it fail at once.
func retryBusy(f func() error) error {
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
			return fmt.Errorf("the run history cannot be written, most often because the disk or the quota is full; "+
				"make room and run the command again: %w", err)
		}
	}
	return err
}

// indexes make the lookups of commands independent of the history's size. MLflow's schema
// has none of them, and MLflow does not mind them; a migration of its own may drop
// them. source_name, which MLflow no longer uses, holds the run whose script made a run.
const indexes = `
CREATE INDEX IF NOT EXISTS aml_train_newest ON runs (lifecycle_stage, source_name, start_time DESC, run_uuid);
CREATE INDEX IF NOT EXISTS aml_train_experiment ON runs (experiment_id, lifecycle_stage, source_name, start_time DESC,
	run_uuid);
CREATE INDEX IF NOT EXISTS aml_train_owner ON runs (source_name, start_time DESC, run_uuid);
UPDATE runs SET source_name = '' WHERE source_name IS NULL;
`

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
		if err := tx.QueryRow(`SELECT count(*) FROM sqlite_master WHERE name IN ('experiments', 'runs',
			'alembic_version')`).Scan(&n); err != nil {
			return err
		}
		switch n {
		case 3:
			if err := checkSchema(tx); err != nil {
				return err
			}
			_, err := tx.Exec(indexes)
			return err
		case 0:
		default:
			return errors.New("it is a database, but not MLflow's; move it away")
		}
		if _, err := tx.Exec(schema + indexes); err != nil {
			return err
		}
		now := time.Now().UnixMilli()
		_, err := tx.Exec(`INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage,
			creation_time, last_update_time)
			VALUES (0, 'Default', ?, 'active', ?, ?)`, s.location("0"), now, now)
		return err
	})
}

// write runs f in a transaction that takes the database's write lock at its
// start: one that is taken later can fail without waiting.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	return explain(retryBusy(func() error {
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

// location is the file: URL of an experiment's artifacts, as MLflow's own server needs
// it to find them. This program derives its paths from ids and never reads it back.
func (s *Store) location(experiment string) string {
	p := filepath.ToSlash(filepath.Join(s.Home, artifactsDir, experiment))
	return (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(p, "/")}).String()
}

// querier is the database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

type scanner interface{ Scan(...any) error }

// query returns what scan makes of every row, less those that are errStrange.
func query[T any](ctx context.Context, db querier, scan func(scanner) (T, error), query string,
	args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if errors.Is(err, errStrange) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// queryOne is query for one row; where there is none, the error is missing.
func queryOne[T any](ctx context.Context, db querier, missing error, scan func(scanner) (T, error), sql string,
	args ...any) (T, error) {
	list, err := query(ctx, db, scan, sql, args...)
	if err == nil && len(list) == 0 {
		err = missing
	}
	if err != nil {
		var none T
		return none, err
	}
	return list[0], nil
}

// value scans a row of one column.
func value[T any](row scanner) (v T, err error) {
	err = row.Scan(&v)
	return v, err
}

// cut takes the row off a page that only says that there is a next one.
func cut[T any](list []T, offset, limit int) ([]T, string) {
	if len(list) > limit {
		return list[:limit], strconv.Itoa(offset + limit)
	}
	return list, ""
}

// atATime is how many rows one statement names: enough that its parsing does not
// count, few enough for SQLite's limit of variables.
const atATime = 100

// insert adds rows, each of width columns, with statements of many rows; tail ends
// each statement.
func insert(tx *sql.Tx, into string, width int, args []any, tail string) error {
	row := "(?" + strings.Repeat(",?", width-1) + ")"
	for len(args) > 0 {
		n := min(len(args)/width, atATime)
		if _, err := tx.Exec(into+" VALUES "+row+strings.Repeat(","+row, n-1)+" "+tail, args[:n*width]...); err != nil {
			return err
		}
		args = args[n*width:]
	}
	return nil
}

// in returns "(?,?...)" for the values, and the values as arguments.
func in[T any](values []T) (string, []any) {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	return "(NULL" + strings.Repeat(",?", len(args)) + ")", args
}

// changed checks that a statement found what it was to change.
func changed(res sql.Result, err error, missing error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return missing
}
