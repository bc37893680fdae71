package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/promote"
	"github.com/org/aml-train/records"
	"github.com/org/aml-train/registry"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/settle"
	"github.com/org/aml-train/train"
)

func (a *app) promote() *cobra.Command {
	var f workflowFlags
	var p promote.Settings
	cmd := &cobra.Command{
		Use:   "promote [RUN]",
		Short: "Make a run a version of a registered model",
		Long: `Make a completed run a version of a registered model: of the workspace that it ran
in; of a run on this machine, in the MLflow server that MLFLOW_TRACKING_URI or history
in .aml-train.yaml names, else in the workspace that is known, else on this machine.
Without RUN, the newest one.

Nothing is trained, and promoting a run again makes no second version: it gives the
alias back. A run that breaks a rule is not promoted (exit code 3), nor is one of a
fork. On a merge the action does the same, with promote in .aml-train.yaml.`,
		Example: "  aml-train promote iris-3f2a91c-1 --model iris --alias champion",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.promoteNamed(cmd.Context(), f, p, firstArg(args))
		},
	}
	s := cmd.Flags()
	s.StringVar(&p.Model, "model", "", "the registered model (default: promote.model in .aml-train.yaml)")
	s.StringVar(&p.Alias, "alias", "", "an alias for the version, such as champion (default: promote.alias there)")
	s.StringVar(&p.Path, "path", "", "where among the run's outputs the model is (default: promote.path there, else "+
		"the one MLflow model, else outputs/model)")
	a.addBaseline(cmd)
	a.addRules(cmd)
	under("In a workflow", s, func() {
		s.StringVar(&f.token, "github-token", "", "the token that reads artifacts (default: GITHUB_TOKEN)")
	})
	return cmd
}

// promoteNamed promotes the run that a person names.
func (a *app) promoteNamed(ctx context.Context, f workflowFlags, p promote.Settings, name string) error {
	flow, err := a.enterWorkflow(ctx, f)
	if err != nil {
		return err
	}
	var of *github.Workflow
	token := ""
	if flow != nil {
		if flow.PullRequest != 0 && flow.Merged == "" {
			return mistake.Errorf("nothing of a pull request is promoted before it is merged; promote in a workflow " +
				"of the branch that it is merged into (on: push)")
		}
		if err := flow.admitHere(ctx, nil); err != nil {
			return err
		}
		of, token = flow.Workflow, flow.flags.token
	}
	own, err := a.readSettings(".", nil)
	if err != nil {
		return err
	}
	p.Model, p.Path = cmp.Or(p.Model, own.Promote.Model), cmp.Or(p.Path, own.Promote.Path)
	if p.Model == own.Promote.Model {
		p.Alias = cmp.Or(p.Alias, own.Promote.Alias)
	}
	if p.Model == "" {
		return mistake.Errorf("which registered model? Name it with --model, or as promote: {model: NAME} in %s",
			settings.File)
	}
	p.Check(func(_, message string) { err = errors.Join(err, errors.New(message)) })
	if err != nil {
		return mistake.Of(err)
	}
	if err := a.readRules(ctx, of, token); err != nil {
		return err
	}
	s, run, err := a.findRun(ctx, name)
	if err != nil {
		return err
	}
	a.keepRecords(flow)
	r, err := s.assess.Collect(ctx, s.Session, run)
	if err != nil {
		return err
	}
	done, err := s.promoteRun(ctx, of, token, r, run, promote.Wanted{Settings: p})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(done)
	}
	fmt.Fprintln(a.out, done.URI)
	return nil
}

// onMerge has nothing trained, where the event of the workflow is a merge whose run is to be
// promoted, that a run has trained.
func (a *app) onMerge(ctx context.Context, flow *workflow, r *train.Request) (err error) {
	if flow == nil {
		return nil
	}
	own := func() (settings.Settings, error) { return a.readSettings(".", nil) }
	in := settings.Commits{Git: &a.git, Workflow: flow.Workflow, Token: flow.flags.token}
	a.promotes, err = in.Promotes(ctx, flow.flags.promote, own)
	if a.promotes != nil {
		yes := true
		if r.Known = flow.Merged != ""; r.Known || r.Reuse == nil {
			r.Reuse = &yes
		}
	}
	return err
}

