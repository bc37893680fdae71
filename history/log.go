package history

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/org/aml-train/internal/clip"
)

// Limits of MLflow (mlflow/utils/validation.py), in characters. A script that stays
// within them here does so on every server.
const (
	maxKey            = 250
	maxParamValue     = 6000
	MaxTagValue       = 8000 // of a tag of a run
	maxExperimentName = 500
	maxExperimentTag  = 20_000
	maxBatchMetrics   = 1000
	maxBatchParams    = 100
	maxBatchEntities  = 1000
	maxDatasets       = 1000
)

// validKey tells whether a name is made of what MLflow takes
// (mlflow/utils/validation.py).
func validKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("/_.- :", r)
	})
}

// checkKey checks the name of a metric, parameter or tag as MLflow does: its length, and as
// checkName.
func checkKey(what, key string) error {
	if err := checkName(what, key); err != nil {
		return err
	}
	if utf8.RuneCountInString(key) > maxKey {
		return invalid("%s name '%s...' exceeds the maximum length of %d characters", what, clip.Bytes(key, 60), maxKey)
	}
	return nil
}

// checkName checks the letters of a name, and that it is a path which leads nowhere else.
func checkName(what, key string) error {
	switch {
	case key == "":
		return invalid("Missing value for required parameter 'key' of a %s", what)
	case !validKey(key):
		return invalid("Invalid %s name: '%s'. Names may only contain alphanumerics, underscores (_), dashes (-), "+
			"periods (.), spaces ( ), colon(:) and slashes (/).", what, clip.Bytes(key, maxKey))
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return invalid("Invalid %s name: '%s'. Names may be treated as files in certain cases, and must not "+
				"resolve to other names when treated as such.", what, clip.Bytes(key, maxKey))
		}
	}
	return nil
}

// cleanTags checks tags, and cuts off what is too long of a value, as MLflow does. Of
// two with one name the later holds.
func cleanTags(tags []KeyValue) ([]KeyValue, error) {
	return cleanPairs("tag", tags, MaxTagValue)
}

func cleanPairs(what string, pairs []KeyValue, most int) ([]KeyValue, error) {
	out := make([]KeyValue, len(pairs))
	for i, p := range pairs {
		if err := checkKey(what, p.Key); err != nil {
			return nil, err
		}
		out[i] = KeyValue{p.Key, firstRunes(p.Value, most)}
	}
	return out, nil
}

// firstRunes is the beginning of a text: at most n characters.
func firstRunes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

func checkBatch(metrics []Metric, params, tags []KeyValue) error {
	for _, l := range []struct {
		what    string
		n, most int
	}{{"metrics", len(metrics), maxBatchMetrics}, {"params", len(params), maxBatchParams}, {"tags", len(tags),
		maxBatchParams},
		{"metrics, params, and tags", len(metrics) + len(params) + len(tags), maxBatchEntities}} {
		if l.n > l.most {
			return invalid("A batch logging request can contain at most %d %s. Got %d %s. Please split up %s across "+
				"multiple requests and try again.", l.most, l.what, l.n, l.what, l.what)
		}
	}
	for i := range metrics {
		if err := checkKey("metric", metrics[i].Key); err != nil {
			return err
		}
		if metrics[i].Timestamp < 0 {
			return invalid("Invalid timestamp %d of metric '%s'. Timestamp must be a nonnegative long (64-bit "+
				"integer)", metrics[i].Timestamp, metrics[i].Key)
		}
	}
	seen := map[string]bool{}
	for _, p := range params {
		if seen[p.Key] {
			return invalid("Duplicate parameter keys have been submitted: ['%s']. Please ensure the request contains "+
				"only one param value per param key.", p.Key)
		}
		seen[p.Key] = true
	}
	return nil
}

// LogBatch logs metrics, parameters and tags of a run, all of them or none.
func (s *Store) LogBatch(ctx context.Context, run string, metrics []Metric, params, tags []KeyValue) error {
	if err := checkBatch(metrics, params, tags); err != nil {
		return err
	}
	params, err := cleanPairs("parameter", params, maxParamValue)
	if err != nil {
		return err
	}
	if tags, err = cleanTags(tags); err != nil {
		return err
	}
	return s.change(ctx, run, func(tx *sql.Tx) error {
		if err := setParams(tx, run, params); err != nil {
			return err
		}
		if err := insertMetrics(tx, run, metrics); err != nil {
			return err
		}
		if err := modelMetrics(ctx, tx, run, metrics); err != nil {
			return err
		}
		return setTags(tx, run, tags)
	})
}

// setParams sets parameters. MLflow's parameters never change.
func setParams(tx *sql.Tx, run string, params []KeyValue) error {
	var args []any
	for _, p := range params {
		args = append(args, p.Key, p.Value, run)
	}
	if err := insert(tx, `INSERT OR IGNORE INTO params (key, value, run_uuid)`, 3, args, ""); err != nil {
		return err
	}
	for _, p := range params {
		var now string
		if err := tx.QueryRow(`SELECT value FROM params WHERE run_uuid = ? AND key = ?`, run,
			p.Key).Scan(&now); err != nil {
			return err
		}
		if now != p.Value {
			return invalid("Changing param values is not allowed. Param with key='%s' was already logged with "+
				"value='%s' for run ID='%s'. Attempted logging new value '%s'.", p.Key,
				clip.Bytes(now, 500), run, clip.Bytes(p.Value, 500))
		}
	}
	return nil
}

