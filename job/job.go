// Package job answers: what shall run?
//
// Its model is Azure ML's command job, and a sweep of such jobs, in the words of the CLI v2
// YAML schema (learn.microsoft.com: "CLI (v2) command job YAML schema", "CLI (v2) sweep job
// YAML schema"), which is also the form in which people keep their jobs. A job is read from such a file, from
// flags in the words of SDK v1's ScriptRunConfig, or from a file with flags over
// it; either way every problem is reported at once.
package job

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/aml-train/internal/inside"
)

// Job is what shall run. Its JSON form is the job file's own vocabulary.
type Job struct {
	Type                 string             `json:"type"` // "command" or "sweep"
	Name                 string             `json:"name,omitempty"`
	DisplayName          string             `json:"display_name,omitempty"`
	ExperimentName       string             `json:"experiment_name,omitempty"`
	Description          string             `json:"description,omitempty"`
	Tags                 map[string]string  `json:"tags,omitempty"`
	Properties           map[string]string  `json:"properties,omitempty"`
	Command              string             `json:"command"`
	Code                 string             `json:"code,omitempty"` // the source directory, relative to Dir; "" sends none
	Inputs               map[string]Input   `json:"inputs,omitempty"`
	Outputs              map[string]Output  `json:"outputs,omitempty"`
	Environment          *Environment       `json:"environment,omitempty"` // nil is the target's default
	EnvironmentVariables map[string]string  `json:"environment_variables,omitempty"`
	Compute              string             `json:"compute"` // "local", or the name of a compute target
	Distribution         *Distribution      `json:"distribution,omitempty"`
	Resources            *Resources         `json:"resources,omitempty"`
	Limits               *Limits            `json:"limits,omitempty"`
	Identity             *Identity          `json:"identity,omitempty"`
	Services             map[string]Service `json:"services,omitempty"`
	QueueSettings        *QueueSettings     `json:"queue_settings,omitempty"`
	ParentJobName        string             `json:"parent_job_name,omitempty"`

	// Sweep makes trials of the command, of which the job's command, code, environment,
	// distribution and resources are then the trial's. It is nil of a command job.
	Sweep *Sweep `json:"-"`

	// Keep is patterns, as in .gitignore and relative to the source directory, of files
	// besides ./outputs and ./logs that a run keeps. Azure ML's own schema has none.
	Keep []string `json:"keep,omitempty"`

	// Report says how the run is reported. Azure ML's own schema has none.
	Report *Report `json:"report,omitempty"`

	Warnings Problems `json:"-"` // what the job file says without effect, and what replaces it

	File string `json:"-"` // the job file, as it was named; "" for a job from flags
	Dir  string `json:"-"` // absolute; the relative paths above start here

	document  *document    // that it was read from, with the problems found; nil of a job that was made
	place     inside.Place // whose files may be named
	codeNamed bool         // Code comes from the command line

	environmentNamed bool // so do the environment's files
}

// Report says how a run is reported.
type Report struct {
	Metrics []string `json:"metrics,omitempty"` // the names of those that come first
}

// Local is the compute target that is this machine, as in Azure ML.
const Local = "local"

// Types of inputs and outputs.
const (
	URIFile     = "uri_file"
	URIFolder   = "uri_folder"
	MLTable     = "mltable"
	CustomModel = "custom_model"
	MLflowModel = "mlflow_model"
	TritonModel = "triton_model"
)

// Input is a value that the command line names as ${{inputs.NAME}}: a literal,
// or data that the target turns into a path.
type Input struct {
	Value     string `json:"value,omitempty"` // of a literal, as the command line gets it
	Literal   bool   `json:"-"`
	Type      string `json:"type,omitempty"` // of data
	Path      string `json:"path,omitempty"` // local (relative to Job.Dir), https:, azureml:, wasbs: ...
	Mode      string `json:"mode,omitempty"`
	Datastore string `json:"datastore,omitempty"`
	OnCompute string `json:"path_on_compute,omitempty"`

	// Run says of which earlier run the files are, RUN or RUN:PATH: they are found where the
	// job is going to run, and are then at Path. The run may change its own copy of them.
	Run string `json:"run,omitempty"`

	named bool // Path comes from the command line
}

// Output is a folder, or with Type "uri_file" a file, that the command line
// names as ${{outputs.NAME}}.
type Output struct {
	Type    string `json:"type"`
	Path    string `json:"path,omitempty"`
	Mode    string `json:"mode,omitempty"`
	Name    string `json:"name,omitempty"` // the asset under which the result is registered
	Version string `json:"version,omitempty"`
}

