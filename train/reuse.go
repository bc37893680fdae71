package train

import (
	"context"
	"fmt"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/submit"
)

// Reused is a run that answers a submission: it has trained the same.
type Reused struct {
	Run *history.Run
	// Tags say what the submission is of, which Run was not: commit, branch and so on.
	Tags map[string]string
}

// find looks for a completed run that has trained what a submission would, where that is
// wanted. What it finds out of the submission is noted in it.
func (t *Trainer) find(ctx context.Context, r Request, s *submission, at Session) (*Reused, error) {
	wanted := s.mayReuse(r)
	if !wanted && !s.keyed || r.Resume {
		return nil, nil
	}
	var err error
	if !s.versioned {
		if s.Versions, err = at.Target.Versions(ctx, s.Submission); err != nil {
			return nil, mistake.Of(err)
		}
		s.versioned = true
	}
	if s.Reuse = s.Key(s.Versions); !wanted {
		return nil, nil
	}
	if s.Reuse == "" {
		if s.quiet {
			return nil, nil
		}
		t.Tell.Trains("no run is reused: " + strings.Join(s.Versions.Without, "; "))
		return nil, nil
	}
	if s.here {
		if err := t.Recall(ctx, s.Job.ExperimentName, s.Reuse); err != nil {
			return nil, err
		}
	}
	run, err := withKey(ctx, at.History, s.Job.ExperimentName, s.Reuse)
	if err != nil {
		return nil, err
	}
	if run == nil {
		if !s.quiet {
			t.Tell.Trains(t.unlike(ctx, s, at))
		}
		return nil, nil
	}
	tags, properties := s.Tags()
	for name, value := range properties {
		tags[name] = value
	}
	return &Reused{run, tags}, nil
}

// mayReuse tells whether a run that has trained the same will do.
func (s *submission) mayReuse(r Request) bool {
	if r.Reuse != nil {
		return *r.Reuse
	}
	return s.reuse
}

// withKey returns the newest completed run of a key, nil where there is none. What a
// search tells may be what a script made of its run: the run itself has to say it too.
func withKey(ctx context.Context, h submit.History, experiment, key string) (*history.Run, error) {
	experiments, _, err := h.SearchExperiments(ctx, history.Query{Name: experiment, MaxResults: 1})
	if err != nil || len(experiments) == 0 || experiments[0].Name != experiment {
		return nil, err
	}
	found, _, err := h.SearchRuns(ctx, history.Query{ExperimentIDs: []string{experiments[0].ID}, Submitted: true,
		Completed: true, MaxResults: mostFound, Tags: map[string]string{history.TagKey: key}})
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		run, err := h.Run(ctx, f.Info.RunID)
		if err != nil {
			return nil, err
		}
		if run.Tag(history.TagKey) == key && run.Status() == history.Completed {
			return run, nil
		}
	}
	return nil, nil
}

// mostFound is how many runs of one key are looked at, the newest.
const mostFound = 5

// unlike says why no run is reused: in what the newest one of the same job differs.
func (t *Trainer) unlike(ctx context.Context, s *submission, at Session) string {
	none := "no run is reused: there is no completed one to choose from"
	if !s.here { // a workspace takes its time for another search
		return "no run is reused: none has trained the same files, job, environment and inputs"
	}
	tags, _ := s.Tags()
	runs, _, err := at.History.SearchRuns(ctx, history.Query{Submitted: true, Completed: true, MaxResults: 1,
		Tags: map[string]string{history.TagSeries: tags[history.TagSeries]}})
	if err != nil || len(runs) == 0 {
		return none
	}
	last := runs[0]
	if last.Tag(history.TagKey) == "" {
		return fmt.Sprintf("no run is reused: what run %s trained with was not noted", last.Info.RunID)
	}
	parts := submit.Unlike(s.Reuse, last.Tag(history.TagKey))
	return fmt.Sprintf("no run is reused: run %s, the last one, has other %s", last.Info.RunID,
		strings.Join(parts, ", "))
}

// already reports a run that answers the submission.
func (t *Trainer) already(ctx context.Context, r Request, s *submission, at Session, found *Reused) error {
	s.close() // nothing of the repository is needed for its report
	t.Tell.Reused(ctx, at, *found)
	if !r.Wait && r.Leave == nil { // nothing is left to be told later
		return t.Tell.Left(ctx, at, found.Run)
	}
	return t.Tell.Report(ctx, at, found.Run)
}
