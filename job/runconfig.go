package job

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/suggest"
)

// A run configuration is what SDK v1 kept of a job (azureml-core 1.61, RunConfiguration,
// its _field_to_info_dict): YAML or JSON, in .azureml/NAME.runconfig or .azureml/NAME. Each
// of its fields is in the job, or answered with a warning where it says something: what it
// holds from its template is nobody's wish.

// runConfigDirs are the folders in which SDK v1 looks for run configurations, in a project.
var runConfigDirs = []string{".azureml", "aml_config"}

// runConfigExt is what their names may end with.
const runConfigExt = ".runconfig"

// FindRunConfig returns the file of a run configuration: one of that path, else the one of
// that name of the project in the working directory. Exists tells whether a file is there.
func FindRunConfig(name string, exists func(string) bool) (string, error) {
	places := []string{name}
	if !strings.ContainsAny(name, `/\`) {
		for _, dir := range runConfigDirs {
			places = append(places, path.Join(dir, name+runConfigExt), path.Join(dir, name))
		}
	}
	for _, place := range places {
		if exists(place) {
			return place, nil
		}
	}
	return "", fmt.Errorf("there is no run configuration %s; looked for %s", name, strings.Join(places, ", "))
}

// IsRunConfig tells a run configuration from a job file by where it lies.
func IsRunConfig(name string) bool {
	ext, dir := filepath.Ext(name), filepath.Base(filepath.Dir(name))
	return ext == runConfigExt || ext == "" && slices.Contains(runConfigDirs, dir)
}

// runConfig is a run configuration that is being read.
type runConfig struct {
	*document
	job   *Job
	place inside.Place

	script, framework, communicator string
	arguments, command              []string

	nodes, mpiProcesses, mpiNodes, torchProcesses, torchNodes, workers, servers int

	docker          bool
	shm             string
	dockerArguments []string
	environment     v1Environment
	expressions     map[string]string // what stands in the arguments for which expression
	tuned           []tuned           // of a sweep
}

// readRunConfig reads a run configuration. Its paths are relative to the project: the
// folder around .azureml, else its own.
func readRunConfig(name, abs string, place inside.Place) (*Job, *document) {
	shown := filepath.ToSlash(name)
	d, root := open(abs, shown, place)
	if root == nil {
		return nil, d
	}
	dir := filepath.Dir(abs)
	if slices.Contains(runConfigDirs, filepath.Base(dir)) {
		dir = filepath.Dir(dir)
	}
	r := &runConfig{document: d, place: place, expressions: map[string]string{}, nodes: 1, mpiProcesses: 1, workers: 1}
	r.job = &Job{Type: "command", Compute: Local, Code: ".", File: shown, Dir: dir, place: place, document: d}
	d.keys = map[string]key{}
	for _, k := range root.keys {
		d.keys[k.name] = k
		if name, ok := jobKeys[k.name]; ok {
			d.keys[name] = k
		}
	}
	r.section(root, "a run configuration", r.fields())
	r.finish(root)
	return r.job, d
}

// jobKeys are the keys of a job file that those of a run configuration stand for.
var jobKeys = map[string]string{
	"target": "compute", "framework": "distribution", "script": "command", "nodeCount": "resources",
}

// warn reports what has no effect, and what replaces it.
func (d *document) warn(v *value, format string, args ...any) {
	p := Problem{File: d.file, Line: v.line, Column: v.column, Message: fmt.Sprintf(format, args...)}
	d.warnings = append(d.warnings, p)
}

// section reads a mapping whose keys are in any case, as SDK v1 does. What has no value is
// not there.
func (r *runConfig) section(v *value, what string, fields map[string]field) {
	if v.kind != mapping {
		r.report(v.line, v.column, "%s is %s; it has to be a mapping", what, v.kind)
		return
	}
	for _, k := range v.keys {
		read, ok := fields[strings.ToLower(strings.ReplaceAll(k.name, "_", ""))]
		switch {
		case empty(k.value):
		case !ok:
			r.warn(&value{line: k.line, column: k.column}, "%s has no %q that SDK v1 knows%s; it has no effect",
				what, k.name, suggest.DidYouMean(strings.ToLower(k.name), slices.Collect(maps.Keys(fields))))
		case read != nil:
			read(k.value)
		}
	}
}

// empty tells a value that says nothing.
func empty(v *value) bool {
	switch v.kind {
	case null:
		return true
	case mapping:
		return len(v.keys) == 0
	case list:
		return len(v.items) == 0
	case str:
		return v.text == ""
	}
	return false
}

// replaced answers a field that has no effect here, where it is not as the template has it.
func (r *runConfig) replaced(what, by string, template ...string) field {
	return func(v *value) {
		if !slices.Contains(template, strings.ToLower(v.literal())) || v.kind == mapping || v.kind == list {
			r.warn(v, "%s has no effect; %s", what, by)
		}
	}
}

// whenSet answers a section of which some field is not as the template has it.
func (r *runConfig) whenSet(what, by string, template map[string]string) field {
	return func(v *value) {
		for _, k := range v.keys {
			if !empty(k.value) && !strings.EqualFold(k.value.literal(), template[k.name]) {
				r.warn(k.value, "%s.%s has no effect; %s", what, k.name, by)
			}
		}
	}
}

func (r *runConfig) words(what string, to *[]string) field {
	return func(v *value) {
		if v.kind != list {
			*to = []string{v.literal()}
			return
		}
		for _, item := range v.items {
			word := item.literal()
			if item.kind == mapping || item.kind == list {
				r.report(item.line, item.column, "%s holds %s; it is a list of words", what, item.kind)
			}
			*to = append(*to, word)
		}
	}
}

func (r *runConfig) fields() map[string]field {
	j := r.job
	return map[string]field{
		"script":       r.str("script", &r.script),
		"arguments":    r.words("arguments", &r.arguments),
		"command":      r.words("command", &r.command),
		"target":       r.compute(&j.Compute),
		"framework":    r.str("framework", &r.framework),
		"communicator": r.str("communicator", &r.communicator),
		"nodecount":    r.integer("nodeCount", 1, &r.nodes),
		"priority": r.replaced("priority",
			"queue_settings: {priority: low, medium or high} of a job file replaces it", ""),
		"maxrundurationseconds": r.maxDuration,
		"environment":           r.readEnvironment,
		"environmentvariables":  r.texts("environmentVariables", &j.EnvironmentVariables, r.literal),
		"history":               r.history,
		"spark":                 nil, "hdi": nil, // have an effect with PySpark alone, which finish refuses
		"docker":     r.dockerConfiguration,
		"tensorflow": r.tensorflowConfiguration,
		"mpi":        r.mpiConfiguration,
		"pytorch":    r.pytorchConfiguration,
		"paralleltask": r.whenSet("paralleltask", "a parallel job of Azure Machine Learning replaces it",
			map[string]string{"maxRetriesPerWorker": "0", "workerCountPerNode": "1"}),
		"datareferences": r.named("dataReferences", r.dataReference),
		"data":           r.named("data", r.data),
		"outputdata":     r.named("outputData", r.outputData),
		"datacaches": r.replaced("datacaches",
			"inputs: {NAME: {mode: download}} of a job file replaces it"),
		"sourcedirectorydatastore": r.replaced("sourceDirectoryDataStore",
			"the snapshot goes to the workspace's own storage", ""),
		"amlcompute": r.whenSet("amlcompute", "make a cluster (az ml compute create) and name it as the target",
			map[string]string{"retainCluster": "false"}),
		"autoclustercomputespecification": r.replaced("autoClusterComputeSpecification",
			"make a cluster and name it as the target"),
		"kubernetescompute": func(v *value) {
			r.section(v, "kubernetescompute", map[string]field{"instancetype": func(v *value) {
				r.text(v, "kubernetescompute.instanceType", &r.resources().InstanceType)
			}})
		},
		"credentialpassthrough": func(v *value) {
			given := false
			if r.flag("credentialPassthrough", &given)(v); given {
				j.Identity = &Identity{Type: "user_identity"}
			}
		},
		"services": r.services(j), "applicationendpoints": r.services(j),
		"hyperdrive": r.hyperdrive,
		"id":         nil, "name": nil, "version": nil, "schemaversion": nil, "jobname": nil, "$schema": nil,
	}
}

func (r *runConfig) dockerConfiguration(v *value) {
	r.section(v, "docker", map[string]field{
		"usedocker": r.flag("docker.useDocker", &r.docker),
		"sharedvolumes": r.replaced("docker.sharedVolumes",
			"a container here shares no folder of the machine; what it needs is an input", "true"),
		"arguments": r.words("docker.arguments", &r.dockerArguments),
		"shmsize":   r.str("docker.shmSize", &r.shm),
	})
}

func (r *runConfig) tensorflowConfiguration(v *value) {
	r.section(v, "tensorflow", map[string]field{
		"workercount":          r.integer("tensorflow.workerCount", 1, &r.workers),
		"parameterservercount": r.integer("tensorflow.parameterServerCount", 0, &r.servers),
	})
}

func (r *runConfig) mpiConfiguration(v *value) {
	r.section(v, "mpi", map[string]field{
		"processcountpernode": r.integer("mpi.processCountPerNode", 1, &r.mpiProcesses),
		"nodecount":           r.integer("mpi.nodeCount", 1, &r.mpiNodes),
	})
}

func (r *runConfig) pytorchConfiguration(v *value) {
	r.section(v, "pytorch", map[string]field{
		"communicationbackend": nil, // the script says it to init_process_group
		"processcount":         r.integer("pytorch.processCount", 1, &r.torchProcesses),
		"nodecount":            r.integer("pytorch.nodeCount", 1, &r.torchNodes),
	})
}

func (r *runConfig) maxDuration(v *value) {
	r.job.Limits = &Limits{}
	r.integer("maxRunDurationSeconds", 1, &r.job.Limits.Timeout)(v)
}

func (r *runConfig) history(v *value) {
	r.section(v, "history", map[string]field{
		"outputcollection": r.replaced("history.outputCollection", "./outputs and ./logs are always kept", "true"),
		"snapshotproject": r.replaced("history.snapshotProject", "without its snapshot a run could not be repeated",
			"true"),
		"directoriestowatch": func(v *value) {
			var dirs []string
			r.words("history.directoriesToWatch", &dirs)(v)
			for _, dir := range dirs {
				if dir = strings.Trim(strings.TrimPrefix(dir, "./"), "/"); dir != "logs" && dir != "outputs" &&
					dir != "" {
					r.job.Keep = append(r.job.Keep, dir+"/")
				}
			}
		},
		"ambientauthentication": r.replaced("history.ambientAuthentication", "identity of a job file replaces it"),
	})
}

// finish makes the job of what was read.
func (r *runConfig) finish(root *value) {
	j := r.job
	at := func(name string) (int, int) {
		if k := root.get(name); k != nil {
			return k.value.line, k.value.column
		}
		return 1, 1
	}
	if strings.EqualFold(r.framework, "PySpark") {
		line, column := at("framework")
		r.report(line, column, "this is a Spark job; only command jobs and sweeps can be run. A standalone Spark "+
			"job of Azure Machine Learning replaces it")
	}
	r.tune()
	j.Command = r.expand(strings.Join(r.command, " "))
	if j.Command == "" && r.script != "" {
		j.Command = "python " + Quote(r.script)
		for _, word := range r.arguments {
			j.Command += " " + Quote(r.expand(word))
		}
	} else if len(r.command) > 0 && r.script != "" && len(r.arguments) > 0 {
		line, column := at("command")
		r.report(line, column, "the run configuration has both a command and a script with arguments; keep one")
	}
	if j.Command == "" {
		r.report(1, 1, "the run configuration has neither script nor command")
	}
	j.Command += r.tunedArguments()
	if j.Sweep != nil && j.Limits != nil { // it is each run's, not HyperDrive's
		j.Sweep.Limits.TrialTimeout, j.Limits = j.Limits.Timeout, nil
	}
	r.distribute(at)
	r.useEnvironment()
}

// expand puts expressions in place of the words by which SDK v1 named data.
func (r *runConfig) expand(text string) string {
	for word, expression := range r.expressions {
		if text == word {
			return expression
		}
	}
	for _, word := range slices.Backward(slices.Sorted(maps.Keys(r.expressions))) { // the longer of two first
		text = strings.ReplaceAll(text, word, r.expressions[word])
	}
	return text
}

// distribute says how many processes there are, on how many nodes.
func (r *runConfig) distribute(at func(string) (int, int)) {
	nodes := r.nodes
	framework, communicator := strings.ToLower(r.framework), strings.ToLower(r.communicator)
	switch {
	case slices.Contains([]string{"mpi", "openmpi", "intelmpi"}, communicator):
		nodes = max(nodes, r.mpiNodes)
		r.job.Distribution = &Distribution{Type: "mpi", ProcessCountPerInstance: r.mpiProcesses}
	case communicator == "parameterserver":
		r.job.Distribution = &Distribution{Type: "tensorflow", WorkerCount: r.workers, ParameterServerCount: r.servers}
	case framework == "pytorch" && (communicator == "nccl" || communicator == "gloo" || r.torchProcesses > 0):
		nodes = max(nodes, r.torchNodes)
		r.job.Distribution = &Distribution{Type: "pytorch", ProcessCountPerInstance: max(r.torchProcesses/nodes, 1)}
		if r.torchProcesses%nodes != 0 {
			line, column := at("pytorch")
			r.report(line, column, "pytorch.processCount is %d in all, which %d nodes cannot share evenly",
				r.torchProcesses, nodes)
		}
	case !slices.Contains([]string{"", "none"}, communicator):
		line, column := at("communicator")
		r.report(line, column, "communicator is %q; it can be None, ParameterServer, OpenMpi, IntelMpi, Mpi, Nccl, "+
			"Gloo", r.communicator)
	}
	if nodes > 1 {
		r.resources().InstanceCount = nodes
	}
}