// Environment is what the script runs in: a reference, a description, or what
// the machine has (UserManaged).
type Environment struct {
	Reference   string `json:"reference,omitempty"` // azureml:NAME:VERSION, azureml:NAME@LABEL, azureml://registries/...
	UserManaged bool   `json:"user_managed,omitempty"`

	Name         string            `json:"name,omitempty"`
	Image        string            `json:"image,omitempty"`
	Build        *Build            `json:"build,omitempty"`
	CondaFile    string            `json:"conda_file,omitempty"`   // a path relative to Job.Dir
	Conda        any               `json:"conda,omitempty"`        // the same, written in the job file
	Requirements string            `json:"requirements,omitempty"` // pip's, a path relative to Job.Dir
	OSType       string            `json:"os_type,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Descriptor   string            `json:"description,omitempty"`
}

// Build is a Docker build context.
type Build struct {
	Path           string `json:"path"`
	DockerfilePath string `json:"dockerfile_path,omitempty"`
}

// Text names an environment as people do: PREFIX:NAME, a reference, or what the machine has.
func (e *Environment) Text() string {
	switch {
	case e == nil || e.UserManaged:
		return UserManaged
	case e.Requirements != "":
		return PipPrefix + e.Requirements
	case e.Build != nil:
		return e.Build.Path
	case e.Image != "":
		return e.Image
	case e.CondaFile != "":
		return CondaPrefix + e.CondaFile
	case e.Conda != nil:
		return "conda_file"
	}
	return e.Reference
}

// What an environment in one word starts with: an image, a requirements file, a conda file.
const (
	DockerPrefix = "docker:"
	PipPrefix    = "pip:"
	CondaPrefix  = "conda:"
)

// UserManaged names the environment that the machine itself provides.
const UserManaged = "user-managed"

// Distribution says how one job becomes several processes. Only the fields of
// its Type are set.
type Distribution struct {
	Type                    string `json:"type"` // mpi, pytorch, tensorflow or ray
	ProcessCountPerInstance int    `json:"process_count_per_instance,omitempty"`
	WorkerCount             int    `json:"worker_count,omitempty"`
	ParameterServerCount    int    `json:"parameter_server_count,omitempty"`

	Port                     int    `json:"port,omitempty"`
	Address                  string `json:"address,omitempty"`
	IncludeDashboard         bool   `json:"include_dashboard,omitempty"`
	DashboardPort            int    `json:"dashboard_port,omitempty"`
	HeadNodeAdditionalArgs   string `json:"head_node_additional_args,omitempty"`
	WorkerNodeAdditionalArgs string `json:"worker_node_additional_args,omitempty"`
}

// Resources is how much of the compute target the job takes.
type Resources struct {
	InstanceCount    int            `json:"instance_count,omitempty"`
	MaxInstanceCount int            `json:"max_instance_count,omitempty"`
	InstanceType     string         `json:"instance_type,omitempty"`
	ShmSize          string         `json:"shm_size,omitempty"` // NUMBER and b, k, m or g
	DockerArgs       string         `json:"docker_args,omitempty"`
	Locations        []string       `json:"locations,omitempty"`
	Properties       map[string]any `json:"properties,omitempty"`
}

// Limits bounds a job.
type Limits struct {
	Timeout int `json:"timeout,omitempty"` // seconds; 0 is no limit
}

// Identity is on whose behalf the job reads its data.
type Identity struct {
	Type       string `json:"type"` // managed, user_identity or aml_token
	ClientID   string `json:"client_id,omitempty"`
	ObjectID   string `json:"object_id,omitempty"`
	ResourceID string `json:"msi_resource_id,omitempty"`
}

// Service is an application that runs beside the script, such as TensorBoard.
type Service struct {
	Type          string         `json:"type,omitempty"`
	Port          int            `json:"port,omitempty"`
	Nodes         string         `json:"nodes,omitempty"`
	LogDir        string         `json:"log_dir,omitempty"`
	SSHPublicKeys string         `json:"ssh_public_keys,omitempty"`
	Properties    map[string]any `json:"properties,omitempty"`
}

// QueueSettings is how a job waits for its turn.
type QueueSettings struct {
	JobTier  string `json:"job_tier,omitempty"` // spot, basic, standard, premium or null
	Priority string `json:"priority,omitempty"` // low, medium or high
}

// MaxDuration is how long the job may run, of a sweep with all its trials; 0 is no limit.
func (j *Job) MaxDuration() time.Duration {
	seconds := 0
	if j.Sweep != nil {
		seconds = j.Sweep.Limits.Timeout
	} else if j.Limits != nil {
		seconds = j.Limits.Timeout
	}
	return time.Duration(seconds) * time.Second
}

// SourceDirectory is the folder whose snapshot travels, "" where none does.
func (j *Job) SourceDirectory() string {
	if j.Code == "" || IsRemote(j.Code) {
		return ""
	}
	return j.Local(j.Code)
}

// Local makes a path of the job absolute. A file: URL is a path too.
func (j *Job) Local(path string) string {
	path = filepath.FromSlash(strings.TrimPrefix(strings.TrimPrefix(path, "file://"), "file:"))
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(j.Dir, path)
}

// IsRemote tells a path that is not on this machine: an asset or a URL.
func IsRemote(path string) bool {
	for _, scheme := range []string{"azureml:", "http:", "https:", "wasb:", "wasbs:", "abfs:", "abfss:", "adl:", "git+",
		"runs:"} {
		if strings.HasPrefix(path, scheme) {
			return true
		}
	}
	return strings.Contains(path, "://") && !strings.HasPrefix(path, "file://")
}

// Digest identifies what runs: the SHA-256 of the resolved job, in hex. Two jobs
// with the same digest differ at most in their source files, which the
// snapshot's id identifies, in their name, in what they keep and in how they are reported.
func (j *Job) Digest() string {
	same := *j
	same.Name, same.DisplayName, same.Keep, same.Report = "", "", nil, nil
	if name, run := j.Earlier(); name != "" {
		same.Inputs = maps.Clone(j.Inputs)
		same.Inputs[name] = Input{Run: run} // wherever they are found
	}
	return digest(&same)
}

func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps, slices and scalars only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
