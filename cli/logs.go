package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
)

func (a *app) logs() *cobra.Command {
	follow := false
	cmd := &cobra.Command{
		Use:   "logs [RUN]",
		Short: "A run's console output",
		Long: `Print what a run has printed. Without RUN, the newest one. With --follow, print what it
prints until its end; Ctrl-C stops the printing, not the run.`,
		Example:           "  aml-train logs | less\n  aml-train logs iris-3f2a91c-1 -f",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, run, err := a.findRun(ctx, firstArg(args))
			if err != nil {
				return err
			}
			if follow && !run.Status().Terminal() {
				_, err := s.Target.Watch(ctx, run.Info.RunID, a.out)
				if ctx.Err() != nil {
					return nil // the run goes on
				}
				return err
			}
			f, err := s.openArtifact(ctx, run, history.ConsoleLog)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(a.out, f)
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run ends")
	return cmd
}
