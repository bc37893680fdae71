package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/deliver"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settle"
	"github.com/org/aml-train/submit/azureml"
)

// actionArguments is the command line that the inputs of the action stand for:
// each input is the flag of run of the same name (docs.github.com, "Metadata
// syntax": INPUT_ and the name in capitals, its dashes kept). Of a flag that may
// be given several times, each line of the input is one.
func actionArguments(run *cobra.Command, getenv func(string) string) []string {
	args := []string{"run"}
	run.Flags().VisitAll(func(f *pflag.Flag) {
		value := strings.TrimSpace(getenv("INPUT_" + strings.ToUpper(f.Name)))
		if value == "" {
			return
		}
		values := []string{value}
		if _, several := f.Value.(pflag.SliceValue); several {
			values = strings.Split(value, "\n")
		}
		for _, v := range values {
			if v = strings.TrimSpace(v); v != "" {
				args = append(args, "--"+f.Name+"="+v)
			}
		}
	})
	return args
}

// workflow is what a command tells the GitHub Actions workflow that it runs in.
type workflow struct {
	*github.Workflow
	a     *app
	step  *github.Step
	to    *github.Delivery
	flags workflowFlags
	gate  *github.Gate

	ask *github.Ask // by a comment; nil where none asks

	left *settle.Left // where nobody waits for the run; nil before the status is set, and where somebody does
}

// workflowFlags say what is told, and to whom.
type workflowFlags struct {
	wait, cancelWithWorkflow, cancelSuperseded bool

	token                         string
	comment, annotations, summary bool
	artifacts                     bool
	promote                       string // MODEL or MODEL@ALIAS; "" for what the settings say, or none
}

func (f *workflowFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.BoolVar(&f.wait, "wait", true, "stream the run and wait for its end; false ends once it is "+
		"submitted, in a workflow with a commit status that aml-train settle completes")
	s.BoolVar(&f.cancelWithWorkflow, "cancel-with-workflow", true,
		"cancel the run when the workflow, or Ctrl-C, cancels this command")
	under("In a workflow", s, func() {
		s.BoolVar(&f.cancelSuperseded, "cancel-superseded", false,
			"cancel the runs of earlier pushes to the same pull request")
	})
	f.addGate(cmd)
	under("In a workflow", s, func() {
		s.BoolVar(&f.comment, "comment", true, "in a workflow, keep one comment on the pull request up to date")
		s.BoolVar(&f.annotations, "annotations", true, "in a workflow, annotate the lines that log metrics or failed")
		s.BoolVar(&f.summary, "summary", true, "in a workflow, write the report to the job's summary")
		s.BoolVar(&f.artifacts, "artifacts", true,
			"in a workflow, keep the outputs of a run on its runner, and its record "+
				"for later ones to be compared with, as artifacts")
		s.StringVar(&f.promote, "promote", "",
			"in a workflow, on a merge, make the run a version of this registered model, such as iris@champion, or "+
				"none (default: promote in .aml-train.yaml)")
	})
}

// addGate adds what decides whose code is submitted.
func (f *workflowFlags) addGate(cmd *cobra.Command) {
	s := cmd.Flags()
	under("In a workflow", s, func() {
		s.StringVar(&f.token, "github-token", "",
			"in a workflow, the token that asks GitHub and comments on the pull request (default: GITHUB_TOKEN)")
	})
}

// enterWorkflow returns nil outside a workflow. It comes before anything else that
// a command does: secrets are masked, and a stranger's code is turned away.
func (a *app) enterWorkflow(ctx context.Context, flags workflowFlags) (*workflow, error) {
	f, err := a.inWorkflow(flags)
	if f == nil || err != nil {
		return nil, err
	}
	return f, refused(f.gate.Event(ctx))
}

