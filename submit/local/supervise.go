package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/job"
)

// grace is how long a command has to end after SIGTERM, before it is killed. A
// workflow that is canceled gives this program 10 s for everything.
const grace = 3 * time.Second

// outcome is how a run ended.
type outcome struct {
	status   history.Status
	reason   string
	warnings []string
	evicted  bool // it is not the end of the run, but of an attempt
}

// stoppedBy is how a run ends whose context has.
func stoppedBy(ctx context.Context) outcome {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) { // by a signal, say, without a word
		return outcome{status: history.Canceled, reason: interruptedWord + "aml-train was told to stop"}
	}
	return outcome{status: history.Canceled, reason: cause.Error(), evicted: errors.Is(cause, errEvicted)}
}

// stopped is how a run ends that an error keeps from going on: canceled where the context is,
// as the error then follows from that.
func stopped(ctx context.Context, err error) outcome {
	if ctx.Err() != nil {
		return stoppedBy(ctx)
	}
	return outcome{status: history.Failed, reason: err.Error()}
}

// lose notes that something which the command wrote could not be kept: a run that went
// well otherwise did not, for whoever goes on with its outputs.
func (o *outcome) lose(err error) {
	switch {
	case err == nil:
	case o.status == history.Completed:
		o.status, o.reason = history.Failed, "the command succeeded, but "+err.Error()
	default:
		o.warnings = append(o.warnings, err.Error())
	}
}

// Supervise runs a submitted job to its end. It is called in the process that
// Submit starts, with lock the file that Submit handed over.
func (t *Target) Supervise(ctx context.Context, id string, lock *os.File) error {
	dir, err := t.folder(id, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	if lock == nil { // where a lock cannot be handed over, it is free by now or soon
		if lock, err = waitLock(ctx, dir); err != nil {
			return err
		}
	}
	// Whoever finds the lock free also finds what this process has printed.
	lifeline = append(lifeline, lock)
	run, err := t.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	p, err := t.readPlan(run)
	if err != nil {
		return err
	}
	var end outcome
	if p.Sweep != nil {
		end = t.runSweep(ctx, p, run, dir)
	} else {
		adoptOrphans()
		end = t.run(ctx, p, dir)
	}
	dir.Remove(reserve)
	t.Store.SetStatus(ctx, id, history.Finalizing, "")
	notes, lost := t.collect(ctx, p, run)
	end.lose(lost)
	t.note(ctx, id, append(end.warnings, notes...))
	if err := t.Store.SetStatus(ctx, id, end.status, end.reason); err != nil {
		return err // the lock goes, and the next command finds the run interrupted
	}
	t.remove(id)
	return nil
}

// note keeps what was noticed besides the run's end.
func (t *Target) note(ctx context.Context, run string, warnings []string) {
	if len(warnings) > 0 {
		text := strings.Join(warnings, "\n")
		t.Store.SetTags(ctx, run,
			history.KeyValue{Key: history.TagWarnings, Value: strings.ToValidUTF8(text[:min(len(text), 8000)], "")})
	}
}

// run runs a job whose folder is dir.
func (t *Target) run(ctx context.Context, p *plan, dir *os.Root) outcome {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go listen(ctx, p, dir, stop)

	base, err := t.openBase(p.Run, false)
	if err != nil {
		return stopped(ctx, err)
	}
	defer base.Close()
	values, err := resolve(ctx, p, base)
	if err != nil {
		return stopped(ctx, err)
	}
	secret := rand.Text()
	address, closeServer,
		err := history.NewServer(t.Store, history.Access{Token: secret, Run: p.Run, Room: p.mostOutputs(),
		MaxArtifacts: maxFiles}).Serve("127.0.0.1:0")
	if err != nil {
		return stopped(ctx, fmt.Errorf("the run history cannot be served on loopback: %w", err))
	}
	defer closeServer()
	console, err := t.Store.Files.OpenFile(path.Join(p.Artifacts, history.ConsoleLog), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return stopped(ctx, err)
	}
	defer console.Close()
	// Room for a traceback, should the command fill the disk.
	preallocate(console, 256<<10)
	defer func() {
		if info, err := console.Stat(); err == nil {
			console.Truncate(info.Size()) // gives back what was not needed
		}
	}()
	return t.attempts(ctx, p, base, console, func(ctx context.Context) outcome {
		if p.Image != "" {
			return t.runContainer(ctx, p, values, address, secret, console)
		}
		return t.runHere(ctx, p, base, values, address, secret, console)
	})
}

// runHere runs a job in this machine's own environment, or in one of packages. The history
// is at the address, for who has the secret.
func (t *Target) runHere(ctx context.Context, p *plan, base *os.Root, values map[string]string, address, secret string,
	console *os.File) outcome {
	var packages string // the folder of the environment, "" of the machine's own
	if p.Packages != nil {
		var end outcome
		if packages, end = p.Packages.ready(ctx, p.building(), console); packages == "" {
			return end
		}
		p.Python = pythonOf(packages)
		if _, err := os.Stat(p.Python); err != nil {
			p.Python = "" // a conda environment need not have one
		}
	}
	env, err := t.environment(p, base, address, secret)
	p.tellCheckpoints(env, values)
	if err != nil {
		return stopped(ctx, err)
	}
	if packages != "" {
		p.Packages.use(packages, env)
	}
	warnings := p.inFront(ctx, env)
	for _, w := range warnings { // before it trains for hours
		fmt.Fprintf(console, "aml-train: warning: %s\n", w)
	}
	j := job.Job{Command: p.Command}
	group, err := t.processes(p, base, p.Packages.activate(j.Expand(values)), env, console)
	if err != nil {
		return stopped(ctx, err)
	}
	defer group.close()
	if err := t.Store.SetStatus(ctx, p.Run, history.Running, ""); err != nil {
		return stopped(ctx, err)
	}
	ctx, release := p.limit(ctx)
	defer release()
	end := group.execute(ctx)
	end.warnings = append(warnings, end.warnings...)
	return end
}

// limit ends the context when the run has lasted as long as it may, or the attempt has.
func (p *plan) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	if p.Timeout > 0 {
		ctx, stop = also(ctx, stop, p.Timeout-p.spent, fmt.Errorf("the maximum duration of %s was over", p.Timeout))
	}
	if len(p.Evictions) > 0 && p.Sweep == nil { // of a sweep, each trial is
		ctx, stop = also(ctx, stop, p.Evictions[0], errEvicted)
	}
	return ctx, stop
}

