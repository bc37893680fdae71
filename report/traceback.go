package report

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
)

// traceback is one of the Python tracebacks of a log.
type traceback struct {
	frames []Diagnosis // outermost first; File, Line and Code are set
	kind   string      // ModuleNotFoundError
	text   string
	rest   string // of the text, in the lines that follow

	after string // how the one before led to it: causes or handles, "" where it stands alone
	depth int    // in groups of exceptions: 1 is a group that stands alone, 2 what it holds
	group bool   // of exceptions
}

// How Python says that one exception led to the next one.
const (
	causes  = "The above exception was the direct cause of the following exception:"
	handles = "During handling of the above exception, another exception occurred:"
)

var (
	frame = lazyregexp.New(`^\s*File "([^"]+)", line (\d+)(?:, in (.*))?$`)
	begin = lazyregexp.New(`^(?:Original |Exception Group )?Traceback \(most recent call last\):`)
	// process is what launchers put before each line of a process: torchrun, Open MPI and Ray.
	process = lazyregexp.New(`^(?:\[(?:rank|default)?\d+\]:|\[\d+,\d+\]<std(?:err|out)>:|` +
		`\([\w.]+ pid=\d+(?:, ip=[\d.]+)?\)) ?`)
	// margin is what Python draws beside a group of exceptions.
	margin = lazyregexp.New(`^((?:  )+)(?:\| |\|$|\+ |\+[-+]+[ \d.]*-*$)`)
)

// wraps tells whether it is of a program that started the one that failed.
func (t *traceback) wraps() bool {
	switch t.name() {
	case "ChildFailedError", "ProcessExitedException":
		return true
	case "CalledProcessError":
		return strings.Contains(t.text, "python")
	}
	return false
}

// title is the exception in one line, as Python prints it.
func (t *traceback) title() string {
	if t.text == "" {
		return t.kind
	}
	return t.kind + ": " + t.text
}

// name is the kind without its module.
func (t *traceback) name() string { return t.kind[strings.LastIndexByte(t.kind, '.')+1:] }

// tracebacks are those of a log, in the order in which they end. Those of several processes
// are told apart where a launcher says whose a line is.
func tracebacks(log []string) (all []*traceback) {
	streams := map[string][]string{}
	var names []string
	for _, line := range log {
		whose := process.FindString(line)
		if _, known := streams[whose]; !known {
			names = append(names, whose)
		}
		streams[whose] = append(streams[whose], line[len(whose):])
	}
	// What the launcher itself says comes last, as it does in a log.
	slices.SortStableFunc(names, func(a, b string) int { return first(a != "", b != "") })
	for _, name := range names {
		all = append(all, ofProcess(streams[name])...)
	}
	return all
}

func ofProcess(log []string) (all []*traceback) {
	var open *traceback // whose frames are read
	after := ""
	for i, line := range log {
		depth := 0
		inGroup := open != nil && open.depth > 0 || open == nil && len(all) > 0 && all[len(all)-1].depth > 0
		m := margin.FindStringSubmatch(line)
		if m != nil && (inGroup || after != "" || strings.Contains(line, "+ Exception Group")) {
			depth, line = len(m[1])/2, line[len(m[0]):]
		}
		switch text := strings.TrimSpace(line); {
		case begin.MatchString(text):
			open = &traceback{after: after, depth: depth, group: strings.HasPrefix(text, "Exception Group")}
			after = ""
		case text == causes || text == handles:
			after = text
		case open == nil:
			// a SyntaxError of the script has no such line
			if m := frame.FindStringSubmatch(line); m != nil && m[3] == "" {
				open = &traceback{frames: []Diagnosis{frameOf(m)}}
			}
		default:
			if !open.read(line) {
				continue
			}
			open.ofCell(log[i+1:])
			open.rest = strings.Join(log[i+1:min(i+9, len(log))], "\n")
			all, open = append(all, open), nil
		}
	}
	return all
}

