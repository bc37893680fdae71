package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/mistake"
)

// Problem is one thing that is wrong with a job, where it stands, and what would
// be right.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`   // from 1
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Message string `json:"message"`

	source string // the line itself
	key    string // what it is a problem of, where no place tells
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

// Is tells that it is a mistake in what was asked.
func (Problems) Is(target error) bool { return target == mistake.Err }

// Sorted orders problems by where they stand.
func (p Problems) Sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return p
}

// printable keeps what a file holds, or is called, from moving a terminal's cursor or
// beginning a line of its own. It has as many characters as before.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || r == '\u2028' || r == '\u2029' ||
			unicode.Is(unicode.Bidi_Control, r)) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// What signs in is in an address before its host, or among the values of its query.
var (
	addressUser  = lazyregexp.New(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'/@:]*:[^\s"']*@|https?://[^\s"'/@]*@`)
	addressQuery = lazyregexp.New(`://[^\s"'?]*\?[^\s"']*[^\s"',;]`)
	queryValue   = lazyregexp.New(`=[^&]+`)
)

// masked is text of a file with stars for what signs in at an address in it. It has as many
// characters as before.
func masked(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	stars := func(s string) string { return strings.Repeat("*", utf8.RuneCountInString(s)) }
	s = addressUser.ReplaceAllStringFunc(s, func(found string) string {
		scheme, user, _ := strings.Cut(strings.TrimSuffix(found, "@"), "://")
		return scheme + "://" + stars(user) + "@"
	})
	return addressQuery.ReplaceAllStringFunc(s, func(found string) string {
		return queryValue.ReplaceAllStringFunc(found, func(value string) string { return "=" + stars(value[1:]) })
	})
}

// Findings gathers what a target finds in a job.
type Findings struct {
	Job      *Job
	problems Problems
}

// Add adds a problem of a key of the job, such as "environment" or
// "resources.instance_count". What has a problem already has no second one that follows
// from it.
func (f *Findings) Add(key, format string, args ...any) {
	if f.Job.Sound(key) {
		f.problems = append(f.problems, f.Job.document.problemOf(key, fmt.Sprintf(format, args...)))
	}
}

// Err is what was found: Problems, or nil.
func (f *Findings) Err() error {
	if len(f.problems) == 0 {
		return nil
	}
	return f.problems
}

// Sound tells whether nothing wrong was found when a key was read, or anything below it.
func (j *Job) Sound(key string) bool {
	d := j.document
	if d == nil {
		return true
	}
	at := d.at[key]
	for _, p := range d.problems {
		if p.key == key || topOf(p.key) == key || at != nil && p.Line == at.line {
			return false
		}
	}
	if at != nil && topOf(key) != key {
		return true
	}
	from, ok := d.keys[topOf(key)]
	if !ok {
		return true
	}
	next := len(d.lines) + 1
	for _, k := range d.keys {
		if k.line > from.line {
			next = min(next, k.line)
		}
	}
	for _, p := range d.problems {
		if p.Line >= from.line && p.Line < next {
			return false
		}
	}
	return true
}

// topOf is the key of the file's root that another one, such as "limits.timeout" or
// "tags team", is below.
func topOf(key string) string {
	top, _, _ := strings.Cut(key, ".")
	top, _, _ = strings.Cut(top, " ")
	return top
}

// problemOf is a problem of a key, where it stands; one that a flag gave has no place.
func (d *document) problemOf(key, message string) Problem {
	top := topOf(key)
	p := Problem{Message: masked(message), key: key}
	if d == nil {
		return p
	}
	if at := d.at[key]; at != nil && top != key {
		return d.problem(at.line, at.column, message)
	}
	if k, ok := d.keys[top]; ok {
		return d.problem(k.line, k.column, message)
	}
	return p
}

// given notes that a flag says what a key is: what is wrong with it is not the file's.
func (d *document) given(key string) {
	for name := range d.at {
		if name == key || strings.HasPrefix(name, key+".") {
			delete(d.at, name)
		}
	}
	delete(d.keys, key)
}
