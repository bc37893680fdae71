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
	family, err := t.Store.Family(ctx, id) // a sweep's trials leave things as well
	if err != nil {
		return err
	}
	if err := t.Store.DeleteRun(ctx, id); err != nil {
		return err
	}
	left, err := t.leftFolder(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer left.Close()
	for _, r := range family {
		removeAll(left, r.Info.RunID)
		left.Remove(told + r.Info.RunID)
	}
	return nil
}
