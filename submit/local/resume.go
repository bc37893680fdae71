package local

import (
	"context"
	"fmt"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// resume finds the sweep that a submission goes on with, the newest of the same trials and
// files, and lets it go on, within the limits and by the policy that the job has now. Files
// that have changed make another sweep.
func (t *Target) resume(ctx context.Context, s submit.Submission) (*history.Run, error) {
	refused := func(format string, args ...any) (*history.Run, error) {
		return nil, &submit.Refusal{Reason: fmt.Sprintf(format, args...)}
	}
	same := map[string]string{history.TagTrials: s.Job.TrialsDigest(), history.TagTarget: job.Local}
	runs, _, err := t.Store.SearchRuns(ctx, history.Query{Submitted: true, Tags: same, MaxResults: 1})
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return refused("there is no sweep of this job to go on with; without --resume it begins")
	}
	run := runs[0]
	id, snapshot := run.Info.RunID, ""
	if s.Snapshot != nil {
		snapshot = s.Snapshot.ID
	}
	switch status := run.Status(); {
	case !status.Terminal():
		return refused("the sweep %s has not ended: aml-train watch %s shows it", id, id)
	case status == history.Completed:
		return refused("the sweep %s has completed: aml-train show %s shows it; without --resume another one begins",
			id, id)
	case run.Tag(history.TagInputs) != s.Properties[history.TagInputs]:
		return refused("the sweep %s is of other data (%s, and now %s): its trials could not be compared with new "+
			"ones; name that version, and without --resume another sweep begins", id, run.Tag(history.TagInputs),
			s.Properties[history.TagInputs])
	case run.Tag(history.TagSnapshot) != snapshot:
		return refused("the sweep %s is of other files (snapshot %.7s, and now %.7s): its trials could not be "+
			"compared with new ones; --commit trains those of a commit, and without --resume another sweep begins", id,
			run.Tag(history.TagSnapshot), snapshot)
	}
	if err := t.Store.Reopen(ctx, id); err != nil {
		return nil, err
	}
	return t.Store.Run(ctx, id)
}
