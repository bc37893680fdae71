package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/mistake"
)

func (a *app) run() *cobra.Command {
	var f jobFlags
	var w workflowFlags
	var p places
	cmd := &cobra.Command{
		Use:   "run [JOB]",
		Short: "Submit a job, stream its output, wait, and report",
		Long: `Submit a job, stream its output, wait for its end, and report.

JOB is a job file in the CLI v2 schema; flags describe a job without one, or
change what it says. Without either, job in .aml-train.yaml is run, else job.yml
here or at the repository's root. What stands behind -- is for the script.
The script needs no change: it finds the run history through MLFLOW_TRACKING_URI,
or writes its metrics to outputs/metrics.json.

Ctrl-C cancels the run. Exit codes: 0 completed, 1 failed or canceled, 2 nothing
was submitted, 3 a rule was broken, 4 the target could not be reached or refused.`,
		Example: "  aml-train run --script train.py --arguments \"--epochs 10\"\n  aml-train run job.yml --input " +
			"epochs=50 --markdown report.md",
		Args: f.arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runAsked(cmd.Context(), f, w, p)
		},
	}
	f.add(cmd)
	cmd.RegisterFlagCompletionFunc("resume-from", a.completeRuns)
	a.azure.add(cmd)
	a.addBaseline(cmd)
	a.addRules(cmd)
	w.add(cmd)
	p.addDownload(cmd)
	cmd.Flags().BoolVar(&f.resume, "resume", false,
		"go on with the sweep of this job and these files that was canceled or "+
			"interrupted on this machine: trials that ended are kept")
	p.addMarkdown(cmd)
	return cmd
}

// runAsked runs what the flags describe, in a workflow once its event, or a comment, may have it run.
func (a *app) runAsked(ctx context.Context, f jobFlags, w workflowFlags, to places) error {
	flow, err := a.inWorkflow(w)
	if err != nil {
		return err
	}
	tell := &teller{app: a, flow: flow, to: to}
	if flow == nil {
		if w.promote != "" && w.promote != "none" {
			return mistake.Errorf("--promote is for the workflow of a merge; train, and then: " +
				"aml-train promote --model NAME --alias ALIAS")
		}
		return a.runJob(ctx, f, w, tell)
	}
	flow.to.Identity = f.identity()
	if flow.Asks() {
		asked, err := flow.asked(ctx, &f)
		if !asked {
			return err
		}
	} else if err := refused(flow.gate.Event(ctx)); err != nil {
		return err
	}
	err = a.runJob(ctx, f, w, tell)
	if !tell.submitted {
		flow.refused(ctx, f.name(), err)
		flow.unsubmitted(ctx, err)
	}
	return err
}

// runJob runs what the flags and arguments describe, to its report.
func (a *app) runJob(ctx context.Context, f jobFlags, w workflowFlags, tell *teller) error {
	a.last()
	a.interrupts.leaves("If a run was submitted, aml-train runs shows it.")
	if err := a.checkBaseline(ctx); err != nil {
		return err
	}
	request := a.request(f)
	if err := tell.to.check(w.wait); err != nil {
		request.Wrong = append(request.Wrong, err)
	}
	// What is wrong with the settings themselves is told with all that is wrong with the job.
	if _, err := a.readSettings(".", nil); err == nil || f.commit != "" {
		var of *github.Workflow
		token := ""
		if tell.flow != nil {
			of, token = tell.flow.Workflow, tell.flow.flags.token
		}
		if err := a.readRules(ctx, of, token); err != nil {
			request.Wrong = append(request.Wrong, err)
		} else {
			a.keepRecords(tell.flow)
		}
		if terms := &a.assess.Terms; terms.AtMost > 0 && request.Repeats != nil { // says the workflow
			terms.AtMost = max(terms.AtMost, request.Repeats.AtMost)
		}
	}
	if err := a.onMerge(ctx, tell.flow, &request); err != nil {
		request.Wrong = append(request.Wrong, err)
	}
	request.Wait, request.Cancel = w.wait, w.cancelWithWorkflow
	if tell.flow != nil && !w.wait {
		request.Leave = tell.flow.leave
	}
	trainer := a.trainer(tell.flow, tell, f.python)
	if tell.flow != nil && tell.flow.ask != nil && !tell.flow.ask.Approves() {
		return tell.flow.offer(ctx, trainer, request)
	}
	return trainer.Train(ctx, request)
}
