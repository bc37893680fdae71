package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) submit() *cobra.Command {
	var f jobFlags
	var w workflowFlags
	cmd := &cobra.Command{
		Use:   "submit [JOB]",
		Short: "Submit a job and return; the run goes on",
		Long: `Submit a job and return as soon as the run has started. It goes on without
this command: watch shows its output, cancel ends it.`,
		Example: "  run=$(aml-train submit job.yml) && aml-train watch $run",
		Args:    f.arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			flow, err := a.enterWorkflow(cmd.Context(), w)
			if err != nil {
				return err
			}
			a.last()
			a.interrupts.leaves("If a run was submitted, aml-train runs shows it.")
			a.brief = f.branch != ""
			request := a.request(f)
			return a.trainer(flow, &teller{app: a}, f.python).Train(cmd.Context(), request)
		},
	}
	f.add(cmd)
	cmd.RegisterFlagCompletionFunc("resume-from", a.completeRuns)
	a.azure.add(cmd)
	w.addGate(cmd)
	cmd.Flags().BoolVar(&f.once, "once", false, "submit only if the commit has no run of this job yet")
	cmd.Flags().StringVar(&f.branch, "branch", "", "the branch that --commit was pushed to")
	cmd.Flags().MarkHidden("branch")
	return cmd
}
