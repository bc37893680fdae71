package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/submit/azureml"
)

func (a *app) settle() *cobra.Command {
	var f workflowFlags
	cmd := &cobra.Command{
		Use:   "settle [RUN...]",
		Short: "Bring statuses and comments of runs that nobody waits for to their end",
		Long: `Bring the commit statuses and comments of runs that no workflow waits for (the
action with wait: false) to their end.

It looks for pending statuses on the last commits of pull requests and branches,
asks the workspace how their runs are, and tells of those that have ended: comment,
rules, status, the job's summary. The others are left as they are, for the next time.
With RUN, it looks at those runs alone, wherever their commits are.

In a workflow it works on the workflow's repository, elsewhere on that of the remote
origin, with the token in GH_TOKEN or GITHUB_TOKEN; of a GitHub Enterprise Server, in
GH_ENTERPRISE_TOKEN or GITHUB_ENTERPRISE_TOKEN. The token has to be allowed to write
statuses and pull requests, and to read contents. Exit codes: 0 also where runs
failed, 2 a mistake in what was asked, 4 GitHub or the workspace could not be reached.`,
		Example: "  aml-train settle\n  aml-train settle iris-3f2a91c-1a2b3c4d",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.newSettler(cmd.Context(), f)
			if err != nil {
				return err
			}
			return s.all(cmd.Context(), args)
		},
	}
	a.azure.add(cmd)
	under("In a workflow", cmd.Flags(), func() {
		cmd.Flags().StringVar(&f.token, "github-token", "",
			"the token that reads and sets statuses, and comments (default: GH_TOKEN or GITHUB_TOKEN)")
	})
	return cmd
}

// settler ends what workflows left behind.
type settler struct {
	session
	target   *azureml.Target
	of       *github.Workflow // whose repository it is
	token    string
	statuses *github.Statuses
	flow     *workflow // nil outside a workflow

	settings map[string]settled // by commit
	done     []settledJSON
}

// settled is what the settings of a commit are, or why they cannot be had, and what is wrong
// with them.
type settled struct {
	settings.Settings
	err, wrong error
}

// settledJSON is what became of a status, for machines.
type settledJSON struct {
	Commit      string `json:"commit"`
	Context     string `json:"context"`
	State       string `json:"state"` // pending, success, failure or error
	Run         string `json:"run"`   // "" where none is known
	Description string `json:"description"`
}

// newSettler signs in to both sides. The checkout is looked at as where something is submitted:
// its settings say which workspace is asked.
func (a *app) newSettler(ctx context.Context, f workflowFlags) (*settler, error) {
	s := &settler{session: session{app: a}, settings: map[string]settled{}}
	flow, err := a.enterWorkflow(ctx, f)
	if err != nil {
		return nil, err
	}
	if s.flow = flow; flow != nil {
		if err := flow.admitHere(ctx, nil); err != nil {
			return nil, err
		}
		s.of, s.token = flow.Workflow, flow.flags.token
	} else {
		repo, err := a.git.Find(".")
		if err != nil {
			return nil, usageError{err}
		}
		code, err := a.codeOf(repo)
		if err != nil {
			return nil, usageError{err}
		}
		if s.of, err = github.Outside(a.getenv, code.Repository); err != nil {
			return nil, usageError{err}
		}
		if s.token = f.token; s.token == "" {
			s.token = s.of.Token
		}
		a.mask(s.token)
	}
	if s.token == "" {
		return nil, usage("there is no token to ask %s with; pass GITHUB_TOKEN: ${{ github.token }} in the step's "+
			"env, or set GH_TOKEN (of a GitHub Enterprise Server, GH_ENTERPRISE_TOKEN)", s.of.Server)
	}
	if s.statuses, err = github.NewStatuses(s.of, s.token); err != nil {
		return nil, usageError{err}
	}
	if s.target, err = a.workspace(); err != nil {
		return nil, err
	}
	return s, nil
}

// all settles the runs of these names, or all that are found.
func (s *settler) all(ctx context.Context, runs []string) error {
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
			return err
		}
		for _, id := range runs {
			if !settle("run "+id, s.run(ctx, id)) {
				break
			}
		}
		return s.told(failed)
	}
	within, cancel := context.WithTimeout(ctx, statusWithin)
	list, all, err := s.statuses.Pending(within)
	cancel()
	if err != nil {
		return err
	}
	if len(list) == 0 {
		s.say("No run is pending")
		return s.told(nil)
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	for _, p := range list {
		if !settle(fmt.Sprintf("%s of %.7s", report.Line(p.Context), p.Commit), s.status(ctx, p)) {
			break
		}
	}
	if !all {
		s.say("There are more branches than are looked through; aml-train settle RUN settles a run that was not found")
	}
	return s.told(failed)
}