// also ends a context after a duration as well.
func also(ctx context.Context, stop func(), d time.Duration, why error) (context.Context, context.CancelFunc) {
	ctx, release := context.WithTimeoutCause(ctx, d, why)
	return ctx, func() { release(); stop() }
}

// describe says how a command failed.
func describe(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	return exitReason(exitStatus(exit))
}

const outOfMemory = "the command was killed (SIGKILL); where nobody did that, the machine ran out of memory"

// exitReason writes an exit status for people. A shell reports a child's signal
// as 128 and its number.
func exitReason(code int, signal string) string {
	if signal == "" && code > 128 && code < 160 {
		signal = signalName(code - 128)
	}
	switch signal {
	case "":
		return fmt.Sprintf("the command exited with status %d", code)
	case "SIGKILL":
		return outOfMemory
	}
	return fmt.Sprintf("the command was ended by %s", signal)
}

// listen waits for a request to cancel, and in attached mode for the end of the
// command that started the run.
func listen(ctx context.Context, p *plan, dir *os.Root, stop func(error)) {
	if p.Attached {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			if ctx.Err() != nil {
				return
			}
			// Whoever asks twice to cancel a run does not wait for its end.
			if reason, err := limited.ReadBelow(dir, cancelFile, limited.Config); err == nil {
				stop(errors.New(string(reason)))
			}
			stop(errors.New(interruptedWord + "the aml-train command that started the run was killed"))
		}()
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if reason, err := limited.ReadBelow(dir, cancelFile, limited.Config); err == nil {
			stop(errors.New(string(reason)))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
