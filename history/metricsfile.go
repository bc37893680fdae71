package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/org/aml-train/internal/size"
)

// MetricsFile is where a script that uses no tracking library reports metrics,
// relative to its working directory: a JSON object of numbers. Nested objects
// are flattened with "/", and a list is a series by step, from 0. The strings
// "NaN", "Infinity" and "-Infinity" and the bare words that Python's json.dump
// writes for them are numbers too; other values are left out.
const MetricsFile = "outputs/metrics.json"

// maxMetricsFile bounds what is read: a series of a million values takes 20 MB.
const maxMetricsFile = 256 << 20

// LogMetricsFile logs the metrics of a file for a run. What cannot be logged (a
// name that MLflow does not take, a text) is named in the warnings; a file that
// is no JSON object is an error that says where.
func (s *Store) LogMetricsFile(ctx context.Context, run string, r io.Reader) (warnings []string, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxMetricsFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", MetricsFile, err)
	}
	if len(text) > maxMetricsFile {
		return nil, fmt.Errorf("%s is over %s; log a series that long with MLflow while the script runs", MetricsFile, size.Format(maxMetricsFile))
	}
	metrics, warnings, err := parseMetrics(text)
	if err != nil {
		return nil, err
	}
	now := Int(time.Now().UnixMilli())
	for i := range metrics {
		metrics[i].Timestamp = now
	}
	for len(metrics) > 0 {
		n := min(len(metrics), maxBatchMetrics)
		if err := s.LogBatch(ctx, run, metrics[:n], nil, nil); err != nil {
			return warnings, err
		}
		metrics = metrics[n:]
	}
	return warnings, nil
}

// bare is what Python's json writes for numbers that JSON does not have, and how
// they are quoted. A string holds it only between quotes.
var bare = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b`)

func parseMetrics(text []byte) (metrics []Metric, warnings []string, err error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	text = bare.ReplaceAllFunc(text, func(b []byte) []byte {
		if b[0] == '"' {
			return b
		}
		return []byte(`"` + string(b) + `"`)
	})
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var root any
	if err := d.Decode(&root); err != nil {
		line := 1
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line += bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
		} else {
			line += bytes.Count(text, []byte("\n")) // it ends too early
		}
		return nil, nil, fmt.Errorf("%s:%d: not valid JSON: %v; write an object of numbers, such as {\"accuracy\": 0.97}", MetricsFile, line, err)
	}
	object, ok := root.(map[string]any)
	if !ok {
		return nil, nil, fmt.Errorf("%s:1: holds no object; write one such as {\"accuracy\": 0.97}", MetricsFile)
	}
	w := &metricsWalk{}
	w.object("", object)
	return w.metrics, w.warnings, nil
}

type metricsWalk struct {
	metrics  []Metric
	warnings []string
}

func (w *metricsWalk) warn(key, format string, args ...any) {
	if len(w.warnings) < 20 {
		w.warnings = append(w.warnings, fmt.Sprintf("%s: %q %s", MetricsFile, clip(key, 80), fmt.Sprintf(format, args...)))
	}
}

func (w *metricsWalk) object(prefix string, o map[string]any) {
	keys := make([]string, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		w.value(prefix+k, o[k])
	}
}

func (w *metricsWalk) value(key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if strings.Count(key, "/") > 50 {
			w.warn(key, "is nested too deeply")
			return
		}
		w.object(key+"/", v)
		return
	case []any:
		if err := checkKey("metric", key); err != nil {
			w.warn(key, "is no name for a metric: %v", err)
			return
		}
		left := 0
		for step, item := range v {
			if f, ok := float(item); ok {
				w.metrics = append(w.metrics, Metric{Key: key, Value: f, Step: Int(step)})
			} else if item != nil {
				left++
			}
		}
		if left > 0 {
			w.warn(key, "holds %d values that are no numbers", left)
		}
		return
	}
	f, ok := float(v)
	if !ok {
		if v != nil {
			w.warn(key, "is no number")
		}
		return
	}
	if err := checkKey("metric", key); err != nil {
		w.warn(key, "is no name for a metric: %v", err)
		return
	}
	w.metrics = append(w.metrics, Metric{Key: key, Value: f})
}

func float(v any) (Float, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return Float(f), err == nil || math.IsInf(f, 0)
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		switch v {
		case "NaN":
			return Float(math.NaN()), true
		case "Infinity":
			return Float(math.Inf(1)), true
		case "-Infinity":
			return Float(math.Inf(-1)), true
		}
	}
	return 0, false
}

// ReadMetricsFile is LogMetricsFile of the file among a run's artifacts, which need
// not be there.
func (s *Store) ReadMetricsFile(ctx context.Context, run *Run) ([]string, error) {
	f, err := openFile(s.Files, path.Join(run.ArtifactPath(), MetricsFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.LogMetricsFile(ctx, run.Info.RunID, f)
}