// connect signs in to the workspace.
func (s *settler) connect(ctx context.Context) (err error) {
	s.session, err = s.app.session(ctx, s.target)
	return err
}

// told ends the command.
func (s *settler) told(failed []error) error {
	if s.json {
		if s.done == nil {
			s.done = []settledJSON{}
		}
		if err := s.printJSON(s.done); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// run settles a run by its name: its note says where it is told of.
func (s *settler) run(ctx context.Context, id string) error {
	run, err := s.History.Run(ctx, id)
	if errors.Is(err, azureml.ErrNoRun) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	n, ok := noteOf(run)
	if !ok || !strings.EqualFold(n.Repository, s.of.Repository) {
		return usage("no workflow of %s has left it (the action with wait: false does)", s.of.Repository)
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
		return usage("the commit %.7s has no status %s", n.Commit, n.Context)
	}
	last.PullRequest = n.PullRequest
	if last.State != github.Pending {
		s.outcome(*last, id, "has been told already: "+last.State)
		return nil
	}
	if named, _, err := s.named(ctx, *last); err != nil || named != id {
		s.outcome(*last, id, "its status is another run's")
		return err
	}
	return s.status(ctx, *last)
}

func noteOf(run *history.Run) (n note, ok bool) {
	err := json.Unmarshal([]byte(run.Tag(history.TagSettle)), &n)
	return n, err == nil && n.Context != "" && n.Commit != ""
}

// outcome tells what became of a status.
func (s *settler) outcome(status github.Status, run, text string) {
	s.say("%s of %.7s: %s", report.Line(status.Context), status.Commit, report.Line(text))
	s.done = append(s.done, settledJSON{status.Commit, status.Context, status.State, run, status.Description})
}

// submitting is how long a status may be without a run: a submission takes minutes at most.
const submitting = time.Hour

// status settles what a pending status names, if it has ended. Whoever may write statuses can
// have written this one: nothing is told but what the run itself says, of its own commit.
func (s *settler) status(ctx context.Context, p github.Status) error {
	id, ours, err := s.named(ctx, p)
	switch {
	case err != nil:
		return err
	case !ours:
		s.outcome(p, "", "left alone, as it names no run of the workspace "+s.target.Workspace.Name)
		return nil
	case id == "" && time.Since(p.Created) < submitting:
		s.outcome(p, "", "being submitted")
		return nil
	case id == "":
		return s.gone(ctx, p, "", "nothing was submitted: the workflow ended before")
	}
	state, err := s.target.State(ctx, id)
	switch {
	case errors.Is(err, azureml.ErrNoRun):
		return s.gone(ctx, p, id, fmt.Sprintf("the workspace %s does not have run %s any more", s.target.Workspace.Name,
			id))
	case err != nil:
		return err
	case !state.Terminal():
		s.outcome(p, id, fmt.Sprintf("run %s: %s", id, state))
		return nil
	}
	run, err := s.History.Run(ctx, id)
	if err != nil {
		return err
	}
	n, ok := noteOf(run)
	if !ok || !n.Is(s.of.Repository, p) {
		s.outcome(p, "", fmt.Sprintf("left alone, as run %s is not of this commit and job", id))
		return nil
	}
	return s.ended(ctx, p, run, n)
}

// named returns the run that a status names by its link: the studio's page, or, before the run
// was known, that of the workflow run which submitted it. ours is false of any other link; id is
// "" where the workflow has no run.
func (s *settler) named(ctx context.Context, p github.Status) (id string, ours bool, err error) {
	if id, ok := s.target.RunOfPage(p.URL); ok {
		return id, history.ValidID(id), nil
	}
	if !s.of.HasRun(p.URL) {
		return "", false, nil
	}
	if time.Since(p.Created) < submitting/10 { // it takes its time
		return "", true, nil
	}
	found, _, err := s.History.SearchRuns(ctx, history.Query{Submitted: true, MaxResults: 100,
		Tags: map[string]string{history.TagBuild: p.URL}})
	if err != nil {
		return "", true, err
	}
	for _, f := range found { // of a matrix, several
		run, err := s.History.Run(ctx, f.Info.RunID)
		if err != nil {
			return "", true, err
		}
		if n, ok := noteOf(run); ok && n.Is(s.of.Repository, p) {
			return f.Info.RunID, true, nil
		}
	}
	return "", true, nil
}

// ended tells of a run that has ended: its comment first and its status last, so that one that
// is cut off is told of again.
func (s *settler) ended(ctx context.Context, p github.Status, run *history.Run, n note) error {
	if err := s.judgeAs(ctx, n); err != nil {
		return err
	}
	r, err := s.collect(ctx, run)
	if err != nil {
		return err
	}
	if comment := s.statuses.Comment(n.Note); comment != nil {
		if err := s.comment(ctx, comment, r.Markdown); err != nil {
			return err
		}
	}
	return s.complete(ctx, p, concluding(p, r), run.Info.RunID, r.Markdown)
}

// judgeAs puts the rules and the baseline in force that the run was left with: those of what it
// is to be merged into, as where somebody waits for it.
func (s *settler) judgeAs(ctx context.Context, n note) error {
	s.baseline = n.Baseline
	s.rules = rules{required: n.Require, asked: n.Strict}
	own, err := s.settingsOf(ctx, n.Commit)
	if err != nil {
		return err
	}
	of, ok := n.Change(s.of)
	if !ok {
		return s.judgeBy(own.Over(own))
	}
	base, err := github.BaseOf(ctx, of, s.token)
	if err != nil {
		return fmt.Errorf("nobody can tell which rules are in force: %w", err)
	}
	in, err := s.settingsOf(ctx, base)
	if err != nil {
		return err
	}
	if err := s.settings[base].wrong; err != nil {
		return err
	}
	return s.judgeBy(in.OfBase(own))
}

// settingsOf are the settings of a commit. What is wrong with those of a change was said when
// it was submitted, or is not in force.
func (s *settler) settingsOf(ctx context.Context, commit string) (settings.Settings, error) {
	known, ok := s.settings[commit]
	if !ok {
		known.Settings, known.err, known.wrong = settings.Commits{Git: &s.git, Workflow: s.of, Token: s.token}.Of(
			ctx, commit)
		if known.err != nil {
			known.err = fmt.Errorf("%s of %.7s cannot be read: %w; give the token the permission \"contents: read\"",
				settings.File, commit, known.err)
		}
		s.settings[commit] = known
	}
	return known.Settings, known.err
}

// comment writes the comment. A pull request that takes none, as it is locked or has a newer
// push, keeps no status pending.
func (s *settler) comment(ctx context.Context, comment *github.Comment, render func(int) string) error {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	_, err := comment.Write(ctx, render, true)
	var refused *github.NotAllowedError
	switch {
	case errors.Is(err, github.ErrSuperseded):
		s.say("aml-train: %v", err)
		return nil
	case errors.As(err, &refused):
		s.say("aml-train: no comment on the pull request: %v", err)
		return nil
	}
	return err
}

// complete ends a status.
func (s *settler) complete(ctx context.Context, p, with github.Status, run string, render func(int) string) error {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	with.Description = s.secrets.String(with.Description)
	done, err := s.statuses.Complete(ctx, p, with)
	switch {
	case errors.Is(err, github.ErrNoCommit): // nobody can look at it any more
		s.outcome(p, run, err.Error())
		return nil
	case err != nil:
		return err
	case !done:
		s.outcome(p, run, "somebody else has told of it, or another run follows it")
		return nil
	}
	if s.flow != nil {
		s.flow.step.Summarise(render)
	}
	s.outcome(with, run, with.State+", "+with.Description)
	return nil
}

// gone ends a status whose run is not there, and the comment that tells of it.
func (s *settler) gone(ctx context.Context, p github.Status, run, why string) error {
	r := report.Gone{Name: github.JobOf(p.Context), Commit: p.Commit, Why: why}
	if run != "" && p.PullRequest != 0 {
		within, cancel := context.WithTimeout(ctx, statusWithin)
		comment, err := s.statuses.CommentAbout(within, p.PullRequest, p.URL)
		cancel()
		if err == nil && comment != nil {
			err = s.comment(ctx, comment, r.Markdown)
		}
		var refused *github.NotAllowedError
		if err != nil && !errors.As(err, &refused) {
			return err
		}
	}
	with := p
	with.State, with.Description, with.URL = github.Error, why, s.of.RunURL()
	return s.complete(ctx, p, with, run, r.Markdown)
}
