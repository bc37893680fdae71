package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/train"
)

func (a *app) validate() *cobra.Command {
	var f jobFlags
	cmd := &cobra.Command{
		Use:     "validate JOB",
		Short:   "Every problem of a job file; submits nothing",
		Long:    "Check a job file and report every problem at once, each with its place and what\nwould be right. Nothing is submitted. --json prints the resolved job.",
		Example: "  aml-train validate job.yml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			f.Workflow = github.InWorkflow(a.getenv)
			if f.Files, err = train.Files(&a.git, args[0], nil); err != nil {
				return err
			}
			if _, err := a.passOn(&f); err != nil {
				return err
			}
			j, err := job.Load(args[0], f.Options)
			var problems job.Problems
			if a.json && errors.As(err, &problems) {
				if err := a.printJSON(map[string]any{"problems": problems}); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(j)
			}
			fmt.Fprintf(a.out, "%s is valid\n", args[0])
			return nil
		},
	}
	f.add(cmd)
	return cmd
}
