package job

import (
	"fmt"
	"strings"
	"unicode"
)

// Problem is one thing that is wrong with a job, where it stands, and what would
// be right.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`   // from 1
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Message string `json:"message"`

	source string // the line itself
}

func (p Problem) String() string {
	p.File, p.Message, p.source = printable(p.File), printable(p.Message), printable(p.source)
	if p.Line == 0 {
		if p.File != "" {
			return p.File + ": " + p.Message
		}
		return p.Message
	}
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if strings.TrimSpace(p.source) != "" && len(p.source) < 300 {
		// A tab stays a tab, so that the caret stands below its letter.
		pad := strings.Map(func(r rune) rune {
			if r == '\t' {
				return r
			}
			return ' '
		}, string([]rune(p.source)[:min(p.Column-1, len([]rune(p.source)))]))
		s += "\n  | " + p.source + "\n  | " + pad + "^"
	}
	return s
}

// Problems is every problem of one job. Nothing is submitted while there is one.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// printable keeps what a file holds, or is called, from moving a terminal's cursor or
// beginning a line of its own. It has as many characters as before.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)) {
			return '\uFFFD'
		}
		return r
	}, s)
}
