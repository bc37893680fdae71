package azureml

import (
	"cmp"
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
)

// tellCheckpoints, before a command, tells its script where its checkpoints are: the service
// puts the paths of outputs into the command alone.
const tellCheckpoints = "export " + job.CheckpointsVariable + `="${{outputs.` + job.Checkpoints + `}}" && `

// withCheckpoints gives the folder for checkpoints an address that follows from the name of
// the job, which is the same for each of its attempts; it is the one that the service gives
// an output by itself (azure-ai-ml, _get_named_output_uri). It is mounted, so that what is
// written is there when the machine is taken away. Trials of a sweep have names that the
// service chooses, and it their addresses.
func withCheckpoints(j *job.Job, name string) *job.Job {
	if !j.HasCheckpoints() || j.Environment != nil && j.Environment.OSType == "windows" {
		return j
	}
	with := *j
	with.Command = tellCheckpoints + strings.TrimLeft(j.Command, " \t\r\n")
	with.Outputs = maps.Clone(j.Outputs)
	out := with.Outputs[job.Checkpoints]
	out.Mode = cmp.Or(out.Mode, "rw_mount")
	if j.Sweep == nil {
		out.Path = cmp.Or(out.Path,
			"azureml://datastores/"+blobDatastore+"/paths/azureml/"+name+"/"+job.Checkpoints+"/")
	}
	with.Outputs[job.Checkpoints] = out
	return &with
}

// Address returns where in the workspace's data a folder or file of a run lies, for a job of
// the workspace; "" where it is in no datastore.
func (r *records) Address(ctx context.Context, run *history.Run, name string) string {
	places, err := r.places(ctx, run)
	if err != nil {
		return ""
	}
	for _, f := range slices.Backward(places) { // the named ones first
		rest, ok := strings.CutPrefix(path.Clean(name), f.under)
		if !ok || f.under != "" && rest != "" && rest[0] != '/' {
			continue
		}
		if f.err != nil || f.store == nil || f.store.datastore == "" {
			return ""
		}
		return "azureml://datastores/" + f.store.datastore + "/paths/" + path.Join(f.prefix, rest)
	}
	return ""
}
