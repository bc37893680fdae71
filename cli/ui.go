package cli

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/submit/local"
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
			port, err := freePort(port)
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
				return usage("there is no run history here yet; aml-train run makes the first run")
			}
			if page != "" {
				a.say("The workspace's runs are at %s", page)
			}
			return a.mlflowUI(ctx, store, shown, port, python)
		},
	}
	cmd.Flags().IntVar(&port, "port", 5000, "the port; 0 takes a free one")
	cmd.Flags().StringVar(&python, "python", "", "the Python whose MLflow is started (default: mlflow on PATH)")
	return cmd
}

// noJobs leaves out the processes with which MLflow's server has language models judge traces,
// each of which takes as long to start as the server.
const noJobs = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"

// mlflowUI shows the history in MLflow until the context ends, from a run's page on where
// one is named.
func (a *app) mlflowUI(ctx context.Context, store *history.Store, run *history.Run, port int, python string) error {
	database := filepath.ToSlash(filepath.Join(store.Home, "history.db"))
	uri := "sqlite:///" + (&url.URL{Path: strings.TrimPrefix(database, "/")}).EscapedPath()
	if strings.HasPrefix(database, "/") {
		uri = "sqlite:////" + strings.TrimPrefix(strings.TrimPrefix(uri, "sqlite:///"), "/")
	}
	v := viewer{title: "MLflow", program: "mlflow", module: "mlflow", install: "mlflow", python: python,
		dir: store.Home, env: []string{noJobs}}
	upgrade, err := v.command(ctx)
	if err != nil {
		return err
	}
	said := &tail{}
	upgrade.Args = append(upgrade.Args, "db", "upgrade", uri)
	upgrade.Dir, upgrade.Stdout, upgrade.Stderr = v.dir, said, said
	a.say("Starting MLflow ...")
	if err := upgrade.Run(); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return usage("MLflow cannot open the run history (%w):\n%s", err, said)
	}
	return v.serve(ctx, port, []string{"ui", "--workers", "1", "--backend-store-uri", uri}, a.words(),
		func(address string) {
			if run != nil {
				address += "/#/experiments/" + url.PathEscape(run.Info.ExperimentID) + "/runs/" +
					url.PathEscape(run.Info.RunID)
			}
			a.say("The run history is at %s until Ctrl-C", address)
		})
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
	if err != nil || len(t.Missing()) > 0 {
		return ""
	}
	return t.Page()
}
