// Package settle answers: how is the end of a run told that nobody waits for?
//
// A workflow that does not wait for its run (wait: false) leaves a commit status behind that is
// pending, and notes with the run where its end is to be told (Leave). A Settler, in any later
// workflow or on any machine, finds such statuses, asks the workspace how their runs are, and
// tells of those that have ended: the comment first, the status last, so that one that is cut
// off is told of again.
package settle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/azureml"
	"github.com/org/aml-train/train"
)

// Settler ends what workflows left behind.
type Settler struct {
	Target     *azureml.Target
	Repository *github.Workflow // whose statuses they are
	Token      string           // that reads and sets them, and comments
	Git        *git.Finder      // of a clone that may have the commits
	Secrets    *secret.Redactor
	Say        func(format string, args ...any)

	// Collect makes the report of a run that has ended, as its note asks for it, by the rules
	// that are in force.
	Collect func(context.Context, train.Session, *history.Run, Note, settings.InForce) (*report.Report, error)

	// Summarise adds a report to a summary of what was settled; nil where there is none.
	Summarise func(render func(limit int) string)

	past     submit.History
	statuses *github.Statuses
	settings map[string]commitSettings // by commit
	done     []Outcome
}

// commitSettings are the settings of a commit, or why they cannot be had, and what is wrong
// with them.
type commitSettings struct {
	settings.Settings
	err, wrong error
}

// Outcome is what became of a status, for machines.
type Outcome struct {
	Commit      string `json:"commit"`
	Context     string `json:"context"`
	State       string `json:"state"` // pending, success, failure or error
	Run         string `json:"run"`   // "" where none is known
	Description string `json:"description"`
}

// Settle settles the runs of these names, or all that are found. It returns what became of each
// status that it looked at, with the errors of those that could not be settled.
func (s *Settler) Settle(ctx context.Context, runs []string) (done []Outcome, err error) {
	if s.statuses, err = github.NewStatuses(s.Repository, s.Token); err != nil {
		return nil, mistake.Of(err)
	}
	s.settings, s.done = map[string]commitSettings{}, []Outcome{}
	var failed []error
	settle := func(what string, err error) bool {
		var refused *github.NotAllowedError
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", what, err))
		}
		return ctx.Err() == nil && !errors.As(err, &refused)
	}
	if len(runs) > 0 {
		if err := s.connect(ctx); err != nil {
			return nil, err
		}
		for _, id := range runs {
			if !settle("run "+id, s.run(ctx, id)) {
				break
			}
		}
		return s.done, errors.Join(failed...)
	}
	within, cancel := context.WithTimeout(ctx, statusWithin)
	list, all, err := s.statuses.Pending(within)
	cancel()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		s.Say("No run is pending")
		return s.done, nil
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	for _, p := range list {
		if !settle(fmt.Sprintf("%s of %.7s", report.Line(p.Context), p.Commit), s.status(ctx, p)) {
			break
		}
	}
	if !all {
		s.Say("There are more branches than are looked through; aml-train settle RUN settles a run that was not found")
	}
	return s.done, errors.Join(failed...)
}

// connect signs in to the workspace.
func (s *Settler) connect(ctx context.Context) (err error) {
	s.past, err = s.Target.History(ctx)
	return err
}

// run settles a run by its name: its note says where it is told of.
func (s *Settler) run(ctx context.Context, id string) error {
	run, err := s.past.Run(ctx, id)
	if errors.Is(err, azureml.ErrNoRun) {
		return mistake.Of(err)
	}
	if err != nil {
		return err
	}
	n, ok := NoteOf(run)
	if !ok || !strings.EqualFold(n.Repository, s.Repository.Repository) {
		return mistake.Errorf("no workflow of %s has left it (the action with wait: false does)",
			s.Repository.Repository)
	}
	within, cancel := context.WithTimeout(ctx, statusWithin)
	last, err := s.statuses.Of(within, n.Commit, n.Context)
	cancel()
	switch {
	case errors.Is(err, github.ErrNoCommit): // nobody can look at it any more
		s.outcome(github.Status{Commit: n.Commit, Context: n.Context}, id, err.Error())
		return nil
	case err != nil:
		return err
	case last == nil:
		return mistake.Errorf("the commit %.7s has no status %s", n.Commit, n.Context)
	}
	last.PullRequest = n.PullRequest
	if last.State != github.Pending {
		s.outcome(*last, id, "has been told already: "+last.State)
		return nil
	}
	named, _, err := s.named(ctx, *last)
	if err != nil {
		return err
	}
	if named != id {
		s.outcome(*last, id, "its status is another run's")
		return nil
	}
	return s.status(ctx, *last)
}

// outcome tells what became of a status.
func (s *Settler) outcome(status github.Status, run, text string) {
	s.Say("%s of %.7s: %s", report.Line(status.Context), status.Commit, report.Line(text))
	s.done = append(s.done, Outcome{status.Commit, status.Context, status.State, run, status.Description})
}

// submitting is how long a status may be without a run: a submission takes minutes at most.
const submitting = time.Hour

// status settles what a pending status names, if it has ended. Whoever may write statuses can
// have written this one: nothing is told but what the run itself says, of its own commit.
func (s *Settler) status(ctx context.Context, p github.Status) error {
	id, ours, err := s.named(ctx, p)
	switch {
	case err != nil:
		return err
	case !ours:
		s.outcome(p, "", "left alone, as it names no run of the workspace "+s.Target.Workspace.Name)
		return nil
	case id == "" && time.Since(p.Created) < submitting:
		s.outcome(p, "", "being submitted")
		return nil
	case id == "":
		return s.gone(ctx, p, "", "nothing was submitted: the workflow ended before")
	}
	state, err := s.Target.State(ctx, id)
	switch {
	case errors.Is(err, azureml.ErrNoRun):
		return s.gone(ctx, p, id, fmt.Sprintf("the workspace %s does not have run %s any more", s.Target.Workspace.Name,
			id))
	case err != nil:
		return err
	case !state.Terminal():
		s.outcome(p, id, fmt.Sprintf("run %s: %s", id, state))
		return nil
	}
	run, err := s.past.Run(ctx, id)
	if err != nil {
		return err
	}
	n, ok := NoteOf(run)
	if !ok || !n.Is(s.Repository.Repository, p) {
		s.outcome(p, "", fmt.Sprintf("left alone, as run %s is not of this commit and job", id))
		return nil
	}
	return s.ended(ctx, p, run, n)
}

// named returns the run that a status names by its link: the studio's page, or, before the run
// was known, that of the workflow run which submitted it. ours is false of any other link; id is
// "" where the workflow has no run.
func (s *Settler) named(ctx context.Context, p github.Status) (id string, ours bool, err error) {
	if id, ok := s.Target.RunOfPage(p.URL); ok {
		return id, history.ValidID(id), nil
	}
	if !s.Repository.HasRun(p.URL) {
		return "", false, nil
	}
	if time.Since(p.Created) < submitting/10 { // it takes its time
		return "", true, nil
	}
	found, _, err := s.past.SearchRuns(ctx, history.Query{Submitted: true, MaxResults: 100,
		Tags: map[string]string{history.TagBuild: p.URL}})
	if err != nil {
		return "", true, err
	}
	for _, f := range found { // of a matrix, several
		run, err := s.past.Run(ctx, f.Info.RunID)
		if err != nil {
			return "", true, err
		}
		if n, ok := NoteOf(run); ok && n.Is(s.Repository.Repository, p) {
			return f.Info.RunID, true, nil
		}
	}
	return "", true, nil
}
