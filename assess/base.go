package assess

import (
	"context"
	"fmt"
	"slices"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/train"
)

// None is the Baseline that turns the comparison off.
const None = "none"

// Name is one of the things that a name may stand for: a run, or what runs are of.
type Name struct {
	Run            *history.Run
	Branch, Commit string // one of them, of a name that is no run's
	Sure           bool   // nothing else is called so
}

// Base finds what a run is compared with, as Baseline says, and the runs that repeat either. Where
// there is nothing, Run is nil and Note says why.
func (a *Assessor) Base(ctx context.Context, at train.Session, run *history.Run) (base history.Baseline, err error) {
	if a.Baseline == None {
		return history.Baseline{This: []*history.Run{run}}, nil
	}
	repo, err := a.Git.Find(".")
	if err != nil {
		repo = nil // what is wrong with it is said where it matters
	}
	for {
		if a.Baseline == "" {
			base, err = a.usualBase(ctx, at, run, repo)
		} else {
			base, err = a.namedBase(ctx, at, run)
		}
		if err != nil {
			return base, err
		}
		found := base.Run
		if found == nil {
			break
		}
		// A search tells less of a run than there is to know, and what its script made of its tags.
		if base.Run, err = at.History.Run(ctx, found.Info.RunID); err != nil {
			return base, err
		}
		if !base.Run.Belies(found) {
			break
		}
		if a.Baseline != "" {
			base = history.Baseline{Note: "run " + found.Info.RunID + " is of other code than its tags say"}
			break
		}
		runs, _ := a.candidates.Load(run.Info.RunID)
		a.candidates.Store(run.Info.RunID, runs.(history.Baselines).Without(found))
	}
	return a.Repeats(ctx, at, run, base, a.Baseline != "")
}

// Repeats fills in the runs that repeat a run and its base: those that started before the run, and
// where later is set, or it was itself one of several, later ones as well.
func (a *Assessor) Repeats(
	ctx context.Context, at train.Session, run *history.Run, base history.Baseline, later bool,
) (history.Baseline, error) {
	later = later || run.Tag(history.TagRepeats) != "" // some started with it
	series := slices.Clone(a.series)
	slices.Reverse(series)
	base, err := history.FindRepeats(ctx, at.History, run, base, later, series)
	if err != nil {
		return base, err
	}
	for _, list := range []*[]*history.Run{&base.Repeats, &base.This} {
		*list = (*list)[:min(len(*list), history.MostRepeats)]
		for i, r := range *list {
			if len(r.Data.Metrics) > 0 {
				continue
			}
			if (*list)[i], err = a.whole(ctx, at, r); err != nil { // a workspace's search for tags tells none
				return base, err
			}
		}
	}
	return base, nil
}

// whole is all that there is to know of a run that has completed.
func (a *Assessor) whole(ctx context.Context, at train.Session, run *history.Run) (*history.Run, error) {
	if known, ok := a.completed.Load(run.Info.RunID); ok {
		return known.(*history.Run), nil
	}
	run, err := at.History.Run(ctx, run.Info.RunID)
	if err == nil {
		a.completed.Store(run.Info.RunID, run)
	}
	return run, err
}

func (a *Assessor) usualBase(
	ctx context.Context, at train.Session, run *history.Run, repo *git.Repository,
) (base history.Baseline, err error) {
	runs, ok := a.candidates.Load(run.Info.RunID)
	if !ok { // they do not change while the run goes on
		a.Records.BringBase(ctx, run, at.History.ExperimentName(ctx, run), repo)
		if err = ctx.Err(); err != nil {
			return base, err
		}
		if runs, err = history.FindBaselines(ctx, at.History, run); err != nil {
			return base, err
		}
		a.candidates.Store(run.Info.RunID, runs)
	}
	var away map[string]int
	if repo != nil {
		away = gitmeta.Ancestors(repo, run.Tag(gitmeta.PropCommit))
	}
	away = a.Records.WithBase(away)
	candidates := runs.(history.Baselines).Of(run)
	if others := candidates.Others(); len(others) > 0 && away != nil {
		candidates = candidates.StandIns(a.stoodFor(ctx, repo, away, run.Tag(history.TagSource), others))
	}
	return candidates.Nearest(away), nil
}

// namedBase is what Baseline names: a run, the newest one on a branch, or that of a commit.
func (a *Assessor) namedBase(
	ctx context.Context, at train.Session, run *history.Run,
) (base history.Baseline, err error) {
	if base, err = BaseNamed(ctx, at, run, a.Names(ctx, a.Baseline)); err != nil || base.Run == nil {
		return base, err
	}
	if base.Run.Tag(history.TagSeries) != run.Tag(history.TagSeries) {
		base.Note = "the run that it is compared with is of another job"
	} else if status := base.Run.Status(); status != history.Completed {
		base.Note = fmt.Sprintf("the run that it is compared with is %s", status)
	}
	return base, nil
}

// BaseNamed returns what a run is compared with where a name stands for its base; nothing of
// that name is a Baseline without a run, whose note says so.
func BaseNamed(
	ctx context.Context, at train.Session, run *history.Run, list []Name,
) (base history.Baseline, err error) {
	for i, n := range list {
		var found history.Baseline
		switch {
		case n.Run != nil:
			return history.Baseline{Run: n.Run}, nil
		case n.Branch != "":
			runs, err := history.FindBaselinesWith(ctx, at.History, run, history.Query{
				Tags: map[string]string{history.TagBranch: n.Branch}})
			if err != nil {
				return base, err
			}
			found = runs.OnBranch(n.Branch)
		default:
			runs, err := history.FindBaselinesWith(ctx, at.History, run, history.Query{Commit: n.Commit})
			if err != nil {
				return base, err
			}
			found = runs.OfCommit(n.Commit)
		}
		if i == 0 || found.Run != nil || n.Sure {
			base = found
		}
		if base.Run != nil || n.Sure {
			return base, nil
		}
	}
	return base, nil
}
