package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/azureml"
	"github.com/org/aml-train/train"
)

// trainer leads jobs on their way; flow is nil outside a workflow.
func (a *app) trainer(flow *workflow, tell *teller, python string) *train.Trainer {
	machine := &here{a: a, python: python, fenced: flow != nil && flow.ask != nil && flow.Foreign()}
	t := &train.Trainer{
		Git: &a.git, Code: a.codeOf, Secrets: &a.secrets, Tell: tell,
		Settings: func(commit *snapshot.Snapshot) (train.Settings, error) {
			s, err := a.inForce, error(nil)
			if flow == nil || flow.ask == nil { // what is asked for is a commit, not what it says of all that trains
				s, err = a.readSettings(".", commit)
			}
			machine.python = cmp.Or(python, s.Python)
			file := func() (string, error) { return s.JobFile(&a.git, commit) }
			repeats := s.Repeats.Plan()
			if a.assess.Terms.AtMost > 0 {
				repeats.AtMost = min(repeats.AtMost, a.assess.Terms.AtMost)
			}
			keyed := s.Promote.Model != "" || flow != nil && flow.flags.promote != ""
			return train.Settings{Keep: s.Keep, Reuse: s.Reuse, Keyed: keyed, Repeats: repeats, File: file}, err
		},
		Admit:    func(ctx context.Context, commit *snapshot.Snapshot) error { return flow.admitHere(ctx, commit) },
		AdmitJob: func(ctx context.Context, j *job.Job) error { return flow.admitJob(ctx, j) },
		Recall: func(ctx context.Context, experiment, key string) error {
			err := a.assess.Records.BringKey(ctx, experiment, key)
			if err == nil || a.promotes != nil { // of a merge nothing is trained that may have been
				return err
			}
			a.say("aml-train: %v", err)
			return nil
		},
		More:      a.assess.More,
		Earlier:   a.earlier,
		Here:      machine,
		Elsewhere: &elsewhere{a: a},
	}
	if flow != nil && flow.ask != nil {
		t.Holds = flow.holds
	}
	return t
}

