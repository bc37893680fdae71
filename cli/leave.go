package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
)

// A workflow that does not wait for its run (--wait=false, wait: false) leaves a commit status
// behind that is pending, and notes with the run where its end is to be told. settle does that.

// left is a run as its workflow leaves it.
type left struct {
	statuses *github.Statuses
	status   github.Status // that is pending
}

// note is what is noted with a run that nobody waits for: where its end is told, and what the
// workflow's step asked of it.
type note struct {
	github.Note
	Require  []string `json:"require,omitempty"`
	Strict   bool     `json:"strict,omitempty"`
	Baseline string   `json:"baseline,omitempty"`
}

// longestNote is the most characters that a workspace takes of a property
// (learn.microsoft.com, "Service limits in Azure Machine Learning", Runs).
const longestNote = 1000

// statusWithin is how long GitHub may take to take a status.
const statusWithin = 3 * time.Minute

// leave sets the status before anything is submitted: where that is not allowed, nobody would
// hear of the run's end.
func (f *workflow) leave(ctx context.Context, j *job.Job, code gitmeta.Info) (map[string]string, error) {
	const need = "--wait=false (wait: false) leaves a commit status that is pending"
	switch {
	case f.flags.token == "":
		return nil, usage("%s, and there is no token to set it with; pass GITHUB_TOKEN: ${{ github.token }} in the "+
			"step's env", need)
	case len(code.Commit) != 40:
		return nil, usage("%s, and nobody can tell which commit trains; check it out with git", need)
	}
	of := github.StatusContext(f.a.secrets.String(j.ExperimentName), f.a.secrets.String(j.DisplayName))
	f.prepareComment()
	n := note{Note: f.Note(code.Commit, of, f.comment), Require: f.a.rules.required,
		Strict: f.a.rules.asked, Baseline: f.a.baseline}
	text, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	if utf8.RuneCount(text) > longestNote {
		return nil, usage("what --require and --baseline say has %d characters, of which at most %d are noted with a "+
			"run that nobody waits for; write the rules into %s", utf8.RuneCount(text), longestNote, settings.File)
	}
	statuses, err := github.NewStatuses(f.Workflow, f.flags.token)
	if err != nil {
		return nil, usageError{err}
	}
	l := &left{statuses, github.Status{Commit: code.Commit, Context: of, State: github.Pending,
		Description: "being submitted", URL: f.RunURL()}}
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	if err := statuses.Set(ctx, l.status); err != nil {
		return nil, refusedStatus(err)
	}
	f.left = l
	return map[string]string{history.TagSettle: string(text)}, nil
}

// refusedStatus is the error of a status that cannot be set: a mistake in the workflow, unless
// GitHub is not well.
func refusedStatus(err error) error {
	err = fmt.Errorf("nothing was submitted, as nobody would tell how the run ends (wait: false): %w", err)
	var refused *github.NotAllowedError
	if errors.As(err, &refused) || errors.Is(err, github.ErrNoCommit) {
		return usageError{err}
	}
	return err
}

// leaves tells of a run that goes on without this workflow.
func (f *workflow) leaves(ctx context.Context, s session, run *history.Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusWithin)
	defer cancel()
	status := f.left.status
	status.Description = run.Info.RunID + " trains; aml-train settle tells how it ends"
	if link := httpsOnly(s.History.URL(run)); link != "" {
		status.URL = link
	}
	if err := f.left.statuses.Set(ctx, status); err != nil { // settle finds the run by the workflow's link
		f.a.say("aml-train: the commit status does not name run %s: %v", run.Info.RunID, err)
	}
	r := s.submitted(ctx, run)
	if f.comment != nil {
		f.write(ctx, r, false)
	}
	f.uncommented()
	f.step.Output("comment-url", f.link)
	f.step.Output("report", r.Markdown(github.CommentLimit))
	if f.flags.summary {
		f.step.Summarise(r.Markdown)
	}
}

// submitted is the report of a run of which there is nothing to ask yet.
func (s session) submitted(ctx context.Context, run *history.Run) *report.Report {
	r := &report.Report{Run: run, URL: httpsOnly(s.History.URL(run)), At: time.Now()}
	if r.URL == "" {
		r.URL = run.Tag(history.TagBuild)
	}
	r.Name = s.reportName(ctx, run)
	return secret.Of(&s.secrets, r)
}

// concluded ends the status of a run that has ended before the workflow did.
func (f *workflow) concluded(ctx context.Context, r *report.Report) {
	f.conclude(ctx, concluding(f.left.status, r))
}

// unsubmitted ends the status where nothing was submitted after all.
func (f *workflow) unsubmitted(ctx context.Context, err error) {
	if f.left == nil || err == nil || ctx.Err() != nil {
		return // of a submission that was cut off, settle finds out whether there is a run
	}
	status := f.left.status
	status.State, status.Description = github.Error, "nothing was submitted: "+f.a.secrets.String(err.Error())
	f.conclude(ctx, status)
}

func (f *workflow) conclude(ctx context.Context, status github.Status) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusWithin)
	defer cancel()
	if _, err := f.left.statuses.Complete(ctx, f.left.status, status); err != nil {
		f.a.say("aml-train: the commit status %s stays pending: %v", status.Context, err)
	}
}

// concluding is the status of a run that has ended, in place of a pending one. Its link is the
// run's own: who wrote the pending one, nobody knows.
func concluding(pending github.Status, r *report.Report) github.Status {
	status := pending
	status.State, status.Description, status.URL = github.Success, r.Heading(), httpsOnly(r.URL)
	switch {
	case r.Run.Status() == history.Failed, broken(r.Judgement) != nil:
		status.State = github.Failure
	case r.Run.Status() != history.Completed:
		status.State = github.Error
	}
	return status
}
