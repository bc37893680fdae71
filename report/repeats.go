package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/judge"
)

// Value is what runs that repeat each other measured of a metric.
type Value struct {
	Mean      float64 // NaN where none has it
	Deviation float64 // the standard deviation between them, 0 of one
	Runs      int     // that have it
	of        int     // as many runs there are
}

// valueOf is that of a run, or of those that repeat it where they are known.
func valueOf(run *history.Run, repeats []*history.Run, key string) Value {
	if len(repeats) == 0 {
		repeats = []*history.Run{run}
	}
	var values []float64
	for _, r := range repeats {
		if v, ok := r.Metric(key); ok {
			values = append(values, v)
		}
	}
	v := Value{Mean: math.NaN(), Runs: len(values), of: len(repeats)}
	switch len(values) {
	case 0:
	case 1:
		v.Mean = values[0]
	default:
		v.Mean, v.Deviation = judge.MeanDeviation(values)
	}
	return v
}

// String writes it for people: "0.951 ± 0.004", and behind it how many runs have it where
// some do not; "" where none has it.
func (v Value) String() string {
	if v.Runs == 0 {
		return ""
	}
	return Number(v.Mean) + v.spread()
}

func (v Value) spread() string {
	text := ""
	if v.Runs > 1 && !math.IsNaN(v.Deviation) {
		text = " ± " + significant(v.Deviation)
	}
	if v.Runs < v.of {
		text += fmt.Sprintf(" (%s)", size.Count(v.Runs, "run"))
	}
	return text
}

// Compared is a metric on both sides of a comparison.
type Compared struct {
	Name       string
	This, Base Value
}

// Both tells whether both sides have it.
func (c Compared) Both() bool { return c.This.Runs > 0 && c.Base.Runs > 0 }

// Compared are all metrics of both sides, by name.
func (r *Report) Compared() (out []Compared) {
	var names []string
	for _, run := range append([]*history.Run{r.Run, r.Base}, append(slices.Clone(r.Repeats), r.BaseRepeats...)...) {
		for _, m := range run.Data.Metrics {
			names = append(names, m.Key)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		out = append(out, Compared{name, r.now(name), valueOf(r.Base, r.BaseRepeats, name)})
	}
	return out
}

// now is what counts of a metric: its value, of several runs the mean.
func (r *Report) now(key string) Value { return valueOf(r.Run, r.Repeats, key) }

// before is the same of what the run is compared with.
func (r *Report) before(key string) (Value, bool) {
	if r.Base == nil {
		return Value{}, false
	}
	v := valueOf(r.Base, r.BaseRepeats, key)
	return v, v.Runs > 0
}

// thisHead heads the column of what is reported, and baseHead that of its base.
func (r *Report) thisHead(one string) string {
	if n := len(r.Repeats); n > 1 {
		return "mean of " + size.Count(n, "run")
	}
	return one
}

func (r *Report) baseHead() string {
	if n := len(r.BaseRepeats); n > 1 {
		return label(r.BaseName) + ", " + size.Count(n, "run")
	}
	return label(r.BaseName)
}

// cost says what the run has cost, of several what all have; "" where that is not known.
func (r *Report) cost() string {
	if r.Cost == nil {
		return ""
	}
	text := fmt.Sprintf("%.2f USD", *r.Cost)
	if *r.Cost > 0 && *r.Cost < 0.005 {
		text = "less than 0.01 USD"
	}
	if n := len(r.Repeats); n > 1 {
		text += " for " + size.Count(n, "run")
	}
	return text
}

// repeatsMarkdown is the table of the runs that repeat the reported one, "" where it is the
// only one.
func (r *Report) repeatsMarkdown() string {
	if len(r.Repeats) < 2 {
		return ""
	}
	t := r.table(r.Repeats)
	return fmt.Sprintf("\n<details><summary>%s with different seeds</summary>\n\n%s\n</details>\n",
		size.Count(len(r.Repeats), "run"), t.markdown())
}

// repeatsText is the same for a terminal.
func (r *Report) repeatsText() string {
	if len(r.Repeats) < 2 {
		return ""
	}
	return fmt.Sprintf("\n  mean of %s:\n", size.Count(len(r.Repeats), "run")) + r.table(r.Repeats).text()
}

// Sides says which runs the two sides of a comparison are, a line each where there are
// several, and what can be said of them; for a terminal.
func (r *Report) Sides(width int) string {
	var b strings.Builder
	for _, side := range []struct {
		run  *history.Run
		runs []*history.Run
	}{{r.Run, r.Repeats}, {r.Base, r.BaseRepeats}} {
		if len(side.runs) < 2 {
			continue
		}
		ids := make([]string, len(side.runs))
		for i, run := range side.runs {
			ids[i] = Line(run.Info.RunID)
		}
		b.WriteString(wrap(fmt.Sprintf("%s stands for %s: %s", Line(side.run.Info.RunID),
			size.Count(len(ids), "run"), strings.Join(ids, ", ")), width, "") + "\n")
	}
	if r.Judgement != nil {
		if v := r.verdicts(Line(r.BaseName), Line); v != "" {
			b.WriteString(wrap(v, width, "") + "\n")
		}
	}
	if r.BaseNote != "" {
		b.WriteString(wrap("Of the comparison: "+Line(r.BaseNote)+".", width, "") + "\n")
	}
	return b.String()
}
