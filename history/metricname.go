package history

import (
	"context"
	"strings"
	"time"
	"unicode"
)

// MetricName returns the name nearest to one that MLflow takes for a metric: every other
// sign becomes "_", parts of the path that lead nowhere go, and so does what is too long.
// It is "" where nothing is left.
func MetricName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsNumber(r) || strings.ContainsRune("/_.- :", r) {
			return r
		}
		return '_'
	}, name)
	parts := strings.Split(name, "/")
	kept := parts[:0]
	for _, p := range parts {
		if p != "" && p != "." && p != ".." {
			kept = append(kept, p)
		}
	}
	name = strings.Join(kept, "/")
	if r := []rune(name); len(r) > maxKey {
		name = strings.TrimRight(string(r[:maxKey]), "/")
	}
	if checkKey("metric", name) != nil { // cutting may leave a part that is "." or ".."
		return ""
	}
	return name
}

// LogMetrics logs any number of metrics of a run. Those without a time get this one.
func (s *Store) LogMetrics(ctx context.Context, run string, metrics []Metric) error {
	now := Int(time.Now().UnixMilli())
	for i := range metrics {
		if metrics[i].Timestamp == 0 {
			metrics[i].Timestamp = now
		}
	}
	for len(metrics) > 0 {
		n := min(len(metrics), maxBatchMetrics)
		if err := s.LogBatch(ctx, run, metrics[:n], nil, nil); err != nil {
			return err
		}
		metrics = metrics[n:]
	}
	return nil
}
