package cli

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
)

func (a *app) history() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "history",
		Short:   "The run history's own server",
		Long:    "The run history, for other programs.",
		Example: "  aml-train history serve",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.historyServe())
	return cmd
}

func (a *app) historyServe() *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Offer the run history through the MLflow tracking API on loopback",
		Long: `Offer the run history of this repository through the MLflow tracking API, on
loopback, until Ctrl-C. Two lines are printed for the shell of the other program: the
address, and a token without which nobody else on this machine gets an answer. A
token in MLFLOW_TRACKING_TOKEN is taken as it is, so that it can stay the same.
The history is also a database that MLflow opens itself: ui does that.`,
		Example: "  aml-train history serve --port 5000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := a.openStore(cmd.Context(), true)
			if err != nil {
				return err
			}
			token := cmp.Or(a.getenv("MLFLOW_TRACKING_TOKEN"), rand.Text())
			server := history.NewServer(store, history.Access{Token: token})
			base, stop, err := server.Serve(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				return mistake.Errorf("--port %d: %w", port, err)
			}
			defer stop()
			if a.json {
				if err := a.printJSON(map[string]string{"url": base, "token": token}); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(a.out, "export MLFLOW_TRACKING_URI=%s\nexport MLFLOW_TRACKING_TOKEN=%s\n", base, token)
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().IntVar(&port, "port", 5000, "the port; 0 takes a free one")
	return cmd
}
