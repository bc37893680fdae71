package viewer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/submit/local"
	"github.com/org/aml-train/train"
)

// mirrorEvery is how often what runs have written is looked for: TensorBoard itself looks
// every five seconds.
const mirrorEvery = 2 * time.Second

// TensorBoard is TensorBoard for what the mirrors in a folder hold, in which it works as well.
func TensorBoard(python, dir string) Program {
	return Program{Title: "TensorBoard", Command: "tensorboard", Module: "tensorboard.main", Install: "tensorboard",
		Python: python, Dir: dir}
}

// ShowMirrors shows in TensorBoard what the mirrors have, and adds what comes, until the context
// ends.
func ShowMirrors(
	ctx context.Context, p Program, mirrors []*Mirror, port int, words io.Writer, say func(format string, args ...any),
) error {
	empty := true
	for _, m := range mirrors {
		if err := m.update(ctx); err != nil {
			return err
		}
		empty = empty && len(m.sizes) == 0
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			goesOn := false
			for _, m := range mirrors {
				if err := m.update(ctx); err != nil && ctx.Err() == nil {
					m.wrong(say, err)
				}
				goesOn = goesOn || !m.complete
			}
			if !goesOn {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(mirrorEvery):
			}
		}
	}()
	args := []string{"--logdir", filepath.Join(p.Dir, runsDir), "--reload_multifile", "true"}
	err := p.Serve(ctx, port, args, words, func(address string) {
		if empty {
			say("There is nothing in ./logs yet; what is written there appears as it comes.")
		}
		say("TensorBoard is at %s until Ctrl-C", address)
	})
	cancel()
	<-ended // nothing is written any more where the folder is removed
	return err
}

// Mirror is a copy of what a run has written for TensorBoard.
type Mirror struct {
	at       train.Session
	run      string
	to       *os.Root         // the copy
	sizes    map[string]int64 // of the files in the copy, in bytes
	complete bool             // the run has ended, and all of it is there
	said     string           // what is wrong, told once
}

// runsDir, in the folder of TensorBoard, has a folder for each run.
const runsDir = "runs"

// NewMirror makes the copy of a run, by its id, in the folder of TensorBoard. It is to be closed.
func NewMirror(at train.Session, run, dir string) (*Mirror, error) {
	dir = filepath.Join(dir, runsDir, run)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	to, err := os.OpenRoot(dir)
	return &Mirror{at: at, run: run, to: to, sizes: map[string]int64{}}, err
}

// Close lets go of the copy's folder.
func (m *Mirror) Close() error { return m.to.Close() }

func (m *Mirror) wrong(say func(format string, args ...any), err error) {
	if text := err.Error(); text != m.said {
		m.said = text
		say("aml-train: run %s: %s", m.run, text)
	}
}

// wanted tells a file that TensorBoard may show: all in logs, with its plugins' own, and
// event files elsewhere.
func wanted(name string) bool {
	return strings.HasPrefix(name, "logs/") || strings.Contains(path.Base(name), "tfevents")
}

// update copies what a run has written since the last time.
func (m *Mirror) update(ctx context.Context) error {
	if m.complete {
		return nil
	}
	run, err := m.at.History.Run(ctx, m.run)
	if err != nil {
		return err
	}
	over := run.Status().Terminal() // before its files are listed: nothing is written later
	var all error
	if t, here := m.at.Target.(*local.Target); here && !over {
		all = m.live(t.WorkingDirectory(run))
	} else {
		all = m.kept(ctx, run)
	}
	m.complete = over && all == nil
	return all
}

// live copies from the folder in which a run on this machine works. No link is followed out
// of it.
func (m *Mirror) live(dir string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not yet, or not any more
	}
	if err != nil {
		return err
	}
	defer root.Close()
	var all error
	for _, top := range []string{"logs", "outputs"} {
		fs.WalkDir(root.FS(), top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || !wanted(name) {
				return nil // what goes away meanwhile is no fault
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			err = m.add(name, info.Size(), func() (io.ReadCloser, error) { return root.Open(name) })
			if !errors.Is(err, fs.ErrNotExist) {
				all = errors.Join(all, err)
			}
			return nil
		})
	}
	return all
}

// kept copies from the files that are kept of a run.
func (m *Mirror) kept(ctx context.Context, run *history.Run) error {
	files, err := m.at.History.Artifacts(ctx, run)
	if err != nil {
		return err
	}
	var all error
	for _, f := range files {
		if wanted(f.Path) {
			all = errors.Join(all, m.add(f.Path, int64(f.Size), func() (io.ReadCloser, error) {
				return m.at.History.OpenArtifact(ctx, run, f.Path)
			}))
		}
	}
	return all
}

// add adds what a file has more than its copy. One that became shorter was written anew.
func (m *Mirror) add(name string, size int64, open func() (io.ReadCloser, error)) error {
	have, known := m.sizes[name]
	if known && size == have || !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil
	}
	from, err := open()
	if err != nil {
		return err
	}
	defer from.Close()
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if size < have {
		have, flags = 0, flags|os.O_TRUNC
	}
	if s, ok := from.(io.Seeker); ok && have > 0 {
		_, err = s.Seek(have, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, from, have)
	}
	if err != nil {
		return err
	}
	if err := m.to.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	to, err := m.to.OpenFile(filepath.FromSlash(name), flags, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, from)
	m.sizes[name] = have + n
	return errors.Join(err, to.Close())
}
