package judge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/judge"
)

// TestMean generates runs that agree to the last digit: their mean is that value, no change is made
// of it, and a rule with it as its limit is kept.
func TestMean(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 3))
	for range testenv.Cases(2000) {
		value := math.Round(r.NormFloat64()*1e4) / 1e4
		same := slices.Repeat([]float64{value}, 1+r.IntN(12))
		mean, deviation := judge.MeanDeviation(same)
		require.Equal(t, value, mean, "%d runs", len(same))
		if len(same) > 1 {
			require.Zero(t, deviation)
		}
		f := judge.Compare([]judge.Metric{{Name: "m", Direction: judge.HigherIsBetter, This: same,
			Base: []float64{value}}}, true)[0]
		require.Zero(t, f.Change, "%d runs of %v", len(same), value)

		rule, err := judge.ParseRule(fmt.Sprintf("m >= %v", value))
		require.NoError(t, err)
		q := judge.Question{Rules: []judge.Rule{rule}}
		for _, v := range same {
			q.This = append(q.This, judge.Run{Metrics: map[string][]float64{"m": {v}}, Cost: math.NaN()})
		}
		_, outcomes := judge.Judge(q)
		require.True(t, outcomes[0].Passed, "%d runs of %v: %s", len(same), value, outcomes[0].Message)

		values := draws(r, 1+r.IntN(12), 7)
		mean = judge.Mean(values)
		require.InDelta(t, 7, mean, 7)
		r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
		require.Equal(t, mean, judge.Mean(values), "in another order")
	}
	require.True(t, math.IsNaN(judge.Mean(nil)))
	require.True(t, math.IsNaN(judge.Mean([]float64{1, math.NaN()})))
	require.True(t, math.IsInf(judge.Mean([]float64{1, math.Inf(1)}), 1))
}