func frameOf(m []string) Diagnosis {
	n, _ := strconv.Atoi(m[2])
	return Diagnosis{File: m[1], Line: n}
}

// read takes the next line of a traceback; done tells that it was the last.
func (t *traceback) read(line string) (done bool) {
	if m := frame.FindStringSubmatch(line); m != nil {
		t.frames = append(t.frames, frameOf(m))
		return false
	}
	if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
		if n := len(t.frames); n > 0 && t.frames[n-1].Code == "" {
			t.frames[n-1].Code = strings.TrimSpace(line)
		}
		return false
	}
	if m := exception.FindStringSubmatch(line); m != nil && len(t.frames) > 0 {
		t.kind, t.text = m[1], m[2]
		return true
	}
	return false
}

// ofCell takes the error of a notebook's cell out of what papermill and nbclient print
// after their own.
func (t *traceback) ofCell(after []string) {
	if !strings.HasSuffix(t.kind, ".PapermillExecutionError") && !strings.HasSuffix(t.kind, ".CellExecutionError") {
		return
	}
	for _, line := range after {
		if m := exception.FindStringSubmatch(line); m != nil && m[2] != "" {
			t.kind, t.text = m[1], m[2]
		}
	}
}

// telling returns the traceback whose error ended the run, and the one that leads to the
// innermost line of the user's code: that of its cause, where Python names one, of the first
// exception of a group, of the process that failed. Both are nil where there is none.
func telling(all []*traceback, c Context) (t, cause *traceback) {
	if len(all) == 0 {
		return nil, nil
	}
	at := len(all) - 1
	if all[at].depth > 0 {
		at = ofGroup(all, c)
	}
	if t = all[at]; t.wraps() || !t.isUsers(c) {
		for i := at - 1; i >= 0; i-- {
			if all[i].isUsers(c) && (t.wraps() || chained(all[i+1:at+1])) {
				at, t = i, all[i]
				break
			}
		}
	}
	cause = t
	for i := at; i > 0 && all[i].after == causes; i-- {
		if all[i-1].isUsers(c) {
			cause = all[i-1]
		}
	}
	return t, cause
}

func (t *traceback) isUsers(c Context) bool {
	_, ok := t.userFrame(c)
	return ok
}

// chained tells whether each of them follows from the one before.
func chained(all []*traceback) bool {
	return !slices.ContainsFunc(all, func(t *traceback) bool { return t.after == "" })
}

// ofGroup returns the first exception of the last group that the user's code raised, else
// the group itself.
func ofGroup(all []*traceback, c Context) int {
	group := len(all) - 1
	for group > 0 && (all[group].depth != 1 || !all[group].group) {
		group--
	}
	for i := group + 1; i < len(all); i++ {
		if !all[i].group && all[i].isUsers(c) {
			return i
		}
	}
	return group
}

// userFrame returns the innermost frame that lies in the user's own files.
func (t *traceback) userFrame(c Context) (Diagnosis, bool) {
	for i := len(t.frames) - 1; i >= 0; i-- {
		f := t.frames[i]
		name := strings.ReplaceAll(f.File, "\\", "/")
		if c.Work != "" {
			if rest, ok := strings.CutPrefix(name, strings.TrimSuffix(c.Work, "/")+"/"); ok {
				name = rest
			}
		}
		// A run's own folder may be gone by now, or have been on another machine.
		before, rest, ok := strings.Cut(name, "/wd/")
		if ok && (strings.Contains(before, "/runs/") || strings.Contains(before, "/azureml/")) {
			name = strings.TrimPrefix(rest, strings.TrimSuffix(c.Source, "/")+"/")
		}
		if path.IsAbs(name) || strings.HasPrefix(name, "<") || strings.Contains(name, "site-packages/") ||
			strings.Contains(name, ":/") {
			continue
		}
		f.File = path.Clean(name)
		return f, true
	}
	return Diagnosis{}, false
}
