package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
)

// Each submission has a log, named by its time, commit and branch.
const (
	logTime  = "20060102-150405.000"
	logsKept = 20
	maxLog   = 1 << 20 // bounds what is read of a log: a submission prints some lines
)

// Refused begins the last line of the log of a submission that was not accepted. The
// first line of what is wrong follows.
const Refused = "not submitted: "

// Folder opens the folder of the logs, in .aml-train, and makes it if create is set.
func Folder(h *home.Home, create bool) (*os.Root, error) { return home.Folder(h.Root, "hook", create) }

// Log is that of one submission.
type Log struct {
	folder *os.Root
	name   string
}

// newLog makes a log. A branch may have a longer name than a file, and one that no file
// can have.
func newLog(logs *os.Root, t Training) (*os.File, error) {
	branch := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-'
		}
		return r
	}, t.Branch)
	branch = strings.ToValidUTF8(branch[:min(len(branch), 150)], "")
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s %s %s.log", time.Now().UTC().Format(logTime), t.Commit[:7], branch)
		log, err := logs.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
		if !errors.Is(err, fs.ErrExist) || n == 100 {
			return log, err
		}
		time.Sleep(time.Millisecond) // another push of the same commit, or another branch's like name
	}
}

func logName(log *os.File) string { return filepath.Base(log.Name()) }

// Logs lists the logs, newest first.
func Logs(folder *os.Root) []Log {
	entries, _ := fs.ReadDir(folder.FS(), ".")
	var out []Log
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			out = append(out, Log{folder, e.Name()})
		}
	}
	slices.Reverse(out) // ReadDir lists by name
	return out
}

// dropLogs keeps the newest logs.
func dropLogs(folder *os.Root) {
	list := Logs(folder)
	for _, log := range list[min(len(list), logsKept-1):] {
		folder.Remove(log.name)
	}
}

// Of returns what the log's name says; ok tells whether it is one of ours.
func (l Log) Of() (at time.Time, commit, branch string, ok bool) {
	parts := strings.SplitN(strings.TrimSuffix(l.name, ".log"), " ", 3)
	at, err := time.Parse(logTime, parts[0])
	if err != nil || len(parts) < 3 {
		return at, "", "", false
	}
	return at, parts[1], parts[2], true
}

// Line is the last line: the run's id, what is wrong, or what is going on.
func (l Log) Line() string {
	text, _ := limited.ReadBelow(l.folder, l.name, maxLog)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// Link is the run's page, as a submission has printed it; "" for a run on this machine.
func (l Log) Link() string {
	text, _ := limited.ReadBelow(l.folder, l.name, maxLog)
	for line := range strings.Lines(string(text)) {
		if url := strings.TrimSpace(line); strings.HasPrefix(url, "https://") {
			return url
		}
	}
	return ""
}
