package cli

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

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/submit/local"
)

func (a *app) tensorboard() *cobra.Command {
	var port int
	var python string
	cmd := &cobra.Command{
		Use:   "tensorboard RUN...",
		Short: "The logs of runs in TensorBoard, while they run and afterwards",
		Long: `Show what runs write to ./logs, and event files that they write elsewhere, in the
installed TensorBoard, on loopback, until Ctrl-C. Of a run that goes on, here or in a
workspace, what it writes is added as it comes.`,
		Example: "  aml-train tensorboard iris-3f2a91c-1\n  aml-train tensorboard iris-3f2a91c-1 " +
			"iris-9d0c1e2-1 --port 0",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			port, err := freePort(port)
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "aml-train-tensorboard-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			v := viewer{title: "TensorBoard", program: "tensorboard", module: "tensorboard.main",
				install: "tensorboard", python: python, dir: dir}
			if _, err := v.command(ctx); err != nil {
				return err
			}
			var mirrors []*mirror
			for _, id := range args {
				s, run, err := a.findRun(ctx, id)
				if err != nil {
					return err
				}
				m, err := newMirror(s, run.Info.RunID, filepath.Join(dir, "runs"))
				if err != nil {
					return err
				}
				defer m.to.Close()
				mirrors = append(mirrors, m)
			}
			return a.showMirrors(ctx, v, mirrors, port)
		},
	}
	cmd.Flags().IntVar(&port, "port", 6006, "the port; 0 takes a free one")
	cmd.Flags().StringVar(&python, "python", "",
		"the Python whose TensorBoard is started (default: tensorboard on PATH)")
	return cmd
}

// mirrorEvery is how often what runs have written is looked for: TensorBoard itself looks
// every five seconds.
const mirrorEvery = 2 * time.Second

// showMirrors shows what there is in TensorBoard, and adds what comes.
func (a *app) showMirrors(ctx context.Context, v viewer, mirrors []*mirror, port int) error {
	for _, m := range mirrors {
		if err := m.update(ctx); err != nil {
			return err
		}
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
					m.wrong(a, err)
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
	args := []string{"--logdir", filepath.Join(v.dir, "runs"), "--reload_multifile", "true"}
	err := v.serve(ctx, port, args, a.words(), func(address string) {
		empty := true
		for _, m := range mirrors {
			empty = empty && len(m.sizes) == 0
		}
		if empty {
			a.say("There is nothing in ./logs yet; what is written there appears as it comes.")
		}
		a.say("TensorBoard is at %s until Ctrl-C", address)
	})
	cancel()
	<-ended // nothing is written any more where the folder is removed
	return err
}

// mirror is a copy of what a run has written for TensorBoard.
type mirror struct {
	s        session
	run      string
	to       *os.Root         // the copy
	sizes    map[string]int64 // of the files in the copy, in bytes
	complete bool             // the run has ended, and all of it is there
	said     string           // what is wrong, told once
}

func newMirror(s session, run, around string) (*mirror, error) {
	dir := filepath.Join(around, run)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	to, err := os.OpenRoot(dir)
	return &mirror{s: s, run: run, to: to, sizes: map[string]int64{}}, err
}

func (m *mirror) wrong(a *app, err error) {
	if text := err.Error(); text != m.said {
		m.said = text
		a.say("aml-train: run %s: %s", m.run, text)
	}
}

// wanted tells a file that TensorBoard may show: all in logs, with its plugins' own, and
// event files elsewhere.
func wanted(name string) bool {
	return strings.HasPrefix(name, "logs/") || strings.Contains(path.Base(name), "tfevents")
}

// update copies what a run has written since the last time.
func (m *mirror) update(ctx context.Context) error {
	if m.complete {
		return nil
	}
	run, err := m.s.History.Run(ctx, m.run)
	if err != nil {
		return err
	}
	over := run.Status().Terminal() // before its files are listed: nothing is written later
	var all error
	if t, here := m.s.Target.(*local.Target); here && !over {
		all = m.live(t.WorkingDirectory(run))
	} else {
		all = m.kept(ctx, run)
	}
	m.complete = over && all == nil
	return all
}

// live copies from the folder in which a run on this machine works. No link is followed out
// of it.
func (m *mirror) live(dir string) error {
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
func (m *mirror) kept(ctx context.Context, run *history.Run) error {
	files, err := m.s.History.Artifacts(ctx, run)
	if err != nil {
		return err
	}
	var all error
	for _, f := range files {
		if wanted(f.Path) {
			all = errors.Join(all, m.add(f.Path, int64(f.Size), func() (io.ReadCloser, error) {
				return m.s.History.OpenArtifact(ctx, run, f.Path)
			}))
		}
	}
	return all
}

// add adds what a file has more than its copy. One that became shorter was written anew.
func (m *mirror) add(name string, size int64, open func() (io.ReadCloser, error)) error {
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
