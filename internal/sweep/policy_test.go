package sweep

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// What each policy decides of trial 0 is worked out by hand from "Hyperparameter tuning a
// model (v2)", Specify early termination policy, and the remarks on the classes of
// azureml-train-core, which the names of the cases cite.
func TestPolicies(t *testing.T) {
	up, down := Objective{"maximize", "m"}, Objective{"minimize", "m"}
	nan := math.NaN()
	factor, amount := Policy{Type: Bandit, SlackFactor: 0.2}, Policy{Type: Bandit, SlackAmount: 0.2}
	everySecond := Policy{Type: Bandit, SlackFactor: 0.2, EvaluationInterval: 2}
	delayed, median := everySecond, Policy{Type: MedianStopping}
	delayed.DelayEvaluation = 3
	lowest := func(percent int) Policy { return Policy{Type: TruncationSelection, TruncationPercentage: percent} }
	type series = [][]float64
	for name, c := range map[string]struct {
		policy Policy
		o      Objective
		trials series
		after  int
		ends   string // a part of why, "" for none
	}{
		// "best metric less than 0.66 (0.8/(1+slack_factor))": 0.8/1.2 = 0.6667.
		"bandit: the page's example, below": {factor, up, series{{0.66}, {0.8}}, 0, "asks for 0.6667"},
		"bandit: the page's example, above": {factor, up, series{{0.67}, {0.8}}, 0, ""},
		// "any run with an AUC less than 0.6 (0.8 - 0.2)".
		"bandit: amount, below": {amount, up, series{{0.59}, {0.8}}, 0, "asks for 0.6"},
		"bandit: amount, above": {amount, up, series{{0.61}, {0.8}}, 0, ""},
		// Minimised, a loss of 0.5 allows 0.5*1.2 = 0.6 and 0.5+0.2 = 0.7.
		"bandit: minimised, factor":       {factor, down, series{{0.61}, {0.5}}, 0, "asks for 0.6"},
		"bandit: minimised, within":       {factor, down, series{{0.6}, {0.5}}, 0, ""},
		"bandit: minimised, amount":       {amount, down, series{{0.71}, {0.5}}, 0, "asks for 0.7"},
		"bandit: the best itself":         {factor, up, series{{0.8}, {0.1}}, 0, ""},
		"bandit: the best itself below 0": {factor, up, series{{-0.8}, {-0.9}}, 0, ""},
		// -0.8*1.2 = -0.96; minimised, -0.8/1.2 = -0.6667.
		"bandit: below 0":            {factor, up, series{{-0.97}, {-0.8}}, 0, "asks for -0.96"},
		"bandit: below 0, minimised": {factor, down, series{{-0.66}, {-0.8}}, 0, "asks for -0.6667"},
		// "whose best metric at interval 10": the best so far, not the last.
		"bandit: its best counts": {factor, up, series{{0.79, 0.1}, {0.8, 0.8}}, 1, ""},
		// At interval 1 the other had 0.5; that it has 0.9 by now does not count.
		"bandit: the same age":   {factor, up, series{{0.45}, {0.5, 0.9}}, 0, ""},
		"bandit: no number":      {factor, up, series{{nan}, {0.5}}, 0, "is NaN"},
		"bandit: nobody's":       {factor, up, series{{nan}, {}}, 0, ""},
		"bandit: nothing logged": {factor, up, series{{}, {0.5}}, 0, ""},

		// "applies every multiple of evaluation_interval that is greater than or equal to
		// delay_evaluation": with 2 and 3 that is 4, 6, ...
		"interval: before the delay": {delayed, up,
			series{{0.1, 0.1, 0.1}, {0.8, 0.8, 0.8}}, 0, ""},
		"interval: the first after it": {delayed, up,
			series{{0.1, 0.1, 0.1, 0.1}, {0.8, 0.8, 0.8}}, 0, "at interval 4"},
		"interval: looked at already": {delayed, up,
			series{{0.1, 0.1, 0.1, 0.1, 0.1}, {0.8, 0.8, 0.8}}, 4, ""},
		// Three values came between two looks: at interval 2 it was 0.1 against 0.8.
		"interval: one that was missed": {everySecond, up,
			series{{0.1, 0.1, 0.9}, {0.8, 0.8, 0.8}}, 0, "at interval 2"},

		// "its best primary metric is worse than the median of the running averages over
		// intervals 1:5": averages at interval 2 are 0.3, 0.5, 0.7; the median is 0.5.
		"median: worse": {median, up, series{{0.2, 0.4}, {0.5, 0.5}, {0.6, 0.8}}, 1, "of 3 running averages 0.5"},
		// The best, 0.6, counts and not the average 0.35.
		"median: its best is not": {median, up, series{{0.1, 0.6}, {0.5, 0.5}, {0.6, 0.8}}, 1, ""},
		// Of 0.3 and 0.5 it is 0.4.
		"median: of an even number": {median, up, series{{0.3, 0.3}, {0.5, 0.5}}, 1, "2 running averages 0.4"},
		"median: minimised":         {median, down, series{{0.7, 0.7}, {0.5, 0.5}, {0.4, 0.4}}, 1, "averages 0.5"},
		"median: equal":             {median, up, series{{0.5}, {0.5}, {0.5}}, 0, ""},
		"median: alone":             {median, up, series{{0.9, 0.1}}, 0, ""},
		// The second has not come to interval 2, so that there is one average.
		"median: younger ones": {median, up, series{{0.3, 0.3}, {0.9}}, 1, ""},
		// 1:2 of the older one is 0.2, whatever came later.
		"median: older ones": {median, up, series{{0.3, 0.3}, {0.2, 0.2, 0.9, 0.9}}, 1, ""},

		// "if its performance at interval 5 is in the lowest 20% of performance of all jobs at
		// interval 5": of five that is one.
		"truncation: the lowest":        {lowest(20), up, series{{1}, {2}, {3}, {4}, {5}}, 0, "20 % of 5 trials"},
		"truncation: the second":        {lowest(20), up, series{{2}, {1}, {3}, {4}, {5}}, 0, ""},
		"truncation: of too few":        {lowest(20), up, series{{1}, {2}, {3}, {4}}, 0, ""},
		"truncation: minimised":         {lowest(50), down, series{{3}, {1}}, 0, "lowest 50 %"},
		"truncation: all equal":         {lowest(50), up, series{{1}, {1}, {1}}, 0, ""},
		"truncation: younger ones":      {lowest(50), up, series{{1, 1}, {2}}, 1, ""},
		"truncation: the same age":      {lowest(50), up, series{{3}, {2, 9}}, 0, ""},
		"truncation: with what it was":  {lowest(50), up, series{{1}, {2, 0}}, 0, "lowest 50 %"},
		"truncation: no number":         {lowest(50), up, series{{nan}, {2}}, 0, "is NaN"},
		"truncation: finished ones too": {lowest(34), up, series{{1}, {5}, {4}}, 0, "of 3 trials"},
	} {
		t.Run(name, func(t *testing.T) {
			why := c.policy.Ends(c.o, c.trials, 0, c.after)
			if c.ends == "" {
				require.Empty(t, why)
				return
			}
			require.Contains(t, why, c.ends)
		})
	}
}

func TestBest(t *testing.T) {
	up, down := Objective{"maximize", "m"}, Objective{"minimize", "m"}
	for _, values := range [][]float64{{1, 3, 2}, {math.NaN(), 3, 1}} {
		best, ok := up.Best(values)
		require.True(t, ok)
		require.Equal(t, 3.0, best)
		best, _ = down.Best(values)
		require.Equal(t, 1.0, best)
	}
	_, ok := up.Best([]float64{math.NaN()})
	require.False(t, ok)
}
