package viewer

import (
	"context"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
)

// noJobs leaves out the processes with which MLflow's server has language models judge traces,
// each of which takes as long to start as the server.
const noJobs = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"

// MLflow shows a history of this machine in MLflow until the context ends, from a run's page on
// where run is not nil. python is the interpreter that has MLflow, "" for mlflow on PATH; what
// MLflow itself says goes to words.
func MLflow(
	ctx context.Context, store *history.Store, run *history.Run, port int, python string, words io.Writer,
	say func(format string, args ...any),
) error {
	database := filepath.ToSlash(filepath.Join(store.Home, "history.db"))
	uri := "sqlite:///" + (&url.URL{Path: strings.TrimPrefix(database, "/")}).EscapedPath()
	if strings.HasPrefix(database, "/") {
		uri = "sqlite:////" + strings.TrimPrefix(strings.TrimPrefix(uri, "sqlite:///"), "/")
	}
	p := Program{Title: "MLflow", Command: "mlflow", Module: "mlflow", Install: "mlflow", Python: python,
		Dir: store.Home, Env: []string{noJobs}}
	upgrade, err := p.Find(ctx)
	if err != nil {
		return err
	}
	said := &tail{}
	upgrade.Args = append(upgrade.Args, "db", "upgrade", uri)
	upgrade.Dir, upgrade.Stdout, upgrade.Stderr = p.Dir, said, said
	say("Starting MLflow ...")
	if err := upgrade.Run(); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return mistake.Errorf("MLflow cannot open the run history (%w):\n%s", err, said)
	}
	return p.Serve(ctx, port, []string{"ui", "--workers", "1", "--backend-store-uri", uri}, words,
		func(address string) {
			if run != nil {
				address += "/#/experiments/" + url.PathEscape(run.Info.ExperimentID) + "/runs/" +
					url.PathEscape(run.Info.RunID)
			}
			say("The run history is at %s until Ctrl-C", address)
		})
}
