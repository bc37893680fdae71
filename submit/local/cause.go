package local

import (
	"cmp"
	"os"
	"slices"
	"time"

	"github.com/org/aml-train/internal/lazyregexp"
)

// failure is the end of one process of several, before anybody ended it.
type failure struct {
	name, log string
	reason    string
	signal    string    // that ended it, "" for none
	at        time.Time // by the clock of the file system
}

// Who failed first is not who ended first: a script that raises an error prints it, lets
// go of its connections, on which the others fail, and may well end after them. What each
// wrote, and when, tells.

// passedOn are the signals that end a process because another one is gone: a library that
// misses it calls abort(3), a program that writes to it takes no care.
var passedOn = []string{"SIGABRT", "SIGPIPE"}

// spoken is an error in a log, and missed one about another process that is gone.
var (
	spoken = lazyregexp.New(`(?i)error|exception|traceback|fatal|abort|panic`)
	missed = lazyregexp.New(
		`(?i)connection (reset|refused|closed|was aborted|aborted)|connection(reset|refused|aborted)` +
			`|broken ?pipe|closed by peer|by remote peer|peer closed|remote process exited|EOFError|socket timeout`)
)

// cause returns the failure of which the others follow. They are in the order in which
// they were noticed.
func cause(logs *os.Root, failures []failure) failure {
	type evidence struct {
		failure
		signal, missed, silent int // 0 is the likelier cause
	}
	all := make([]evidence, len(failures))
	for i, f := range failures {
		e := evidence{failure: f, signal: 1, silent: 1}
		end := tail(logs, f.log, 4<<10)
		if f.signal != "" && !slices.Contains(passedOn, f.signal) {
			e.signal = 0
		} else if spoken.MatchString(end) {
			e.silent = 0
			if info, err := logs.Stat(f.log); err == nil && info.ModTime().Before(e.at) {
				e.at = info.ModTime() // when it said so
			}
		}
		if missed.MatchString(end) {
			e.missed = 1
		}
		all[i] = e
	}
	return slices.MinFunc(all, func(a, b evidence) int { // of equal ones the first
		return cmp.Or(cmp.Compare(a.signal, b.signal), cmp.Compare(a.missed, b.missed), a.at.Compare(b.at),
			cmp.Compare(a.silent, b.silent))
	}).failure
}
