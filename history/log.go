package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
)

// Limits of MLflow (mlflow/utils/validation.py). A script that stays within them
// here does so on every server.
const (
	maxKey           = 250
	maxParamValue    = 6000
	maxTagValue      = 8000
	maxBatchMetrics  = 1000
	maxBatchParams   = 100
	maxBatchEntities = 1000
)

// validKey tells whether a name is made of what MLflow takes
// (mlflow/utils/validation.py).
func validKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("/_.- :", r)
	})
}

// checkKey checks the name of a metric, parameter or tag as MLflow does: its
// letters, and that it is a path which leads nowhere else.
func checkKey(what, key string, most int) error {
	switch {
	case key == "":
		return invalid("Missing value for required parameter 'key' of a %s", what)
	case len(key) > most:
		return invalid("%s name '%s...' is %d characters long; the most is %d", what, clip(key, 60), len(key), most)
	case !validKey(key):
		return invalid("Invalid %s name: '%s'. Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).", what, key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return invalid("Invalid %s name: '%s'. Names may be treated as files in certain cases, and must not resolve to other names when treated as such.", what, key)
		}
	}
	return nil
}

// active checks that a run exists and is not archived.
func active(tx *sql.Tx, run string) error {
	var stage string
	err := tx.QueryRow(`SELECT lifecycle_stage FROM runs WHERE run_uuid = ?`, run).Scan(&stage)
	if errors.Is(err, sql.ErrNoRows) {
		return notFound("Run with id=%s not found", run)
	}
	if err == nil && stage != "active" {
		return &Error{codeState, fmt.Sprintf("The run %s must be in the 'active' state. Current state is %s.", run, stage)}
	}
	return err
}

// LogBatch logs metrics, parameters and tags of a run, all of them or none.
func (s *Store) LogBatch(ctx context.Context, run string, metrics []Metric, params, tags []KeyValue) error {
	switch n := len(metrics) + len(params) + len(tags); {
	case len(metrics) > maxBatchMetrics:
		return invalid("A batch logging request can contain at most %d metrics. Got %d metrics. Please split up metrics across multiple requests and try again.", maxBatchMetrics, len(metrics))
	case len(params) > maxBatchParams || len(tags) > maxBatchParams:
		return invalid("A batch logging request can contain at most %d params and %d tags. Got %d and %d. Please split them up across multiple requests and try again.", maxBatchParams, maxBatchParams, len(params), len(tags))
	case n > maxBatchEntities:
		return invalid("A batch logging request can contain at most %d values. Got %d. Please split them up across multiple requests and try again.", maxBatchEntities, n)
	}
	for i := range metrics {
		if err := checkKey("metric", metrics[i].Key, maxKey); err != nil {
			return err
		}
	}
	seen := map[string]string{}
	for _, p := range params {
		if err := checkKey("parameter", p.Key, maxKey); err != nil {
			return err
		}
		if len(p.Value) > maxParamValue {
			return invalid("Param value '%s' had length %d, which exceeded length limit of %d", clip(p.Value, 60), len(p.Value), maxParamValue)
		}
		if old, ok := seen[p.Key]; ok && old != p.Value {
			return invalid("Duplicate parameter keys have been submitted: %s", p.Key)
		}
		seen[p.Key] = p.Value
	}
	for _, t := range tags {
		if err := checkTag(t); err != nil {
			return err
		}
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := active(tx, run); err != nil {
			return err
		}
		if err := insertMetrics(tx, run, metrics); err != nil {
			return err
		}
		if err := s.modelMetrics(tx, run, metrics); err != nil {
			return err
		}
		for _, p := range params {
			if err := setParam(tx, run, p); err != nil {
				return err
			}
		}
		return setTags(tx, run, tags)
	})
}

func checkTag(t KeyValue) error {
	if err := checkKey("tag", t.Key, maxKey); err != nil {
		return err
	}
	if len(t.Value) > maxTagValue {
		return invalid("Tag value '%s' had length %d, which exceeded length limit of %d", clip(t.Value, 60), len(t.Value), maxTagValue)
	}
	return nil
}

// setParam sets a parameter. MLflow's parameters never change.
func setParam(tx *sql.Tx, run string, p KeyValue) error {
	var old string
	switch err := tx.QueryRow(`SELECT value FROM params WHERE run_uuid = ? AND key = ?`, run, p.Key).Scan(&old); {
	case errors.Is(err, sql.ErrNoRows):
		_, err = tx.Exec(`INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)`, p.Key, p.Value, run)
		return err
	case err != nil:
		return err
	case old != p.Value:
		return invalid("Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for run ID='%s'. Attempted logging new value '%s'.", p.Key, old, run, p.Value)
	}
	return nil
}

