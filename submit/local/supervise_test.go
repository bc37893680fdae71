package local

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// impatient is a context that is canceled when somebody looks at it the nth time.
type impatient struct {
	context.Context
	cancel context.CancelCauseFunc
	left   atomic.Int64
}

var errMoment = errors.New("canceled by a test")

func cancelAt(t *testing.T, n int64) *impatient {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	c := &impatient{Context: ctx, cancel: cancel}
	c.left.Store(n)
	return c
}

func (c *impatient) look() {
	if c.left.Add(-1) == 0 {
		c.cancel(errMoment)
	}
}

func (c *impatient) Err() error            { c.look(); return c.Context.Err() }
func (c *impatient) Done() <-chan struct{} { c.look(); return c.Context.Done() }

// TestCanceledAtAnyMoment cancels a run at each moment at which anything asks whether it
// is: while it is submitted, prepared, started, and while it runs. It never ends as Failed.
func TestCanceledAtAnyMoment(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	store, err := history.Open(t.TempDir())
	require.NoError(t, err)
	defer store.Close()
	target := &Target{Store: store, Supervisor: []string{"true"}}
	s := submit.Submission{Job: &job.Job{Command: "true", ExperimentName: "moments", Dir: t.TempDir()}}

	var canceled, completed, refused int
	for n := int64(1); completed < 3; n++ {
		ctx := cancelAt(t, n)
		run, err := target.Submit(ctx, s)
		if err != nil {
			refused++
			runs, _, listed := store.SearchRuns(t.Context(), history.Query{ExperimentIDs: []string{"1"}, MaxResults: 1})
			if listed == nil && len(runs) == 1 { // the experiment is there from the first run on
				left := fmt.Sprintf("look %d: %v", n, err)
				require.Contains(t, []history.Status{history.Canceled, history.Completed}, runs[0].Status(), left)
			}
			continue
		}
		p, err := target.readPlan(run)
		require.NoError(t, err)
		dir, err := target.folder(run.Info.RunID, false)
		require.NoError(t, err)
		end := target.run(ctx, p, dir)
		require.NoError(t, dir.Close())
		require.NoError(t, store.SetStatus(t.Context(), run.Info.RunID, end.status, end.reason))
		switch {
		case ctx.Context.Err() == nil:
			require.Equal(t, history.Completed, end.status, end.reason)
			completed++
		case end.status == history.Completed: // before anybody noticed
		default:
			require.Equal(t, outcome{status: history.Canceled, reason: errMoment.Error()}, end, "look %d", n)
			canceled++
		}
	}
	t.Logf("%d runs were canceled before they were submitted, %d after", refused, canceled)
	require.NotZero(t, refused)
	require.NotZero(t, canceled)
}
