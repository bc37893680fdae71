package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/job"
	"github.com/org/aml-train/train"
)

func (a *app) validate() *cobra.Command {
	var f jobFlags
	cmd := &cobra.Command{
		Use:   "validate [JOB]",
		Short: "Every problem of a job; submits nothing",
		Long: `Find every problem of a job at once, each with its place and what would be right:
all that run would refuse before it submits the job. Nothing is submitted, and no
workspace is asked. JOB and the flags are those of run. --json prints the resolved job.`,
		Example: "  aml-train validate job.yml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := a.trainer(nil, &teller{app: a}, f.python).Check(cmd.Context(), a.request(args, f))
			switch {
			case err != nil && a.json:
				return errors.Join(err, a.printJSON(map[string]any{"problems": problemsOf(err)}))
			case err != nil:
				return err
			case a.json:
				return a.printJSON(j)
			}
			name := "The job"
			if j.File != "" {
				name = j.File
			}
			fmt.Fprintf(a.out, "%s is valid\n", name)
			return nil
		},
	}
	f.add(cmd)
	a.azure.add(cmd)
	return cmd
}

// problemsOf is an error as the list of all that is wrong.
func problemsOf(err error) (list job.Problems) {
	var several train.Refused
	if errors.As(err, &several) {
		for _, one := range several {
			list = append(list, problemsOf(one)...)
		}
		return list
	}
	if errors.As(err, &list) {
		return list
	}
	return job.Problems{{Message: err.Error()}}
}
