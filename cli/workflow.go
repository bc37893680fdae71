package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

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
	a       *app
	step    *github.Step
	flags   workflowFlags
	gate    *github.Gate
	comment *github.Comment // nil where none is to be written

	identity string // tells the jobs of one workflow apart: what was asked for

	ask *github.Ask // by a comment; nil where none asks

	left *settle.Left // where nobody waits for the run; nil before the status is set, and where somebody does

	link      string // of the comment
	commented error  // why there is none
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
	f.prepareComment()
}

// prepareComment says where the comment is, or why there is none.
func (f *workflow) prepareComment() {
	if !f.flags.comment || f.PullRequest == 0 || f.comment != nil {
		return
	}
	if f.flags.token == "" {
		f.commented = &github.NotAllowedError{Reason: "there is no token to comment on the pull request with; pass " +
			"GITHUB_TOKEN: ${{ github.token }} in the step's env"}
		return
	}
	if f.Asks() {
		f.comment, f.commented = f.Answer(f.flags.token, f.identity)
		return
	}
	f.comment, f.commented = github.NewComment(f.Workflow, f.flags.token, f.identity)
}

// refused tells the pull request why nothing was submitted, above the result that it shows:
// that is of an earlier commit.
func (f *workflow) refused(ctx context.Context, name string, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	r := secret.Of(&f.a.secrets, report.Refused{Name: name, Commit: cmp.Or(f.Head, f.SHA), Problems: annotations(err)})
	if f.prepareComment(); f.comment != nil {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := f.comment.Write(ctx, r.Markdown, false); err != nil {
			f.a.say("aml-train: the pull request could not be told: %v", err)
		}
	}
	if f.flags.summary {
		f.step.Summarise(r.Markdown)
	}
}

// commentWithin is how long GitHub may take to take the last comment about a run.
const commentWithin = 3 * time.Minute

// progressEvery is how often the comment follows a run.
const progressEvery = time.Minute

// follow keeps the comment up to date until the run ends. The returned function
// ends that, and does not wait for GitHub.
func (f *workflow) follow(ctx context.Context, s session, id string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if f.comment == nil {
		return cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if run, err := s.History.Run(ctx, id); err == nil && !run.Status().Terminal() {
				if r, err := s.assess.Collect(ctx, s.Session, run); err == nil {
					f.write(ctx, r, false)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(progressEvery):
			}
		}
	}()
	return func() {
		cancel()
		<-done // two writers would not know of each other's comment
	}
}

func (f *workflow) write(ctx context.Context, r *report.Report, ended bool) {
	link, err := f.comment.Write(ctx, r.Markdown, ended)
	if link != "" {
		f.link = link
	}
	f.commented = err
}

// ended tells the whole workflow what came out. What cannot be delivered is said,
// and changes nothing about the run.
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
	if f.comment != nil {
		most := commentWithin
		if hurry {
			most = 4 * time.Second
		}
		ctx, cancel := context.WithTimeout(ctx, most)
		f.write(ctx, r, true)
		cancel()
	}
	if f.left != nil {
		f.sayError(f.left.Ended(ctx, r))
	}
	f.uncommented()
	f.step.Output("comment-url", f.link)
	f.step.Output("status", string(run.Status()))
	if out, err := s.runJSON(ctx, run); err == nil {
		if text, err := json.Marshal(out.Metrics); err == nil {
			f.step.Output("metrics", string(text))
		}
	}
	f.step.Output("report", r.Markdown(github.CommentLimit))
	if f.flags.summary {
		f.step.Summarise(r.Markdown)
	}
	if f.flags.annotations {
		f.step.Annotate(r.Annotations(f.a.assess.Places(ctx, run)))
	}
}

// uncommented says why there is no comment.
func (f *workflow) uncommented() {
	if err := f.commented; err != nil {
		text := err.Error() + "."
		if f.flags.summary {
			text += " The report is in the job's summary."
		}
		f.step.Notice("No comment on the pull request", text)
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
