package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/find"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
)

// addBaseline adds what says which run the reported one is compared with.
func (a *app) addBaseline(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.assess.Baseline, "baseline", "",
		"what the run is compared with: a run, a commit, a branch, or none (default: the same job on the base branch, "+
			"else of the nearest ancestor)")
}

// checkBaseline finds a baseline that is a mistake, before hours of training. A shallow
// clone has not all branches and commits that there are.
func (a *app) checkBaseline(ctx context.Context) error {
	name := a.assess.Baseline
	if name == "" || name == assess.None {
		return nil
	}
	list, missing := a.finder().Readings(ctx, name)
	if missing == nil || slices.ContainsFunc(list, func(n find.Reading) bool { return n.Sure }) {
		return nil
	}
	repo, err := a.git.Find(".")
	if err != nil {
		return mistake.Of(err)
	}
	if repo != nil && repo.Shallow() {
		if git.CanBeBranch(name) {
			return nil
		}
		return mistake.Errorf("--baseline %s: this clone is shallow and has no such commit; git fetch --unshallow "+
			"gets it, in a workflow fetch-depth: 0 of actions/checkout does; a branch, a run or a commit's id can be "+
			"named without it", name)
	}
	return mistake.Errorf("--baseline %s: there is no run, commit or branch of that name here (none turns the "+
		"comparison off)", name)
}
