package judge_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/judge"
)

// added makes runs of a change, which differ from the base's by the effect, until the plan
// asks for no more. It returns how many were made, and what was found of the metrics.
func added(r *rand.Rand, base, metrics, most int, effect float64) (runs int, found []judge.Finding) {
	all := make([]judge.Metric, metrics)
	for i := range all {
		all[i] = judge.Metric{Direction: judge.HigherIsBetter, Base: draws(r, base, 7)}
	}
	for more := 1; more > 0; more = judge.More(found, runs, base, most) {
		runs += more
		for i := range all {
			all[i].This = append(all[i].This, draws(r, more, 7+effect)...)
		}
		found = judge.CompareAdded(all, true, runs, most)
	}
	return runs, found
}

// TestAdded simulates changes of which runs are added until the verdict is decided: of those
// that change nothing, at most five of a hundred are called better or worse, however many
// looks and metrics there are; with as many runs as the plan asks for, a difference of two
// standard deviations is found in eight of ten.
func TestAdded(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 4))
	cases := testenv.Cases(4000)
	slack := 4 * math.Sqrt(judge.Alpha*(1-judge.Alpha)/float64(cases))
	for _, c := range []struct{ base, metrics, most int }{
		{3, 1, 6}, {5, 1, 0}, {6, 1, 0}, {10, 1, 0}, {5, 1, 3}, {5, 1, 2}, {5, 1, 1}, {3, 1, 0}, {6, 8, 0}, {10, 8, 0},
		{10, 65, 0}, {3, 8, 6}, {30, 1, 6},
	} {
		asked := c.most == 0
		if asked {
			c.most = judge.Enough(c.base, c.metrics)
			require.NotZero(t, c.most)
		}
		alarms, found, same, different := 0, 0, 0, 0
		for range cases {
			runs, of := added(r, c.base, c.metrics, c.most, 0)
			same += runs
			for _, f := range of {
				if f.Verdict != judge.Same {
					alarms++
					break
				}
			}
			runs, of = added(r, c.base, c.metrics, c.most, 2)
			different += runs
			if of[0].Verdict == judge.Better {
				found++
			}
			require.LessOrEqual(t, runs, c.most)
		}
		n := float64(cases)
		t.Logf("%d runs of the base, %d metrics, at most %d runs: %.3f false alarms, with %.1f runs on average; "+
			"a difference of two deviations is seen in %.3f, with %.1f runs", c.base, c.metrics, c.most,
			float64(alarms)/n, float64(same)/n, float64(found)/n, float64(different)/n)
		require.LessOrEqual(t, float64(alarms)/n, judge.Alpha+slack)
		told := judge.PowerAdded(c.most, c.base, c.metrics, c.most, 2)
		require.GreaterOrEqual(t, float64(found)/n, min(told, judge.EnoughPower)-2*slack)
		if asked {
			require.GreaterOrEqual(t, float64(found)/n, judge.EnoughPower-2*slack)
		}
	}
}

func TestLooks(t *testing.T) {
	t.Parallel()
	for most, want := range map[int][]int{1: {1}, 2: {1, 2}, 3: {1, 2, 3}, 4: {1, 2, 4}, 6: {1, 3, 6}, 9: {1, 5, 9}} {
		require.Equal(t, want, judge.Looks(most))
	}
	// Of the base's five runs, six of the change are not quite enough for 80 %.
	require.Equal(t, 7, judge.Enough(5, 1))
	require.Zero(t, judge.Enough(3, 65))
	require.Zero(t, judge.Enough(2, 1))
}

// TestMore asks how many runs are wanted next.
func TestMore(t *testing.T) {
	t.Parallel()
	finding := func(v ...judge.Verdict) (out []judge.Finding) {
		for _, v := range v {
			out = append(out, judge.Finding{Verdict: v})
		}
		return out
	}
	for _, c := range []struct {
		name                   string
		of                     []judge.Finding
		this, base, most, want int
	}{
		{"nothing found yet", finding(judge.Same), 1, 5, 6, 2},
		{"nor after half of them", finding(judge.Same), 3, 5, 6, 3},
		{"nor after all", finding(judge.Same), 6, 5, 6, 0},
		{"between two looks", finding(judge.Same), 2, 5, 6, 1},
		{"more than there should be", finding(judge.Same), 7, 5, 6, 0},
		{"worse", finding(judge.Same, judge.Worse), 1, 5, 6, 0},
		{"all is better", finding(judge.Better, judge.Better), 1, 5, 6, 0},
		{"one is better", finding(judge.Better, judge.Same), 1, 5, 6, 2},
		{"what has no direction does not count", finding(judge.Better, judge.None), 1, 5, 6, 0},
		{"a difference would have been seen", finding(judge.Same), 5, 30, 9, 0},
		{"no base", finding(judge.None), 1, 0, 6, 2},
		{"no base, and enough for one", finding(judge.None), 3, 0, 6, 0},
		{"a base of two runs", finding(judge.Undecided), 1, 2, 6, 2},
		{"no more than two", finding(judge.Undecided), 1, 2, 2, 1},
		{"no metrics", nil, 1, 5, 6, 2},
	} {
		require.Equal(t, c.want, judge.More(c.of, c.this, c.base, c.most), c.name)
	}
}

// What a look has found stays, whatever later runs measure; runs between two looks do not
// count yet.
func TestCompareAdded(t *testing.T) {
	t.Parallel()
	base := []float64{1, 1.1, 0.9, 1.05, 0.95}
	m := judge.Metric{Direction: judge.HigherIsBetter, Base: base, This: []float64{3}}
	one := judge.CompareAdded([]judge.Metric{m}, true, 1, 6)[0]
	require.Equal(t, judge.Better, one.Verdict)
	m.This = []float64{3, -2, 0}
	require.Equal(t, judge.Same, judge.Compare([]judge.Metric{m}, true)[0].Verdict)
	three := judge.CompareAdded([]judge.Metric{m}, true, 3, 6)[0]
	require.Equal(t, judge.Better, three.Verdict)
	require.InDelta(t, -2.0/3, three.Change, 1e-9)

	m.This = []float64{1, 9}
	require.Equal(t, judge.Better, judge.Compare([]judge.Metric{{Direction: judge.HigherIsBetter, Base: base,
		This: []float64{9}}}, true)[0].Verdict)
	require.Equal(t, judge.Same, judge.CompareAdded([]judge.Metric{m}, true, 2, 6)[0].Verdict)

	// One that diverged is worse at once.
	m.This = []float64{math.NaN()}
	require.Equal(t, judge.Worse, judge.CompareAdded([]judge.Metric{m}, true, 1, 6)[0].Verdict)
	require.Empty(t, judge.CompareAdded(nil, true, 1, 6))
}
