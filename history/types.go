// Package history answers: what happened?
//
// The history of a run (its metrics, parameters, tags, artifacts and status) is
// kept and read in the terms of the MLflow tracking REST API
// (mlflow.org/docs, "REST API"; mlflow/protos/service.proto). An Azure Machine
// Learning workspace speaks it, and for local runs this package does: Store keeps
// the history in .aml-train/history.db in MLflow's own schema, Server offers it
// to the training script on loopback, and Client reads any such server.
package history

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// Int is a 64-bit integer of the REST API. Protocol buffers' JSON writes it as a
// string or a number; both are read.
type Int int64

func (i *Int) UnmarshalJSON(text []byte) error {
	s := unquote(text)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
			return fmt.Errorf("%s is no 64-bit integer", text)
		}
		n = int64(f)
	}
	*i = Int(n)
	return nil
}

// Float is a double of the REST API, where NaN and the infinities are the
// strings "NaN", "Infinity" and "-Infinity", and a truth value is 1 or 0.
type Float float64

func (f *Float) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case "true":
		*f = 1
		return nil
	case "false":
		*f = 0
		return nil
	}
	s := unquote(text)
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(v, 0) {
		return fmt.Errorf("%s is no number", text)
	}
	*f = Float(v)
	return nil
}

func (f Float) MarshalJSON() ([]byte, error) {
	switch v := float64(f); {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Infinity"`), nil
	default:
		return strconv.AppendFloat(nil, v, 'g', -1, 64), nil
	}
}

func unquote(text []byte) string {
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' {
		text = text[1 : n-1]
	}
	return string(text)
}

// Metric is one value of a metric.
type Metric struct {
	Key       string `json:"key"`
	Value     Float  `json:"value"`
	Timestamp Int    `json:"timestamp"` // milliseconds since 1970
	Step      Int    `json:"step"`

	ModelID       string `json:"model_id,omitempty"`
	DatasetName   string `json:"dataset_name,omitempty"`
	DatasetDigest string `json:"dataset_digest,omitempty"`
	RunID         string `json:"run_id,omitempty"`
}

// KeyValue is a parameter or a tag.
type KeyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// RunInfo is what every run has.
type RunInfo struct {
	RunID          string `json:"run_id"`
	RunUUID        string `json:"run_uuid"` // the same, under its old name
	RunName        string `json:"run_name"`
	ExperimentID   string `json:"experiment_id"`
	UserID         string `json:"user_id,omitempty"`
	Status         string `json:"status"` // MLflow's: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED
	StartTime      Int    `json:"start_time"`
	EndTime        Int    `json:"end_time,omitempty"`
	ArtifactURI    string `json:"artifact_uri"`
	LifecycleStage string `json:"lifecycle_stage"` // active or deleted
}

// RunData is what was logged. Metrics holds the last value of each.
type RunData struct {
	Metrics []Metric   `json:"metrics,omitempty"`
	Params  []KeyValue `json:"params,omitempty"`
	Tags    []KeyValue `json:"tags,omitempty"`
}

// Dataset is data that a run or model was made from.
type Dataset struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	SourceType string `json:"source_type"`
	Source     string `json:"source"`
	Schema     string `json:"schema,omitempty"`
	Profile    string `json:"profile,omitempty"`
}

// DatasetInput is a dataset with the tags of its use, such as mlflow.data.context.
type DatasetInput struct {
	Tags    []KeyValue `json:"tags,omitempty"`
	Dataset Dataset    `json:"dataset"`
}

// ModelRef is a logged model that a run read or made.
type ModelRef struct {
	ModelID string `json:"model_id"`
	Step    Int    `json:"step,omitempty"`
}

// RunInputs and RunOutputs are what a run read and made.
type RunInputs struct {
	DatasetInputs []*DatasetInput `json:"dataset_inputs,omitempty"`
	ModelInputs   []ModelRef      `json:"model_inputs,omitempty"`
}

type RunOutputs struct {
	ModelOutputs []ModelRef `json:"model_outputs,omitempty"`
}

// Run is a run as the REST API writes it.
type Run struct {
	Info    RunInfo    `json:"info"`
	Data    RunData    `json:"data"`
	Inputs  RunInputs  `json:"inputs"`
	Outputs RunOutputs `json:"outputs"`
}

