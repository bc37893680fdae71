package offer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/github"
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
