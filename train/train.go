// Package train answers: what is the way of a job?
//
// From the file that describes it to the report of what came out: one function, Trainer.Train,
// which the command line and the action call, and the pre-push hook by way of the command line. It
// finds all that is wrong before anything is made (submission.go), looks for a run that has trained
// the same (reuse.go), submits, waits and has the end reported, for each seed where a job is
// repeated (repeats.go). What differs between its callers (settings, terminal, workflow) is handed
// in as functions and as a Teller.
package train

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// Request is what somebody asks to be trained.
type Request struct {
	File    string // the job file; "" for that of the settings, or for what Options describe
	Options job.Options
	Commit  string  // the revision that is trained; "" for the working tree
	Branch  string  // of Commit, where it is known
	Once    bool    // only if the commit has no run of this job yet
	Resume  bool    // go on with a sweep on this machine that has not completed
	Wrong   []error // what was found wrong with it already
	Reuse   *bool   // whether a run that has trained the same will do; nil where the settings say
	Known   bool    // only a run that has trained the same will do: nothing is trained

	// Pass are variables that are passed on to the run by their name alone, with their
	// values.
	Pass map[string]string

	Evictions []time.Duration // that are rehearsed, see submit.Submission

	Repeats *Repeats // how often it is trained; nil where the settings say

	MaxSnapshot int64 // in bytes; 0 for the usual limit, less for none
	MaxOutputs  int64 // of a run on this machine, the same

	Wait   bool // for the end of the run
	Cancel bool // the run when the waiting is interrupted

	// Leave, where it is set, is told before a run is submitted that nobody waits for, and
	// returns what is to be noted with it so that its end can be told later. That needs a run
	// which outlives this machine.
	Leave func(context.Context, *job.Job, gitmeta.Info) (map[string]string, error)
}

// Session is a target, and the history of its runs.
type Session struct {
	Target  submit.Target
	History submit.History
}

// Place is one of the places where jobs run.
type Place interface {
	// Target is the place before anything is made there. Both a target and an error mean that
	// something is wrong, and that the target can say all the same what it thinks of a job.
	Target(context.Context) (submit.Target, error)
	// Open makes what a run there needs on this machine.
	Open(context.Context) (Session, error)
	// Existing is Open where nothing has to be made; ok tells whether it is so.
	Existing(context.Context) (s Session, ok bool)
}

// Trainer leads jobs on their way. All fields are set, unless they say what nil means.
type Trainer struct {
	Git     *git.Finder
	Code    func(*git.Repository) (gitmeta.Info, error) // which code a repository has
	Secrets *secret.Redactor

	// Settings returns what the repository's settings say, of a commit where one is trained.
	Settings func(*snapshot.Snapshot) (Settings, error)

	// Admit refuses a stranger's code: a commit, nil for what is checked out here, before
	// anything in it is read; AdmitJob the same for what the job names.
	Admit    func(context.Context, *snapshot.Snapshot) error
	AdmitJob func(context.Context, *job.Job) error

	// Recall brings a run of a key that was made on another machine to the history of this
	// one, where there is such a run. With an error nothing is trained.
	Recall func(ctx context.Context, experiment, key string) error

	// Earlier finds the files of an earlier run, RUN or RUN:PATH, for a job that runs on this
	// machine or elsewhere. done lets go of them when the job has been submitted.
	Earlier func(ctx context.Context, run string, here bool) (in job.Input, done func(), err error)

	// Holds tells, right before something is submitted, whether it is wanted still; nil where
	// nothing can change that.
	Holds func(context.Context) error

	// More says how many repeats are wanted besides those made, of which last is the last;
	// most are made at most.
	More func(ctx context.Context, at Session, last *history.Run, made, most int) (int, error)

	// Here is this machine, Elsewhere the workspace.
	Here, Elsewhere Place

	Tell Teller
}

// Settings are what a repository's settings say of every job.
type Settings struct {
	Keep  []string               // patterns of files that every run keeps
	Reuse bool                   // whether a run that has trained the same will do
	Keyed bool                   // what decides what comes out of a run is noted with it, for who looks for it later
	File  func() (string, error) // the job file that is run when none is named

	Repeats Repeats
}

// Watch writes the output of a run until its end.
type Watch func(context.Context, io.Writer) (*history.Run, error)

// Teller tells people how a job goes, and waits in their place where they can interrupt that.
type Teller interface {
	// Submitted tells that a run was accepted, and Already that there is one of the same
	// job and commit. Left tells that nobody waits for it here.
	Submitted(context.Context, Session, Submitted)
	Already(*history.Run)
	Left(context.Context, Session, *history.Run) error

	// Reused tells that nothing is trained, as a run has trained the same; Trains why none
	// has, where one would have done.
	Reused(context.Context, Session, Reused)
	Trains(why string)

	// Repeated tells that a run has ended which another one stands for in the report. Once
	// tells that the job is trained once, as nobody waits for more.
	Repeated(context.Context, Session, *history.Run)
	Once()

	// Watch shows the output of a run until its end.
	Watch(ctx context.Context, s Session, run string, watch Watch) (*history.Run, error)

	// GoesOn tells that the waiting was interrupted and the run goes on, Canceling that
	// it is asked to end. Canceled waits for that, and tells why it could not be asked.
	GoesOn(*history.Run) error
	Canceling(run string)
	Canceled(ctx context.Context, s Session, run string, failed error, watch Watch) (*history.Run, error)

	// Report reports a run that has ended.
	Report(context.Context, Session, *history.Run) error
}

