package cli

import (
	"github.com/spf13/cobra"

	"github.com/org/aml-train/internal/mistake"
)

func (a *app) cancel() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN",
		Short: "Cancel a run",
		Long: "Cancel a run and wait until it has ended. What it had written to outputs and logs\nis " +
			"kept.",
		Example:           "  aml-train cancel iris-3f2a91c-1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, run, err := a.findRun(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := s.Target.Cancel(cmd.Context(), run.Info.RunID); err != nil {
				return mistake.Of(err)
			}
			if run, err = s.Target.Watch(cmd.Context(), run.Info.RunID, nil); err != nil {
				return err
			}
			if a.json {
				return s.printRun(cmd.Context(), run, nil)
			}
			a.say("Run %s: %s", run.Info.RunID, run.Status())
			return nil
		},
	}
}
