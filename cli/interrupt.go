package cli

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/org/aml-train/github"
)

// interrupts are the signals that ask this program to end.
type interrupts struct {
	signals chan os.Signal
	left    atomic.Value // string: what a command that ends at once leaves behind
}

// leaves notes what there is to be said where the command ends at once.
func (i *interrupts) leaves(text string) { i.left.Store(text) }

// stop gives signals their usual meaning back.
func (i *interrupts) stop() { signal.Stop(i.signals) }

// sameMoment is how long signals after the first one are the same Ctrl-C: programs that start
// this one pass theirs on, as timeout(1) does to the process and to its group.
const sameMoment = 200 * time.Millisecond

// listen calls cancel at the first signal, upon which a command ends in good order, and
// closes what it returns at the second one. In a workflow a second one always comes.
func (i *interrupts) listen(getenv func(string) string, cancel func()) <-chan struct{} {
	again := make(chan struct{})
	go func() {
		<-i.signals
		cancel()
		if github.InWorkflow(getenv) {
			return
		}
		for first := time.Now(); ; {
			<-i.signals
			if time.Since(first) > sameMoment {
				break
			}
		}
		close(again)
	}()
	return again
}

// interrupted says what a second Ctrl-C has done, and returns the exit code.
func (a *app) interrupted() int {
	left, _ := a.interrupts.left.Load().(string)
	a.say("\naml-train: interrupted again, and ended at once. %s", left)
	return exitRun
}

// stream is standard output or standard error. Whoever reads it may go, as head does:
// that ends this program, as it ends others, unless a run lasts as long as it does.
type stream struct {
	*os.File
	lasts *atomic.Bool
}

// Write implements io.Writer.
func (s stream) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	if err != nil && s.lasts.Load() && gone(err) {
		return len(p), nil
	}
	return n, err
}

// last has the command go on where nobody reads any more what it says.
func (a *app) last() {
	a.lasts.Store(true)
	// Caught and not ignored: that would hold for the programs that are started, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}
