package azureml

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/sweep"
	"github.com/org/aml-train/job"
)

// TestCheckpoints has the command tell its script the folder of an output whose address is
// the same for each attempt.
func TestCheckpoints(t *testing.T) {
	of := func(j *job.Job) map[string]any {
		b, _ := body(withCheckpoints(j, "iris-1"), assetIDs{}, Workspace{"s", "g", "w"}, nil, nil)
		return b["properties"].(object)
	}
	j := &job.Job{Type: "command", Command: "\npython train.py || exit 3\n", Outputs: map[string]job.Output{
		"checkpoints": {Type: job.URIFolder}, "model": {Type: job.URIFolder}}}
	b := of(j)
	const tell = `export AML_TRAIN_CHECKPOINTS="${{outputs.checkpoints}}" && `
	require.Equal(t, tell+"python train.py || exit 3\n", b["command"])
	require.Equal(t, object{
		"checkpoints": object{"jobOutputType": "uri_folder", "mode": "ReadWriteMount",
			"uri": "azureml://datastores/workspaceblobstore/paths/azureml/iris-1/checkpoints/"},
		"model": object{"jobOutputType": "uri_folder"},
	}, b["outputs"])
	require.Empty(t, j.Outputs["checkpoints"].Path, "the job is as it was")

	const mine = "azureml://datastores/mine/paths/x"
	j.Outputs["checkpoints"] = job.Output{Type: job.URIFolder, Path: mine, Mode: "upload"}
	require.Equal(t, object{"jobOutputType": "uri_folder", "mode": "Upload", "uri": mine},
		of(j)["outputs"].(object)["checkpoints"], "what the job says holds")

	j.Outputs["checkpoints"] = job.Output{Type: job.URIFolder}
	j.Sweep = &job.Sweep{Objective: sweep.Objective{Goal: "maximize"}, Sampling: sweep.Sampling{Type: "grid"}}
	b = of(j)
	require.Equal(t, object{"jobOutputType": "uri_folder", "mode": "ReadWriteMount"},
		b["outputs"].(object)["checkpoints"], "trials have folders of their own")
	require.Equal(t, tell+"python train.py || exit 3\n", b["trial"].(object)["command"])

	j.Outputs["checkpoints"], j.Sweep = job.Output{Type: job.URIFile}, nil
	require.Equal(t, j.Command, of(j)["command"], "a file is no folder")
}
