package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/judge"
)

// unfolded is how many metrics are shown before the rest is folded away.
const unfolded = 8

// judged are the metrics by which people usually judge a model, and parts what it is
// usually measured on, the most telling first.
var (
	judged = []string{"accuracy", "acc", "f1", "f1_score", "auc", "roc_auc", "r2", "r2_score", "map", "bleu",
		"score", "mae", "rmse", "mse", "error", "loss"}
	parts = []string{"test_", "test/", "val_", "val/", "eval_", "eval/", "", "training_", "train_", "train/"}
)

// metrics are those of the run, the key ones first: those that the job or the settings
// name, in their order, then those by which a model is usually judged, then by name.
func (r *Report) metrics() []history.Metric {
	out := slices.Clone(r.Run.Data.Metrics)
	rank := map[string]int{}
	for _, m := range out {
		rank[m.Key] = r.rank(m.Key)
	}
	slices.SortFunc(out, func(a, b history.Metric) int {
		return cmp.Or(cmp.Compare(rank[a.Key], rank[b.Key]), strings.Compare(a.Key, b.Key))
	})
	return out
}

func (r *Report) rank(key string) int {
	if i := slices.Index(r.Key, key); i >= 0 {
		return i
	}
	rank := len(r.Key)
	for _, name := range judged {
		for _, part := range parts {
			if strings.EqualFold(key, part+name) {
				return rank
			}
			rank++
		}
	}
	return rank
}

// Headline is the metric that stands in the heading, the first of them.
func (r *Report) Headline() (history.Metric, bool) {
	if metrics := r.metrics(); len(metrics) > 0 {
		return metrics[0], true
	}
	return history.Metric{}, false
}

// broken is the metric that makes a result none: a key metric, or one that people want
// small, whose last value is no finite number.
func (r *Report) broken() (history.Metric, bool) {
	headline, _ := r.Headline()
	for _, m := range r.metrics() {
		telling := m.Key == headline.Key || slices.Contains(r.Key, m.Key) ||
			judge.DirectionOf(m.Key) == judge.LowerIsBetter
		if v := float64(m.Value); telling && (math.IsNaN(v) || math.IsInf(v, 0)) {
			return m, true
		}
	}
	return history.Metric{}, false
}

// noMetrics says how a run gets some.
const noMetrics = "No metrics: a script reports them by writing outputs/metrics.json, such as " +
	`{"accuracy": 0.9}, or with MLflow's log_metric, which finds the run by itself.`

// silent tells whether a run came to its end and measured nothing.
func (r *Report) silent() bool {
	return len(r.Run.Data.Metrics)+len(r.Children) == 0 && r.Run.Status() == history.Completed
}

// Verdict is what a change of a metric means: beyond or within noise where that is judged,
// else only better or worse, and "" where that is not known.
func (r *Report) Verdict(name string, now, before float64) string {
	if r.Judgement != nil {
		for _, f := range r.Judgement.Findings {
			switch {
			case f.Name != name:
			case f.Verdict == judge.Better, f.Verdict == judge.Worse:
				return string(f.Verdict) + " beyond noise"
			case f.Verdict == judge.Same:
				return "within noise"
			}
		}
	}
	switch d := judge.DirectionOf(name); {
	case d == judge.NoDirection || !(now > before || now < before):
		return ""
	case (now > before) == (d == judge.HigherIsBetter):
		return "better"
	}
	return "worse"
}

// change is Change with what it means.
func (r *Report) change(name string, now, before float64) string {
	return strings.TrimSpace(Change(now, before) + " " + r.Verdict(name, now, before))
}

// metricTables shows the key metrics, and folds the rest where there are many.
func (r *Report) metricTables(b *strings.Builder, metrics []history.Metric) {
	if len(metrics) == 0 {
		return
	}
	shown, rest := metrics, metrics[:0]
	if len(metrics) > unfolded {
		n := unfolded
		if len(r.Key) > 0 { // those are what is wanted
			n = 0
			for n < unfolded && slices.Contains(r.Key, metrics[n].Key) {
				n++
			}
			n = cmp.Or(n, unfolded)
		}
		shown, rest = metrics[:n], metrics[n:]
	}
	b.WriteString("\n" + r.metricTable(shown))
	if len(rest) > 0 {
		fmt.Fprintf(b, "\n<details><summary>%s more</summary>\n\n%s\n</details>\n",
			size.Count(len(rest), "metric"), r.metricTable(rest))
	}
}

// metricTable is a table of metrics. What no row has is no column.
func (r *Report) metricTable(metrics []history.Metric) string {
	type column struct{ head, align string }
	columns := []column{{"metric", "---"}, {r.thisHead("value"), "--:"}}
	if r.Base != nil {
		columns[1].head = r.thisHead("this run")
		columns = append(columns, column{r.baseHead(), "--:"}, column{"change", "--:"}, column{"", "---"})
	}
	columns = append(columns, column{"", "---"})
	used := make([]bool, len(columns))
	var rows [][]string
	for _, m := range metrics {
		now := r.now(m.Key)
		row := []string{Escape(m.Key), "**" + Number(now.Mean) + "**" + now.spread()}
		if before, ok := r.before(m.Key); ok {
			row = append(row, before.String(), Change(now.Mean, before.Mean),
				r.Verdict(m.Key, now.Mean, before.Mean))
		} else if r.Base != nil {
			row = append(row, "", "", "")
		}
		curve := Sparkline(r.Curves[m.Key].Points, 12)
		if curve != "" {
			curve = "`" + curve + "`"
		}
		for i, cell := range append(row, curve) {
			used[i] = used[i] || cell != ""
		}
		rows = append(rows, append(row, curve))
	}
	var b strings.Builder
	line := func(cell func(i int) string) {
		b.WriteString("|")
		for i := range columns {
			if used[i] {
				b.WriteString(cell(i) + "|")
			}
		}
		b.WriteString("\n")
	}
	spaced := func(s string) string { return strings.TrimRight(" "+s, " ") + " " }
	line(func(i int) string { return spaced(columns[i].head) })
	line(func(i int) string { return columns[i].align })
	for _, row := range rows {
		line(func(i int) string { return spaced(row[i]) })
	}
	return b.String()
}
