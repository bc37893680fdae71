package azureml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/org/aml-train/history"
)

// How long a workspace may be out of reach while a run is watched.
const outage = 10 * time.Minute

// Watch implements submit.Target. Every byte of a log is asked for once. Where several
// processes log, each line says whose it is. While nothing happens, it looks less
// often: up to every 30 s at a run that waits, every 4 s at one that runs.
func (t *Target) Watch(ctx context.Context, id string, out io.Writer) (*history.Run, error) {
	c, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	r := &records{t: t, c: c}
	w := &watching{c: c, out: out, logs: map[string]*tailed{}}
	reached, said := time.Now(), false
	queue, wait := "", t.poll()/8 // a run that has just been submitted changes soon
	state := waiting{}
	for {
		most := 2 * t.poll()
		d, moved, err := w.look(ctx, r, id)
		if err == nil {
			if d.Status.Terminal() {
				var run *history.Run
				if run, err = r.Run(ctx, id); err == nil {
					w.end()
					return run, nil
				}
			}
			if what := state.long(d.Status); what != "" {
				t.say("%s for %d minutes now. It waits for %s.", d.Status, longWait/time.Minute, what)
			}
			if waits(d.Status) {
				most = 15 * t.poll()
			}
			if q := d.Queueing.Message; q != "" && q != queue {
				queue = q
				t.say("%s: %s", d.Status, queue)
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			reached, said = time.Now(), false
		case !passing(err) || time.Since(reached) > outage:
			return nil, err
		case !said:
			said = true
			t.say("The workspace cannot be reached, and is asked again for %d minutes: %v", outage/time.Minute, err)
		}
		if moved {
			wait = min(wait, t.poll()/2)
		}
		wait = min(wait*5/4, most)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// look asks how a run is, and prints what is new of its logs.
func (w *watching) look(ctx context.Context, r *records, id string) (*details, bool, error) {
	d, err := r.state(ctx, id)
	if err != nil {
		return nil, false, err
	}
	moved, err := w.follow(ctx, d)
	return d, moved, err
}

// longWait is how long a run may be in one state before it is said what it waits for.
const longWait = 5 * time.Minute

// waiting is a state that a run is in.
type waiting struct {
	status history.Status
	since  time.Time
	said   bool
}

// long says once what a run waits for that has been in a state for long.
func (w *waiting) long(s history.Status) string {
	if s != w.status {
		*w = waiting{status: s, since: time.Now()}
	}
	if w.said || time.Since(w.since) < longWait {
		return ""
	}
	w.said = true
	return s.WaitsFor()
}

func waits(s history.Status) bool {
	switch s {
	case history.NotStarted, history.Queued, history.Provisioning:
		return true
	}
	return false
}

// passing tells a failure that may be over the next time: no answer, a broken one, or one
// that says so. A token that cannot be refreshed is one as well.
func passing(err error) bool {
	var write *outputError
	var stray *strayError
	var large *largeError
	if errors.As(err, &write) || errors.As(err, &stray) || errors.As(err, &large) || errors.Is(err, ErrNoRun) {
		return false
	}
	code := status(err)
	return code == 0 || code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}

// outputError is the error of whoever the log is printed for.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

// watching is what has been printed of a run.
type watching struct {
	c    *connection
	out  io.Writer // nil prints nothing
	logs map[string]*tailed
	many bool // several processes log
}

// longLine is where a line of one of several processes is broken.
const longLine = 64 << 10

// tailed is a log as far as it was read.
type tailed struct {
	read int64
	line []byte // the last one, which is not complete
}

// follow prints what is new, and tells whether there was anything.
func (w *watching) follow(ctx context.Context, d *details) (moved bool, err error) {
	if w.out == nil {
		return false, nil
	}
	names := streamable(d.LogFiles)
	w.many = w.many || len(names) > 1
	for _, name := range names {
		log := w.logs[name]
		if log == nil {
			log = &tailed{}
			w.logs[name] = log
		}
		before := log.read
		if err := w.read(ctx, d.LogFiles[name], name, log); err != nil {
			return moved, err
		}
		moved = moved || log.read > before
	}
	return moved, nil
}

// read prints the rest of one log.
func (w *watching) read(ctx context.Context, address, name string, log *tailed) error {
	res, err := w.c.fetch(ctx, address, log.read)
	if err != nil {
		if code := status(err); code == http.StatusNotFound || code == http.StatusForbidden {
			return nil // announced and not there yet; or its address has expired, and the next look brings a new one
		}
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // nothing new
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := res.Body.Read(buf)
		log.read += int64(n)
		if werr := w.print(name, log, buf[:n]); werr != nil {
			return &outputError{werr}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// print writes what a process printed: as it is where it is the only one, else line
// by line with its name.
func (w *watching) print(name string, log *tailed, text []byte) error {
	if !w.many {
		_, err := w.out.Write(text)
		return err
	}
	log.line = append(log.line, text...)
	for {
		end, next := bytes.IndexByte(log.line, '\n'), 1
		switch {
		case end < 0 && len(log.line) < longLine:
			return nil
		case end < 0: // a progress bar of a day, say
			end, next = longLine, 0
		}
		if _, err := fmt.Fprintf(w.out, "%s | %s\n", process(name), log.line[:end]); err != nil {
			return err
		}
		log.line = log.line[end+next:]
	}
}

// end prints the lines that were never ended.
func (w *watching) end() {
	for name, log := range w.logs {
		if len(log.line) > 0 {
			fmt.Fprintf(w.out, "%s | %s\n", process(name), log.line)
		}
	}
}

// process is whose log it is: "process_1" of user_logs/std_log_process_1.txt.
func process(name string) string {
	short := strings.TrimSuffix(path.Base(name), ".txt")
	if rest := strings.TrimLeft(strings.TrimPrefix(short, "std_log"), "_"); rest != "" {
		return rest
	}
	return short
}
