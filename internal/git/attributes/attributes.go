// Package attributes answers: does git change a file's content between the
// working tree and the repository?
//
// It reads .gitattributes files as gitattributes(5) and git's attr.c describe
// them, for the attributes that stand for a content filter: text, crlf, eol,
// filter, ident, working-tree-encoding. Like the package ignore it is given the
// text of the files.
package attributes

import (
	"bytes"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/git/ignore"
	"github.com/org/aml-train/internal/git/quoted"
)

// What a file has for an attribute, where it is not a value of its own.
const (
	unspecified = ""
	set         = "\x00set"
	unset       = "\x00unset"
)

// The attributes that are kept, as places in values.
const (
	text = iota
	crlf
	eol
	filter
	ident
	encoding
	count
)

var place = map[string]int{"text": text, "crlf": crlf, "eol": eol, "filter": filter, "ident": ident,
	"working-tree-encoding": encoding}

// state is one attribute of a line.
type state struct {
	name  string
	value string
}

type line struct {
	pattern ignore.Pattern
	states  []state
}

// List is the lines of one file.
type List struct {
	dir    string
	lines  []line
	macros map[string][]state
}

// maxLine is the longest line that git takes (git: ATTR_MAX_LINE_LENGTH).
const maxLine = 2048

// Parse reads the text of an attributes file that stands in dir, relative to the
// root of the paths given to Of. Lines that git would not understand do not count.
// Only a file at the top (the root's, .git/info/attributes, the person's) may
// define macros.
func Parse(content []byte, dir string, top, fold bool) *List {
	l := &List{dir: dir}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	for raw := range bytes.Lines(content) {
		if len(bytes.TrimRight(raw, "\n")) >= maxLine {
			continue
		}
		if nul := bytes.IndexByte(raw, 0); nul >= 0 {
			raw = raw[:nul]
		}
		l.parse(string(raw), top, fold)
	}
	return l
}

const blank = " \t\r\n"

func (l *List) parse(s string, top, fold bool) {
	s = strings.TrimLeft(s, blank)
	if s == "" || s[0] == '#' {
		return
	}
	pattern, rest := s, ""
	if i := strings.IndexAny(s, blank); i >= 0 {
		pattern, rest = s[:i], s[i:]
	}
	if s[0] == '"' {
		if text, after, ok := quoted.Cut(s); ok {
			pattern, rest = text, after
		}
	}
	macro, isMacro := strings.CutPrefix(pattern, "[attr]")
	if isMacro {
		if !top || !validName(macro) {
			return
		}
	}
	states, ok := parseStates(rest)
	if !ok {
		return
	}
	if isMacro {
		if l.macros == nil {
			l.macros = map[string][]state{}
		}
		l.macros[macro] = states
		return
	}
	p, ok := ignore.ParsePattern(pattern, fold)
	if ok && !p.Negated {
		l.lines = append(l.lines, line{p, states})
	}
}

func parseStates(s string) (states []state, ok bool) {
	for f := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune(blank, r) }) {
		value := set
		if f[0] == '-' || f[0] == '!' {
			value = unset
			if f[0] == '!' {
				value = unspecified
			}
			f = f[1:]
			f, _, _ = strings.Cut(f, "=")
		} else if name, v, found := strings.Cut(f, "="); found {
			f, value = name, v
		}
		if !validName(f) {
			return nil, false
		}
		states = append(states, state{f, value})
	}
	return states, true
}

// validName: letters, digits, "-", "." and "_", and no "-" first.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' &&
			i > 0) {
			return false
		}
	}
	return s != ""
}

// Stack is attributes files by rising precedence.
type Stack []*List

// Push returns the stack with l on top. The receiver is not changed.
func (s Stack) Push(l *List) Stack {
	if len(l.lines) == 0 && len(l.macros) == 0 {
		return s
	}
	return append(s[:len(s):len(s)], l)
}

// values are what a file has of each attribute; known tells which are decided.
type values struct {
	value [count]string
	known [count]bool
	seen  map[string]bool // other attributes that are decided: they may be macros
}

// Of returns what stands between the file at that path and its blob, with
// core.autocrlf as it is configured.
func (s Stack) Of(path string, autocrlf string) Filter {
	v := s.values(path)
	return v.filter(autocrlf)
}

// Drives tells whether any line of it is about a filter driver.
func (s Stack) Drives() bool {
	for _, l := range s {
		for i := range l.lines {
			if drives(l.lines[i].states) {
				return true
			}
		}
		for _, states := range l.macros {
			if drives(states) {
				return true
			}
		}
	}
	return false
}

func drives(states []state) bool {
	return slices.ContainsFunc(states, func(s state) bool { return s.name == "filter" })
}

func (s Stack) values(path string) (v values) {
	for i := len(s) - 1; i >= 0; i-- {
		l := s[i]
		rel := path
		if l.dir != "" {
			if len(path) <= len(l.dir) || path[len(l.dir)] != '/' || path[:len(l.dir)] != l.dir {
				continue
			}
			rel = path[len(l.dir)+1:]
		}
		for j := len(l.lines) - 1; j >= 0; j-- {
			if n := &l.lines[j]; n.pattern.MatchFile(rel) {
				s.fill(&v, n.states, 0)
			}
		}
	}
	return v
}