// inWorkflow is enterWorkflow before anything is asked of the gate.
func (a *app) inWorkflow(flags workflowFlags) (*workflow, error) {
	if asked := a.getenv("INPUT_ALLOW-FORK"); asked != "" && asked != "false" {
		return nil, mistake.Of(errAllowFork)
	}
	w, err := github.ReadWorkflow(a.getenv)
	if err != nil {
		return nil, mistake.Of(err)
	}
	if w == nil {
		return nil, nil
	}
	f := &workflow{Workflow: w, a: a, step: a.step(w), flags: flags}
	if f.flags.token == "" {
		f.flags.token = w.Token
	}
	f.to = &github.Delivery{Step: f.step, Token: f.flags.token, Comments: flags.comment, Summary: flags.summary,
		Annotations: flags.annotations}
	a.mask(append(append(w.Secrets, f.flags.token, a.creds()), azureml.SignIn{Creds: a.creds()}.Secrets()...)...)
	f.gate = &github.Gate{Workflow: w, Token: f.flags.token}
	return f, nil
}

// started tells the workflow's later steps that there is a run.
func (f *workflow) started(ctx context.Context, s session, run *history.Run) {
	f.step.Output("run", run.Info.RunID)
	f.step.Output("run-url", cmp.Or(report.PublicLink(s.History.URL(run)), run.Tag(history.TagBuild)))
	f.step.Output("experiment", s.experimentName(ctx, run))
	f.step.Output("snapshot", run.Tag(history.TagSnapshot))
	f.step.Output("status", string(run.Status()))
	f.step.Output("reused", strconv.FormatBool(f.a.assess.Answers(run)))
	f.to.Comment()
}

// refused tells why nothing was submitted.
func (f *workflow) refused(ctx context.Context, name string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	f.to.Refused(ctx, secret.Of(&f.a.secrets, report.Refused{Name: name, Commit: cmp.Or(f.Head, f.SHA),
		Problems: annotations(err)}))
}

// follow keeps the comment up to date until the run ends. The returned function ends that.
func (f *workflow) follow(ctx context.Context, s session, id string) (stop func()) {
	return f.to.Follow(ctx, func(ctx context.Context) *report.Report {
		run, err := s.History.Run(ctx, id)
		if err != nil || run.Status().Terminal() {
			return nil
		}
		r, err := s.assess.Collect(ctx, s.Session, run)
		if err != nil {
			return nil
		}
		return r
	})
}

// ended tells the whole workflow what came out.
func (f *workflow) ended(ctx context.Context, s session, r *report.Report, download string, hurry bool) {
	run := r.Run
	if f.Workspace != "" { // a container of an action is root's, the steps around it are not
		home, _ := f.a.homeDir()
		for _, path := range []string{home, download} {
			if err := deliver.GiveToOwner(path, f.Workspace); err != nil {
				f.a.say("aml-train: %s stays root's: %v", path, err)
			}
		}
	}
	f.to.Tell(ctx, r.Markdown, true, hurry)
	if f.left != nil {
		f.sayError(f.left.Ended(ctx, r))
	}
	f.step.Output("status", string(run.Status()))
	if out, err := s.runJSON(ctx, run); err == nil {
		if text, err := json.Marshal(out.Metrics); err == nil {
			f.step.Output("metrics", string(text))
		}
	}
	if f.to.Annotations {
		f.step.Annotate(r.Annotations(f.a.assess.Places(ctx, run)))
	}
}

// step is what tells the runner of a workflow.
func (a *app) step(w *github.Workflow) *github.Step {
	return &github.Step{Workflow: w, Log: a.commands, Secrets: &a.secrets, Say: a.say, Known: actionOutputs}
}

// fail annotates why nothing was submitted.
func (a *app) fail(list []report.Annotation) {
	if a.commands != nil {
		a.step(nil).Annotate(list[:min(len(list), report.MaxAnnotations)])
	}
}

// actionOutputs are the outputs of the action, and what they are.
var actionOutputs = map[string]string{
	"run":          "the run's id",
	"reused":       "true where a run that had trained the same is reported, and nothing was trained",
	"run-url":      "the run's page: in the studio, or the workflow run for a run on this machine",
	"experiment":   "the experiment",
	"status":       "how the run ended: Completed, Failed, Canceled or NotResponding; without wait, its status then",
	"model":        "the version of a registered model that the run has become on a merge, such as models:/iris/3",
	"metrics":      "the last value of each metric, as one JSON object",
	"report":       "the report, in Markdown",
	"snapshot":     "the id of the snapshot, a git tree",
	"comment-url":  "the comment on the pull request",
	"outputs-path": "the folder of download-outputs, relative to the workspace",
}
