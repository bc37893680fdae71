package azureml

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/org/aml-train/job"
)

// Versions of the control plane's API. The second knows Ray, the priority of a
// queued job and parent jobs; azure-ai-ml sends every command job with it.
const (
	apiVersion        = "2024-04-01"
	apiVersionPreview = "2025-01-01-preview"
)

// object is a JSON object of the wire, without what is not set.
type object map[string]any

func (o object) set(key string, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if v == "" {
			return
		}
	case int:
		if v == 0 {
			return
		}
	case map[string]string:
		if len(v) == 0 {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	case map[string]any:
		if len(v) == 0 {
			return
		}
	case object:
		if len(v) == 0 {
			return
		}
	}
	o[key] = value
}

// assetIDs are what a job's references became in the workspace.
type assetIDs struct {
	environment string            // resource id, or address in a registry
	compute     string            // resource id; "" for serverless
	code        string            // resource id; "" for none
	data        map[string]string // of local inputs, where they were uploaded to
}

// body is the job as the control plane takes it (azure-ai-ml, command_job.py and
// sweep_job.py, _to_rest_object and what it calls; REST reference, "Jobs - Create Or
// Update", CommandJob and SweepJob), and the api-version that knows all of it.
func body(j *job.Job, p assetIDs, w Workspace, tags, properties map[string]string) (object, string) {
	command := object{"command": j.Command, "environmentId": p.environment}
	command.set("codeId", p.code)
	command.set("environmentVariables", j.EnvironmentVariables)
	command.set("distribution", distributionBody(j.Distribution))
	command.set("resources", resourcesBody(j.Resources))
	o := object{"isArchived": false}
	if j.Sweep != nil {
		maps.Copy(o, sweepBody(j.Sweep))
		o["trial"] = command
		o.set("resources", resourcesBody(cmp.Or(j.Sweep.Resources, j.Resources)))
	} else {
		maps.Copy(o, command)
		o["jobType"] = "Command"
		if limit := j.MaxDuration(); limit > 0 {
			o["limits"] = object{"jobLimitsType": "Command", "timeout": duration(int(limit.Seconds()))}
		}
	}
	o.set("computeId", p.compute)
	o.set("displayName", j.DisplayName)
	o.set("description", j.Description)
	o.set("experimentName", j.ExperimentName)
	o.set("tags", merged(j.Tags, tags))
	o.set("properties", merged(j.Properties, properties))
	o.set("inputs", inputsBody(j, p, w))
	o.set("outputs", outputsBody(j, w))
	o.set("identity", identityBody(j.Identity))
	services := object{}
	for name, s := range j.Services {
		services[name] = serviceBody(s)
	}
	o.set("services", services)
	preview := j.ParentJobName != "" || j.Distribution != nil && j.Distribution.Type == "ray"
	o.set("parentJobName", j.ParentJobName)
	if q := j.QueueSettings; q != nil {
		b := object{}
		b.set("jobTier", map[string]string{"null": "Null", "spot": "Spot", "basic": "Basic", "standard": "Standard",
			"premium": "Premium"}[q.JobTier])
		n := map[string]int{"low": 1, "medium": 2, "high": 3}[q.Priority]
		b.set("priority", n)
		preview = preview || n > 0
		o.set("queueSettings", b)
	}
	version := apiVersion
	if preview {
		version = apiVersionPreview
	}
	return object{"properties": o}, version
}

func inputsBody(j *job.Job, p assetIDs, w Workspace) object {
	inputs := object{}
	for name, in := range j.Inputs {
		inputs[name] = inputBody(in, cmp.Or(p.data[name], in.Path), w)
	}
	return inputs
}

func outputsBody(j *job.Job, w Workspace) object {
	outputs := object{}
	for name, out := range j.Outputs {
		b := object{"jobOutputType": cmp.Or(out.Type, job.URIFolder)}
		b.set("uri", reference(out.Path, "data", w))
		b.set("mode", modes[out.Mode])
		b.set("assetName", out.Name)
		b.set("assetVersion", out.Version)
		outputs[name] = b
	}
	return outputs
}

