package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/submit/local"
	"github.com/org/aml-train/viewer"
)

func (a *app) ui() *cobra.Command {
	var port int
	var python string
	cmd := &cobra.Command{
		Use:   "ui [RUN]",
		Short: "The run history in MLflow's own page",
		Long: `Show the run history of this machine in the page of the installed MLflow, on loopback,
until Ctrl-C. MLflow is the one on PATH, or that of --python; it brings the history's
database to its own newest schema. Runs of a workspace are on a page of Azure's, whose
address is printed.`,
		Example:           "  aml-train ui\n  aml-train ui iris-3f2a91c-1 --port 0",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			port, err := viewer.FreePort(port)
			if err != nil {
				return err
			}
			var shown *history.Run
			if len(args) > 0 {
				s, run, err := a.findRun(ctx, args[0])
				if err != nil {
					return err
				}
				if _, here := s.Target.(*local.Target); !here {
					return a.printPage(s.History.URL(run))
				}
				shown = run
			}
			store, err := a.openStore(ctx, false)
			if err != nil {
				return err
			}
			page := a.workspacePage()
			if store == nil {
				if page != "" {
					return a.printPage(page)
				}
				return mistake.Errorf("there is no run history here yet; aml-train run makes the first run")
			}
			if page != "" {
				a.say("The workspace's runs are at %s", page)
			}
			return viewer.MLflow(ctx, store, shown, port, python, a.words(), a.say)
		},
	}
	cmd.Flags().IntVar(&port, "port", 5000, "the port; 0 takes a free one")
	cmd.Flags().StringVar(&python, "python", "", "the Python whose MLflow is started (default: mlflow on PATH)")
	return cmd
}

// printPage prints the address of a page of Azure's.
func (a *app) printPage(page string) error {
	if a.json {
		return a.printJSON(map[string]string{"url": page})
	}
	_, err := a.out.Write([]byte(page + "\n"))
	return err
}

// workspacePage is where the workspace shows its runs, "" where none is known.
func (a *app) workspacePage() string {
	t, err := a.workspace()
	a.without(err, "no page of a workspace is shown")
	if err != nil || len(t.Missing()) > 0 {
		return ""
	}
	return t.Page()
}

// words is where another program's words go: to standard error where each step is told.
func (a *app) words() io.Writer {
	if a.debug {
		return a.err
	}
	return io.Discard
}
