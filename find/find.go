// Package find answers: which run does a name mean?
//
// A run is called by its id, or by the beginning of it (Finder.Run); two runs that are compared are
// named by a branch or a commit as well (Finder.Readings, Finder.Pair). It lies on this machine or
// in the workspace that is known.
package find

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/azureml"
	"github.com/org/aml-train/train"
)

// Finder finds runs where there may be some.
type Finder struct {
	Git *git.Finder

	// Store opens the history of this machine; it returns nil where there is none. Here is the
	// target of its runs, once that is open.
	Store func(context.Context) (*history.Store, error)
	Here  func() submit.Target

	// Workspace is the one that is known; it misses something where none is.
	Workspace func() (*azureml.Target, error)

	// Last is the newest run that was submitted to a workspace from here, and when; "" for none.
	Last func() (id string, when time.Time)

	Assess *assess.Assessor // finds what repeats the runs of a pair
}

func session(ctx context.Context, t submit.Target) (train.Session, error) {
	past, err := t.History(ctx)
	return train.Session{Target: t, History: past}, err
}

// Run returns the run of an id, of the unique beginning of one, or for "" the newest: of this
// machine, else, by its whole id, of the workspace. That there is none is a mistake.
func (f *Finder) Run(ctx context.Context, id string) (at train.Session, run *history.Run, err error) {
	run, err = f.local(ctx, id)
	if id == "" {
		last, when := f.Last()
		if last == "" && err != nil {
			return at, nil, err
		}
		if last != "" && (err != nil || when.After(run.Started())) {
			id, run = last, nil
		}
	}
	if run != nil {
		at, err = session(ctx, f.Here())
		return at, run, err
	}
	t, aerr := f.Workspace()
	if aerr == nil && len(t.Missing()) > 0 && err == nil {
		aerr = mistake.Errorf("the newest run, %s, was submitted to a workspace that is not known here any more; "+
			"name a run, or the workspace", id)
	}
	if aerr != nil || len(t.Missing()) > 0 {
		return at, nil, errors.Join(err, aerr)
	}
	if at, aerr = session(ctx, t); aerr != nil {
		return at, nil, aerr
	}
	if run, aerr = at.History.Run(ctx, id); errors.Is(aerr, azureml.ErrNoRun) {
		return at, nil, mistake.Of(errors.Join(err, aerr))
	}
	return at, run, aerr
}

// local returns the run of an id, or of the beginning of one, on this machine.
func (f *Finder) local(ctx context.Context, id string) (*history.Run, error) {
	store, err := f.Store(ctx)
	if err != nil {
		return nil, err
	}
	if store == nil {
		return nil, mistake.Errorf("there is no run history here yet; aml-train run makes the first run")
	}
	if id == "" {
		newest, _, err := store.SearchRuns(ctx, history.Query{Submitted: true, MaxResults: 1})
		if err == nil && len(newest) == 0 {
			err = mistake.Errorf("there is no run here yet; aml-train run makes the first one")
		}
		if err != nil {
			return nil, err
		}
		return newest[0], nil
	}
	if run, err := store.Run(ctx, id); err == nil {
		return run, nil
	}
	// Of runs that a script made, only the whole id finds one.
	found, _, err := store.SearchRuns(ctx, history.Query{View: "ALL", Submitted: true, Prefix: id, MaxResults: 2})
	if err != nil {
		return nil, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 2:
		n, err := store.CountRuns(ctx, id)
		if err != nil {
			return nil, err
		}
		return nil, mistake.Errorf("%s is the beginning of %d runs, %s and %s among them; give more of it", id, n,
			found[0].Info.RunID, found[1].Info.RunID)
	}
	newest, _, err := store.SearchRuns(ctx, history.Query{View: "ALL", Submitted: true, MaxResults: 100})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range newest {
		names = append(names, r.Info.RunID)
	}
	hint := cmp.Or(suggest.DidYouMean(id, names), "; aml-train runs lists them")
	return nil, mistake.Of(&unknownError{id, hint})
}

// unknownError is the error of an id that no run here has, with what to do next.
type unknownError struct{ id, hint string }

func (e *unknownError) Error() string { return fmt.Sprintf("there is no run %q%s", e.id, e.hint) }
