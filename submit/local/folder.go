package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
)

// A run has a folder, .aml-train/runs/RUN, for as long as it lives. Where it is follows
// from the run's id alone, and it is reached from the open .aml-train, without a link.

// Names in a run's folder.
const (
	runsDir    = "runs"
	lockFile   = "lock"   // held by the supervisor
	cancelFile = "cancel" // its existence asks for the end; it holds the reason
	planFile   = "plan.json"
	workDir    = "wd"            // the copy of the repository, of which the snapshot is there
	namedDir   = "named_outputs" // what ${{outputs.NAME}} stands for, one entry each
	inputsDir  = "inputs"
	toolsDir   = "bin"            // "python", where it is not on PATH under that name
	ownLog     = "supervisor.log" // what goes wrong outside the command
	reserve    = "reserve"        // room on the disk for recording the end, should the command fill it
)

// runDir names the folder of a run.
func (t *Target) runDir(run string) string { return filepath.Join(t.Store.Home, runsDir, run) }

// runs opens the folder of all runs.
func (t *Target) runs(create bool) (*os.Root, error) {
	return home.Folder(t.Store.Files, runsDir, create)
}

// folder opens the folder of a run.
func (t *Target) folder(run string, create bool) (*os.Root, error) {
	if !history.ValidID(run) {
		return nil, fmt.Errorf("%q is no id of a run", run)
	}
	runs, err := t.runs(create)
	if err != nil {
		return nil, err
	}
	defer runs.Close()
	return home.Folder(runs, run, create)
}

// maxPlan bounds what is read of a plan: a job file has at most 4 MB.
const maxPlan = 16 << 20

// readPlan reads the plan of a run. Where its files lie is not in it.
func (t *Target) readPlan(run *history.Run) (*plan, error) {
	id := run.Info.RunID
	dir, err := t.folder(id, false)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	text, err := limited.ReadBelow(dir, planFile, maxPlan)
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, err
	}
	t.locate(p, run)
	return p, nil
}

// locate says where a run works and where its artifacts go.
func (t *Target) locate(p *plan, run *history.Run) {
	p.Run, p.ExperimentID = run.Info.RunID, run.Info.ExperimentID
	p.Base, p.Work, p.Artifacts = t.base(p.Run), t.WorkingDirectory(run), run.ArtifactPath()
}

// remove deletes what a run leaves outside the history, but for its copy of the
// snapshot, which the next run may take over. The lock goes last: as long as it is
// there, the run has a supervisor.
func (t *Target) remove(run string) {
	t.keepSpare(run)
	if base, err := t.openBase(run, false); err == nil {
		empty(base)
		base.Close()
	}
	if copies, err := t.copies(false); err == nil && t.place() != t.Store.Home {
		removeAll(copies, run)
		copies.Close()
	}
	if runs, err := t.runs(false); err == nil {
		removeAll(runs, run)
		runs.Close()
	}
}

// fresh makes the folder of a new run, and that of its copy, and returns the first, open, and
// the lock on it. What lies there is of a run of that id whose history is gone.
func (t *Target) fresh(ctx context.Context, id string) (dir *os.Root, lock *os.File, err error) {
	if dir, err = t.folder(id, true); err != nil {
		return nil, nil, err
	}
	if lock, err = waitLock(ctx, dir); err != nil {
		return nil, nil, errors.Join(err, dir.Close())
	}
	empty(dir)
	base, err := t.openBase(id, true)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close(), dir.Close())
	}
	defer base.Close()
	empty(base)
	return dir, lock, nil
}

// empty removes what lies in a run's folder, but for its lock.
func empty(dir *os.Root) {
	entries, _ := fs.ReadDir(dir.FS(), ".")
	for _, e := range entries {
		if e.Name() != lockFile {
			removeAll(dir, e.Name())
		}
	}
}

// removeAll deletes a file, or a folder with many files; what cannot be deleted stays.
func removeAll(root *os.Root, name string) { home.RemoveAll(root, name) }

// tail returns the last bytes of a file.
func tail(dir *os.Root, name string, most int64) string {
	info, err := dir.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := dir.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size := info.Size(); size > most {
		if _, err := f.Seek(size-most, io.SeekStart); err != nil {
			return ""
		}
	}
	text, _ := io.ReadAll(io.LimitReader(f, most))
	return string(text)
}

// isFile tells whether a folder has a regular file of that name.
func isFile(dir *os.Root, name string) bool {
	info, err := dir.Lstat(name)
	return err == nil && info.Mode().IsRegular()
}
