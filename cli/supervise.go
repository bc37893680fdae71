package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/submit/local"
)

// supervise is the process behind a local run. Nobody calls it by hand.
func (a *app) supervise() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise RUN HOME",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			lock := local.InheritedLock()
			a.interrupts.stop() // a signal to this process is meant: it ends, and the run is interrupted
			store, err := history.Open(args[1])
			if err != nil {
				return err
			}
			a.store = store
			return a.local("").Supervise(context.WithoutCancel(cmd.Context()), args[0], lock)
		},
	}
}
