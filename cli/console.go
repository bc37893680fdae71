package cli

import (
	"io"
	"strings"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/screen"
)

// console is where the output of a run is shown: on a terminal as it is, elsewhere as a
// terminal would leave it, so that a progress bar is one line. flush shows the line that
// has not ended.
func (a *app) console() (log *resumed, to *shown, flush func()) {
	to = &shown{w: a.err}
	if isTerminal(a.err) {
		return &resumed{w: to}, to, func() {}
	}
	s := screen.NewWriter(to)
	return &resumed{w: s}, to, func() { s.Flush() }
}

// resumed is the log of a run that is written from the beginning a second time:
// what has been shown is not shown again.
type resumed struct {
	w           io.Writer
	shown, skip int64
}

func (r *resumed) again() { r.skip = r.shown }

func (r *resumed) Write(p []byte) (int, error) {
	skip := min(r.skip, int64(len(p)))
	r.skip -= skip
	n, err := r.w.Write(p[skip:])
	r.shown += int64(n)
	return n + int(skip), err
}

func oneLine(s string) string {
	return clip.Bytes(strings.Join(strings.Fields(s), " "), 200)
}

// shown is where the output of a run is shown. Where that fails, because a disk is full
// say, the run goes on, and so does the waiting for it.
type shown struct {
	w      io.Writer
	failed error
}

// Write implements io.Writer. It never fails.
func (s *shown) Write(p []byte) (int, error) {
	if s.failed == nil {
		_, s.failed = s.w.Write(p)
	}
	return len(p), nil
}

// lost says why not all of the output of a run was shown.
func (a *app) lost(s *shown, run string) {
	if s.failed != nil {
		a.say("aml-train: the rest of the output could not be shown: %v; aml-train logs %s prints it", s.failed, run)
	}
}
