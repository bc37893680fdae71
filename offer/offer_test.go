package offer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	space "github.com/org/aml-train/internal/sweep"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/train"
)

// Where the job of a commit writes, and as whom, is told before it trains: a fork's may name a
// folder of production, or register what it makes under the name of its model.
func TestWrites(t *testing.T) {
	a := Asked{Workflow: &github.Workflow{}, Ask: &github.Ask{}}
	j := &job.Job{Command: "true", Environment: &job.Environment{Reference: "azureml:ours:3"},
		Outputs: map[string]job.Output{
			"own":  {Type: job.URIFolder},
			"data": {Type: job.URIFolder, Path: "azureml://datastores/production/paths/rows"},
			"made": {Type: "custom_model", Name: "iris", Version: "3"},
			"next": {Type: "custom_model", Name: "iris"},
		}, Identity: &job.Identity{Type: "managed", ClientID: "00000000-0000-0000-0000-000000000009"}}
	o := a.of(&train.Plan{Job: j})
	require.Equal(t, []string{"data=azureml://datastores/production/paths/rows", "made=azureml:iris:3",
		"next=azureml:iris:(next)"}, o.Writes)
	require.Equal(t, "managed 00000000-0000-0000-0000-000000000009", o.Identity)
	text := o.Markdown(65536)
	require.Contains(t, text, "\n| writes | `data=azureml://datastores/production/paths/rows`, `made=azureml:iris:3`, "+
		"`next=azureml:iris:(next)` |\n")
	require.Contains(t, text, "\n| as | `managed 00000000-0000-0000-0000-000000000009` |\n")
	j.Outputs, j.Identity = nil, nil
	text = a.of(&train.Plan{Job: j}).Markdown(65536)
	require.NotContains(t, text, "| writes |")
	require.NotContains(t, text, "| as |")
}

// What a training costs is told before: of all that runs beside each other, for as long as it may
// take and as the last one took.
func TestPrices(t *testing.T) {
	a := Asked{Prices: map[string]float64{"gpu": 2}}
	sweep := func(trials, beside int) *job.Job {
		return &job.Job{Compute: "azureml:gpu", Resources: &job.Resources{InstanceCount: 3}, Sweep: &job.Sweep{
			Limits: space.Limits{MaxTotalTrials: trials, MaxConcurrentTrials: beside, Timeout: 3600}}}
	}
	last := (&history.Run{Info: history.RunInfo{RunID: "iris-1", StartTime: 1, EndTime: 1 + 1_800_000}})
	const known, unknown = "2.00 USD for an hour of one node of gpu; ",
		"nobody knows how much: prices in .aml-train.yaml says nothing of serverless; "
	hour := &job.Job{Compute: "gpu", Limits: &job.Limits{Timeout: 3600}}
	for want, p := range map[string]train.Plan{
		unknown + "1 node, without a limit of time":                                           {Job: &job.Job{}},
		known + "1 node, for at most 1 h 0 min (2.00 USD); iris-1 took 30 min 0 s (1.00 USD)": {Job: hour, Last: last},
		known + "1 node, 6 runs, for at most 1 h 0 min (12.00 USD)": {Job: hour,
			Repeats: train.Repeats{AtMost: 6}},
		known + "3 nodes, 4 trials, for at most 1 h 0 min (12.00 USD)": {Job: sweep(4, 2)},
		known + "3 nodes, 5 trials, for at most 1 h 0 min (30.00 USD)": {Job: sweep(5, 10)},
		known + "3 nodes, 7 trials, for at most 1 h 0 min (42.00 USD)": {Job: sweep(7, 0)},
	} {
		require.Equal(t, want, a.price(&p))
	}
}
