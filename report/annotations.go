package report

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/lazyregexp"
)

// Annotation is a remark on a line of a file, as a pull request shows it.
type Annotation struct {
	Level   string // notice, warning or error
	File    string // relative to the repository's root; "" for none
	Line    int
	Title   string
	Message string
}

// MaxAnnotations is how many of each level GitHub shows of one step
// (docs.github.com, "Workflow commands": 10 warning, 10 error, 10 notice).
const MaxAnnotations = 10

// Places is where annotations can stand. All paths are relative: those of files
// to the repository's root, the others to the source directory.
type Places struct {
	JobFile string                            // "" for a job in flags
	Source  string                            // the source directory; "." for the root
	Scripts []string                          // the source files that may log metrics, the job's script first
	Read    func(path string) ([]byte, error) // of the source directory
}

func (p Places) file(path string) string {
	if p.Source == "." || p.Source == "" {
		return path
	}
	return p.Source + "/" + path
}

// job is the annotation that speaks of the whole job: on its job file, else on its
// script.
func (p Places) job(level, title, message string) Annotation {
	a := Annotation{Level: level, File: p.JobFile, Line: 1, Title: title, Message: message}
	if a.File == "" && len(p.Scripts) > 0 {
		a.File, a.Line = p.file(p.Scripts[0]), 1
	}
	return a
}

// Annotations says what happened where the reader looks: a failure on the line of
// the user's code that raised it, a metric on the line that logs it, the result on
// the job file. The most telling come first, at most MaxAnnotations of a level.
func (r *Report) Annotations(p Places) []Annotation {
	var out []Annotation
	title := r.Name + ": " + r.Title() + r.brokenText()
	out = append(out, r.ruleAnnotations(p)...)
	status := plainText(r.statusText())
	switch s := r.Run.Status(); {
	case s == history.Completed:
		level := "notice"
		if _, broken := r.broken(); broken {
			level = "warning"
		}
		out = append(out, p.job(level, title, status))
		out = append(out, r.metricAnnotations(p, MaxAnnotations-1)...)
	case s == history.Canceled, s == history.Paused:
		out = append(out, p.job("warning", title, status))
	case !s.Terminal():
		out = append(out, p.job("notice", title, status))
	default:
		message := status
		if d := r.Diagnosis; d != nil {
			if d.Advice != "" {
				message = plainText(d.Advice) + "\n" + status
			}
			if d.File != "" {
				if _, err := p.Read(d.File); err == nil {
					out = append(out, Annotation{Level: "error", File: p.file(d.File), Line: d.Line, Title: title,
						Message: message})
					break
				}
			}
		}
		out = append(out, p.job("error", title, message))
	}
	if w := r.Run.Tag(history.TagWarnings); w != "" {
		lines := strings.Split(w, "\n")
		for _, line := range lines[:min(len(lines), MaxAnnotations-1)] {
			out = append(out, p.job("warning", r.Name, line))
		}
	}
	return out
}

// plainText takes the marks of code off a text of ours.
func plainText(s string) string { return strings.ReplaceAll(s, "`", "") }

// statusText is the status line without links and marks.
func (r *Report) statusText() string {
	s := fmt.Sprintf("%s %s %s", r.Run.Status(), r.sinceWord(), Duration(r.took()))
	if target := r.Run.Tag(history.TagTarget); target != "" {
		s += " on " + target
	}
	s += ", run " + r.Run.Info.RunID
	if r.Reused != nil {
		s += ", reused"
	}
	return s
}

func (r *Report) metricAnnotations(p Places, most int) []Annotation {
	metrics := r.metrics()
	headline, _ := r.Headline()
	telling := func(m history.Metric) float64 {
		if m.Key == headline.Key {
			return math.Inf(1)
		}
		before, ok := r.before(m.Key)
		if change := math.Abs((r.now(m.Key).Mean - before.Mean) / before.Mean); ok && !math.IsNaN(change) {
			return change
		}
		return -1
	}
	slices.SortStableFunc(metrics, func(a, b history.Metric) int {
		switch x, y := telling(a), telling(b); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	var out []Annotation
	lines := newMetricLines(p)
	for _, m := range metrics {
		if len(out) == most {
			break
		}
		file, line := lines.find(m.Key)
		if line == 0 {
			continue
		}
		text := m.Key + " " + Number(r.now(m.Key).Mean)
		message := text
		if before, ok := r.before(m.Key); ok {
			message += ", " + Number(before.Mean) + " in " + r.BaseName + ": " +
				r.change(m.Key, r.now(m.Key).Mean, before.Mean)
		}
		if s := Sparkline(r.Curves[m.Key].Points, 20); s != "" {
			message += "\n" + s
		}
		out = append(out, Annotation{Level: "notice", File: p.file(file), Line: line, Title: text, Message: message})
	}
	return out
}

// metricLines finds the lines of the scripts that log a metric: those that hold
// its name between quotes.
type metricLines struct {
	files []string
	lines [][]string
}

// Bounds on what is searched: nobody logs metrics in more places.
const (
	maxScripts    = 200
	maxScriptSize = 1 << 20
)

func newMetricLines(p Places) *metricLines {
	m := &metricLines{}
	for _, file := range p.Scripts[:min(len(p.Scripts), maxScripts)] {
		text, err := p.Read(file)
		if err != nil || len(text) > maxScriptSize {
			continue
		}
		m.files, m.lines = append(m.files, file), append(m.lines, strings.Split(string(text), "\n"))
	}
	return m
}

var logCall = lazyregexp.New(`\blog\w*\s*\(`)

// find returns the file and line for a metric, line 0 where there is none. A line
// that calls something like log_metric counts more than one that makes a
// dictionary, that more than any other. Of a nested name, "test/loss", the last
// part will do.
func (m *metricLines) find(key string) (string, int) {
	names := []string{key}
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		names = append(names, key[i+1:])
	}
	for _, name := range names {
		quoted, err := regexp.Compile(`["']` + regexp.QuoteMeta(name) + `["'](\s*[:\]=])?`)
		if err != nil {
			continue
		}
		best, file, line := 0, "", 0
		for i, lines := range m.lines {
			for n, text := range lines {
				found := quoted.FindStringSubmatch(text)
				if found == nil || strings.HasPrefix(strings.TrimSpace(text), "#") {
					continue
				}
				score := 1
				if found[1] != "" {
					score = 2
				}
				if logCall.MatchString(text) {
					score = 3
				}
				if score > best {
					best, file, line = score, m.files[i], n+1
				}
			}
		}
		if line > 0 {
			return file, line
		}
	}
	return "", 0
}