// promoted promotes the run of a merge that is reported; it returns nil where there is nothing
// to promote. A run that did not complete, or breaks a rule, is none's.
func (t *teller) promoted(
	ctx context.Context, s session, r *report.Report, run *history.Run,
) (*registry.Promoted, error) {
	p := t.promotes
	if p == nil {
		return nil, nil
	}
	if why := promote.Unfit(run, brokenRules(r.Judgement)); why != "" {
		t.say("Run %s becomes no version of the model %s: %s", run.Info.RunID, p.Model, why)
		return nil, nil
	}
	done, err := s.promoteRun(ctx, t.flow.Workflow, t.flow.flags.token, r, run, *p)
	if err != nil {
		return nil, fmt.Errorf("run %s is not promoted: %w", run.Info.RunID, err)
	}
	return done, nil
}

// promoteRun makes a run a version, or finds the one that it is; of is the workflow that it is
// done in, nil outside one.
func (s session) promoteRun(
	ctx context.Context, of *github.Workflow, token string, r *report.Report, run *history.Run, w promote.Wanted,
) (*registry.Promoted, error) {
	if run.Tag(history.TagFork) != "" {
		return nil, mistake.Errorf("run %s trained the code of a fork, %s, which is never promoted: what the branch "+
			"has is trained anew once it is merged", run.Info.RunID, report.Line(run.Tag(history.TagFork)))
	}
	if why := promote.Unfit(run, brokenRules(r.Judgement)); why != "" {
		if err := broken(r.Judgement); err != nil {
			s.say("aml-train: run %s is not promoted: %s", run.Info.RunID, why)
			return nil, err
		}
		return nil, mistake.Errorf("run %s is not promoted: %s", run.Info.RunID, why)
	}
	series := run.Tag(history.TagSeries)
	if r.Sweep != nil && r.Sweep.Best != nil { // what a sweep has found
		best, err := s.History.Run(ctx, r.Sweep.Best.Info.RunID)
		if err != nil {
			return nil, err
		}
		run = best
	}
	o := registry.Options{Session: s.Session, Path: w.Path, Records: s.assess.Records,
		Run:       records.Ended{Run: run, For: s.assess.For(run), Repeat: 1, Store: s.store, History: s.History},
		Workspace: s.workspace, Passing: of != nil && s.getenv("RUNNER_ENVIRONMENT") != "self-hosted", Say: s.say}
	var before func(context.Context, string, string) (bool, error)
	if of != nil {
		before = func(ctx context.Context, commit, other string) (bool, error) {
			return github.Before(ctx, &s.git, of, token, commit, other)
		}
	}
	done, err := registry.Promote(ctx, o, w, series, before)
	if err != nil {
		return nil, err
	}
	s.tellPromoted(done)
	return done, nil
}

// tellPromoted says what a run has become.
func (s session) tellPromoted(done *registry.Promoted) {
	verb := "is version"
	if done.Made {
		verb = "has become version"
	}
	s.say("Run %s %s %s of the model %s, in %s", done.Run, verb, done.Version, done.Model, done.Registry)
	switch {
	case done.Later != "":
		s.say("%s stays with version %s, which is of a later merge", done.Wanted, done.Later)
	case done.Alias != "":
		s.say("%s is that version", done.Alias)
	}
}

// merged tells the workflow what the run of a merge has become.
func (f *workflow) merged(done *registry.Promoted) {
	if done == nil {
		return
	}
	f.step.Output("model", done.URI)
	if f.flags.summary {
		f.step.Summarise(func(int) string {
			text := fmt.Sprintf("\nPromoted: version %s of the model %s, in %s", report.Line(done.Version),
				report.Line(done.Model), report.Line(done.Registry))
			if done.Alias != "" {
				text += ", is " + report.Line(done.Alias)
			}
			return text + "\n"
		})
	}
}

// promoteLeft promotes a run that its workflow has left, before its end is told: whoever is cut
// off does so again. What cannot be promoted at all is said, and its end is told all the same.
func (s session) promoteLeft(ctx context.Context, of *github.Workflow, token string, r *report.Report,
	run *history.Run, n settle.Note) error {
	if n.Promote == nil {
		return nil
	}
	if why := promote.Unfit(run, brokenRules(r.Judgement)); why != "" {
		s.say("Run %s becomes no version of the model %s: %s", run.Info.RunID, n.Promote.Model, why)
		return nil
	}
	_, err := s.promoteRun(ctx, of, token, r, run, promote.Wanted{Settings: *n.Promote, Commit: n.Commit})
	if mistake.Is(err) {
		s.say("aml-train: run %s is not promoted: %v", run.Info.RunID, err)
		return nil
	}
	return err
}