func distributionBody(d *job.Distribution) object {
	if d == nil {
		return nil
	}
	b := object{"distributionType": map[string]string{"mpi": "Mpi", "pytorch": "PyTorch", "tensorflow": "TensorFlow",
		"ray": "Ray"}[d.Type]}
	b.set("processCountPerInstance", d.ProcessCountPerInstance)
	b.set("workerCount", d.WorkerCount)
	if d.Type == "tensorflow" {
		b["parameterServerCount"] = d.ParameterServerCount // 0 is sent as well
	}
	if d.Type == "ray" {
		b.set("port", d.Port)
		b.set("address", d.Address)
		b.set("dashboardPort", d.DashboardPort)
		b.set("headNodeAdditionalArgs", d.HeadNodeAdditionalArgs)
		b.set("workerNodeAdditionalArgs", d.WorkerNodeAdditionalArgs)
		if d.IncludeDashboard {
			b["includeDashboard"] = true
		}
	}
	return b
}

func resourcesBody(r *job.Resources) object {
	if r == nil {
		return nil
	}
	b := object{}
	b.set("instanceCount", r.InstanceCount)
	b.set("maxInstanceCount", r.MaxInstanceCount)
	b.set("instanceType", r.InstanceType)
	b.set("shmSize", r.ShmSize)
	b.set("dockerArgs", r.DockerArgs)
	b.set("locations", r.Locations)
	b.set("properties", r.Properties)
	return b
}

func identityBody(i *job.Identity) object {
	if i == nil {
		return nil
	}
	b := object{"identityType": map[string]string{"managed": "Managed", "managed_identity": "Managed",
		"user_identity": "UserIdentity",
		"aml_token":     "AMLToken"}[i.Type]}
	b.set("clientId", i.ClientID)
	b.set("objectId", i.ObjectID)
	b.set("resourceId", i.ResourceID)
	return b
}

// modes are how data reach a job and leave it (azure-ai-ml,
// INPUT_MOUNT_MAPPING_TO_REST, OUTPUT_MOUNT_MAPPING_TO_REST).
var modes = map[string]string{"mount": "ReadWriteMount", "rw_mount": "ReadWriteMount", "upload": "Upload",
	"direct":   "Direct",
	"ro_mount": "ReadOnlyMount", "download": "Download", "eval_mount": "EvalMount", "eval_download": "EvalDownload"}

func inputBody(in job.Input, address string, w Workspace) object {
	if in.Literal {
		return object{"jobInputType": "literal", "value": in.Value}
	}
	b := object{"jobInputType": cmp.Or(in.Type, job.URIFolder)}
	b.set("uri", reference(address, kindOf(in), w))
	mode := modes[in.Mode]
	if in.Mode == "mount" { // of an input, reading
		mode = "ReadOnlyMount"
	}
	b.set("mode", mode)
	return b
}

// kindOf is the kind of asset that an input names.
func kindOf(in job.Input) string {
	if slices.Contains([]string{job.CustomModel, job.MLflowModel, job.TritonModel}, in.Type) {
		return "models"
	}
	return "data"
}

func serviceBody(s job.Service) object {
	b := object{}
	b.set("jobServiceType", map[string]string{"jupyter_lab": "JupyterLab", "ssh": "SSH", "tensor_board": "TensorBoard",
		"vs_code": "VSCode", "custom": "Custom"}[s.Type])
	b.set("port", s.Port)
	if s.Nodes == "all" {
		b["nodes"] = object{"nodesValueType": "All"}
	}
	properties := maps.Clone(s.Properties)
	if properties == nil {
		properties = map[string]any{}
	}
	if s.LogDir != "" {
		properties["logDir"] = s.LogDir
	}
	if s.SSHPublicKeys != "" {
		properties["sshPublicKeys"] = s.SSHPublicKeys
	}
	b.set("properties", properties)
	return b
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

// duration writes seconds as an ISO 8601 duration, as azure-ai-ml does. The service
// takes less than a minute for sixty days (azure-ai-ml, _get_floored_timeout), so the
// least is a minute.
func duration(seconds int) string {
	seconds = max(seconds, 60)
	days, rest := seconds/86400, seconds%86400
	out := "P"
	if days > 0 {
		out += fmt.Sprintf("%dD", days)
	}
	if rest == 0 {
		return out
	}
	out += "T"
	for _, unit := range []struct {
		seconds int
		letter  string
	}{{3600, "H"}, {60, "M"}, {1, "S"}} {
		if n := rest / unit.seconds; n > 0 {
			out += fmt.Sprintf("%d%s", n, unit.letter)
		}
		rest %= unit.seconds
	}
	return out
}
