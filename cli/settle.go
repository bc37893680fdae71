package cli

import (
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/settle"
	"github.com/org/aml-train/train"
)

func (a *app) settle() *cobra.Command {
	var f workflowFlags
	cmd := &cobra.Command{
		Use:   "settle [RUN...]",
		Short: "Bring statuses and comments of runs that nobody waits for to their end",
		Long: `Bring the commit statuses and comments of runs that no workflow waits for (the
action with wait: false) to their end.

It looks for pending statuses on the last commits of pull requests and branches,
asks the workspace how their runs are, and tells of those that have ended: comment,
rules, status, the job's summary. The others are left as they are, for the next time.
With RUN, it looks at those runs alone, wherever their commits are.

In a workflow it works on the workflow's repository, elsewhere on that of the remote
origin, with the token in GH_TOKEN or GITHUB_TOKEN; of a GitHub Enterprise Server, in
GH_ENTERPRISE_TOKEN or GITHUB_ENTERPRISE_TOKEN. The token has to be allowed to write
statuses and pull requests, and to read contents. Exit codes: 0 also where runs
failed, 2 a mistake in what was asked, 4 GitHub or the workspace could not be reached.`,
		Example: "  aml-train settle\n  aml-train settle iris-3f2a91c-1a2b3c4d",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.settler(cmd.Context(), f)
			if err != nil {
				return err
			}
			done, err := s.Settle(cmd.Context(), args)
			if a.json && done != nil {
				err = errors.Join(a.printJSON(done), err)
			}
			return err
		},
	}
	a.azure.add(cmd)
	under("In a workflow", cmd.Flags(), func() {
		cmd.Flags().StringVar(&f.token, "github-token", "",
			"the token that reads and sets statuses, and comments (default: GH_TOKEN or GITHUB_TOKEN)")
	})
	return cmd
}

// settler is what settles. The checkout is looked at as where something is submitted: its
// settings say which workspace is asked.
func (a *app) settler(ctx context.Context, f workflowFlags) (*settle.Settler, error) {
	s := &settle.Settler{Git: &a.git, Secrets: &a.secrets, Say: a.say}
	s.Collect = func(ctx context.Context, at train.Session, run *history.Run, n settle.Note, in settings.InForce,
	) (*report.Report, error) {
		r, err := a.settled(ctx, at, run, n, in)
		if err == nil {
			err = session{a, at}.promoteLeft(ctx, s.Repository, s.Token, r, run, n)
		}
		return r, err
	}
	flow, err := a.enterWorkflow(ctx, f)
	if err != nil {
		return nil, err
	}
	if flow != nil {
		if err := flow.admitHere(ctx, nil); err != nil {
			return nil, err
		}
		s.Repository, s.Token, s.Summarise = flow.Workflow, flow.flags.token, flow.step.Summarise
	} else {
		repo, err := a.git.Find(".")
		if err != nil {
			return nil, mistake.Of(err)
		}
		code, err := a.codeOf(repo)
		if err != nil {
			return nil, mistake.Of(err)
		}
		if s.Repository, err = github.Outside(a.getenv, code.Repository); err != nil {
			return nil, mistake.Of(err)
		}
		s.Token = cmp.Or(f.token, s.Repository.Token)
		a.mask(s.Token)
	}
	if s.Token == "" {
		return nil, mistake.Errorf("there is no token to ask %s with; pass GITHUB_TOKEN: ${{ github.token }} in the "+
			"step's env, or set GH_TOKEN (of a GitHub Enterprise Server, GH_ENTERPRISE_TOKEN)", s.Repository.Server)
	}
	s.Target, err = a.workspace()
	return s, err
}

// settled is the report of a run that has ended, by the rules that are in force and what the
// workflow asked that left it.
func (a *app) settled(
	ctx context.Context, at train.Session, run *history.Run, n settle.Note, in settings.InForce,
) (*report.Report, error) {
	var err error
	a.assess.Baseline = n.Baseline
	if a.assess.Terms, err = assess.NewTerms(in, n.Require, n.Strict); err != nil {
		return nil, err
	}
	return a.assess.Collect(ctx, at, run)
}
