package local

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
)

// supervised tells whether a supervisor holds the run's lock. Where none does, the
// lock is returned, to be closed; it is nil where the run's folder is gone.
func (t *Target) supervised(run string) (bool, *os.File) {
	dir, err := t.folder(run, false)
	if err != nil {
		return false, nil
	}
	defer dir.Close()
	if !isFile(dir, lockFile) {
		return false, nil
	}
	lock, err := tryLock(dir)
	return err == nil && lock == nil, lock
}

// starting tells whether Submit is still about to start the supervisor of a run. A
// minute later it has been killed. With the lock in hand, which Submit holds when
// it writes the plan, a plan says that the supervisor was there already; without
// it, what is seen now may be different in a moment.
func (t *Target) starting(run *history.Run, lock *os.File) bool {
	if dir, err := t.folder(run.Info.RunID, false); err == nil {
		defer dir.Close()
		if lock != nil && isFile(dir, planFile) {
			return false
		}
	}
	return time.Since(run.Started()) < time.Minute
}

// waitLock takes a lock that others hold: for a moment, as whoever looks at a run tries its
// lock, or for as long as it takes to load or to install something.
func waitLock(ctx context.Context, dir *os.Root) (*os.File, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		lock, err := tryLock(dir)
		if lock != nil || err != nil {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Reconcile ends the runs whose supervisor is gone without having done so: the
// machine went down, or somebody killed it. What they had produced is collected,
// and they are shown as interrupted, never as running for ever.
func (t *Target) Reconcile(ctx context.Context) error {
	runs, err := t.Store.Unfinished(ctx, job.Local)
	var all error
	for _, id := range runs {
		all = errors.Join(all, t.reconcile(ctx, id))
	}
	t.sweepPlaces()
	return errors.Join(err, all)
}

// reconcile ends a run that has no supervisor any more; one that has, or is about to
// get one, it leaves alone.
func (t *Target) reconcile(ctx context.Context, id string) error {
	held, lock := t.supervised(id)
	if lock != nil {
		defer lock.Close()
	}
	if held {
		return nil
	}
	run, err := t.Store.Run(ctx, id)
	if err != nil || run.Status().Terminal() || t.starting(run, lock) {
		return err
	}
	return t.interrupted(ctx, run)
}

func (t *Target) interrupted(ctx context.Context, run *history.Run) error {
	id := run.Info.RunID
	killMarked(marker(t.runDir(id)))
	p, err := t.readPlan(run)
	var warnings []string
	if err == nil {
		if p.Image != "" {
			warnings = t.rescue(ctx, p)
		}
		notes, lost := t.collect(ctx, p, run)
		if warnings = append(warnings, notes...); lost != nil {
			warnings = append(warnings, lost.Error())
		}
	}
	reason := interruptedWord + "aml-train was killed, or the machine went down, before the run ended"
	if dir, err := t.folder(id, false); err == nil {
		if text := strings.TrimSpace(tail(dir, ownLog, 2000)); text != "" {
			reason += ": " + text
		}
		dir.Close()
	}
	t.note(ctx, id, warnings)
	if err := t.Store.SetStatus(ctx, id, history.NotResponding, reason); err != nil &&
		!errors.Is(err, history.ErrEnded) {
		return err
	}
	t.remove(id)
	return nil
}

// marker is the environment variable by which the processes of a run are known:
// when its supervisor is killed, the kernel takes the command along, but not what
// the command had started.
func marker(runDir string) string { return "AML_TRAIN_RUN_DIR=" + runDir }
