package judge

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/org/aml-train/internal/suggest"
)

// Run is what rules can ask of one run.
type Run struct {
	// Metrics are the values of each metric, in the order of their steps.
	Metrics map[string][]float64
	// Duration is in seconds, Cost in USD; NaN where it is not known.
	Duration, Cost float64
}

// Question is a change, what it is compared with, and what is asked of it.
type Question struct {
	// This are the change's runs, one or repeats; Base those of what it is compared with,
	// of one commit.
	This, Base []Run
	Seeded     bool // the base's runs have different seeds
	// Most is set where runs of the change were added until its verdict was decided, that
	// many at most. This has them in the order in which they were made.
	Most  int
	Rules []Rule
	// Strict breaks a rule that cannot be judged because the base lacks runs.
	Strict bool
	// Metrics are judged beside those of the rules.
	Metrics []string
	// Directions are those that are known other than from rules and names.
	Directions map[string]Direction
}

// Outcome is what became of a rule. A neutral one could not be judged.
type Outcome struct {
	Rule            Rule
	Passed, Neutral bool
	// Value and Limit are what was compared; NaN where there was nothing.
	Value, Limit float64
	// Message says how far the value is from the limit, or why there was nothing to judge.
	Message string
}

// judged is a metric, and which value of its series counts.
type judged struct {
	name  string
	point Point
}

// Judge compares the metrics that are asked for, and checks the rules. All metrics are one family:
// the more there are, the larger is a difference that counts (Alpha). findings has a Finding for
// each metric, outcomes an Outcome for each rule, in their order.
func Judge(q Question) (findings []Finding, outcomes []Outcome) {
	var family []judged
	add := func(j judged) {
		if !slices.Contains(family, j) {
			family = append(family, j)
		}
	}
	for _, r := range q.Rules {
		if r.Operator == "" {
			add(judged{r.Metric, r.Point})
		}
	}
	for _, name := range q.Metrics {
		if !slices.ContainsFunc(family, func(j judged) bool { return j.name == name }) {
			add(judged{name, Point{Of: "last"}})
		}
	}
	metrics := make([]Metric, len(family))
	for i, j := range family {
		r := Rule{Metric: j.name, Quoted: true, Point: j.point}
		metrics[i] = Metric{j.name, q.direction(j.name), q.values(r, q.This), q.values(r, q.Base)}
	}
	if q.Most > 0 {
		findings = CompareAdded(metrics, q.Seeded, len(q.This), q.Most)
	} else {
		findings = Compare(metrics, q.Seeded)
	}
	for _, r := range q.Rules {
		var o Outcome
		if r.Operator == "" {
			o = q.notWorse(r, findings[slices.Index(family, judged{r.Metric, r.Point})])
		} else {
			o = q.within(r)
		}
		if o.Neutral && q.Strict {
			o.Neutral, o.Message = false, o.Message+", and strict asks for it"
		}
		outcomes = append(outcomes, o)
	}
	return findings, outcomes
}

// direction is that of a metric: as it is given, as a rule limits it, or as its name says.
func (q *Question) direction(name string) Direction {
	if d, ok := q.Directions[name]; ok {
		return d
	}
	for _, r := range q.Rules {
		switch {
		case r.Metric != name || r.Operator == "":
		case r.Operator[0] == '>':
			return HigherIsBetter
		default:
			return LowerIsBetter
		}
	}
	return DirectionOf(name)
}

// values are what the rule judges of each run that has it.
func (q *Question) values(r Rule, runs []Run) (values []float64) {
	for _, run := range runs {
		switch series := run.Metrics[r.Metric]; {
		case !r.Quoted && r.Metric == Duration:
			if !math.IsNaN(run.Duration) {
				values = append(values, run.Duration)
			}
		case !r.Quoted && r.Metric == Cost:
			if !math.IsNaN(run.Cost) {
				values = append(values, run.Cost)
			}
		case len(series) > 0:
			values = append(values, q.point(r, series))
		}
	}
	return values
}

// point is the value of a series that counts.
func (q *Question) point(r Rule, series []float64) float64 {
	of := r.Point.Of
	if of == "best" {
		switch q.direction(r.Metric) {
		case HigherIsBetter:
			of = "max"
		case LowerIsBetter:
			of = "min"
		default:
			return math.NaN()
		}
	}
	switch of {
	case "min", "max": // of the numbers: one NaN among a thousand losses is not the smallest
		series = slices.DeleteFunc(slices.Clone(series), math.IsNaN)
		switch {
		case len(series) == 0:
			return math.NaN()
		case of == "min":
			return slices.Min(series)
		}
		return slices.Max(series)
	case "mean":
		if n := r.Point.Window; n > 0 && n < len(series) {
			series = series[len(series)-n:]
		}
		return Mean(series)
	}
	return series[len(series)-1]
}

