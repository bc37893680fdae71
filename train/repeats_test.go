package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// laps notes what happens while a job is repeated. It is the teller, the place and the target.
type laps struct {
	Teller
	seen      []string
	status    map[string]history.Status // of runs that do not complete
	refused   int                       // the submission that is refused, from 1 on; 0 for none
	interrupt func()                    // at the first run that is watched
	submitted int
}

func (l *laps) step(format string, args ...any) {
	l.seen = append(l.seen, fmt.Sprintf(format, args...))
}

func (l *laps) run(id string) *history.Run {
	status := l.status[id]
	if status == "" {
		status = history.Completed
	}
	return &history.Run{Info: history.RunInfo{RunID: id},
		Data: history.RunData{Tags: []history.KeyValue{{Key: history.TagStatus, Value: string(status)}}}}
}

type lapsTarget struct {
	submit.Target
	laps *laps
}

func (t lapsTarget) Check(context.Context, *job.Job) error { return nil }

func (t lapsTarget) Submit(_ context.Context, s submit.Submission) (*history.Run, error) {
	if t.laps.submitted++; t.laps.submitted == t.laps.refused {
		return nil, errors.New("no room")
	}
	id := "run-" + s.Job.Inputs["seed"].Value
	t.laps.step("submit %s of %s", id, s.Repeats)
	return t.laps.run(id), nil
}

func (t lapsTarget) Cancel(_ context.Context, id string) error {
	t.laps.step("cancel %s", id)
	return nil
}

func (l *laps) Target(context.Context) (submit.Target, error) { return lapsTarget{laps: l}, nil }
func (l *laps) Existing(context.Context) (s Session, ok bool) { return s, false }
func (l *laps) Open(context.Context) (Session, error) {
	return Session{Target: lapsTarget{laps: l}}, nil
}
func (l *laps) Submitted(context.Context, Session, Submitted)     {}
func (l *laps) Left(context.Context, Session, *history.Run) error { l.step("left"); return nil }
func (l *laps) Once()                                             { l.step("once") }
func (l *laps) GoesOn(r *history.Run) error                       { l.step("goes on %s", r.Info.RunID); return io.EOF }
func (l *laps) Canceling(string)                                  {}
func (l *laps) Repeated(_ context.Context, _ Session, r *history.Run) {
	l.step("repeated %s", r.Info.RunID)
}
func (l *laps) Report(_ context.Context, _ Session, r *history.Run) error {
	l.step("report %s", r.Info.RunID)
	return nil
}

func (l *laps) Watch(ctx context.Context, _ Session, id string, _ Watch) (*history.Run, error) {
	l.step("watch %s", id)
	if l.interrupt != nil {
		l.interrupt()
	}
	return l.run(id), ctx.Err()
}

func (l *laps) Canceled(_ context.Context, _ Session, id string, _ error, _ Watch) (*history.Run, error) {
	l.step("canceled %s", id)
	l.status[id] = history.Canceled
	return l.run(id), nil
}