// fill decides what is undecided yet, the last of a line first, as git does.
func (s Stack) fill(v *values, states []state, depth int) {
	for i := len(states) - 1; i >= 0; i-- {
		st := states[i]
		if at, ok := place[st.name]; ok {
			if v.known[at] {
				continue
			}
			v.value[at], v.known[at] = st.value, true
		} else {
			if v.seen[st.name] {
				continue
			}
			if v.seen == nil {
				v.seen = map[string]bool{}
			}
			v.seen[st.name] = true
		}
		if st.value == set && depth < 100 {
			s.fill(v, s.macro(st.name), depth+1)
		}
	}
}

// macro returns what a macro stands for: the definition of the highest precedence,
// or git's only own one.
func (s Stack) macro(name string) []state {
	for i := len(s) - 1; i >= 0; i-- {
		if states, ok := s[i].macros[name]; ok {
			return states
		}
	}
	if name == "binary" {
		return []state{{"diff", unset}, {"merge", unset}, {"text", unset}}
	}
	return nil
}

// Filter is what stands between a file and its blob.
type Filter struct {
	// Lines tells that line ends may be converted: CRLF to LF where a file is
	// added (git: convert.c, crlf_to_git).
	Lines bool
	// Auto tells that this is so only for what looks like text.
	Auto bool
	// Ident tells that $Id: ...$ is shortened to $Id$.
	Ident bool
	// Driver is the name of a filter driver, such as "lfs".
	Driver string
	// Encoding is how the file is encoded, where the blob is UTF-8.
	Encoding string
}

// None tells that nothing does.
func (f Filter) None() bool { return f == Filter{} }

// OnlyLines tells that nothing but a conversion of line ends does.
func (f Filter) OnlyLines() bool { return f == Filter{Lines: true, Auto: f.Auto} }

// filter draws the conclusion (git: convert.c, convert_attrs).
func (v *values) filter(autocrlf string) Filter {
	var f Filter
	f.Ident = v.value[ident] == set
	if d := v.value[filter]; d != set && d != unset {
		f.Driver = d
	}
	if e := v.value[encoding]; e != set && e != unset && !strings.EqualFold(e, "utf-8") &&
		!strings.EqualFold(e, "utf8") {
		f.Encoding = e
	}
	t := v.value[text]
	action := lineAction(t)
	if action == "" {
		action = lineAction(v.value[crlf])
	}
	if action != "binary" && (v.value[eol] == "lf" || v.value[eol] == "crlf") && action != "auto" {
		action = "text" // eol alone says that the file is text
	}
	if action == "" {
		switch strings.ToLower(autocrlf) {
		case "input":
			action = "auto"
		case "", "false", "no", "off", "0":
		default:
			action = "auto"
		}
	}
	f.Lines, f.Auto = action == "text" || action == "auto", action == "auto"
	return f
}

func lineAction(value string) string {
	switch value {
	case set, "input":
		return "text"
	case unset:
		return "binary"
	case "auto":
		return "auto"
	}
	return ""
}

// Clean returns what git would store for a file with that content, where line
// ends and $Id$ are all that is filtered; ok is false where a driver or an
// encoding would have to be asked. stored returns the blob that is stored now.
func (f Filter) Clean(content []byte, stored func() []byte) (cleaned []byte, ok bool) {
	if f.Driver != "" || f.Encoding != "" {
		return nil, false
	}
	if f.Lines && bytes.Contains(content, []byte("\r\n")) &&
		!(f.Auto && (looksBinary(content) || hasCRLF(stored()))) {
		content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	}
	if f.Ident {
		content = shortenIdent(content)
	}
	return content, true
}

// hasCRLF tells whether a blob holds CRLF line ends already; then "auto" leaves
// those of the file alone (git: has_crlf_in_index).
func hasCRLF(blob []byte) bool {
	return bytes.Contains(blob, []byte("\r\n")) && !looksBinary(blob)
}

// looksBinary is git's guess (convert.c, gather_stats and convert_is_binary): a
// zero byte, a CR alone, or more than one control character in 128.
func looksBinary(content []byte) bool {
	printable, control := 0, 0
	for i := 0; i < len(content); i++ {
		switch c := content[i]; {
		case c == '\r':
			if i+1 == len(content) || content[i+1] != '\n' {
				return true
			}
			i++
		case c == '\n':
		case c == 127:
			control++
		case c >= 32:
			printable++
		case c == '\b' || c == '\t' || c == '\033' || c == '\014':
			printable++
		case c == 0:
			return true
		default:
			control++
		}
	}
	// A DOS end of file does not count.
	if n := len(content); n > 0 && content[n-1] == '\032' {
		control--
	}
	return printable>>7 < control
}

// shortenIdent makes $Id$ of $Id: ...$ on one line (git: ident_to_git).
func shortenIdent(content []byte) []byte {
	var out []byte
	for {
		i := bytes.Index(content, []byte("$Id"))
		if i < 0 || len(content) < i+4 {
			return append(out, content...)
		}
		out = append(out, content[:i+3]...)
		content = content[i+3:]
		if content[0] != ':' {
			continue
		}
		end := bytes.IndexByte(content, '$')
		if end < 0 || bytes.IndexByte(content[:end], '\n') >= 0 {
			continue
		}
		out = append(out, '$')
		content = content[end+1:]
	}
}
