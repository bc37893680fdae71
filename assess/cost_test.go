package assess

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/train"
)

// trials is a history of runs that a sweep made.
type trials struct {
	submit.History
	list []*history.Run
}

func (t trials) SearchRuns(context.Context, history.Query) ([]*history.Run, string, error) {
	return t.list, "", nil
}

// TestCost: the price of an hour, for each hour and node, and each trial.
func TestCost(t *testing.T) {
	run := func(hours float64, tags map[string]string) *history.Run {
		r := &history.Run{Info: history.RunInfo{RunID: "run-1", StartTime: 1_700_000_000_000}}
		if hours > 0 {
			r.Info.EndTime = r.Info.StartTime + history.Int(hours*3_600_000)
		}
		return r.With(tags)
	}
	a := Assessor{Terms: Terms{Prices: map[string]float64{"gpu": 3, "local": 0}}}
	at := train.Session{History: trials{list: []*history.Run{run(1, nil), run(0.5, nil)}}}
	for name, c := range map[string]struct {
		run  *history.Run
		want float64
	}{
		"two hours":       {run(2, map[string]string{history.TagTarget: "gpu"}), 6},
		"on four nodes":   {run(2, map[string]string{history.TagTarget: "gpu", history.TagNodes: "4"}), 24},
		"for nothing":     {run(2, map[string]string{history.TagTarget: "local"}), 0},
		"without a price": {run(2, map[string]string{history.TagTarget: "cpu"}), math.NaN()},
		"still running":   {run(0, map[string]string{history.TagTarget: "gpu"}), math.NaN()},
		"a sweep": {run(2, map[string]string{history.TagTarget: "gpu", history.TagNodes: "2",
			history.TagSweep: `{"goal": "maximize", "primary_metric": "accuracy"}`}), 9},
	} {
		got, err := a.Cost(t.Context(), at, c.run)
		require.NoError(t, err)
		if math.IsNaN(c.want) {
			require.True(t, math.IsNaN(got), name)
		} else {
			require.InDelta(t, c.want, got, 1e-9, name)
		}
	}
}
