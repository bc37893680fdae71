// Package judge answers: is it better, may it merge?
//
// The values of a metric in the runs of a change are compared with those in the runs of
// what it is based on. A difference counts when chance alone makes one of its size in at
// most five of a hundred comparisons, all judged metrics of a comparison taken together.
//
// What it assumes: the base's runs differ from each other by what also makes the
// change's run differ (other seeds, other machines), independently, and their values are
// spread about normally. Runs that share their seed do not show that spread.
package judge

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

const (
	// Alpha is how often a comparison says better or worse of a change that is neither,
	// at most, over all its metrics together.
	Alpha = 0.05
	// LeastRuns is how many runs of the base a verdict needs: fewer do not show how far
	// runs of one commit lie apart.
	LeastRuns = 3
)

// Verdict is what can be said of a metric's difference.
type Verdict string

// The verdicts. Same means within noise: no difference beyond what chance makes.
// Undecided means that runs of the base are missing, None that nothing can be judged:
// the metric has no direction, or only one side has it.
const (
	Better    Verdict = "better"
	Worse     Verdict = "worse"
	Same      Verdict = "same"
	Undecided Verdict = "undecided"
	None      Verdict = "none"
)

// Metric is one metric on both sides: a value for each run.
type Metric struct {
	Name       string
	Direction  Direction
	This, Base []float64
}

// Finding is what is known about a metric's difference.
type Finding struct {
	Metric
	Verdict Verdict
	// Change is the mean of the change's runs less the mean of the base's; NaN where one
	// of them has no finite value.
	Change float64
	// P is the chance of a difference as large between runs of one commit, corrected for
	// the number of metrics that are judged (Holm, A simple sequentially rejective multiple
	// test procedure, 1979). 1 where nothing was tested.
	P float64
	// Missing is how many runs of the base an undecided verdict lacks. NoSpread is set where
	// the base's runs agree to the last digit and nothing says that their seeds differ.
	Missing  int
	NoSpread bool
}

// Compare judges the metrics of a change together. seeded says that the base's runs have
// different seeds: only then runs that agree to the last digit show that chance makes
// nothing here, and every difference is one.
func Compare(metrics []Metric, seeded bool) []Finding { return compare(metrics, seeded, Alpha) }

// compare is Compare with as many false alarms as alpha says.
func compare(metrics []Metric, seeded bool, alpha float64) []Finding {
	findings := make([]Finding, len(metrics))
	var tested []*Finding
	for i, m := range metrics {
		f := &findings[i]
		*f = Finding{Metric: m, Verdict: None, P: 1, Change: change(m)}
		this, base := finite(m.This), finite(m.Base)
		switch {
		case len(m.This) == 0 || len(base) == 0 || m.Direction == NoDirection:
		case len(this) < len(m.This): // a run of the change diverged, and those of the base did not
			f.Verdict, f.P = Worse, 0
			if len(base) < len(m.Base) {
				f.Verdict, f.P = Undecided, 1
			}
		case len(base) < LeastRuns:
			f.Verdict, f.Missing = Undecided, LeastRuns-len(base)
		case !seeded && equal(base) && !equal(slices.Concat(base, this)):
			f.Verdict, f.NoSpread = Undecided, true
		default:
			f.P = chance(this, base)
			tested = append(tested, f)
		}
	}
	holm(tested)
	for _, f := range tested {
		switch better := f.Direction == HigherIsBetter; {
		case f.P > alpha || f.Change == 0:
			f.Verdict = Same
		case (f.Change > 0) == better:
			f.Verdict = Better
		default:
			f.Verdict = Worse
		}
	}
	return findings
}

// change is the difference of the means, NaN where a side has no finite value.
func change(m Metric) float64 {
	this, base := finite(m.This), finite(m.Base)
	if len(this) == 0 || len(base) == 0 {
		return math.NaN()
	}
	return Mean(this) - Mean(base)
}

// chance is the two-sided p value of a difference between the means of values that are
// spread alike: Student's test. With one run of the change that is the t prediction
// interval for one more run of the base, sqrt(1 + 1/n).
//
// Welch's test, which lets the spreads differ, is not used: with three runs its
// approximation gives a change that changes nothing a false alarm in one of five
// comparisons of 65 metrics. What changes the spread alone may be called better or worse
// here.
func chance(this, base []float64) float64 {
	m, n := float64(len(this)), float64(len(base))
	mean, variance := stat.MeanVariance(base, nil)
	now, squares := this[0], variance*(n-1)
	if m > 1 {
		var spread float64
		now, spread = stat.MeanVariance(this, nil)
		squares += spread * (m - 1)
	}
	freedom := m + n - 2
	deviation := math.Sqrt(squares/freedom) * math.Sqrt(1/m+1/n)
	// Sums of equal numbers differ in their last digits: those are no difference, and no
	// spread either.
	digits := math.Max(math.Abs(now), math.Abs(mean)) * 1e-12
	switch difference := math.Abs(now - mean); {
	case difference <= digits:
		return 1
	case deviation <= digits:
		return 0 // runs that repeat to the last digit: every difference is one
	default:
		return 2 * distuv.StudentsT{Sigma: 1, Nu: freedom}.CDF(-difference/deviation)
	}
}

// holm corrects p values for their number (Holm, 1979): the smallest is multiplied by it, the next
// by one less, and so on; none becomes smaller than the one before.
func holm(findings []*Finding) {
	sorted := slices.Clone(findings)
	slices.SortFunc(sorted, func(a, b *Finding) int { return cmp.Compare(a.P, b.P) })
	least := 0.0
	for i, f := range sorted {
		least = max(least, min(1, f.P*float64(len(sorted)-i)))
		f.P = least
	}
}

func equal(values []float64) bool { return slices.Min(values) == slices.Max(values) }

func finite(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// Power is how often Compare finds a difference of effect standard deviations of the base's runs,
// with that many runs on each side and that many metrics, where both sides are spread alike; 0
// where it cannot judge.
func Power(this, base, metrics int, effect float64) float64 {
	return power(this, base, metrics, effect, Alpha)
}

func power(this, base, metrics int, effect, alpha float64) float64 {
	if this < 1 || base < LeastRuns || metrics < 1 {
		return 0
	}
	question := [5]float64{float64(this), float64(base), float64(metrics), effect, alpha}
	if known, ok := powers.Load(question); ok {
		return known.(float64)
	}
	freedom := float64(this + base - 2)
	deviation := math.Sqrt(1/float64(this) + 1/float64(base))
	t := distuv.StudentsT{Sigma: 1, Nu: freedom}.Quantile(1 - alpha/float64(metrics)/2)
	difference := distuv.Normal{Mu: effect, Sigma: deviation}
	// The mean over the spreads that the runs may show, in equally likely steps.
	const steps = 1000
	found := 0.0
	for i := range steps {
		variance := distuv.ChiSquared{K: freedom}.Quantile((float64(i)+0.5)/steps) / freedom
		needed := t * deviation * math.Sqrt(variance)
		found += difference.CDF(-needed) + difference.Survival(needed)
	}
	powers.Store(question, found/steps)
	return found / steps
}

// powers are those that were computed, by what was asked: each is the sum of many quantiles.
var powers sync.Map
