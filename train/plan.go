package train

import (
	"context"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
)

// Plan is what Train would submit. It is to be closed.
type Plan struct {
	Job      *job.Job
	Here     bool               // on this machine
	Commit   *snapshot.Snapshot // all files of the commit; nil for the working tree
	Snapshot *snapshot.Snapshot // those that travel; nil where the job sends no code
	Repeats  Repeats
	Source   string // the source directory in the repository; "" for its root

	// Last is the last completed run of the same job, nil where none is known.
	Last *history.Run

	close func()
}

// Close lets go of the files.
func (p *Plan) Close() { p.close() }

// Plan finds out what Train would submit, and submits nothing. The error is Train's.
func (t *Trainer) Plan(ctx context.Context, r Request) (*Plan, error) {
	var s submission
	p := &Plan{close: func() { s.close() }}
	if err := t.check(ctx, r, &s); err != nil {
		s.close()
		return nil, err
	}
	p.Job, p.Here, p.Commit, p.Snapshot = s.Job, s.here, s.Commit, s.Snapshot
	p.Repeats, p.Source = s.repeats, s.Source()
	if !r.Wait { // then it is trained once
		p.Repeats = Repeats{}
	}
	p.Last = t.last(ctx, &s)
	return p, nil
}

// last returns the last completed run of a job. What cannot be asked is not known.
func (t *Trainer) last(ctx context.Context, s *submission) *history.Run {
	at, ok := s.to.Existing(ctx)
	if !ok && !s.here {
		var err error
		at, err = s.to.Open(ctx)
		ok = err == nil
	}
	tags, _ := s.Tags()
	if !ok || tags[history.TagSeries] == "" {
		return nil
	}
	runs, _, err := at.History.SearchRuns(ctx, history.Query{Submitted: true, Completed: true, MaxResults: 1,
		Tags: map[string]string{history.TagSeries: tags[history.TagSeries]}})
	if err != nil || len(runs) == 0 {
		return nil
	}
	run, err := at.History.Run(ctx, runs[0].Info.RunID) // a search of a workspace does not tell when it ended
	if err != nil {
		return nil
	}
	return run
}
