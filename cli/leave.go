package cli

import (
	"context"
	"time"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settle"
)

// leave leaves a commit status behind that is pending, before a run is submitted that the
// workflow does not wait for (--wait=false, wait: false). It returns what is to be noted with it.
func (f *workflow) leave(ctx context.Context, j *job.Job, code gitmeta.Info) (properties map[string]string, err error) {
	const need = "--wait=false (wait: false) leaves a commit status that is pending"
	switch {
	case f.flags.token == "":
		return nil, mistake.Errorf("%s, and there is no token to set it with; pass GITHUB_TOKEN: ${{ github.token }} "+
			"in the step's env", need)
	case len(code.Commit) != 40:
		return nil, mistake.Errorf("%s, and nobody can tell which commit trains; check it out with git", need)
	}
	of := github.StatusContext(f.a.secrets.String(j.ExperimentName), f.a.secrets.String(j.DisplayName))
	f.left, properties, err = settle.Leave(ctx, f.Workflow, f.flags.token, &f.a.secrets, settle.Note{
		Note: f.Note(code.Commit, of, f.to.Comment()), Require: f.a.rules.required, Strict: f.a.rules.strict,
		Baseline: f.a.assess.Baseline, Promote: f.a.promotes.Noted()})
	return properties, err
}

// leaves tells of a run that goes on without this workflow.
func (f *workflow) leaves(ctx context.Context, s session, run *history.Run) {
	ctx = context.WithoutCancel(ctx)
	f.sayError(f.left.Trains(ctx, run.Info.RunID, s.History.URL(run)))
	r := s.submitted(ctx, run)
	f.to.Tell(ctx, r.Markdown, false, false)
}

// submitted is the report of a run of which there is nothing to ask yet.
func (s session) submitted(ctx context.Context, run *history.Run) *report.Report {
	r := &report.Report{Run: run, URL: report.PublicLink(s.History.URL(run)), At: time.Now()}
	if r.URL == "" {
		r.URL = run.Tag(history.TagBuild)
	}
	r.Name = assess.Heading(ctx, s.History, run)
	return secret.Of(&s.secrets, r)
}

// unsubmitted ends the status where nothing was submitted after all. Of a submission that was
// cut off, settle finds out whether there is a run.
func (f *workflow) unsubmitted(ctx context.Context, err error) {
	if f.left != nil && err != nil && ctx.Err() == nil {
		f.sayError(f.left.Unsubmitted(ctx, err))
	}
}

// sayError says what could not be told, which changes nothing about the run.
func (f *workflow) sayError(err error) {
	if err != nil {
		f.a.say("aml-train: %v", err)
	}
}
