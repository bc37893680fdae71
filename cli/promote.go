package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
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

// promotion is what a run becomes.
type promotion struct {
	promote.Settings
	commit string // that the merge has brought to the branch; "" where a person names the run
}

// promotedJSON is what a run has become, for machines.
type promotedJSON struct {
	Model    string `json:"model"`
	Version  string `json:"version"`
	Alias    string `json:"alias"`    // that names this version now; "" for none
	URI      string `json:"uri"`      // such as models:/iris/3
	Registry string `json:"registry"` // where it is, for people
	Run      string `json:"run"`
	Made     bool   `json:"made"` // false of a run that was a version already
}

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
	done, err := s.promoteRun(ctx, of, token, r, run, promotion{Settings: p})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(done)
	}
	fmt.Fprintln(a.out, done.URI)
	return nil
}

// onMerge finds out whether the event of the workflow is a merge whose run is to be promoted, and
// has nothing trained then that a run has trained. What is promoted, and as what, is said by the
// settings of the merge itself: until then, no pull request decides.
func (a *app) onMerge(ctx context.Context, flow *workflow, r *train.Request) error {
	if flow == nil || flow.flags.promote == "none" {
		return nil
	}
	branch, commit := flow.Merge()
	if commit == "" {
		return nil
	}
	in, unread, wrong := settings.Commits{Git: &a.git, Workflow: flow.Workflow, Token: flow.flags.token}.Of(ctx, commit)
	if wrong != nil {
		return wrong
	}
	p := promotion{in.Promote, commit}
	if named := flow.flags.promote; named != "" {
		var err error
		if p.Model, p.Alias, err = promote.Parse(named); err != nil {
			return mistake.Errorf("--promote %w", err)
		}
	} else if unread != nil {
		if here, err := a.readSettings(".", nil); err != nil || here.Promote.Model != "" {
			return mistake.Errorf("what the merge %.7s has promoted cannot be read: %w; give the step a token that "+
				"may read the repository (permissions: contents: read)", commit, unread)
		}
	}
	if p.Model == "" || branch != cmp.Or(p.Branch, flow.DefaultBranch) {
		return nil
	}
	yes := true
	if r.Reuse == nil || flow.Merged != "" {
		r.Reuse = &yes
	}
	if r.Known = flow.Merged != ""; r.Known {
		if err := a.checkedOut(commit); err != nil {
			return err
		}
	}
	a.promotes = &p
	return nil
}

// checkedOut looks whether the checkout is that of a merge: the pull request's own is another one.
func (a *app) checkedOut(commit string) error {
	repo, err := a.git.Find(".")
	if err != nil || repo == nil {
		return mistake.Errorf("the merge %.7s cannot be promoted: it is not checked out here", commit)
	}
	if _, head, err := repo.Head(); err != nil || head.String() != commit {
		return mistake.Errorf("the pull request was merged by %.7s, and the checkout is %.7s: give actions/checkout "+
			"the ref ${{ github.event.pull_request.merge_commit_sha }}", commit, head)
	}
	return nil
}

// promoted promotes the run of a merge that is reported; it returns nil where there is nothing
// to promote. A run that did not complete, or breaks a rule, is none's.
func (t *teller) promoted(ctx context.Context, s session, r *report.Report, run *history.Run) (*promotedJSON, error) {
	p := t.promotes
	if p == nil {
		return nil, nil
	}
	if why := unpromotable(r, run); why != "" {
		t.say("Run %s becomes no version of the model %s: %s", run.Info.RunID, p.Model, why)
		return nil, nil
	}
	done, err := s.promoteRun(ctx, t.flow.Workflow, t.flow.flags.token, r, run, *p)
	if err != nil {
		return nil, fmt.Errorf("run %s is not promoted: %w", run.Info.RunID, err)
	}
	return done, nil
}

// unpromotable says why a run becomes no version of anything, "" where it may.
func unpromotable(r *report.Report, run *history.Run) string {
	var rules *rulesBroken
	switch {
	case run.Status() != history.Completed:
		return fmt.Sprintf("it is %s", run.Status())
	case errors.As(broken(r.Judgement), &rules):
		return "it does not keep " + strings.Join(rules.rules, ", ")
	}
	return ""
}

