package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/train"
)

func (a *app) validate() *cobra.Command {
	var f jobFlags
	convert := false
	cmd := &cobra.Command{
		Use:   "validate [JOB]",
		Short: "Every problem of a job; submits nothing",
		Long: `Find every problem of a job at once, each with its place and what would be right:
all that run would refuse before it submits the job. Nothing is submitted, and no
workspace is asked. JOB and the flags are those of run. --json prints the resolved job,
--convert a job file that says the same as a run configuration of SDK v1.`,
		Example: "  aml-train validate job.yml\n  aml-train validate --runconfig gpu --convert > job.yml",
		Args:    f.arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if convert {
				return a.convert(cmd.Context(), f)
			}
			j, err := a.trainer(nil, &teller{app: a}, f.python).Check(cmd.Context(), a.request(f))
			switch {
			case err != nil && a.json:
				return errors.Join(err, a.printJSON(map[string]any{"problems": problemsOf(err)}))
			case err != nil:
				return err
			}
			a.warn(j)
			if a.json {
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
	cmd.Flags().BoolVar(&convert, "convert", false, "print a job file that says the same")
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

// convert prints the job as a job file. Whether its target can run it is not asked.
func (a *app) convert(ctx context.Context, f jobFlags) error {
	r := a.request(f)
	if len(r.Wrong) > 0 {
		return r.Wrong[0]
	}
	if f.ResumeFrom != "" {
		return mistake.Errorf("--resume-from is of one run; no job file says it")
	}
	if r.File == "" {
		return mistake.Errorf("name a job file, or a run configuration with --runconfig")
	}
	var err error
	if r.Options.Files, err = train.Files(&a.git, r.File, nil); err != nil {
		return err
	}
	j, err := job.Read(ctx, r.File, r.Options)
	if err != nil {
		return err
	}
	a.warn(j)
	text, err := j.YAML()
	if err == nil {
		_, err = a.out.Write(text)
	}
	return err
}

// warn says what of a job has no effect.
func (a *app) warn(j *job.Job) {
	for _, w := range j.Warnings {
		a.say("%s", strings.Replace(w.String(), ": ", ": warning: ", 1))
	}
}
