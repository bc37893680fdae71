package job

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/lazyregexp"
)

func read(path, abs string, place inside.Place) (*Job, *document) {
	shown := filepath.ToSlash(path)
	d, root := open(abs, shown, place)
	if root == nil {
		return nil, d
	}
	j := &Job{Type: "command", Compute: Local, File: shown, Dir: filepath.Dir(abs), place: place, document: d}
	d.keys = map[string]key{}
	for _, k := range root.keys {
		d.keys[k.name] = k
	}
	d.job(root, j)
	return j, d
}

func (d *document) job(root *value, j *Job) {
	kind := "command"
	if k := root.get("type"); k != nil {
		d.text(k.value, "type", &kind)
	} else if k := root.get("$schema"); k != nil && strings.Contains(k.value.text, "sweepJob") {
		kind = "sweep"
	} else if k != nil && strings.Contains(k.value.text, "pipelineJob") {
		kind = "pipeline"
	}
	switch {
	case strings.EqualFold(kind, commandKind):
		d.commandJob(root, j)
	case strings.EqualFold(kind, sweepKind):
		d.sweepJob(root, j)
	case slices.Contains([]string{"pipeline", "spark", "parallel", "automl", "import"}, kind):
		at := root.keys[0]
		if k := root.get("type"); k != nil {
			at = *k
		}
		d.report(at.value.line, at.value.column, "this is a %s job; only command jobs and sweeps can be run. "+
			"Write what one step runs as a command job", kind)
		return
	default:
		k := root.get("type")
		d.report(k.value.line, k.value.column, "type is %q; it can be command, sweep", kind)
		d.commandJob(root, j)
	}
	for key, name := range map[string]string{"name": j.Name, "experiment_name": j.ExperimentName} {
		if name == "" {
			continue
		}
		if err := checkName(name); err != nil {
			k := root.get(key)
			d.report(k.value.line, k.value.column, "%s %v", key, err)
		}
	}
}

func (d *document) commandJob(root *value, j *Job) {
	fields := d.common(j)
	maps.Copy(fields, d.command(j))
	fields["limits"] = func(v *value) {
		j.Limits = &Limits{}
		d.object(v, "limits", map[string]field{"timeout": d.integer("limits.timeout (seconds)", 1, &j.Limits.Timeout)})
	}
	fields["parent_job_name"] = d.str("parent_job_name", &j.ParentJobName)
	fields["is_deterministic"] = nil // of components; az writes it into exported jobs
	d.object(root, "a command job", fields)
	if root.get("command") == nil {
		d.report(1, 1, "a command job needs a command, such as \"command: python train.py\"")
	}
}

// common are the fields of every job.
func (d *document) common(j *Job) map[string]field {
	return map[string]field{
		"$schema":         nil,
		"type":            nil,
		"name":            d.str("name", &j.Name),
		"display_name":    d.str("display_name", &j.DisplayName),
		"experiment_name": d.str("experiment_name", &j.ExperimentName),
		"description":     d.str("description", &j.Description),
		"tags":            d.texts("tags", &j.Tags, d.text),
		"properties":      d.texts("properties", &j.Properties, d.text),
		"inputs":          d.inputs(j),
		"outputs":         d.outputs(j),
		"compute":         d.compute(&j.Compute),
		"identity":        d.identity(j),
		"services":        d.services(j),
		"queue_settings":  d.queueSettings(&j.QueueSettings),
		"keep":            d.patterns("keep", &j.Keep),
		"report": func(v *value) {
			j.Report = &Report{}
			d.object(v, "report", map[string]field{"metrics": d.patterns("report.metrics", &j.Report.Metrics)})
		},
		"creation_context": nil, // these four az prints with a job and ignores when it reads one
		"id":               nil,
		"status":           nil,
		"log_files":        nil,
	}
}

// command are the fields of what runs.
func (d *document) command(j *Job) map[string]field {
	return map[string]field{
		"command":               d.str("command", &j.Command),
		"code":                  d.code(&j.Code),
		"environment":           d.environment(j),
		"environment_variables": d.texts("environment_variables", &j.EnvironmentVariables, d.literal),
		"distribution":          d.distribution(j),
		"resources":             d.resources(&j.Resources),
	}
}

func (d *document) queueSettings(to **QueueSettings) field {
	return func(v *value) {
		q := &QueueSettings{}
		*to = q
		d.object(v, "queue_settings", map[string]field{
			"job_tier": d.oneOf("queue_settings.job_tier", &q.JobTier, "spot", "basic", "standard", "premium", "null"),
			"priority": d.oneOf("queue_settings.priority", &q.Priority, "low", "medium", "high"),
		})
	}
}

// find returns where text stands first, from a line on.
func (d *document) find(line int, text string) (int, int) {
	for i := max(line-1, 0); i < len(d.lines); i++ {
		if at := strings.Index(d.lines[i], text); at >= 0 {
			return i + 1, len([]rune(d.lines[i][:at])) + 1
		}
	}
	return 0, 0
}