// trusted tells whether what is noted of runs on this machine can be.
func (a *app) trusted() error {
	h, err := a.home(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return h.Close()
}

// here is this machine.
type here struct {
	a      *app
	python string
	fenced bool // a stranger's code trains in a container
}

// Target knows the runs that there are: one may have the job's name.
func (p *here) Target(ctx context.Context) (submit.Target, error) {
	if err := p.a.trusted(); err != nil {
		return nil, err
	}
	if _, err := p.a.openStore(ctx, false); err != nil {
		return nil, mistake.Of(err)
	}
	if p.fenced {
		return fenced{p.a.local(p.python)}, nil
	}
	return p.a.local(p.python), nil
}

func (p *here) Open(ctx context.Context) (train.Session, error) {
	if _, err := p.a.openStore(ctx, true); err != nil {
		return train.Session{}, mistake.Of(err)
	}
	s, err := p.a.session(ctx, p.a.local(p.python))
	return s.Session, err
}

func (p *here) Existing(ctx context.Context) (train.Session, bool) {
	store, err := p.a.openStore(ctx, false)
	if err != nil || store == nil {
		return train.Session{}, false
	}
	s, err := p.a.session(ctx, p.a.local(p.python))
	return s.Session, err == nil
}

// elsewhere is the workspace.
type elsewhere struct {
	a *app
	t *azureml.Target
}

func (p *elsewhere) Target(context.Context) (_ submit.Target, err error) {
	if p.t, err = p.a.workspace(); p.t == nil {
		return nil, err
	}
	return p.t, cmp.Or(err, p.a.trusted())
}

func (p *elsewhere) Open(ctx context.Context) (train.Session, error) {
	s, err := p.a.session(ctx, p.t)
	return s.Session, err
}

// Existing is of none: a name that says what the job is is taken once.
func (p *elsewhere) Existing(context.Context) (train.Session, bool) { return train.Session{}, false }

// teller tells how a job goes, on the terminal and to the workflow.
type teller struct {
	*app
	flow *workflow // nil outside a workflow
	to   places

	submitted bool      // there is a run
	patience  time.Time // until when ends are waited for, once they were asked for

	log   *resumed
	flush func()
	shown *shown
}

func (t *teller) at(s train.Session) session { return session{t.app, s} }

func (t *teller) Submitted(ctx context.Context, at train.Session, what train.Submitted) {
	run := what.Run
	t.submitted = true
	t.warn(what.Job)
	if n := what.Snapshot; n != nil && what.Here {
		t.say("Snapshot %s: %s, %s, copied in %s",
			n.ID[:7], size.Count(len(n.Files), "file"), size.Format(n.Bytes), report.Duration(what.Took))
	}
	t.say("Run %s on %s: %s", run.Info.RunID, what.Job.Compute, oneLine(run.Tag(history.TagCommand)))
	if url := report.PublicLink(at.History.URL(run)); url != "" {
		t.say("%s", url)
	}
	if what.Here {
		t.unusedEnvironment(run, what.Job)
		t.untold(t.local(""), run.Info.RunID)
	} else {
		if len(what.Job.Keep) > 0 {
			t.say("keep: Azure Machine Learning keeps what lies in ./outputs and ./logs, and nothing else")
		}
		t.rememberElsewhere(run.Info.RunID)
	}
	if t.flow != nil {
		t.flow.started(ctx, t.at(at), run)
		if t.flow.flags.cancelSuperseded {
			at.CancelSuperseded(ctx, run, t.say)
		}
	}
}

func (t *teller) Already(run *history.Run) { t.say("Submitted already: run %s", run.Info.RunID) }

func (t *teller) Left(ctx context.Context, at train.Session, run *history.Run) error {
	if t.flow != nil && t.flow.left != nil {
		t.flow.leaves(ctx, t.at(at), run)
	}
	if t.json {
		return t.at(at).printRun(ctx, run, nil)
	}
	t.say("aml-train watch %s shows its output", run.Info.RunID)
	fmt.Fprintln(t.out, run.Info.RunID)
	return nil
}

func (t *teller) Watch(
	ctx context.Context, at train.Session, id string, watch train.Watch,
) (ended *history.Run, err error) {
	t.log, t.shown, t.flush = t.console()
	show := func() error {
		defer t.flush()
		ended, err = watch(ctx, t.log)
		return err
	}
	if t.flow == nil {
		err = show()
		return ended, err
	}
	stop := t.flow.follow(ctx, t.at(at), id)
	defer stop()
	err = t.flow.step.Group("Output of "+id, show)
	return ended, err
}

func (t *teller) GoesOn(run *history.Run) error {
	t.say("\nThe run goes on; aml-train watch %[1]s shows it again, aml-train cancel %[1]s ends it.", run.Info.RunID)
	return &runEnded{run.Status()}
}

func (t *teller) Canceling(id string) {
	t.interrupts.leaves("Run " + id + " may go on; aml-train cancel " + id + " asks it to end.")
	t.say("\nCanceling run %s ...", id)
}

// cancelPatience is how long a workflow that is being canceled waits for the run's
// end: ten seconds after its first signal this program is killed, and the comment has
// to be written before.
const cancelPatience = 6 * time.Second

// Canceled returns the run as it is where a workflow's patience ends: a cluster may take
// minutes.
func (t *teller) Canceled(
	ctx context.Context, at train.Session, id string, failed error, watch train.Watch,
) (*history.Run, error) {
	if failed != nil {
		t.say("aml-train: %v", failed)
	} else {
		t.interrupts.leaves("Run " + id + " was asked to end, and does so without this command; " +
			"aml-train show " + id + " tells how.")
	}
	t.log.again()
	defer t.flush()
	if t.flow == nil {
		return watch(ctx, t.log)
	}
	if t.patience.IsZero() {
		t.patience = time.Now().Add(cancelPatience)
	}
	soon, stop := context.WithDeadline(ctx, t.patience)
	defer stop()
	ended, err := watch(soon, t.log)
	if err != nil && soon.Err() != nil {
		return at.History.Run(ctx, id)
	}
	return ended, err
}

func (t *teller) Report(ctx context.Context, at train.Session, run *history.Run) error {
	t.interrupts.leaves("Run " + run.Info.RunID + " has ended; aml-train show " + run.Info.RunID + " reports it.")
	if t.shown != nil {
		t.lost(t.shown, run.Info.RunID)
	}
	return t.at(at).report(ctx, run, t)
}
