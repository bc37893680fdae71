package local

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
)

// Cancel implements submit.Target.
func (t *Target) Cancel(ctx context.Context, id string) error {
	run, err := t.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	if s := run.Status(); s.Terminal() {
		return fmt.Errorf("run %s: %w: %s", id, history.ErrEnded, s)
	}
	if run.Tag(history.TagTarget) != job.Local {
		return fmt.Errorf("run %s was not started by aml-train on this machine", id)
	}
	reason := "canceled"
	if user := currentUser(); user != "" { // the action's container has none
		reason += " by " + user
	}
	return t.cancel(ctx, id, reason)
}

// cancel records the request; the supervisor acts on it.
func (t *Target) cancel(ctx context.Context, id, reason string) error {
	if err := t.Store.SetStatus(ctx, id, history.CancelRequested, ""); err != nil {
		return err
	}
	dir, err := t.folder(id, false)
	if err != nil {
		return fmt.Errorf("run %s: %w", id, err)
	}
	defer dir.Close()
	return dir.WriteFile(cancelFile, []byte(reason), 0o644)
}

// Watch implements submit.Target.
func (t *Target) Watch(ctx context.Context, id string, out io.Writer) (*history.Run, error) {
	run, err := t.Store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = io.Discard
	}
	var log io.ReadCloser
	defer func() {
		if log != nil {
			log.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	drain := func() error {
		if log == nil {
			f, err := t.Store.OpenArtifact(ctx, run, history.ConsoleLog)
			if err != nil {
				return nil // not there yet
			}
			log = f
		}
		_, err := io.CopyBuffer(out, struct{ io.Reader }{log}, buf)
		return err
	}
	for wait := 5 * time.Millisecond; ; wait = min(wait*5/4, 100*time.Millisecond) {
		held, lock := t.supervised(id)
		if lock != nil {
			lock.Close()
		}
		if !held {
			// The supervisor records the end before it lets go of the lock.
			if err := t.reconcile(ctx, id); err != nil {
				return nil, err
			}
			if run, err = t.Store.Run(ctx, id); err != nil {
				return nil, err
			}
		}
		if err := drain(); err != nil {
			return nil, err
		}
		if !held && run.Status().Terminal() {
			return run, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}