// setTags sets tags. That of the display name is the run's name.
func setTags(tx *sql.Tx, run string, tags []KeyValue) error {
	var args []any
	name := ""
	for _, t := range tags {
		if t.Key == TagDisplayName {
			if t.Value == "" { // MLflow keeps the name that there is
				continue
			}
			name = t.Value
		}
		args = append(args, t.Key, t.Value, run)
	}
	if err := insert(tx, `INSERT INTO tags (key, value, run_uuid)`, 3, args,
		`ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value`); err != nil || name == "" {
		return err
	}
	_, err := tx.Exec(`UPDATE runs SET name = ? WHERE run_uuid = ?`, name, run)
	return err
}

// SetTags sets tags of a run.
func (s *Store) SetTags(ctx context.Context, run string, tags ...KeyValue) error {
	return s.LogBatch(ctx, run, nil, nil, tags)
}

// DeleteTag removes a tag of a run.
func (s *Store) DeleteTag(ctx context.Context, run, key string) error {
	return s.change(ctx, run, func(tx *sql.Tx) error {
		res, err := tx.Exec(`DELETE FROM tags WHERE run_uuid = ? AND key = ?`, run, key)
		return changed(res, err, notFound("No tag with name: %s in run with id %s", clip.Bytes(key, maxKey), run))
	})
}

// tag returns a tag's value, "" where the run has none of that name.
func (s *Store) tag(ctx context.Context, run, key string) (string, error) {
	list, err := query(ctx, s.db, value[string],
		`SELECT coalesce(value, '') FROM tags WHERE run_uuid = ? AND key = ?`, run, key)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[0], nil
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

// insertMetrics adds values; one that is there already, to the last field, is not
// added again. The last value of a metric is the one with the greatest step, then
// time, then value.
func insertMetrics(tx *sql.Tx, run string, metrics []Metric) error {
	latest := map[string]*Metric{}
	var all, last []any
	for i := range metrics {
		m := &metrics[i]
		v, nan := column(m.Value)
		all = append(all, m.Key, v, int64(m.Timestamp), run, int64(m.Step), nan)
		if l := latest[m.Key]; l == nil || later(m, l) {
			latest[m.Key] = m
		}
	}
	if err := insert(tx, `INSERT OR IGNORE INTO metrics (key, value, timestamp, run_uuid, step, is_nan)`, 6, all,
		""); err != nil {
		return err
	}
	for _, m := range latest {
		v, nan := column(m.Value)
		last = append(last, m.Key, v, int64(m.Timestamp), int64(m.Step), nan, run)
	}
	return insert(tx, `INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)`, 6, last,
		`ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
		WHERE (excluded.step, excluded.timestamp, excluded.value) > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)`)
}

// later compares as the schema does, where NaN is a zero.
func later(a, b *Metric) bool {
	if a.Step != b.Step {
		return a.Step > b.Step
	}
	if a.Timestamp != b.Timestamp {
		return a.Timestamp > b.Timestamp
	}
	x, _ := column(a.Value)
	y, _ := column(b.Value)
	return x > y
}

// scanMetric reads key, value, timestamp, step, is_nan, after what stands before them.
func scanMetric(row scanner, before ...any) (m Metric, err error) {
	var v float64
	var nan bool
	err = row.Scan(append(before, &m.Key, &v, &m.Timestamp, &m.Step, &nan)...)
	m.Value = fromColumn(v, nan)
	return m, err
}

// MetricHistory returns a page of a metric's values by time, step and value, and the
// token of the next page. limit 0 is 25,000 values, the most of one page.
func (s *Store) MetricHistory(ctx context.Context, run, key, token string, limit int) ([]Metric, string, error) {
	offset, limit, err := Query{PageToken: token, MaxResults: limit}.page(25_000, 25_000)
	if err != nil {
		return nil, "", err
	}
	list, err := query(ctx, s.db, func(row scanner) (Metric, error) { return scanMetric(row) },
		`SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY timestamp, step, value LIMIT ? OFFSET ?`, run, key, limit+1, offset)
	if err != nil {
		return nil, "", err
	}
	list, next := cut(list, offset, limit)
	return list, next, nil
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
	err := s.db.QueryRowContext(ctx,
		`SELECT count(*), count(*) - total(`+finite+`), min(CASE WHEN `+finite+` THEN step END), max(CASE WHEN `+finite+` THEN step END) FROM metrics WHERE run_uuid = ? AND key = ?`, run, key).
		Scan(&c.Count, &c.Gaps, &least, &most)
	if err != nil || !least.Valid {
		return c, err
	}
	width := bucket(least.Int64, most.Int64, points)
	c.Points, err = query(ctx, s.db, scanPoint,
		`SELECT min(step), avg(value) FROM metrics WHERE run_uuid = ? AND key = ? AND `+finite+` GROUP BY (step - ?) / ? ORDER BY 1`, run, key, least.Int64, width)
	return c, err
}

// Series returns every value of a metric in the order of its steps.
func (s *Store) Series(ctx context.Context, run, key string) ([]float64, error) {
	return query(ctx, s.db, func(row scanner) (float64, error) {
		var v float64
		var nan bool
		err := row.Scan(&v, &nan)
		return float64(fromColumn(v, nan)), err
	}, `SELECT value, is_nan FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step, timestamp, value`, run, key)
}

func scanPoint(row scanner) (p Point, err error) {
	err = row.Scan(&p.Step, &p.Value)
	return p, err
}
