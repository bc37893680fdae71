package sweep

import (
	"fmt"
	"math"
	"slices"
)

// Names of early termination policies.
const (
	Bandit              = "bandit"
	MedianStopping      = "median_stopping"
	TruncationSelection = "truncation_selection"
)

// Policy ends trials that are not worth their time. Each value that a trial logs of the
// primary metric is one interval (learn.microsoft.com, "Hyperparameter tuning a model (v2)",
// Specify early termination policy).
type Policy struct {
	Type                 string  `json:"type"`
	EvaluationInterval   int     `json:"evaluation_interval,omitempty"` // 0 is 1
	DelayEvaluation      int     `json:"delay_evaluation,omitempty"`
	SlackFactor          float64 `json:"slack_factor,omitempty"`
	SlackAmount          float64 `json:"slack_amount,omitempty"`
	TruncationPercentage int     `json:"truncation_percentage,omitempty"`
}

// due tells whether the policy applies at an interval, from 1: "every multiple of
// evaluation_interval that is greater than or equal to delay_evaluation".
func (p Policy) due(interval int) bool {
	return interval%max(p.EvaluationInterval, 1) == 0 && interval >= p.DelayEvaluation
}

// Ends says why trial t is to end, "" where it may go on. Trials are the values that each
// has logged, in their order; after is up to which interval trial t was looked at before.
// A trial that logs several values between two looks is judged at each.
func (p Policy) Ends(o Objective, trials [][]float64, t, after int) string {
	for n := after + 1; n <= len(trials[t]); n++ {
		if p.due(n) {
			if why := p.endsAt(o, trials, t, n); why != "" {
				return why
			}
		}
	}
	return ""
}

func (p Policy) endsAt(o Objective, trials [][]float64, t, n int) string {
	switch p.Type {
	case Bandit:
		return p.bandit(o, trials, t, n)
	case MedianStopping:
		return p.median(o, trials, t, n)
	}
	return p.truncation(o, trials, t, n)
}

// until is what a trial logged up to an interval: an older one is compared by what it was
// when it was as young.
func until(values []float64, n int) []float64 { return values[:min(n, len(values))] }

// bandit ends a trial whose best value is outside the slack of the best trial's at the same
// interval (Bandit policy). The factor is of the value's size, so that a metric below zero
// has its slack on the same side.
func (p Policy) bandit(o Objective, trials [][]float64, t, n int) string {
	best := math.NaN()
	for _, values := range trials {
		if v, ok := o.Best(until(values, n)); ok && o.Better(v, best) {
			best = v
		}
	}
	if math.IsNaN(best) {
		return ""
	}
	limit := best
	slack := fmt.Sprintf("slack_amount %.4g", p.SlackAmount)
	switch upward := o.Goal == "maximize"; {
	case p.SlackFactor > 0:
		slack = fmt.Sprintf("slack_factor %.4g", p.SlackFactor)
		if upward == (best >= 0) {
			limit = best / (1 + p.SlackFactor)
		} else {
			limit = best * (1 + p.SlackFactor)
		}
	case upward:
		limit = best - p.SlackAmount
	default:
		limit = best + p.SlackAmount
	}
	own, _ := o.Best(until(trials[t], n))
	if !o.Better(limit, own) {
		return ""
	}
	return fmt.Sprintf("bandit policy at interval %d: its best %s is %.4g, the best trial's %.4g, and %s asks for %.4g",
		n, o.PrimaryMetric, own, best, slack, limit)
}

// median ends a trial whose best value is worse than the median of the running averages of
// all trials that have come as far (Median stopping policy).
func (p Policy) median(o Objective, trials [][]float64, t, n int) string {
	var averages []float64
	for _, values := range trials {
		if len(values) < n {
			continue
		}
		sum, count := 0.0, 0
		for _, v := range values[:n] {
			if !math.IsNaN(v) {
				sum, count = sum+v, count+1
			}
		}
		if count > 0 {
			averages = append(averages, sum/float64(count))
		}
	}
	if len(averages) == 0 {
		return ""
	}
	slices.Sort(averages)
	half := len(averages) / 2
	median := averages[half]
	if len(averages)%2 == 0 {
		median = (averages[half-1] + median) / 2
	}
	own, _ := o.Best(until(trials[t], n))
	if !o.Better(median, own) {
		return ""
	}
	return fmt.Sprintf("median stopping policy at interval %d: its best %s is %.4g, "+
		"the median of %d running averages %.4g", n, o.PrimaryMetric, own, len(averages), median)
}

// truncation ends a trial that is among the lowest percentage of all that have come as far,
// itself included (Truncation selection policy). Of equal ones none is lower.
func (p Policy) truncation(o Objective, trials [][]float64, t, n int) string {
	own, _ := o.Best(until(trials[t], n))
	all, notBetter := 0, 0
	for _, values := range trials {
		if len(values) < n {
			continue
		}
		all++
		if v, _ := o.Best(values[:n]); !o.Better(v, own) {
			notBetter++
		}
	}
	if notBetter > all*p.TruncationPercentage/100 {
		return ""
	}
	return fmt.Sprintf("truncation selection policy at interval %d: its best %s is %.4g, "+
		"among the lowest %d %% of %d trials", n, o.PrimaryMetric, own, p.TruncationPercentage, all)
}