// TestRepeats: on this machine one run follows the other, in a workspace they run beside each
// other; what does not complete ends it and is reported.
func TestRepeats(t *testing.T) {
	three, decided := &Repeats{Seeds: 3}, &Repeats{AtMost: 6}
	for name, c := range map[string]struct {
		compute   string
		request   Request
		status    map[string]history.Status
		more      []int // after the first run, and so on
		refused   int
		interrupt bool
		want      []string
		err       string
	}{
		"here": {"local", Request{Repeats: three}, nil, nil, 0, false, []string{
			"submit run-7 of 3", "watch run-7", "repeated run-7", "submit run-8 of 3", "watch run-8", "repeated run-8",
			"submit run-9 of 3", "watch run-9", "report run-9"}, ""},
		"in a workspace": {"cluster", Request{Repeats: three}, nil, nil, 0, false, []string{
			"submit run-7 of 3", "submit run-8 of 3", "submit run-9 of 3", "watch run-7", "watch run-8",
			"repeated run-7", "watch run-9", "repeated run-8", "report run-9"}, ""},
		"one fails here": {"local", Request{Repeats: three}, map[string]history.Status{"run-8": history.Failed}, nil, 0,
			false, []string{"submit run-7 of 3", "watch run-7", "repeated run-7", "submit run-8 of 3", "watch run-8",
				"report run-8"}, ""},
		"one fails in a workspace": {"cluster", Request{Repeats: three},
			map[string]history.Status{"run-7": history.Failed}, nil, 0, false, []string{
				"submit run-7 of 3", "submit run-8 of 3", "submit run-9 of 3", "watch run-7", "watch run-8",
				"repeated run-8", "watch run-9", "repeated run-9", "report run-7"}, ""},
		"decided at once": {"local", Request{Repeats: decided}, nil, []int{0}, 0, false, []string{
			"submit run-7 of decided 6", "watch run-7", "more 1 of 6", "report run-7"}, ""},
		"decided later": {"cluster", Request{Repeats: decided}, nil, []int{2, 0}, 0, false, []string{
			"submit run-7 of decided 6", "watch run-7", "more 1 of 6", "repeated run-7", "submit run-8 of decided 6",
			"submit run-9 of decided 6", "watch run-8", "watch run-9", "repeated run-8", "more 3 of 6",
			"report run-9"}, ""},
		"failed and not asked": {"local", Request{Repeats: decided},
			map[string]history.Status{"run-7": history.Failed}, nil, 0, false, []string{
				"submit run-7 of decided 6", "watch run-7", "report run-7"}, ""},
		"refused": {"cluster", Request{Repeats: three}, nil, nil, 3, false, []string{
			"submit run-7 of 3", "submit run-8 of 3", "watch run-7", "watch run-8", "repeated run-7"}, "no room"},
		"interrupted, to go on": {"cluster", Request{Repeats: three}, nil, nil, 0, true, []string{
			"submit run-7 of 3", "submit run-8 of 3", "submit run-9 of 3", "watch run-7", "goes on run-7",
			"goes on run-8", "goes on run-9"}, "EOF"},
		"interrupted, to end": {"cluster", Request{Repeats: three, Cancel: true}, nil, nil, 0, true, []string{
			"submit run-7 of 3", "submit run-8 of 3", "submit run-9 of 3", "watch run-7", "cancel run-7",
			"cancel run-8", "cancel run-9", "canceled run-7", "canceled run-8", "repeated run-8", "canceled run-9",
			"repeated run-9", "report run-7"}, ""},
		"interrupted here": {"local", Request{Repeats: three, Cancel: true}, nil, nil, 0, true, []string{
			"submit run-7 of 3", "watch run-7", "cancel run-7", "canceled run-7", "report run-7"}, ""},
		"once": {"local", Request{Repeats: &Repeats{Seeds: 1}}, nil, nil, 0, false, []string{
			"submit run-7 of ", "watch run-7", "report run-7"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := &laps{status: c.status, refused: c.refused}
			if l.status == nil {
				l.status = map[string]history.Status{}
			}
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			if c.interrupt {
				l.interrupt = interrupt
			}
			c.request.Wait, c.request.Options.ComputeTarget = true, c.compute
			trains := repeater(t, l)
			trains.More = func(_ context.Context, _ Session, last *history.Run, made, most int) (int, error) {
				l.step("more %d of %d", made, most)
				n := c.more[0]
				c.more = c.more[1:]
				return n, nil
			}
			err := trains.Train(ctx, c.request)
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
			require.Equal(t, c.want, l.seen)
		})
	}
	l := &laps{}
	require.NoError(t, repeater(t, l).Train(t.Context(), Request{Repeats: three}))
	require.Equal(t, []string{"once", "submit run-7 of ", "left"}, l.seen)
}

func repeater(t *testing.T, l *laps) *Trainer {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("job.yml", []byte(
		"command: python train.py ${{inputs.seed}}\ncode: .\ninputs: {seed: 7}\nenvironment: azureml:x:1\n"), 0o644))
	require.NoError(t, os.WriteFile("train.py", nil, 0o644))
	return &Trainer{
		Git: &git.Finder{}, Tell: l, Here: l, Elsewhere: l,
		Code: func(*git.Repository) (gitmeta.Info, error) { return gitmeta.Info{}, nil },
		Settings: func(*snapshot.Snapshot) (Settings, error) {
			return Settings{File: func() (string, error) { return "job.yml", nil }}, nil
		},
		Admit:    func(context.Context, *snapshot.Snapshot) error { return nil },
		AdmitJob: func(context.Context, *job.Job) error { return nil },
	}
}
