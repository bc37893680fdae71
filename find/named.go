package find

import (
	"context"
	"errors"
	"slices"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/train"
)

// Reading is one of the things that a name may stand for, and where its run is.
type Reading struct {
	assess.Name
	at train.Session // of Run
}

// commitText is what may be a commit's id, or its beginning, of a commit that is not here.
var commitText = lazyregexp.New(`^[0-9a-f]{7,40}$`)

// Readings are what a name may stand for, what it most likely means first: the run of that
// id, a branch, a commit, the run whose id begins so. What is wrong with it as a run's
// name is the error; there are readings all the same.
func (f *Finder) Readings(ctx context.Context, name string) (list []Reading, err error) {
	at, run, err := f.Run(ctx, name)
	if err == nil && run.Info.RunID == name {
		return []Reading{{assess.Name{Run: run, Sure: true}, at}}, nil
	}
	repo, rerr := f.Git.Find(".")
	if rerr != nil {
		repo = nil // what is wrong with it is said where it matters
	}
	list = append(list, Reading{Name: assess.Name{Branch: name,
		Sure: repo != nil && branchHere(repo, name)}})
	if repo != nil {
		if id, err := repo.Revision(name + "^{commit}"); err == nil {
			list = append(list, Reading{Name: assess.Name{Commit: id.String(), Sure: true}})
		}
	}
	switch {
	case err == nil:
		list = append(list, Reading{assess.Name{Run: run}, at})
	case commitText.MatchString(name):
		list = append(list, Reading{Name: assess.Name{Commit: name}})
	}
	return list, err
}

// Names are the readings of a name without where they are.
func Names(list []Reading) []assess.Name {
	out := make([]assess.Name, len(list))
	for i, n := range list {
		out[i] = n.Name
	}
	return out
}

// mostNamed is how many runs of a branch or commit are looked at for one of a job, the newest.
const mostNamed = 50

// newest are completed runs that a name stands for, the newest of each job; of that of like,
// where there is one. A fork's branch may be called as one here.
func newest(ctx context.Context, at train.Session, n Reading, like *history.Run) ([]*history.Run, error) {
	q := history.Query{Completed: true, Submitted: true, MaxResults: mostNamed, Commit: n.Commit,
		Tags: map[string]string{}}
	if n.Branch != "" {
		q.Tags[history.TagBranch] = n.Branch
	}
	if like != nil {
		q.ExperimentIDs = []string{like.Info.ExperimentID}
		q.Tags[history.TagSeries] = like.Tag(history.TagSeries)
	}
	found, _, err := at.History.SearchRuns(ctx, q)
	if err != nil {
		return nil, err
	}
	type job struct{ experiment, series string }
	seen := map[job]bool{}
	var out []*history.Run
	for _, r := range found {
		of := job{r.Info.ExperimentID, r.Tag(history.TagSeries)}
		if r.Tag(history.TagFork) == "" && of.series != "" && !seen[of] {
			out, seen[of] = append(out, r), true
		}
	}
	return out, nil
}

// asRuns are the runs that the first of two names may stand for: one, or the newest of a
// branch or commit, of each job one; of the job of like, where that is not nil.
func (f *Finder) asRuns(ctx context.Context, list []Reading, like *Reading) (out []Reading, err error) {
	for _, n := range list {
		if n.Run != nil {
			return []Reading{n}, nil
		}
		places, err := f.sessions(ctx)
		if err != nil {
			return nil, err
		}
		var of *history.Run
		if like != nil {
			places, of = []train.Session{like.at}, like.Run
		}
		for _, s := range places {
			runs, err := newest(ctx, s, n, of)
			if err != nil {
				return nil, err
			}
			for _, r := range runs {
				out = append(out, Reading{assess.Name{Run: r}, s})
			}
		}
		if len(out) > 0 || n.Sure {
			return out, nil
		}
	}
	return nil, nil
}

// sessions are the places where there may be runs: this machine, and a workspace that is
// known.
func (f *Finder) sessions(ctx context.Context) (out []train.Session, err error) {
	store, err := f.Store(ctx)
	if err != nil {
		return nil, err
	}
	if store != nil {
		s, err := session(ctx, f.Here())
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	cloud, err := f.Workspace()
	if err != nil || len(cloud.Missing()) > 0 {
		return out, err
	}
	s, err := session(ctx, cloud)
	return append(out, s), err
}

// Pair finds the two runs that are to be compared: each name is a run, a branch or a
// commit. Of those that are no run's, the newest completed runs of one job are taken.
func (f *Finder) Pair(ctx context.Context, this, base string) (s train.Session, run *history.Run, with history.Baseline,
	err error) {
	left, thisWrong := f.Readings(ctx, this)
	right, baseWrong := f.Readings(ctx, base)
	var like *Reading
	if n := len(right) - 1; right[n].Run != nil && (n == 0 || !right[n-1].Sure) {
		right, like = right[n:], &right[n]
	}
	runs, err := f.asRuns(ctx, left, like)
	if err != nil {
		return s, nil, with, err
	}
	if len(runs) == 0 {
		return s, nil, with, nothing(this, left, thisWrong)
	}
	for _, r := range runs {
		if with, err = assess.BaseNamed(ctx, r.at, r.Run, Names(right)); err != nil || with.Run != nil {
			s, run = r.at, r.Run
			break
		}
	}
	if err == nil && with.Run == nil {
		err = nothing(base, right, baseWrong)
	}
	if err != nil {
		return s, nil, with, err
	}
	// A search tells less of a run than there is to know.
	if !slices.ContainsFunc(left, func(n Reading) bool { return n.Run == run }) {
		run, err = s.History.Run(ctx, run.Info.RunID)
	}
	if err == nil && like == nil {
		with.Run, err = s.History.Run(ctx, with.Run.Info.RunID)
	}
	if err != nil {
		return s, nil, with, err
	}
	if like != nil && like.at.History != s.History { // repeats of runs lie beside them
		with.Repeats, with.This = []*history.Run{with.Run}, []*history.Run{run}
		return s, run, with, nil
	}
	with, err = f.Assess.Repeats(ctx, s, run, with, true)
	return s, run, with, err
}

// nothing says that a name stands for no run, and why.
func nothing(name string, list []Reading, wrong error) error {
	switch {
	case len(list) > 0 && list[0].Sure && list[0].Branch != "":
		return mistake.Errorf("there is no completed run of this job on the branch %s", name)
	case slices.ContainsFunc(list, func(n Reading) bool { return n.Commit != "" && n.Sure }):
		return mistake.Errorf("there is no completed run of this job of the commit %s", name)
	case wrong == nil:
		return mistake.Errorf("%s is no completed run of this job", name)
	}
	var unknown *unknownError
	if errors.As(wrong, &unknown) {
		return mistake.Errorf("there is no run, commit or branch %q here%s", name, unknown.hint)
	}
	return mistake.Errorf("there is no run, commit or branch %q here: %w", name, wrong)
}

func branchHere(repo *git.Repository, name string) bool {
	for _, of := range []string{"refs/heads/", "refs/remotes/origin/"} {
		if _, _, err := repo.Reference(of + name); err == nil {
			return true
		}
	}
	return false
}
