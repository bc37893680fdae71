package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"time"

	"github.com/org/aml-train/history"
)

// process is one of a job's processes.
type process struct {
	name string // for people, "" of the only one
	log  string // its file in user_logs, "" where that is the console
	cmd  *exec.Cmd

	// server is one that serves the others and does not end by itself.
	server bool
}

// processes are those of a job, which end together: each has succeeded, but for the
// servers, or one has failed, and that is how the run ends.
type processes struct {
	list    []*process
	console *os.File
	logs    *os.Root   // user_logs, nil where the console is the only one
	files   []*os.File // of the logs
	ranks   *ranks     // of MPI, nil of others
}

// processes makes those of a job, whose command has no expressions left.
func (t *Target) processes(
	p *plan, base *os.Root, command string, env map[string]string, console *os.File,
) (*processes, error) {
	g := &processes{console: console}
	if p.Distribution == nil {
		cmd := shell(command)
		// The command writes to the file itself: a flood of output costs this process
		// nothing, and what was printed is there even if this process is killed.
		cmd.Stdout, cmd.Stderr = console, console
		g.list = []*process{{cmd: cmd}}
	} else if err := g.distribute(t, p, base, command); err != nil {
		g.close()
		return nil, err
	}
	for _, one := range g.list {
		one.cmd.Dir = p.Work
		own := one.cmd.Env // after the job's, so that it holds
		one.cmd.Env = append(append(pairs(env), own...), marker(t.runDir(p.Run)))
	}
	return g, nil
}

func (g *processes) close() {
	for _, f := range g.files {
		f.Close()
	}
	if g.logs != nil {
		g.logs.Close()
	}
	if g.ranks != nil {
		g.ranks.Close()
	}
}

// ended is how one of the processes ended, and when it was noticed.
type ended struct {
	*process
	err error
	at  time.Time
}

// execute runs the processes to their end and ends what they leave behind.
func (g *processes) execute(ctx context.Context) outcome {
	follow := g.follow()
	left := &running{ends: make(chan ended, len(g.list))}
	failed, err := g.start(ctx, left)
	if err != nil {
		g.end(left, 0)
		follow()
		return stopped(ctx, fmt.Errorf("the command cannot be started: %w", err))
	}
	canceled := ctx.Err() != nil && failed == nil
	most := time.Second // for what was left running in the background
	if canceled {
		most = grace // its children may still be on their way out
	}
	g.end(left, most)
	follow()
	switch {
	case canceled:
		return stoppedBy(ctx)
	case failed == nil:
		return outcome{status: history.Completed}
	case g.logs == nil:
		return outcome{status: history.Failed, reason: describe(failed[0].err)}
	}
	return g.failed(failed)
}

// start starts the processes and waits until they are done, one has failed or ctx ends.
// It returns those that failed, in the order in which they ended, and leaves the others.
func (g *processes) start(ctx context.Context, left *running) (failed []ended, err error) {
	wanted := 0
	for _, one := range g.list {
		if !one.server {
			wanted++
		}
		group(one.cmd)
		started, done := make(chan error, 1), make(chan error, 1)
		go startAndWait(one.cmd, started, done)
		if err := <-started; err != nil {
			return nil, err
		}
		left.list = append(left.list, one)
		left.n++
		go func() { left.ends <- ended{one, <-done, fileTime()} }()
	}
	for wanted > 0 {
		select {
		case e := <-left.ends:
			left.n--
			if e.err != nil {
				return left.failures(e), nil
			}
			if !e.server {
				wanted--
			}
		case <-ctx.Done():
			return nil, nil
		}
	}
	return nil, nil
}

// running are the processes that were started, and of which n have not ended.
type running struct {
	list []*process
	n    int
	ends chan ended
}

// failures are those that fail by themselves within a second of the first: one that
// raised an error lets go of its connections first and ends after those that miss it.
func (r *running) failures(first ended) []ended {
	failed := []ended{first}
	for late := time.After(time.Second); r.n > 0; r.n-- {
		select {
		case e := <-r.ends:
			if e.err != nil {
				failed = append(failed, e)
			}
			continue
		case <-late:
		}
		break
	}
	return failed
}

// end ends the processes and all that they started. Those that run have grace to end by
// themselves, and what they left in the background then has at most that long.
func (g *processes) end(left *running, most time.Duration) {
	for _, one := range left.list {
		terminate(one.cmd)
	}
	for late := time.After(grace); left.n > 0; left.n-- {
		select {
		case <-left.ends:
			continue
		case <-late:
		}
		break
	}
	if left.n == 0 { // who waits for the group also waits for the processes themselves
		until := time.Now().Add(most)
		for _, one := range left.list {
			waitGroup(one.cmd, time.Until(until))
		}
	}
	for _, one := range left.list {
		killAll(one.cmd)
	}
}

// follow copies the first process's log to the console, as it grows, until the function
// that it returns is called.
func (g *processes) follow() (done func()) {
	if g.logs == nil {
		return func() {}
	}
	log, err := g.logs.Open(path.Base(g.files[0].Name()))
	if err != nil {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	drain := func() { io.Copy(struct{ io.Writer }{g.console}, log) }
	go func() {
		defer close(stopped)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			drain()
			select {
			case <-stop:
				drain()
				log.Close()
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// failed says which process failed first, and ends the console with the end of its log.
func (g *processes) failed(all []ended) outcome {
	var failures []failure
	for _, e := range all {
		f := failure{name: e.name, log: e.log, reason: describe(e.err), at: e.at}
		var exit *exec.ExitError
		if errors.As(e.err, &exit) {
			_, f.signal = exitStatus(exit)
		}
		failures = append(failures, f)
	}
	if g.ranks != nil {
		if ranks := g.ranks.failures(len(g.files)); len(ranks) > 0 {
			failures = ranks
		}
	}
	first := cause(g.logs, failures)
	end := outcome{status: history.Failed, reason: first.name + " failed first: " + first.reason}
	if first.log == "" || first.log == path.Base(g.files[0].Name()) && g.ranks == nil {
		return end // the console ends with it already
	}
	fmt.Fprintf(g.console, "\naml-train: %s. The end of its log, user_logs/%s:\n", end.reason, first.log)
	io.WriteString(g.console, tail(g.logs, first.log, lastOfLog))
	return end
}

// lastOfLog is how many bytes of a log the console ends with.
const lastOfLog = 64 << 10
