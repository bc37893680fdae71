package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
)

// noBaseline is the baseline that turns the comparison off.
const noBaseline = "none"

// addBaseline adds what says which run the reported one is compared with.
func (a *app) addBaseline(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.baseline, "baseline", "",
		"what the run is compared with: a run, a commit, a branch, or none (default: the same job on the base branch, "+
			"else of the nearest ancestor)")
}

// checkBaseline finds a baseline that is a mistake, before hours of training. A shallow
// clone has not all branches and commits that there are.
func (a *app) checkBaseline(ctx context.Context) error {
	if a.baseline == "" || a.baseline == noBaseline {
		return nil
	}
	list, missing := a.readings(ctx, a.baseline)
	if missing == nil || slices.ContainsFunc(list, func(n named) bool { return n.sure }) {
		return nil
	}
	repo, err := a.git.Find(".")
	if err != nil {
		return usageError{err}
	}
	if repo != nil {
		if _, err := os.Stat(filepath.Join(repo.CommonDir, "shallow")); err == nil {
			return nil
		}
	}
	return usage("--baseline %s: there is no run, commit or branch of that name here (none turns the comparison off)",
		a.baseline)
}

// base is the run that a run is compared with, with what repeats both.
func (s session) base(ctx context.Context, run *history.Run) (base history.Baseline, err error) {
	if s.baseline == noBaseline {
		return history.Baseline{This: []*history.Run{run}}, nil
	}
	repo, err := s.git.Find(".")
	if err != nil {
		repo = nil // what is wrong with it is said where it matters
	}
	if s.baseline == "" {
		base, err = s.usualBase(ctx, run, repo)
	} else {
		base, err = s.namedBase(ctx, run)
	}
	if err == nil && base.Run != nil { // a search tells less of a run than there is to know
		base.Run, err = s.History.Run(ctx, base.Run.Info.RunID)
	}
	if err != nil {
		return base, err
	}
	return s.repeats(ctx, run, base, s.baseline != "")
}

// repeats fills in what repeats a run and its base, later ones too where that is wanted.
func (s session) repeats(
	ctx context.Context, run *history.Run, base history.Baseline, later bool,
) (history.Baseline, error) {
	later = later || run.Tag(history.TagRepeats) != "" // some started with it
	series := slices.Clone(s.series)
	slices.Reverse(series)
	base, err := history.FindRepeats(ctx, s.History, run, base, later, series)
	for _, list := range []*[]*history.Run{&base.Repeats, &base.This} {
		*list = (*list)[:min(len(*list), history.MostRepeats)]
		for i, r := range *list {
			if err != nil {
				return base, err
			}
			if len(r.Data.Metrics) == 0 { // a workspace's search for tags tells none
				(*list)[i], err = s.whole(ctx, r)
			}
		}
	}
	return base, err
}

// whole is all that there is to know of a run that has completed.
func (s session) whole(ctx context.Context, run *history.Run) (*history.Run, error) {
	if known, ok := s.completed.Load(run.Info.RunID); ok {
		return known.(*history.Run), nil
	}
	run, err := s.History.Run(ctx, run.Info.RunID)
	if err == nil {
		s.completed.Store(run.Info.RunID, run)
	}
	return run, err
}

func (s session) usualBase(
	ctx context.Context, run *history.Run, repo *git.Repository,
) (base history.Baseline, err error) {
	runs, ok := s.candidates.Load(run.Info.RunID)
	if !ok { // they do not change while the run goes on
		s.records.BringBase(ctx, run, s.experimentName(ctx, run), repo)
		if err = ctx.Err(); err != nil {
			return base, err
		}
		if runs, err = history.FindBaselines(ctx, s.History, run); err != nil {
			return base, err
		}
		s.candidates.Store(run.Info.RunID, runs)
	}
	var away map[string]int
	if repo != nil {
		away = gitmeta.Ancestors(repo, run.Tag(gitmeta.PropCommit))
	}
	away = s.records.WithBase(away)
	candidates := runs.(history.Baselines).Of(run)
	if others := candidates.Others(); len(others) > 0 && away != nil {
		candidates = candidates.StandIns(s.stoodFor(ctx, repo, away, run.Tag(history.TagSource), others))
	}
	return candidates.Nearest(away), nil
}

// namedBase is what --baseline names: a run, the newest one on a branch, or that of a commit.
func (s session) namedBase(ctx context.Context, run *history.Run) (base history.Baseline, err error) {
	list, _ := s.readings(ctx, s.baseline) // what is wrong with it was said before
	if base, err = s.asBase(ctx, run, list); err != nil || base.Run == nil {
		return base, err
	}
	if base.Run.Tag(history.TagSeries) != run.Tag(history.TagSeries) {
		base.Note = "the run that it is compared with is of another job"
	} else if status := base.Run.Status(); status != history.Completed {
		base.Note = fmt.Sprintf("the run that it is compared with is %s", status)
	}
	return base, nil
}
