package azureml

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/org/aml-train/job"
)

// Check implements submit.Target. What only the workspace knows, such as whether it has
// the compute target, it answers when the job is submitted, before anything is uploaded.
func (t *Target) Check(ctx context.Context, j *job.Job) error {
	f := &job.Findings{Job: j}
	if e := j.Environment; e != nil && e.UserManaged {
		f.Add("environment", "the compute target %s has no environment of its own; name an image (--environment "+
			"docker:IMAGE), one of the workspace (azureml:NAME@latest), or none, for %s", j.Compute, DefaultEnvironment)
	} else if e != nil && e.Reference != "" {
		if problem := unversioned(e.Reference); problem != "" {
			f.Add("environment", "environment %s", problem)
		} else if meant := job.MeantEnvironment(e.Reference); meant != "" && !strings.HasPrefix(e.Reference, "/") {
			f.Add("environment", "no environment of Azure Machine Learning is called %s%s", e.Reference, meant)
		}
	} else if list, err := j.Packages(); err == nil && list != nil && list.Constraints != "" {
		f.Add("environment", "%s", noConstraints(e.Requirements))
	}
	for _, name := range slices.Sorted(maps.Keys(j.Inputs)) {
		if in := j.Inputs[name]; !in.Literal {
			if problem := unversioned(in.Path); problem != "" {
				f.Add("inputs."+name+".path", "inputs.%s: %s", name, problem)
			}
		}
	}
	checkLimits(f)
	if full, ok := strings.CutPrefix(j.Compute, "//"); ok && virtualCluster.FindStringSubmatch(full) == nil {
		f.Add("compute", "%s", inShort(j.Compute))
	}
	if missing := t.Missing(); len(missing) > 0 {
		f.Add("compute", "the compute target is %q, and no workspace is known that has it; give --subscription-id, "+
			"--resource-group and --workspace-name, write them under workspace in .aml-train.yaml, or put the "+
			"config.json of Azure ML's studio here; --compute-target local runs it on this machine", j.Compute)
	}
	return f.Err()
}

func noConstraints(file string) string {
	return file + ": an environment in Azure Machine Learning has no constraints (-c); pin the versions in it"
}

func inShort(cluster string) string {
	return "the compute target azureml:" + cluster + " is named in short; write its resource id, " +
		"/subscriptions/.../virtualclusters/NAME"
}

// unversioned says what is wrong with a reference that names an asset without saying
// which of it (azure-ai-ml, get_asset_arm_id), "" for one that says so.
func unversioned(ref string) string {
	rest, ok := strings.CutPrefix(ref, "azureml:")
	switch name, label, labelled := strings.Cut(rest, "@"); {
	case !ok || rest != "" && rest[0] == '/':
		return ""
	case labelled && label != "latest":
		return fmt.Sprintf("%s: the only label is latest: azureml:%s@latest", ref, name)
	case labelled || rest != "" && strings.Contains(rest, ":"):
		return ""
	}
	return fmt.Sprintf("%s names no version; write azureml:%s:VERSION, or azureml:%s@latest for the newest", ref, rest,
		rest)
}
