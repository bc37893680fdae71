// Package submit answers: where does it run?
//
// A Target takes a job with its snapshot and runs it: submit/local on this
// machine. What comes out is read through package history, so nothing above this
// package knows which target ran.
package submit

import (
	"context"
	"io"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
)

// Submission is one job on its way to a target.
type Submission struct {
	Job      *job.Job
	Snapshot *snapshot.Snapshot // nil where the job sends no code
	Git      gitmeta.Info

	// Commit holds all files of the repository as they are in the commit that is
	// submitted: local data of the job that it has come from there. It is nil where
	// the working tree is submitted.
	Commit *snapshot.Snapshot

	// Attached ends the run when this process ends without having said so, even
	// by kill -9: nobody else would wait for it.
	Attached bool
}

// Target runs jobs.
type Target interface {
	// Check reports, before anything is sent, what of a job the target cannot do.
	// The error is a *Refusal.
	Check(*job.Job) error

	// Submit starts a run and returns it as soon as the target has accepted it.
	Submit(context.Context, Submission) (*history.Run, error)

	// Watch copies the run's console output to out, from its beginning, until the
	// run ends, and returns the run as it ended. A nil out only waits.
	Watch(ctx context.Context, run string, out io.Writer) (*history.Run, error)

	// Cancel asks a run to end. It returns once the request is recorded.
	Cancel(ctx context.Context, run string) error
}

// Refusal is a target's answer to a job that it cannot run: the job has to
// change.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }
