package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/viewer"
)

func (a *app) tensorboard() *cobra.Command {
	var port int
	var python string
	cmd := &cobra.Command{
		Use:   "tensorboard [RUN...]",
		Short: "The logs of runs in TensorBoard, while they run and afterwards",
		Long: `Show what runs write to ./logs, and event files that they write elsewhere, in the
installed TensorBoard, on loopback, until Ctrl-C. Of a run that goes on, here or in a
workspace, what it writes is added as it comes. Without RUN, of the newest one.`,
		Example: "  aml-train tensorboard iris-3f2a91c-1\n  aml-train tensorboard iris-3f2a91c-1 " +
			"iris-9d0c1e2-1 --port 0",
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			port, err := viewer.FreePort(port)
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "aml-train-tensorboard-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			v := viewer.TensorBoard(python, dir)
			if _, err := v.Find(ctx); err != nil {
				return err
			}
			var mirrors []*viewer.Mirror
			if len(args) == 0 {
				args = []string{""} // the newest
			}
			for _, id := range args {
				s, run, err := a.findRun(ctx, id)
				if err != nil {
					return err
				}
				m, err := viewer.NewMirror(s.Session, run.Info.RunID, dir)
				if err != nil {
					return err
				}
				defer m.Close()
				mirrors = append(mirrors, m)
			}
			return viewer.ShowMirrors(ctx, v, mirrors, port, a.words(), a.say)
		},
	}
	cmd.Flags().IntVar(&port, "port", 6006, "the port; 0 takes a free one")
	cmd.Flags().StringVar(&python, "python", "",
		"the Python whose TensorBoard is started (default: tensorboard on PATH)")
	return cmd
}