// Tag returns a tag's value, "" where the run has none of that name.
func (r *Run) Tag(key string) string {
	for _, t := range r.Data.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// With returns a copy of the run that has other tags; "" takes one away.
func (r *Run) With(tags map[string]string) *Run {
	out := *r
	out.Data.Tags = nil
	for _, t := range r.Data.Tags {
		if _, other := tags[t.Key]; !other {
			out.Data.Tags = append(out.Data.Tags, t)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if tags[key] != "" {
			out.Data.Tags = append(out.Data.Tags, KeyValue{key, tags[key]})
		}
	}
	return &out
}

// Metric returns the last value of a metric.
func (r *Run) Metric(key string) (float64, bool) {
	for _, m := range r.Data.Metrics {
		if m.Key == key {
			return float64(m.Value), true
		}
	}
	return 0, false
}

// Started and Ended are zero where the run did not start or end yet.
func (r *Run) Started() time.Time { return at(r.Info.StartTime) }
func (r *Run) Ended() time.Time   { return at(r.Info.EndTime) }

func at(ms Int) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// Experiment is a named group of runs.
type Experiment struct {
	ID             string     `json:"experiment_id"`
	Name           string     `json:"name"`
	Location       string     `json:"artifact_location"`
	LifecycleStage string     `json:"lifecycle_stage"`
	CreationTime   Int        `json:"creation_time,omitempty"`
	LastUpdateTime Int        `json:"last_update_time,omitempty"`
	Tags           []KeyValue `json:"tags,omitempty"`
}

// File is an entry of a run's artifacts.
type File struct {
	Path  string `json:"path"` // slash-separated, relative to the run's artifacts
	IsDir bool   `json:"is_dir"`
	Size  Int    `json:"file_size,omitempty"`
}

// Error is a failure as the REST API reports it.
type Error struct {
	Code    string `json:"error_code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Error codes of the REST API (mlflow/protos/databricks.proto, ErrorCode).
const (
	codeInvalid        = "INVALID_PARAMETER_VALUE"
	codeNotFound       = "RESOURCE_DOES_NOT_EXIST"
	codeExists         = "RESOURCE_ALREADY_EXISTS"
	codeInternal       = "INTERNAL_ERROR"
	codeNoEndpoint     = "ENDPOINT_NOT_FOUND"
	codeUnavailable    = "TEMPORARILY_UNAVAILABLE"
	codeNotImplemented = "NOT_IMPLEMENTED"
	codeForbidden      = "PERMISSION_DENIED"
	codeSignIn         = "UNAUTHENTICATED"
)

func invalid(format string, args ...any) error {
	return &Error{codeInvalid, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &Error{codeNotFound, fmt.Sprintf(format, args...)}
}

// MLflow's run statuses.
const (
	mlflowRunning   = "RUNNING"
	mlflowScheduled = "SCHEDULED"
	mlflowFinished  = "FINISHED"
	mlflowFailed    = "FAILED"
	mlflowKilled    = "KILLED"
)

// Status is a run's state in Azure ML's words
// (azure-ai-ml, _run_history_constants.py, RunHistoryConstants).
type Status string

const (
	NotStarted      Status = "NotStarted"
	Queued          Status = "Queued"
	Preparing       Status = "Preparing"
	Provisioning    Status = "Provisioning"
	Starting        Status = "Starting"
	Running         Status = "Running"
	Finalizing      Status = "Finalizing"
	CancelRequested Status = "CancelRequested"
	Completed       Status = "Completed"
	Failed          Status = "Failed"
	Canceled        Status = "Canceled"
	NotResponding   Status = "NotResponding"
	Paused          Status = "Paused"
)

// Statuses is every status, in the order in which a run goes through them.
var Statuses = []Status{NotStarted, Queued, Preparing, Provisioning, Starting, Running,
	Finalizing, CancelRequested, Completed, Failed, Canceled, NotResponding, Paused}

// Terminal tells whether a run in this state has ended.
func (s Status) Terminal() bool {
	switch s {
	case Completed, Failed, Canceled, NotResponding, Paused:
		return true
	}
	return false
}

// WaitsFor says what a run in this state waits for and why that can take long, "" where it
// waits for nothing (learn.microsoft.com, "Troubleshooting environment issues", Image build;
// "Azure Container Registry service tiers").
func (s Status) WaitsFor() string {
	switch s {
	case Queued, Provisioning:
		return "a node of the compute target: all are busy, or one is started for it"
	case Preparing, Starting:
		return "the image of its environment, which is built, pushed to the workspace's registry and fetched by the " +
			"node. The first build of an environment takes longest, and a large image and a registry of the Basic " +
			"tier make it longer; the next run finds the image there"
	}
	return ""
}

// mlflow is the nearest of MLflow's five statuses.
func (s Status) mlflow() string {
	switch s {
	case Completed:
		return mlflowFinished
	case Failed, NotResponding:
		return mlflowFailed
	case Canceled:
		return mlflowKilled
	case NotStarted, Queued, Preparing, Provisioning, Starting, Paused:
		return mlflowScheduled
	}
	return mlflowRunning
}

// reserved starts the names of tags that no client sets: what a script did to the
// status of its own run would be believed.
const reserved = "aml-train."

// Tags that this program keeps on a run.
const (
	TagStatus   = "aml-train.status"   // a Status; MLflow has only five of its own
	TagError    = "aml-train.error"    // why the run ended as it did
	TagWarnings = "aml-train.warnings" // what was noticed besides, one a line
	TagSnapshot = "aml-train.snapshot" // the id of the snapshot, a git tree
	TagFiles    = "aml-train.files"    // how many files the snapshot has, and their bytes: "12 34567"
	TagSent     = "aml-train.sent"     // how many of them were sent, and their bytes
	TagJob      = "aml-train.job"      // the digest of the resolved job
	TagKey      = "aml-train.key"      // identifies all that decides what comes out (submit.Submission.Key)
	// which job it is, whatever its inputs and code are: such runs are compared
	TagSeries      = "aml-train.series"
	TagInputs      = "aml-train.inputs"       // which versions of data in a workspace its inputs were, a JSON object
	TagNodes       = "aml-train.nodes"        // on how many nodes it runs, where those are several
	TagRepeats     = "aml-train.repeats"      // what it is one repeat of: a number of runs, or RepeatsDecided
	TagBaseBranch  = "aml-train.base_branch"  // the branch that its code is meant for
	TagReport      = "aml-train.report"       // the names of the metrics that the report begins with, one a line
	TagFork        = "aml-train.fork"         // its code is another repository's, which this is: OWNER/NAME, or unknown
	TagJobFile     = "aml-train.job_file"     // the job file
	TagCommand     = "aml-train.command"      // what ran, with its inputs
	TagSource      = "aml-train.source"       // the source directory, relative to the repository's root
	TagPython      = "aml-train.python"       // what python stands for in the command
	TagScript      = "aml-train.script"       // the script, relative to the source directory
	TagTarget      = "aml-train.target"       // the compute target
	TagEnvironment = "aml-train.environment"  // what it ran in, for people
	TagPullRequest = "aml-train.pull_request" // its number
	TagActor       = "aml-train.actor"        // who started it
	TagBuild       = "aml-train.build"        // the link of the workflow run
	TagLeft        = "aml-train.left"         // how many of its files are elsewhere, and its id there
	TagAttempts    = "aml-train.attempts"     // how many attempts it took, where it was evicted
	TagSettle      = "aml-train.settle"       // of a run that nobody waits for: where its end is told, a JSON object
	TagSweep       = "aml-train.sweep"        // of a sweep: its objective, a JSON object
	TagTrials      = "aml-train.trials"       // of a sweep: a digest of what its trials are, whatever its limits
	TagSeed        = "aml-train.seed"         // that a sweep samples with
	TagBest        = "aml-train.best"         // of a sweep: its best trial
	TagTrial       = "aml-train.trial"        // of a trial: its hyperparameters, a JSON object
	TagObjective   = "aml-train.objective"    // of a trial: the best value of the primary metric
	TagPolicy      = "aml-train.policy"       // of a trial that a policy ended: why
	TagDisplayName = "mlflow.runName"
	TagUser        = "mlflow.user"
	TagParent      = "mlflow.parentRunId" // of a run that another one made: that run
	TagCommit      = "mlflow.source.git.commit"
	TagBranch      = "mlflow.source.git.branch"
)

const tagOwner = "aml-train.owner" // of an experiment or registered model: the run that made it

// ConsoleLog is where the console output lies among a run's artifacts, on every
// target.
const ConsoleLog = "user_logs/std_log.txt"

// Status is the run's state: the one that this program or Azure ML recorded, else
// MLflow's.
func (r *Run) Status() Status {
	for _, known := range Statuses {
		if r.Tag(TagStatus) == string(known) {
			return known
		}
	}
	switch r.Info.Status {
	case mlflowFinished:
		return Completed
	case mlflowFailed:
		return Failed
	case mlflowKilled:
		return Canceled
	case mlflowScheduled:
		return NotStarted
	}
	return Running
}

// Point is a metric's value at a step; of a curve that was drawn together, the
// mean over a range of steps that starts there.
type Point struct {
	Step  int64   `json:"step"`
	Value float64 `json:"value"`
}

// Curve is a metric over its steps.
type Curve struct {
	Points []Point // by step; finite values only
	Count  int     // values that were logged
	Gaps   int     // of them NaN or infinite
}

var _ json.Marshaler = Float(0)

// DisplayName is the name that people gave a run, "" where nobody did.
func (r *Run) DisplayName() string {
	if r.Info.RunName == r.Info.RunID {
		return ""
	}
	return r.Info.RunName
}
