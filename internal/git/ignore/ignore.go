// Package ignore answers: does an ignore file exclude this path, and which of
// its lines decides?
//
// The patterns are those of gitignore(5) and are decided exactly as git decides
// them (dir.c, wildmatch.c): a difference would upload a secret or lose a source
// file. The package reads no files and knows no repository; it is given the text
// of ignore files and the folders they stand in. That nothing below an excluded
// folder can be re-included is the walker's to keep: it never enters one.
package ignore

import (
	"bytes"
	"strings"
)

// Pattern is one line of an ignore file.
type Pattern struct {
	File    string // the ignore file, as given to Parse
	Line    int    // counted from 1
	Text    string // the line as git reports it: without its line end and unescaped trailing spaces
	Negated bool   // the line starts with "!": what it matches is included again

	dirOnly bool   // ends in "/": matches folders only
	base    bool   // holds no "/" but a trailing one: matches the last name of a path
	prefix  string // the literal start of the pattern
	rest    *glob  // what follows it
	plain   bool   // nothing follows it
	suffix  bool   // "*literal": prefix holds the literal, matched at the end
	fold    bool
}

// List is the patterns of one ignore file, in the file's order.
type List struct {
	// Dir is the folder that the patterns are relative to, slash-separated and
	// relative to the same root as the paths given to Match; "" is the root.
	Dir      string
	Patterns []Pattern
}

// Parse reads the text of an ignore file that stands in dir and is called file
// in answers. With fold, ASCII case is ignored (git's core.ignoreCase). No text
// is an error: git skips or never matches what it cannot understand.
func Parse(text []byte, file, dir string, fold bool) *List {
	l := &List{Dir: dir}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for n := 1; len(text) > 0; n++ {
		line, rest, found := bytes.Cut(text, []byte("\n"))
		text = rest
		if found {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		if nul := bytes.IndexByte(line, 0); nul >= 0 {
			line = line[:nul] // git holds a line as a C string
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if p, ok := parseLine(trimSpaces(string(line)), fold); ok {
			p.File, p.Line = file, n
			l.Patterns = append(l.Patterns, p)
		}
	}
	return l
}

// trimSpaces drops trailing spaces that no backslash protects. A lone backslash
// at the end protects whatever stood before it.
func trimSpaces(s string) string {
	end := len(s)
	spaces := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			if !spaces {
				end, spaces = i, true
			}
		case '\\':
			i++
			if i == len(s) {
				return s
			}
			spaces = false
		default:
			spaces = false
		}
	}
	if spaces {
		return s[:end]
	}
	return s
}

func parseLine(text string, fold bool) (Pattern, bool) {
	p := Pattern{Text: text, fold: fold}
	s := text
	if strings.HasPrefix(s, "!") {
		p.Negated = true
		s = s[1:]
	}
	if strings.HasSuffix(s, "/") {
		p.dirOnly = true
		s = s[:len(s)-1]
	}
	if s == "" {
		return p, false
	}
	p.base = !strings.Contains(s, "/")
	if !p.base {
		s = strings.TrimPrefix(s, "/")
	}
	if p.base && s[0] == '*' && !strings.ContainsAny(s[1:], `*?[\`) {
		p.suffix, p.prefix = true, s[1:]
		return p, true
	}
	// git compares the literal start first and globs only what follows, so that
	// "**" directly after a literal, as in "lib**/x", spans folders although
	// gitignore(5) says otherwise. A pattern without a slash has no such start.
	cut := strings.IndexAny(s, `*?[\`)
	switch {
	case cut < 0:
		p.plain, p.prefix = true, s
	case p.base:
		p.rest = compile(s, fold)
	default:
		p.prefix, p.rest = s[:cut], compile(s[cut:], fold)
	}
	return p, true
}

// ParsePattern reads one pattern that is no line of an ignore file, such as that
// of a line in .gitattributes. ok is false for one that matches nothing.
func ParsePattern(text string, fold bool) (p Pattern, ok bool) { return parseLine(text, fold) }

// MatchFile reports whether the pattern matches a file, whose path is relative to
// the folder that the pattern is. Whether it is negated does not count.
func (p *Pattern) MatchFile(path string) bool {
	return p.match(path, path[strings.LastIndexByte(path, '/')+1:], false)
}

// match reports whether the pattern matches a path relative to the folder of its
// file; name is the path's last element.
func (p *Pattern) match(path, name string, isDir bool) bool {
	if p.dirOnly && !isDir {
		return false
	}
	if p.base {
		path = name
	}
	if p.suffix {
		return len(path) >= len(p.prefix) && p.equal(path[len(path)-len(p.prefix):], p.prefix)
	}
	if len(path) < len(p.prefix) || !p.equal(path[:len(p.prefix)], p.prefix) {
		return false
	}
	path = path[len(p.prefix):]
	if p.plain {
		return path == ""
	}
	return p.rest.match(path)
}

func (p *Pattern) equal(a, b string) bool {
	if !p.fold {
		return a == b
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// Match returns the last pattern of the list that matches path, nil where none
// does. path is slash-separated, relative to the root that Dir is relative to.
func (l *List) Match(path string, isDir bool) *Pattern {
	if l.Dir != "" {
		if len(path) <= len(l.Dir) || path[len(l.Dir)] != '/' || path[:len(l.Dir)] != l.Dir {
			return nil
		}
		path = path[len(l.Dir)+1:]
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	for i := len(l.Patterns) - 1; i >= 0; i-- {
		if l.Patterns[i].match(path, name, isDir) {
			return &l.Patterns[i]
		}
	}
	return nil
}

// Stack is ignore files by rising precedence: the last list that has an answer
// gives it.
type Stack []*List

// Match returns the pattern that decides over path, nil where none matches. The
// path is excluded where the pattern is there and not Negated.
func (s Stack) Match(path string, isDir bool) *Pattern {
	for i := len(s) - 1; i >= 0; i-- {
		if p := s[i].Match(path, isDir); p != nil {
			return p
		}
	}
	return nil
}

// Push returns the stack with l on top. The receiver is not changed, so that the
// walks of sibling folders can share it.
func (s Stack) Push(l *List) Stack {
	if len(l.Patterns) == 0 {
		return s
	}
	return append(s[:len(s):len(s)], l)
}
