package github

import (
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/aml-train/internal/secret"
)

// Log is standard error in a workflow. The runner takes lines that start
// with "::" for commands, and what a training script prints is not to be obeyed:
// from the first write on they are stopped, but for our own (docs.github.com,
// "Workflow commands", Stopping and starting workflow commands).
type Log struct {
	mu    sync.Mutex
	w     io.Writer
	token string // ends the stopping; "" while nothing is stopped
	open  bool   // the last line is not complete

	masked []string
}

// NewLog returns the log that is written to w.
func NewLog(w io.Writer) *Log { return &Log{w: w} }

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == "" {
		l.token = rand.Text() + rand.Text()
		fmt.Fprintf(l.w, "::stop-commands::%s\n", l.token)
	}
	if len(p) > 0 {
		l.open = p[len(p)-1] != '\n'
	}
	return l.w.Write(p)
}

// Commands lets f, where there is one, issue commands; later ones are obeyed until
// the next write.
func (l *Log) Commands(f func(*githubactions.Action)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		fmt.Fprintln(l.w)
		l.open = false
	}
	if l.token != "" {
		fmt.Fprintf(l.w, "::%s::\n", l.token)
		l.token = ""
	}
	if f != nil {
		f(githubactions.New(githubactions.WithWriter(l.w)))
	}
}

// Mask makes the runner show *** for the lines of texts.
func (l *Log) Mask(texts ...string) {
	for _, text := range texts {
		for line := range strings.Lines(text) { // a mask is one line
			if line = strings.TrimSpace(line); len(line) >= secret.Shortest && !slices.Contains(l.masked, line) {
				l.masked = append(l.masked, line)
				l.Commands(func(c *githubactions.Action) { c.AddMask(line) })
			}
		}
	}
}

// Output is standard output in a workflow. What is printed there may be taken up by
// another program, so nothing of ours can stand around it; instead, what the runner
// would obey is taken apart: a line that starts with "::", blanks before it not counted,
// and "##[" anywhere in a line (actions/runner, ActionCommand.TryParseV2 and TryParse).
// In JSON the second becomes an escape, which reads as the same text.
type Output struct {
	w       io.Writer
	json    *bool // what is written is JSON
	within  bool  // a line in which something that is no blank has been written
	pending string
}

// NewOutput returns the standard output that is written to w. json tells whether what is
// being written is JSON.
func NewOutput(w io.Writer, json *bool) *Output { return &Output{w: w, json: json} }

// apart stands between the signs of a command: it has no width, and is no blank to the
// runner.
const apart = "\u200b"

func (n *Output) Write(p []byte) (int, error) {
	text := n.pending + string(p)
	n.pending = ""
	var b strings.Builder
	for i := 0; i < len(text); {
		rest := text[i:]
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == '\n' || r == '\r':
			n.within = false
		case !n.within && unicode.IsSpace(r):
		case !n.within && strings.HasPrefix(rest, "::"):
			b.WriteString(apart)
			n.within = true
		case strings.HasPrefix(rest, "##["):
			b.WriteString("##" + n.bracket())
			n.within = true
			i += 3
			continue
		case !utf8.FullRuneInString(rest), len(rest) < 3 && strings.HasPrefix("##[", rest), !n.within && rest == ":":
			n.pending = rest // what comes next decides
			i = len(text)
			continue
		default:
			n.within = true
		}
		b.WriteString(rest[:size])
		i += size
	}
	if _, err := io.WriteString(n.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// bracket is a "[" that ends no "##[".
func (n *Output) bracket() string {
	if *n.json {
		return `\u005b`
	}
	return apart + "["
}

// Flush writes what waited for more.
func (n *Output) Flush() error {
	text := n.pending
	n.pending = ""
	_, err := io.WriteString(n.w, text)
	return err
}
