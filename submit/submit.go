// Package submit answers: where does it run?
//
// A Target takes a job with its snapshot and runs it: submit/local on this machine,
// submit/azureml in a workspace. What comes out is read through History, whichever it is; what
// they have in common is here: what a run is of (Submission.Tags), and what decides what comes out
// of it (Submission.Key).
package submit

import (
	"context"
	"io"
	"time"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
)

// Submission is one job on its way to a target.
type Submission struct {
	Job      *job.Job
	Snapshot *snapshot.Snapshot // nil where the job sends no code
	Git      gitmeta.Info

	// Repository is the one around the source directory, nil where there is none.
	Repository *git.Repository

	// Commit holds all files of the repository as they are in the commit that is
	// submitted. It is nil where the working tree is submitted.
	Commit *snapshot.Snapshot

	// Secrets are kept out of what is recorded of the run.
	Secrets *secret.Redactor

	// Attached ends the run when this process ends without having said so, even
	// by kill -9: nobody else would wait for it.
	Attached bool

	// Pass are the names of this process's variables that a run on this machine gets
	// although this program signs in with them.
	Pass []string

	// Versions are what the target found out of the job, where somebody asked; Reuse is the
	// key that follows, "" for none, by which the run can be found instead of another.
	Versions Versions
	Reuse    string

	// Data names the data that were found for inputs, with their versions, as it is recorded of
	// the run; an input that is not in it is what the job says.
	Data map[string]string

	// Loading, where it is set, gets how long the target has loaded such data.
	Loading *time.Duration

	// Repeats says what the run is one repeat of, as history.TagRepeats does; "" of one
	// that is trained once.
	Repeats string

	// Properties are noted with the run besides, where its script cannot change them.
	Properties map[string]string

	// Resume goes on with the newest sweep of the same job and files that has not
	// completed. It needs a sweep on this machine.
	Resume bool

	// Evictions rehearses evictions on this machine: the first attempt is ended after the
	// first duration, the next one after the second, and the last one is left alone.
	Evictions []time.Duration

	// MaxOutputs is how many bytes of outputs and logs a run on this machine keeps; 0 is
	// the target's own limit, and less is none.
	MaxOutputs int64
}

// Target runs jobs.
type Target interface {
	// Check reports, before anything is sent or asked over the network, all of a job that
	// the target cannot do. The error is job.Problems, or what this machine lacks: then
	// the job has no problem. Of a job that could be read in part, it reports what does
	// not follow from what is wrong already.
	Check(context.Context, *job.Job) error

	// Versions finds out which environment and data a submission would train with now,
	// and sends nothing of it. What has no version is no error.
	Versions(context.Context, Submission) (Versions, error)

	// Submit starts a run and returns it as soon as the target has accepted it.
	Submit(context.Context, Submission) (*history.Run, error)

	// Watch copies the run's console output to out, from its beginning, until the
	// run ends, and returns the run as it ended. A nil out only waits.
	Watch(ctx context.Context, run string, out io.Writer) (*history.Run, error)

	// Cancel asks a run to end. It returns once the request is recorded. The error of
	// a run that has ended already is history.ErrEnded.
	Cancel(ctx context.Context, run string) error

	// Archive hides a run from lists, or brings it back.
	Archive(ctx context.Context, run string, archived bool) error

	// History returns what is known of the target's runs.
	History(context.Context) (History, error)
}

// History is what is known of runs.
type History interface {
	Run(ctx context.Context, id string) (*history.Run, error)

	// SearchRuns returns a page of runs and the token of the next one.
	SearchRuns(context.Context, history.Query) ([]*history.Run, string, error)

	// SearchExperiments returns a page of experiments and the token of the next one.
	SearchExperiments(context.Context, history.Query) ([]*history.Experiment, string, error)

	// ExperimentName is the name of a run's experiment.
	ExperimentName(context.Context, *history.Run) string

	// Series returns every value of a metric in the order of its steps.
	Series(ctx context.Context, run, key string) ([]float64, error)

	// Curve returns a metric over its steps, drawn together to at most points values.
	Curve(ctx context.Context, run, key string, points int) (history.Curve, error)

	// Artifacts lists every file that a run made, by path; OpenArtifact opens one. The
	// console output is history.ConsoleLog.
	Artifacts(context.Context, *history.Run) ([]history.File, error)
	OpenArtifact(ctx context.Context, r *history.Run, path string) (io.ReadCloser, error)

	// URL is the run's page, and FileURL that of one of its files; "" where there is
	// none.
	URL(*history.Run) string
	FileURL(r *history.Run, path string) string
}

// Refusal is a target's answer to a job that it cannot run: the job has to
// change.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// Is tells that it is a mistake in what was asked.
func (*Refusal) Is(target error) bool { return target == mistake.Err }