func setTags(tx *sql.Tx, run string, tags []KeyValue) error {
	for _, t := range tags {
		if _, err := tx.Exec(`INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?) ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value`, t.Key, t.Value, run); err != nil {
			return err
		}
		if t.Key == TagDisplayName {
			if _, err := tx.Exec(`UPDATE runs SET name = ? WHERE run_uuid = ?`, t.Value, run); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetTags sets tags of a run.
func (s *Store) SetTags(ctx context.Context, run string, tags ...KeyValue) error {
	return s.LogBatch(ctx, run, nil, nil, tags)
}

// DeleteTag removes a tag of a run.
func (s *Store) DeleteTag(ctx context.Context, run, key string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := active(tx, run); err != nil {
			return err
		}
		res, err := tx.Exec(`DELETE FROM tags WHERE run_uuid = ? AND key = ?`, run, key)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err == nil && n == 0 {
			return notFound("No tag with name: %s in run with id %s", key, run)
		}
		return nil
	})
}

// column is a metric's value as MLflow's schema holds it: NaN as zero with a
// flag, the infinities as the largest doubles.
func column(v Float) (float64, bool) {
	switch f := float64(v); {
	case math.IsNaN(f):
		return 0, true
	case math.IsInf(f, 0):
		return math.Copysign(math.MaxFloat64, f), false
	default:
		return f, false
	}
}

func fromColumn(v float64, nan bool) Float {
	switch {
	case nan:
		return Float(math.NaN())
	case math.Abs(v) == math.MaxFloat64:
		return Float(math.Inf(int(math.Copysign(1, v))))
	}
	return Float(v)
}

// rowsPerInsert is how many rows one INSERT holds: enough that its parsing does
// not count, few enough for SQLite's limit of variables.
const rowsPerInsert = 100

// insertMetrics adds values; one that is there already, to the last field, is not
// added again. The last value of a metric is the one with the greatest step, then
// time, then value.
func insertMetrics(tx *sql.Tx, run string, metrics []Metric) error {
	latest := map[string]*Metric{}
	for start := 0; start < len(metrics); start += rowsPerInsert {
		part := metrics[start:min(start+rowsPerInsert, len(metrics))]
		args := make([]any, 0, len(part)*6)
		for i := range part {
			m := &part[i]
			v, nan := column(m.Value)
			args = append(args, m.Key, v, int64(m.Timestamp), run, int64(m.Step), nan)
			if l := latest[m.Key]; l == nil || later(m, l) {
				latest[m.Key] = m
			}
		}
		query := `INSERT OR IGNORE INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,?,?)` +
			strings.Repeat(`,(?,?,?,?,?,?)`, len(part)-1)
		if _, err := tx.Exec(query, args...); err != nil {
			return err
		}
	}
	for _, m := range latest {
		v, nan := column(m.Value)
		if _, err := tx.Exec(`INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?,?,?,?,?,?)
			ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
			WHERE (excluded.step, excluded.timestamp, excluded.value) > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)`,
			m.Key, v, int64(m.Timestamp), int64(m.Step), nan, run); err != nil {
			return err
		}
	}
	return nil
}

func later(a, b *Metric) bool {
	if a.Step != b.Step {
		return a.Step > b.Step
	}
	if a.Timestamp != b.Timestamp {
		return a.Timestamp > b.Timestamp
	}
	return a.Value > b.Value
}

func (s *Store) metrics(ctx context.Context, query string, args ...any) ([]Metric, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Metric
	for rows.Next() {
		var m Metric
		var v float64
		var nan bool
		if err := rows.Scan(&m.Key, &v, &m.Timestamp, &m.Step, &nan); err != nil {
			return nil, err
		}
		m.Value = fromColumn(v, nan)
		out = append(out, m)
	}
	return out, rows.Err()
}

// MetricHistory returns a page of a metric's values by step, and the token of the
// next page. limit 0 is 25,000 values, the most of one page.
func (s *Store) MetricHistory(ctx context.Context, run, key, token string, limit int) ([]Metric, string, error) {
	offset, limit, err := Query{PageToken: token, MaxResults: limit}.page(25_000, 25_000)
	if err != nil {
		return nil, "", err
	}
	out, err := s.metrics(ctx, `SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step, timestamp, value LIMIT ? OFFSET ?`, run, key, limit+1, offset)
	if err != nil {
		return nil, "", err
	}
	if len(out) > limit {
		return out[:limit], fmt.Sprint(offset + limit), nil
	}
	return out, "", nil
}

// bucket is how many steps become one point of a curve.
func bucket(first, last int64, points int) int64 {
	return max((last-first)/int64(max(points, 1))+1, 1)
}

// Curve returns a metric over its steps, drawn together to at most points
// values. The database does the arithmetic, so that a metric with a million
// values costs no memory here.
func (s *Store) Curve(ctx context.Context, run, key string, points int) (Curve, error) {
	var c Curve
	var least, most sql.NullInt64
	finite := `is_nan = 0 AND abs(value) < 1.7976931348623157e308`
	err := s.db.QueryRowContext(ctx, `SELECT count(*), count(*) - total(`+finite+`), min(CASE WHEN `+finite+` THEN step END), max(CASE WHEN `+finite+` THEN step END) FROM metrics WHERE run_uuid = ? AND key = ?`, run, key).
		Scan(&c.Count, &c.Gaps, &least, &most)
	if err != nil || !least.Valid {
		return c, err
	}
	width := bucket(least.Int64, most.Int64, points)
	rows, err := s.db.QueryContext(ctx, `SELECT min(step), avg(value) FROM metrics WHERE run_uuid = ? AND key = ? AND `+finite+` GROUP BY (step - ?) / ? ORDER BY 1`, run, key, least.Int64, width)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		var p Point
		if err := rows.Scan(&p.Step, &p.Value); err != nil {
			return c, err
		}
		c.Points = append(c.Points, p)
	}
	return c, rows.Err()
}
