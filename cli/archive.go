package cli

import (
	"github.com/spf13/cobra"

	"github.com/org/aml-train/internal/mistake"
)

func (a *app) archive() *cobra.Command {
	var experiment string
	var restore bool
	cmd := &cobra.Command{
		Use:   "archive RUN... | --experiment NAME",
		Short: "Hide runs from lists",
		Long: `Hide runs, or an experiment with all its runs, from lists. Nothing is deleted:
runs --archived lists them, and --restore brings them back.`,
		Example:           "  aml-train archive iris-3f2a91c-1\n  aml-train archive --experiment try-outs",
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if (len(args) == 0) == (experiment == "") {
				return mistake.Errorf("name runs, or an experiment with --experiment")
			}
			done := "Archived"
			if restore {
				done = "Restored"
			}
			if experiment != "" {
				store, err := a.openStore(ctx, false)
				if err != nil {
					return err
				}
				if store == nil {
					return mistake.Errorf("there is no run history here yet")
				}
				e, err := store.ExperimentByName(ctx, experiment)
				if err != nil {
					return mistake.Errorf("there is no experiment %q", experiment)
				}
				if err := store.ArchiveExperiment(ctx, e.ID, !restore); err != nil {
					return err
				}
				a.say("%s the experiment %s.", done, e.Name)
				return nil
			}
			for _, id := range args {
				s, run, err := a.findRun(ctx, id)
				if err != nil {
					return err
				}
				if !restore && !run.Status().Terminal() {
					return mistake.Errorf("run %s has not ended: %s; cancel it first", run.Info.RunID, run.Status())
				}
				if err := s.Target.Archive(ctx, run.Info.RunID, !restore); err != nil {
					return err
				}
				a.say("%s run %s.", done, run.Info.RunID)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&experiment, "experiment", "", "an experiment, with all its runs")
	cmd.Flags().BoolVar(&restore, "restore", false, "show them again")
	return cmd
}
