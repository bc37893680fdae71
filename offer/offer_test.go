package offer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/sweep"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/train"
)

// TestPrice: what is said before of the cost of nodes, trials and runs, as far as it is known.
func TestPrice(t *testing.T) {
	a := Asked{Prices: map[string]float64{"gpu": 3, "local": 0.6}}
	took := func(d time.Duration) *history.Run {
		return &history.Run{Info: history.RunInfo{RunID: "iris-1", StartTime: 1_700_000_000_000,
			EndTime: 1_700_000_000_000 + history.Int(d.Milliseconds())}}
	}
	hours := func(n int) *job.Limits { return &job.Limits{Timeout: n * 3600} }
	for name, c := range map[string]struct {
		plan train.Plan
		want string
	}{
		"no limit": {train.Plan{Job: &job.Job{Compute: "gpu"}},
			"3.00 USD for an hour of one node of gpu; 1 node, without a limit of time"},
		"with a prefix, and a limit": {train.Plan{Job: &job.Job{Compute: "azureml:gpu", Limits: hours(2)}},
			"3.00 USD for an hour of one node of gpu; 1 node, for at most 2 h 0 min (6.00 USD)"},
		"nodes": {train.Plan{Job: &job.Job{Compute: "gpu", Limits: hours(2),
			Resources: &job.Resources{InstanceCount: 4}}, Last: took(30 * time.Minute)},
			"3.00 USD for an hour of one node of gpu; 4 nodes, for at most 2 h 0 min (24.00 USD); iris-1 took " +
				"30 min 0 s (6.00 USD)"},
		"runs": {train.Plan{Job: &job.Job{Compute: "local", Limits: hours(1)}, Repeats: train.Repeats{Seeds: 5}},
			"0.60 USD for an hour of one node of local; 1 node, 5 runs, for at most 1 h 0 min (3.00 USD)"},
		"trials": {train.Plan{Job: &job.Job{Compute: "gpu", Sweep: &job.Sweep{Limits: sweep.Limits{MaxTotalTrials: 20,
			MaxConcurrentTrials: 4, Timeout: 3600}}}, Last: took(time.Hour)},
			"3.00 USD for an hour of one node of gpu; 1 node, 20 trials, for at most 1 h 0 min (12.00 USD); iris-1 " +
				"took 1 h 0 min"},
		"no price": {train.Plan{Job: &job.Job{Limits: hours(1)}, Last: took(time.Minute)},
			"nobody knows how much: prices in .aml-train.yaml says nothing of serverless; 1 node, for at most 1 h " +
				"0 min; iris-1 took 1 min 0 s"},
		"a run without an end": {train.Plan{Job: &job.Job{Compute: "gpu"}, Last: &history.Run{}},
			"3.00 USD for an hour of one node of gpu; 1 node, without a limit of time"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, a.price(&c.plan)) })
	}
}
