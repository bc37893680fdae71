package train

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// steps notes what happens on a job's way, in its order.
type steps struct {
	Teller
	seen      []string
	refuses   error // what the target says to the job
	interrupt func()
}

func (s *steps) step(name string) { s.seen = append(s.seen, name) }

// target is where the job runs.
type target struct {
	submit.Target
	way *steps
}

func (s target) Check(context.Context, *job.Job) error {
	s.way.step("check")
	return s.way.refuses
}

func (s target) Submit(_ context.Context, what submit.Submission) (*history.Run, error) {
	s.way.step("submit " + filepath.Base(what.Job.Script()))
	return &history.Run{Info: history.RunInfo{RunID: "run-1"}}, nil
}

func (s target) Cancel(ctx context.Context, run string) error {
	s.way.step("cancel " + run)
	return errors.Join(ctx.Err(), history.ErrEnded)
}

type at struct{ *steps }

func (a at) Target(context.Context) (submit.Target, error) { return target{way: a.steps}, nil }
func (a at) Existing(context.Context) (s Session, ok bool) { return s, false }
func (a at) Open(context.Context) (Session, error) {
	a.step("open")
	return Session{Target: target{way: a.steps}}, nil
}

func (s *steps) Submitted(_ context.Context, _ Session, what Submitted) {
	s.step("submitted " + what.Snapshot.Files[0].Path)
}
func (s *steps) Left(context.Context, Session, *history.Run) error { s.step("left"); return nil }
func (s *steps) GoesOn(*history.Run) error                         { s.step("goes on"); return io.EOF }
func (s *steps) Canceling(run string)                              { s.step("canceling " + run) }
func (s *steps) Report(context.Context, Session, *history.Run) error {
	s.step("report")
	return nil
}

func (s *steps) Watch(ctx context.Context, _ Session, run string, _ Watch) (*history.Run, error) {
	s.step("watch")
	if s.interrupt != nil {
		s.interrupt()
	}
	return nil, ctx.Err()
}

func (s *steps) Canceled(ctx context.Context, _ Session, _ string, failed error, _ Watch) (*history.Run, error) {
	s.step("canceled")
	return nil, errors.Join(ctx.Err(), failed)
}

func trainer(t *testing.T, s *steps) *Trainer {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("job.yml", []byte("command: python train.py\ncode: .\n"), 0o644))
	require.NoError(t, os.WriteFile("train.py", nil, 0o644))
	return &Trainer{
		Git: &git.Finder{}, Tell: s, Here: at{s}, Elsewhere: at{s},
		Code: func(*git.Repository) (gitmeta.Info, error) { s.step("code"); return gitmeta.Info{}, nil },
		Settings: func(*snapshot.Snapshot) (Settings, error) {
			s.step("settings")
			return Settings{File: func() (string, error) { return "job.yml", nil }}, nil
		},
		Admit:    func(context.Context, *snapshot.Snapshot) error { s.step("admit"); return nil },
		Recall:   func(context.Context, string, string) error { return nil },
		AdmitJob: func(context.Context, *job.Job) error { s.step("admit job"); return nil },
	}
}

// The way of a job, and where it ends.
func TestTrain(t *testing.T) {
	refusal := &submit.Refusal{Reason: "no"}
	begin := []string{"admit", "settings", "admit job", "check"}
	submitted := append(begin[:4:4], "code", "open", "submit train.py", "submitted job.yml")
	for name, c := range map[string]struct {
		request   Request
		refuses   error
		interrupt bool
		want      []string
		err       error
	}{
		"to the report":       {Request{Wait: true}, nil, false, append(submitted[:8:8], "watch", "report"), nil},
		"not waited for":      {Request{}, nil, false, append(submitted[:8:8], "left"), nil},
		"refused, before all": {Request{Wait: true}, refusal, false, append(begin[:4:4], "code"), refusal},
		"interrupted":         {Request{Wait: true}, nil, true, append(submitted[:8:8], "watch", "goes on"), io.EOF},
		"interrupted, to end": {Request{Wait: true, Cancel: true}, nil, true,
			append(submitted[:8:8], "watch", "canceling run-1", "cancel run-1", "canceled", "report"), nil},
		"a job that is no job": {Request{File: "train.py", Wait: true}, nil, false, begin[:2], job.Problems{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &steps{refuses: c.refuses}
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			if c.interrupt {
				s.interrupt = interrupt
			}
			err := trainer(t, s).Train(ctx, c.request)
			require.Equal(t, c.want, s.seen)
			if _, ok := c.err.(job.Problems); ok {
				require.ErrorAs(t, err, &job.Problems{})
			} else {
				require.Equal(t, c.err, err)
			}
		})
	}
}

// A script that does not travel is a mistake of whoever asks, and submits nothing.
func TestIgnoredScript(t *testing.T) {
	s := &steps{}
	tr := trainer(t, s)
	require.NoError(t, os.WriteFile(".amlignore", []byte("*.py\n"), 0o644))
	err := tr.Train(t.Context(), Request{Wait: true})
	require.ErrorIs(t, err, mistake.Err)
	require.ErrorContains(t, err, ".amlignore:1 ignores it")
	require.NotContains(t, s.seen, "open")
}