var (
	azureName = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_-]*$`) // and at most 255 long
	inputName = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
	shmSize   = lazyregexp.New(`^[1-9][0-9]*[bkmg]$`)
)

func checkName(name string) error {
	if len(name) <= 255 && azureName.MatchString(name) {
		return nil
	}
	return fmt.Errorf("is %q; it can hold letters, digits, - and _, at most 255 of them, the first a letter or digit",
		name)
}

func (d *document) code(to *string) field {
	return func(v *value) {
		d.text(v, "code", to)
		if strings.HasPrefix(*to, "azureml:") || strings.HasPrefix(*to, "git+") {
			d.report(v.line, v.column, "code is %q; it has to be a local folder, whose snapshot is what runs", *to)
		}
	}
}

// compute reads the compute target. "azureml:NAME" is the same target as NAME.
func (d *document) compute(to *string) field {
	return func(v *value) {
		if v.kind == mapping {
			d.report(v.line, v.column, "compute is a mapping; name the compute target, and put instance_count and "+
				"instance_type under resources")
			return
		}
		if v.kind == number || v.kind == boolean {
			d.report(v.line, v.column, "compute is %s; it has to be a string, the name of a compute target: those "+
				"begin with a letter, and local is this machine", v.text)
			return
		}
		d.text(v, "compute", to)
		if err := checkCompute(*to); err != nil {
			d.report(v.line, v.column, "%v", err)
		}
		*to = strings.TrimPrefix(*to, "azureml:")
	}
}

// checkCompute refuses what cannot train. Azure Databricks can be attached to a
// workspace, but only pipeline steps run on it (how-to-train-with-ui and
// concept-compute-target, "Training compute targets").
func checkCompute(name string) error {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(strings.TrimPrefix(name, "azureml:")))
	if plain == "databricks" || plain == "azuredatabricks" {
		return fmt.Errorf("compute %q: Azure Databricks cannot run a training job, only steps of a pipeline; name a "+
			"cluster, a compute instance, an attached Kubernetes cluster, or local", name)
	}
	if strings.TrimSpace(name) == "" {
		return fmt.Errorf("compute is empty; name a compute target, or local for this machine")
	}
	return nil
}

// named tells whether a section is a mapping of names to something.
func (d *document) named(v *value, section, to string) bool {
	if v.kind != mapping {
		d.report(v.line, v.column, "%s is %s; it has to be a mapping of names to %s", section, v.kind, to)
	}
	return v.kind == mapping
}

// wellNamed tells whether a command can name an input or output.
func (d *document) wellNamed(k key, what string) bool {
	ok := inputName.MatchString(k.name)
	if !ok {
		d.report(k.line, k.column, "the %s's name %q can hold letters, digits and _ only, and not start with a digit",
			what, k.name)
	}
	return ok
}

func (d *document) inputs(j *Job) field {
	return func(v *value) {
		if !d.named(v, "inputs", "values") {
			return
		}
		j.Inputs = map[string]Input{}
		for _, k := range v.keys {
			what := "inputs." + k.name
			if !d.wellNamed(k, "input") {
				j.Inputs[k.name] = Input{} // that the command names it is not wrong as well
				continue
			}
			var in Input
			switch k.value.kind {
			case mapping:
				if k.value.get("value") != nil {
					in.Literal = true
					d.object(k.value, what, map[string]field{
						"value": func(v *value) { d.input(v, what+".value", &in.Value) }, "type": nil})
					break
				}
				in.Type = URIFolder
				d.object(k.value, what, map[string]field{
					"type": d.oneOf(what+".type", &in.Type, URIFile, URIFolder, MLTable, CustomModel,
						MLflowModel, TritonModel),
					"path": d.str(what+".path", &in.Path),
					"mode": d.oneOf(what+".mode", &in.Mode, "ro_mount", "download", "direct", "eval_mount",
						"eval_download"),
					"datastore":       d.str(what+".datastore", &in.Datastore),
					"path_on_compute": d.str(what+".path_on_compute", &in.OnCompute),
				})
				if in.Path == "" {
					d.report(k.line, k.column,
						"%s has no path; name a local file or folder, an https: URL or an azureml: asset", what)
				}
			case list:
				d.report(k.value.line, k.value.column, "%s is a list; an input is a value, or a mapping with a path",
					what)
			default:
				in.Literal = true
				d.input(k.value, what, &in.Value)
			}
			j.Inputs[k.name] = in
		}
	}
}

func (d *document) outputs(j *Job) field {
	return func(v *value) {
		if !d.named(v, "outputs", "types") {
			return
		}
		j.Outputs = map[string]Output{}
		for _, k := range v.keys {
			what := "outputs." + k.name
			if !d.wellNamed(k, "output") {
				j.Outputs[k.name] = Output{}
				continue
			}
			out := Output{Type: URIFolder}
			if k.value.kind != null {
				d.object(k.value, what, map[string]field{
					"type": d.oneOf(what+".type", &out.Type, URIFile, URIFolder, MLTable, CustomModel, MLflowModel,
						TritonModel),
					"path":    d.str(what+".path", &out.Path),
					"mode":    d.oneOf(what+".mode", &out.Mode, "rw_mount", "upload", "mount", "direct"),
					"name":    d.str(what+".name", &out.Name),
					"version": d.str(what+".version", &out.Version),
				})
			}
			j.Outputs[k.name] = out
		}
	}
}

func (d *document) distribution(j *Job) field {
	return func(v *value) {
		x := &Distribution{}
		j.Distribution = x
		if v.kind == mapping {
			if k := v.get("type"); k != nil {
				d.oneOf("distribution.type", &x.Type, "mpi", "pytorch", "tensorflow", "ray")(k.value)
				if x.Type == "" {
					return
				}
			} else {
				d.report(v.line, v.column, "distribution has no type; it can be mpi, pytorch, tensorflow, ray")
				return
			}
		}
		fields := map[string]field{"type": nil}
		switch x.Type {
		case "mpi", "pytorch":
			fields["process_count_per_instance"] = d.integer("distribution.process_count_per_instance", 1,
				&x.ProcessCountPerInstance)
		case "tensorflow":
			fields["worker_count"] = d.integer("distribution.worker_count", 1, &x.WorkerCount)
			fields["parameter_server_count"] = d.integer("distribution.parameter_server_count", 0,
				&x.ParameterServerCount)
		case "ray":
			fields["port"] = d.integer("distribution.port", 1, &x.Port)
			fields["address"] = d.str("distribution.address", &x.Address)
			fields["include_dashboard"] = d.flag("distribution.include_dashboard", &x.IncludeDashboard)
			fields["dashboard_port"] = d.integer("distribution.dashboard_port", 1, &x.DashboardPort)
			fields["head_node_additional_args"] = d.str("distribution.head_node_additional_args",
				&x.HeadNodeAdditionalArgs)
			fields["worker_node_additional_args"] = d.str("distribution.worker_node_additional_args",
				&x.WorkerNodeAdditionalArgs)
		}
		d.object(v, x.Type+" distribution", fields)
	}
}

func (d *document) resources(to **Resources) field {
	return func(v *value) {
		r := &Resources{}
		*to = r
		d.object(v, "resources", map[string]field{
			"instance_count":     d.integer("resources.instance_count", 1, &r.InstanceCount),
			"max_instance_count": d.integer("resources.max_instance_count", 1, &r.MaxInstanceCount),
			"instance_type":      d.str("resources.instance_type", &r.InstanceType),
			"shm_size": func(v *value) {
				d.text(v, "resources.shm_size", &r.ShmSize)
				if r.ShmSize != "" && !shmSize.MatchString(r.ShmSize) {
					d.report(v.line, v.column, "resources.shm_size is %q; write a number and b, k, m or g, as in 2g",
						r.ShmSize)
				}
			},
			"docker_args": func(v *value) {
				if v.kind != list {
					d.text(v, "resources.docker_args", &r.DockerArgs)
					return
				}
				words := make([]string, len(v.items))
				for i, item := range v.items {
					d.text(item, "resources.docker_args", &words[i])
				}
				r.DockerArgs = strings.Join(words, " ")
			},
			"locations": func(v *value) {
				if v.kind != list {
					d.report(v.line, v.column, "resources.locations is %s; it has to be a list of regions", v.kind)
					return
				}
				for _, item := range v.items {
					s := ""
					d.text(item, "resources.locations", &s)
					r.Locations = append(r.Locations, s)
				}
			},
			"properties": func(v *value) {
				if m, ok := v.plain().(map[string]any); ok {
					r.Properties = m
				}
			},
		})
	}
}

func (d *document) identity(j *Job) field {
	return func(v *value) {
		i := &Identity{}
		j.Identity = i
		d.object(v, "identity", map[string]field{
			"type": d.oneOf("identity.type", &i.Type, "managed", "managed_identity", "user_identity",
				"aml_token"),
			"client_id":       d.str("identity.client_id", &i.ClientID),
			"object_id":       d.str("identity.object_id", &i.ObjectID),
			"msi_resource_id": d.str("identity.msi_resource_id", &i.ResourceID),
		})
		if i.Type == "managed_identity" {
			i.Type = "managed"
		}
		if v.kind == mapping && v.get("type") == nil {
			d.report(v.line, v.column, "identity has no type; it can be managed, user_identity, aml_token")
		}
	}
}

func (d *document) services(j *Job) field {
	return func(v *value) {
		if !d.named(v, "services", "services") {
			return
		}
		j.Services = map[string]Service{}
		for _, k := range v.keys {
			var s Service
			what := "services." + k.name
			d.object(k.value, what, map[string]field{
				"type":             d.str(what+".type", &s.Type),
				"job_service_type": d.str(what+".job_service_type", &s.Type),
				"port":             d.integer(what+".port", 1, &s.Port),
				"nodes":            d.str(what+".nodes", &s.Nodes),
				"log_dir":          d.str(what+".log_dir", &s.LogDir),
				"ssh_public_keys":  d.str(what+".ssh_public_keys", &s.SSHPublicKeys),
				"properties": func(v *value) {
					if m, ok := v.plain().(map[string]any); ok {
						s.Properties = m
					}
				},
				"endpoint": nil, "status": nil, "error_message": nil, // az prints these
			})
			j.Services[k.name] = s
		}
	}
}
