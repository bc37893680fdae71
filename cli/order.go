package cli

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/local"
)

// runOrder is in which order runs are listed: by a field, or by a metric or parameter. Runs
// without a value come last, and of equal ones the newest first.
type runOrder struct {
	field            string // "" for a metric or parameter
	metric, param    string
	greatestToLeast  bool
	attributeOfStore string // by which the history on this machine orders fields
}

// mostSorted is how many runs are looked at where the place where they are cannot order
// them: the newest ones.
const mostSorted = 10_000

// sortFields are what runs can be ordered by, and the history's name for each, "" where it
// has none.
var sortFields = map[string]string{"run": "run_id", "status": "", "started": "start_time", "took": "",
	"experiment": "", "name": ""}

// readOrder reads a key of --sort.
func readOrder(key string) (o runOrder, err error) {
	name, descending := strings.CutPrefix(key, "-")
	o.greatestToLeast = descending
	if name == "" {
		return o, mistake.Errorf("--sort %q names nothing to order by; it takes a metric, or run, status, started, "+
			"took, experiment or name", key)
	}
	var known bool
	if o.attributeOfStore, known = sortFields[name]; known {
		o.field = name
		return o, nil
	}
	if param, ok := strings.CutPrefix(name, "params."); ok {
		o.param = param
		return o, nil
	}
	o.metric = strings.TrimPrefix(name, "metrics.")
	return o, nil
}

// query is the order as a target's history takes it; ok is false where it cannot, and all
// runs have to be looked at. A workspace orders by the start alone (learn.microsoft.com,
// "Query & compare experiments and runs with MLflow": metrics and parameters are not
// supported in order_by).
func (o runOrder) query(t submit.Target) (by []string, ok bool) {
	_, here := t.(*local.Target)
	way := " ASC"
	if o.greatestToLeast {
		way = " DESC"
	}
	switch {
	case o.field == "started" && o.greatestToLeast:
		return nil, true // as they come
	case !here:
		return nil, false
	case o.attributeOfStore != "":
		return []string{"attributes." + o.attributeOfStore + way}, true
	case o.metric != "" && !strings.Contains(o.metric, "`"):
		return []string{"metrics.`" + o.metric + "`" + way}, true
	}
	return nil, false
}

// sort puts runs into the order.
func (o runOrder) sort(runs []listed) {
	slices.SortStableFunc(runs, func(a, b listed) int {
		newest := cmp.Or(cmp.Compare(b.Info.StartTime, a.Info.StartTime), strings.Compare(a.Info.RunID, b.Info.RunID))
		x, y := o.value(a), o.value(b)
		switch {
		case x == nil && y == nil:
			return newest
		case x == nil:
			return 1
		case y == nil:
			return -1
		}
		by := compareValues(x, y)
		if o.greatestToLeast {
			by = -by
		}
		return cmp.Or(by, newest)
	})
}

// unmet says that no run has the metric or parameter that they should be ordered by; "" where
// one does.
func (o runOrder) unmet(runs []listed) string {
	if o.field != "" || len(runs) == 0 || slices.ContainsFunc(runs, func(l listed) bool { return o.value(l) != nil }) {
		return ""
	}
	var metrics, params []string
	for _, l := range runs {
		for _, m := range l.Data.Metrics {
			metrics = append(metrics, m.Key)
		}
		for _, p := range l.Data.Params {
			params = append(params, p.Key)
		}
	}
	if o.metric != "" {
		return "none of these runs has a metric of that name" + suggest.DidYouMean(o.metric, metrics)
	}
	return "none of these runs has a parameter of that name" + suggest.DidYouMean(o.param, params)
}

// value is what a run is ordered by, a float64 or a string; nil for none.
func (o runOrder) value(l listed) any {
	text := ""
	switch {
	case o.metric != "":
		if v, ok := l.Metric(o.metric); ok && !math.IsNaN(v) {
			return v
		}
		return nil
	case o.param != "":
		for _, p := range l.Data.Params {
			if p.Key == o.param {
				text = p.Value
			}
		}
	case o.field == "started":
		return float64(l.Info.StartTime)
	case o.field == "took" && l.Ended().IsZero():
		return float64(time.Since(l.Started()).Milliseconds())
	case o.field == "took":
		return float64(l.Info.EndTime - l.Info.StartTime)
	case o.field == "run":
		text = l.Info.RunID
	case o.field == "status":
		text = string(l.Status())
	case o.field == "experiment":
		text = l.experiment
	case o.field == "name":
		text = l.Run.DisplayName()
	}
	if text == "" {
		return nil
	}
	return text
}

// compareValues compares numbers as such, also where they are written as text, and puts
// them before other texts.
func compareValues(x, y any) int {
	a, an := number(x)
	b, bn := number(y)
	switch {
	case an && bn:
		return cmp.Compare(a, b)
	case an:
		return -1
	case bn:
		return 1
	}
	return strings.Compare(x.(string), y.(string))
}

// number reads a value that is one, or the text of one.
func number(v any) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	f, err := strconv.ParseFloat(v.(string), 64)
	return f, err == nil && !math.IsNaN(f)
}