// within judges a rule with a limit.
func (q *Question) within(r Rule) Outcome {
	o := Outcome{Rule: r, Value: math.NaN(), Limit: math.NaN()}
	values, base := q.values(r, q.This), q.values(r, q.Base)
	if len(values) < len(q.This) || len(values) == 0 {
		o.Message, o.Neutral = q.lacks(r), !r.Quoted && r.Metric == Cost
		return o
	}
	o.Value, o.Limit = Mean(values), r.Number
	if r.OfBaseline {
		if len(base) == 0 {
			o.Neutral, o.Message = true, "there is no completed run to compare with that has "+r.Metric
			return o
		}
		of := Mean(base)
		o.Limit = of*r.Factor + math.Abs(of)*r.Percent/100 + r.Number
	}
	switch r.Operator {
	case ">=":
		o.Passed = o.Value >= o.Limit
	case "<=":
		o.Passed = o.Value <= o.Limit
	case ">":
		o.Passed = o.Value > o.Limit
	case "<":
		o.Passed = o.Value < o.Limit
	}
	side := "above"
	if o.Value < o.Limit {
		side = "below"
	}
	o.Message = fmt.Sprintf("%s is %s, %s %s the limit of %s",
		r.Metric, r.number(o.Value), r.number(math.Abs(o.Value-o.Limit)), side, r.number(o.Limit))
	switch {
	case o.Value == o.Limit:
		o.Message = fmt.Sprintf("%s is %s, which is the limit", r.Metric, r.number(o.Value))
	case math.IsNaN(o.Value - o.Limit):
		o.Message = fmt.Sprintf("%s is %s, and the limit %s", r.Metric, r.number(o.Value), r.number(o.Limit))
	}
	return o
}

// notWorse judges a rule that asks for no worse beyond noise.
func (q *Question) notWorse(r Rule, f Finding) Outcome {
	o := Outcome{Rule: r, Value: math.NaN(), Limit: math.NaN()}
	if len(f.This) < len(q.This) || len(f.This) == 0 {
		o.Message = q.lacks(r)
		return o
	}
	o.Value = Mean(f.This)
	if base := finite(f.Base); len(base) > 0 {
		o.Limit = Mean(base)
	}
	compared := fmt.Sprintf("%s is %s, and %s before", r.Metric, r.number(o.Value), r.number(o.Limit))
	if len(f.Base) > 1 {
		compared += " on average"
	}
	switch f.Verdict {
	case Worse:
		o.Message = compared + ": worse beyond noise"
	case Better:
		o.Passed, o.Message = true, compared+": better beyond noise"
	case Same:
		o.Passed, o.Message = true, compared+": within noise"
	case Undecided:
		n := len(finite(f.Base))
		o.Neutral, o.Message = true, fmt.Sprintf("cannot be judged: of the base %d completed %s, and %d are needed",
			n, plural(n, "run has "+r.Metric, "runs have "+r.Metric), LeastRuns)
		if f.NoSpread {
			o.Message = fmt.Sprintf("cannot be judged: %s is %s in all %d runs of the base, which shows no noise; "+
				"give the job an input seed, and its runs different ones", r.Metric, number(f.Base[0]), n)
		}
	default:
		o.Neutral, o.Message = true, "there is no completed run to compare with that has "+r.Metric
		if f.Direction == NoDirection {
			o.Message = fmt.Sprintf("it is not known whether a higher %s is better", r.Metric)
		}
	}
	return o
}

// lacks says that the run does not have what the rule names, which breaks it.
func (q *Question) lacks(r Rule) string {
	if !r.Quoted && r.Metric == Cost {
		return "the price of the compute target is not known; prices in .aml-train.yaml says it"
	}
	if !r.Quoted && r.Metric == Duration {
		return "the run's duration is not known"
	}
	known := map[string]bool{}
	for _, run := range q.This {
		for name := range run.Metrics {
			known[name] = true
		}
	}
	hint := suggest.DidYouMean(r.Metric, slices.Sorted(maps.Keys(known)))
	return fmt.Sprintf("the run has no metric %s%s", r.Metric, hint)
}

func plural(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// number is a value with the unit that the rule's limit has.
func (r Rule) number(v float64) string {
	switch {
	case !r.Quoted && r.Metric == Duration && math.Abs(v) < 1e9:
		return time.Duration(v * float64(time.Second)).Round(time.Millisecond).String()
	case !r.Quoted && r.Metric == Cost:
		return strconv.FormatFloat(v, 'f', 2, 64) + " USD"
	}
	return number(v)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
