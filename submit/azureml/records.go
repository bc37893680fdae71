package azureml

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/sweep"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// records is what a workspace knows of its runs: the job as it was submitted from
// the control plane, state and logs from the run history, metrics from MLflow, files
// from the storage account.
type records struct {
	t *Target
	c *connection

	folders sync.Map // by the run's id, a *once[[]folder]

	names  lately[map[string]string] // of experiments, by their ids
	newest sync.Map                  // jobs by the view, a *lately[[]*history.Run]
}

var _ submit.History = (*records)(nil)

// details is a run as the run history tells of it (azure-ai-ml, RunDetails).
type details struct {
	Status  history.Status `json:"status"`
	Target  string         `json:"target"`
	Created time.Time      `json:"createdTimeUtc"`
	Start   time.Time      `json:"startTimeUtc"`
	End     time.Time      `json:"endTimeUtc"`
	Error   struct {
		Error struct {
			Code       string `json:"code"`
			Message    string `json:"message"`
			InnerError struct {
				Code string `json:"code"`
			} `json:"innerError"`
		} `json:"error"`
	} `json:"error"`
	Warnings []struct {
		Source  string `json:"source"`
		Message string `json:"message"`
	} `json:"warnings"`
	LogFiles map[string]string `json:"logFiles"` // by name, addresses with a SAS
	Queueing struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"queueingInfo"`
}

// errNotYet says that the run history does not know a run: it learns of a job some time
// after the control plane.
var errNotYet = errors.New("the run history does not know the run yet")

func (r *records) details(ctx context.Context, id string) (*details, error) {
	d := &details{}
	err := r.c.get(ctx, "/history/v1.0"+r.c.path+"/runs/"+url.PathEscape(id)+"/details", d)
	switch {
	case status(err) == http.StatusNotFound:
		return nil, errNotYet
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", id, short(err))
	}
	return d, nil
}

// state is details of a run, of which the run history may know nothing yet.
func (r *records) state(ctx context.Context, id string) (*details, error) {
	d, err := r.details(ctx, id)
	if !errors.Is(err, errNotYet) {
		return d, err
	}
	j, err := r.job(ctx, id)
	if err != nil {
		return nil, err
	}
	return accepted(j), nil
}

// accepted is what the control plane alone knows of a job.
func accepted(j armmachinelearning.JobBase) *details {
	d := &details{Status: history.NotStarted}
	if j.Properties != nil && j.Properties.GetJobBaseProperties().Status != nil {
		d.Status = history.Status(*j.Properties.GetJobBaseProperties().Status)
	}
	return d
}

// job is a job as the control plane has it.
func (r *records) job(ctx context.Context, id string) (armmachinelearning.JobBase, error) {
	j, err := r.c.clients.NewJobsClient().Get(ctx, r.c.group, r.c.name, id, nil)
	switch {
	case status(err) == http.StatusNotFound:
		return j.JobBase, fmt.Errorf("the workspace %s has no run %s: %w", r.c.name, id, ErrNoRun)
	case err != nil:
		return j.JobBase, fmt.Errorf("run %s: %w", id, short(err))
	}
	return j.JobBase, nil
}

// commandOf is the command job that a job is, or that the trials of a sweep are, with what
// the sweep has besides.
func commandOf(j armmachinelearning.JobBase) (*armmachinelearning.CommandJob, error) {
	switch p := j.Properties.(type) {
	case *armmachinelearning.CommandJob:
		return p, nil
	case *armmachinelearning.SweepJob:
		c := &armmachinelearning.CommandJob{
			ComputeID: p.ComputeID, Description: p.Description, DisplayName: p.DisplayName,
			ExperimentName: p.ExperimentName,
			Inputs:         p.Inputs, IsArchived: p.IsArchived, Outputs: p.Outputs, Properties: p.Properties,
			Services: p.Services,
			Status:   p.Status, Tags: p.Tags,
		}
		if t := p.Trial; t != nil {
			c.Command, c.EnvironmentID, c.CodeID = t.Command, t.EnvironmentID, t.CodeID
			c.EnvironmentVariables, c.Distribution, c.Resources = t.EnvironmentVariables, t.Distribution, t.Resources
		}
		return c, nil
	}
	return nil, fmt.Errorf("%s is neither a command job nor a sweep, which are the kinds that aml-train reads",
		deref(j.Name))
}

// objectiveOf is what a sweep is for, as a tag says it; "" of a job that is none.
func objectiveOf(j armmachinelearning.JobBase) string {
	p, ok := j.Properties.(*armmachinelearning.SweepJob)
	if !ok || p.Objective == nil {
		return ""
	}
	return history.ObjectiveTag(sweep.Objective{Goal: strings.ToLower(string(deref(p.Objective.Goal))),
		PrimaryMetric: deref(p.Objective.PrimaryMetric)})
}

// ErrNoRun says that a workspace has no run of that name.
var ErrNoRun = errors.New("no such run")

// Run implements submit.History.
func (r *records) Run(ctx context.Context, id string) (*history.Run, error) {
	j, err := r.job(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.run(ctx, j)
}

func (r *records) run(ctx context.Context, j armmachinelearning.JobBase) (*history.Run, error) {
	id := deref(j.Name)
	d, err := r.details(ctx, id)
	if errors.Is(err, errNotYet) {
		d, err = accepted(j), nil
	}
	if err != nil {
		return nil, err
	}
	// MLflow makes its record when the run starts; until then there are no metrics.
	run, err := r.c.mlflow.Run(ctx, id)
	if err != nil && !history.NotFound(err) {
		return nil, fmt.Errorf("the metrics of run %s: %w", id, err)
	}
	return runOf(j, d, run)
}

// runOf puts together what the services know of a run. MLflow may know nothing yet.
func runOf(j armmachinelearning.JobBase, d *details, run *history.Run) (*history.Run, error) {
	command, err := commandOf(j)
	if err != nil {
		return nil, err
	}
	if run == nil {
		run = &history.Run{Info: history.RunInfo{RunID: deref(j.Name)}}
	}
	tags := tagsFrom(j, command, d, run.Data.Tags)
	run.Data.Tags = nil
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		run.Data.Tags = append(run.Data.Tags, history.KeyValue{Key: key, Value: tags[key]})
	}
	addInputs(run, command)
	if name := deref(command.DisplayName); name != "" {
		run.Info.RunName = name
	}
	start := d.Start
	if start.IsZero() {
		start = d.Created
	}
	if start.IsZero() && j.SystemData != nil {
		start = deref(j.SystemData.CreatedAt)
	}
	if !start.IsZero() {
		run.Info.StartTime = history.Int(start.UnixMilli())
	}
	if !d.End.IsZero() {
		run.Info.EndTime = history.Int(d.End.UnixMilli())
	}
	return run, nil
}

// tagsFrom are the tags of a run: those that MLflow knows, then the job's, then its properties,
// then how the run is.
func tagsFrom(
	j armmachinelearning.JobBase, command *armmachinelearning.CommandJob, d *details, known []history.KeyValue,
) map[string]string {
	tags := map[string]string{}
	for _, t := range known {
		tags[t.Key] = t.Value
	}
	// A script may change its run's tags, and no property: those hold.
	for _, from := range []map[string]*string{command.Tags, command.Properties} {
		for key, value := range from {
			tags[key] = deref(value)
		}
	}
	for _, name := range []string{history.TagKey, history.TagSettle} {
		if deref(command.Properties[name]) == "" {
			delete(tags, name) // nor does one count where there is no property
		}
	}
	tags[history.TagStatus] = string(d.Status)
	tags[history.TagCommand] = readable(command)
	tags[history.TagEnvironment] = environmentName(deref(command.EnvironmentID))
	tags[history.TagTarget] = path.Base(deref(command.ComputeID))
	if command.ComputeID == nil {
		tags[history.TagTarget] = "serverless"
	}
	tags[tagExperiment] = deref(command.ExperimentName)
	if objective := objectiveOf(j); objective != "" {
		tags[history.TagSweep] = objective
	}
	tags[tagOutputs] = outputsOf(command)
	if s := command.Services["Studio"]; s != nil {
		tags[tagStudio] = deref(s.Endpoint)
	}
	if message := strings.TrimSpace(d.Error.Error.Message); message != "" {
		tags[history.TagError] = message
	}
	var warnings []string
	for _, w := range d.Warnings {
		if w.Message != "" {
			warnings = append(warnings, strings.Join(strings.Fields(w.Message), " "))
		}
	}
	if len(warnings) > 0 {
		tags[history.TagWarnings] = strings.Join(warnings, "\n")
	}
	return tags
}

// addInputs adds the job's inputs to the parameters of a run, as far as the script has not
// recorded parameters of the same names.
func addInputs(run *history.Run, c *armmachinelearning.CommandJob) {
	known := map[string]bool{}
	for _, p := range run.Data.Params {
		known[p.Key] = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.Inputs)) {
		var in struct{ Value, URI string } // a literal, or where data lie
		if text, err := json.Marshal(c.Inputs[name]); err != nil || json.Unmarshal(text, &in) != nil || known[name] {
			continue
		}
		uri, _, _ := strings.Cut(in.URI, "?") // a signature is a secret
		if value := cmp.Or(in.Value, uri); value != "" {
			run.Data.Params = append(run.Data.Params, history.KeyValue{Key: name, Value: value})
		}
	}
}

// Tags of ours that never leave this program.
const (
	tagExperiment = "aml-train.experiment"
	tagStudio     = "aml-train.studio"
	tagOutputs    = "aml-train.outputs" // JSON: by the output's name, the address that the job has it at
)

// environmentName is an environment as people write it.
func environmentName(id string) string {
	_, rest, ok := strings.Cut(id, "/environments/")
	if !ok {
		return id
	}
	name, version, _ := strings.Cut(rest, "/")
	version = path.Base(version)
	if name == anonymous {
		return "described in the job (" + version[:min(7, len(version))] + ")"
	}
	return name + "@" + version
}

// readable is the command with its inputs, for people: of data, which lie nobody knows where, with
// their names.
func readable(c *armmachinelearning.CommandJob) string {
	values := map[string]string{}
	for name, in := range c.Inputs {
		values["inputs."+name] = name
		if literal, ok := in.(*armmachinelearning.LiteralJobInput); ok {
			values["inputs."+name] = deref(literal.Value)
		}
	}
	j := job.Job{Command: strings.TrimPrefix(deref(c.Command), tellCheckpoints)}
	return j.Expand(values)
}

// submitted returns the run of a name if it is the one that s makes, nil where there
// is none.
func (r *records) submitted(ctx context.Context, name string, s submit.Submission) (*history.Run, error) {
	j, err := r.job(ctx, name)
	if errors.Is(err, ErrNoRun) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	command, err := commandOf(j)
	if err != nil {
		return nil, err
	}
	code := ""
	if s.Snapshot != nil {
		code = s.Snapshot.ID
	}
	if deref(command.Tags[history.TagJob]) != s.Job.Digest() || deref(command.Tags[history.TagSnapshot]) != code {
		return nil, &submit.Refusal{Reason: fmt.Sprintf("the workspace has a job %s already, and it is another one; "+
			"take name out of the job file, or change it", name)}
	}
	return runOf(j, accepted(j), nil)
}

// ExperimentName implements submit.History.
func (r *records) ExperimentName(_ context.Context, run *history.Run) string {
	return run.Tag(tagExperiment)
}

// URL implements submit.History: the run's page in the studio.
func (r *records) URL(run *history.Run) string { return run.Tag(tagStudio) }

// FileURL implements submit.History. The studio has one page for all files of a run.
func (r *records) FileURL(run *history.Run, _ string) string { return run.Tag(tagStudio) }

// Series implements submit.History.
func (r *records) Series(ctx context.Context, run, key string) ([]float64, error) {
	return r.c.mlflow.Series(ctx, run, key)
}

// Curve implements submit.History.
func (r *records) Curve(ctx context.Context, run, key string, points int) (history.Curve, error) {
	return r.c.mlflow.Curve(ctx, run, key, points)
}
