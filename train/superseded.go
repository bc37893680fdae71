package train

import (
	"context"
	"errors"

	"github.com/org/aml-train/history"
)

// CancelSuperseded cancels the runs of earlier pushes to the pull request that a run is of, where
// it is of one, in the same experiment. What became of each is said, and changes nothing.
func (s Session) CancelSuperseded(ctx context.Context, run *history.Run, say func(format string, args ...any)) {
	pr := run.Tag(history.TagPullRequest)
	if pr == "" {
		return
	}
	q := history.Query{Tags: map[string]string{history.TagPullRequest: pr}, Submitted: true, MaxResults: 100}
	if id := run.Info.ExperimentID; id != "" { // a workspace takes its time to give a run one
		q.ExperimentIDs = []string{id}
	}
	runs, _, err := s.History.SearchRuns(ctx, q)
	if err != nil {
		say("aml-train: the runs of earlier pushes cannot be listed: %v", err)
		return
	}
	for _, r := range runs {
		if r.Info.RunID == run.Info.RunID || r.Status().Terminal() ||
			r.Tag(history.TagBuild) == run.Tag(history.TagBuild) || r.Info.StartTime > run.Info.StartTime ||
			s.History.ExperimentName(ctx, r) != s.History.ExperimentName(ctx, run) {
			continue
		}
		switch err := s.Target.Cancel(ctx, r.Info.RunID); {
		case err == nil:
			say("Canceling run %s of an earlier push", r.Info.RunID)
		case !errors.Is(err, history.ErrEnded):
			say("aml-train: run %s of an earlier push cannot be canceled: %v", r.Info.RunID, err)
		}
	}
}