// Train leads a job from its file to the report of its run. Its steps: check loads the job, asks its
// place about it, and finds out which code it is and which files travel; a run that has trained the
// same is reported in its place; submit hands it over; Follow watches and reports.
func (t *Trainer) Train(ctx context.Context, r Request) error {
	s := newSubmission(t, r)
	defer s.close()
	if err := t.check(ctx, r, s); err != nil { // before anything is made, the history included
		return err
	}
	if s.run != nil {
		t.Tell.Already(s.run)
		return t.Tell.Left(ctx, s.at, s.run)
	}
	at, err := s.to.Open(ctx)
	if err != nil {
		return err
	}
	if s.repeats.several() && r.Wait {
		return t.repeat(ctx, r, s, at)
	}
	if err := t.leave(ctx, r, s); err != nil {
		return err
	}
	found, err := t.find(ctx, r, s, at)
	if err != nil {
		return err
	}
	if found != nil {
		return t.already(ctx, r, s, at, found)
	}
	if err := t.mayTrain(ctx, r, s); err != nil {
		return err
	}
	run, err := t.submit(ctx, s, at)
	if err != nil {
		return err
	}
	s.close() // nothing of the repository is needed while the run lasts
	if !r.Wait {
		return t.Tell.Left(ctx, at, run)
	}
	return t.Follow(ctx, at, run, r.Cancel)
}

// leave prepares for a run that nobody may wait for: it is trained once, and how its end is told
// later is noted with it.
func (t *Trainer) leave(ctx context.Context, r Request, s *submission) (err error) {
	if s.repeats.several() {
		s.Repeats = ""
		t.Tell.Once()
	}
	if r.Leave != nil && !s.here {
		s.Properties, err = r.Leave(ctx, s.Job, s.Git)
	}
	return err
}

// mayTrain is the last look before something is submitted that has not been trained.
func (t *Trainer) mayTrain(ctx context.Context, r Request, s *submission) error {
	switch {
	case r.Known:
		return mistake.Of(errUnknown)
	case r.Leave != nil && s.here:
		return mistake.Of(errEndsWithJob)
	}
	return t.holds(ctx)
}

func (t *Trainer) holds(ctx context.Context) error {
	if t.Holds == nil {
		return nil
	}
	return t.Holds(ctx)
}

// Follow watches a run to its end and reports it. When the waiting is interrupted, the
// run is canceled where cancel is set, else it goes on.
func (t *Trainer) Follow(ctx context.Context, at Session, run *history.Run, cancel bool) error {
	var last *history.Run
	err := t.await(ctx, at, []*history.Run{run}, cancel, func(ended *history.Run) { last = ended })
	if err != nil {
		return err
	}
	return t.Tell.Report(ctx, at, last)
}

// await watches runs to their ends, one after the other, and calls ended for each. When that
// is interrupted, the rest is canceled where cancel is set, else they go on.
func (t *Trainer) await(
	ctx context.Context, at Session, runs []*history.Run, cancel bool, ended func(*history.Run),
) error {
	for i, run := range runs {
		one, err := t.Tell.Watch(ctx, at, run.Info.RunID, watch(at, run))
		switch {
		case err == nil:
			ended(one)
			continue
		case ctx.Err() == nil:
			return err
		case cancel:
			return t.cancel(context.WithoutCancel(ctx), at, runs[i:], ended)
		}
		for _, run := range runs[i:] {
			err = t.Tell.GoesOn(run)
		}
		return err
	}
	return nil
}

func watch(at Session, run *history.Run) Watch {
	return func(ctx context.Context, out io.Writer) (*history.Run, error) {
		return at.Target.Watch(ctx, run.Info.RunID, out)
	}
}

// cancel asks runs to end, all of them before the first is waited for.
func (t *Trainer) cancel(ctx context.Context, at Session, runs []*history.Run, ended func(*history.Run)) error {
	failed := make([]error, len(runs))
	for i, run := range runs {
		t.Tell.Canceling(run.Info.RunID)
		if failed[i] = at.Target.Cancel(ctx, run.Info.RunID); errors.Is(failed[i], history.ErrEnded) {
			failed[i] = nil
		}
	}
	for i, run := range runs {
		one, err := t.Tell.Canceled(ctx, at, run.Info.RunID, failed[i], watch(at, run))
		if err != nil {
			return err
		}
		ended(one)
	}
	return nil
}
