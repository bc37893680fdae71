package local

import (
	"context"
	"errors"
	"io/fs"
)

// Delete removes a run for good, with all that it left on this machine. The run has to
// have ended.
func (t *Target) Delete(ctx context.Context, id string) error {
	if err := t.reconcile(ctx, id); err != nil {
		return err
	}
	if err := t.Store.DeleteRun(ctx, id); err != nil {
		return err
	}
	if left, err := t.leftFolder(false); err == nil {
		removeAll(left, id)
		left.Remove(told + id)
		left.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if runs, err := t.runs(false); err == nil {
		removeAll(runs, id)
		runs.Close()
	}
	return nil
}