// promoteRun makes a run a version, or finds the one that it is; of is the workflow that it is
// done in, nil outside one.
func (s session) promoteRun(
	ctx context.Context, of *github.Workflow, token string, r *report.Report, run *history.Run, p promotion,
) (*promotedJSON, error) {
	if run.Tag(history.TagFork) != "" {
		return nil, mistake.Errorf("run %s trained the code of a fork, %s, which is never promoted: what the branch "+
			"has is trained anew once it is merged", run.Info.RunID, report.Line(run.Tag(history.TagFork)))
	}
	if why := unpromotable(r, run); why != "" {
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
	to, err := registry.Of(ctx, registry.Options{Session: s.Session, Path: p.Path, Records: s.assess.Records,
		Run:       records.Ended{Run: run, For: s.assess.For(run), Repeat: 1, Store: s.store, History: s.History},
		Workspace: s.workspace, Passing: of != nil && s.getenv("RUNNER_ENVIRONMENT") != "self-hosted", Say: s.say})
	if err != nil {
		return nil, err
	}
	defer to.Close()
	done, err := promote.Run(ctx, to, promote.Promotion{Model: p.Model, Alias: p.Alias, Run: run.Info.RunID,
		Series: series, Identity: promote.Identity(run), Commit: cmp.Or(p.commit, run.Tag(history.TagCommit)),
		Before: s.before(of, token, p), Version: func(ctx context.Context) (history.ModelVersion, error) {
			v, err := to.Version(ctx)
			if id := run.Tag(history.TagSnapshot); id != "" {
				v.Tags = append(v.Tags, history.KeyValue{Key: history.TagSnapshot, Value: id})
			}
			return v, err
		}})
	if mistake.Is(err) {
		return nil, err
	}
	if err != nil {
		return nil, to.Told(err)
	}
	out := &promotedJSON{Model: p.Model, Version: done.Version.Version, Alias: p.Alias, URI: to.URI(done.Version),
		Registry: to.Shown, Run: cmp.Or(done.Version.Tag(promote.TagRun), run.Info.RunID), Made: done.Made}
	s.tellPromoted(out, done)
	return out, nil
}

// tellPromoted says what a run has become.
func (s session) tellPromoted(out *promotedJSON, done promote.Promoted) {
	verb := "is version"
	if done.Made {
		verb = "has become version"
	}
	s.say("Run %s %s %s of the model %s, in %s", out.Run, verb, out.Version, out.Model, out.Registry)
	switch {
	case done.Later != nil:
		s.say("%s stays with version %s, which is of a later merge", out.Alias, done.Later.Version)
		out.Alias = ""
	case out.Alias != "":
		s.say("%s is that version", out.Alias)
	}
}

// before tells which of two merges came first: the clone does where it has both, else GitHub. A
// commit that is not on any branch any more came before nothing.
func (s session) before(
	of *github.Workflow, token string, p promotion,
) func(context.Context, string, string) (bool, error) {
	if of == nil || p.commit == "" {
		return nil
	}
	return func(ctx context.Context, commit, other string) (bool, error) {
		if repo, err := s.git.Find("."); err == nil && repo != nil && !repo.Shallow() {
			if found := gitmeta.Ancestors(repo, other); found != nil {
				_, is := found[commit]
				return is, nil
			}
		}
		if token == "" {
			return false, mistake.Errorf("without a token GitHub cannot be asked which of the merges %.7s and %.7s is "+
				"the later one; pass GITHUB_TOKEN: ${{ github.token }} in the step's env, or check out with "+
				"fetch-depth: 0", commit, other)
		}
		is, err := github.Within(ctx, of, token, other, commit)
		if github.NotFound(err) {
			return false, nil
		}
		return is, err
	}
}

// merged tells the workflow what the run of a merge has become.
func (f *workflow) merged(done *promotedJSON) {
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

// noted is what is noted with a run that nobody waits for, for settle to promote it by.
func (p *promotion) noted() *promote.Settings {
	if p == nil {
		return nil
	}
	noted := p.Settings
	noted.Branch = "" // which it was merged into already
	return &noted
}

// promoteLeft promotes a run that its workflow has left, before its end is told: whoever is cut
// off does so again. What cannot be promoted at all is said, and its end is told all the same.
func (s session) promoteLeft(ctx context.Context, of *github.Workflow, token string, r *report.Report,
	run *history.Run, n settle.Note) error {
	if n.Promote == nil {
		return nil
	}
	if why := unpromotable(r, run); why != "" {
		s.say("Run %s becomes no version of the model %s: %s", run.Info.RunID, n.Promote.Model, why)
		return nil
	}
	_, err := s.promoteRun(ctx, of, token, r, run, promotion{*n.Promote, n.Commit})
	if mistake.Is(err) {
		s.say("aml-train: run %s is not promoted: %v", run.Info.RunID, err)
		return nil
	}
	return err
}
