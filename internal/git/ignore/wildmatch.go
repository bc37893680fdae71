package ignore

import (
	"slices"
	"strings"
)

// tokenKind says what one element of a compiled glob consumes.
type tokenKind uint8

const (
	literal tokenKind = iota // exactly the byte b
	anyByte                  // one byte other than '/'
	set                      // one byte of the set, never '/'
	star                     // any number of bytes other than '/'
	deep                     // any number of bytes, '/' included
	deepDir                  // deep followed by a '/', or nothing at all
)

type token struct {
	kind tokenKind
	b    byte
	in   *[4]uint64 // set: bit c is set where byte c matches
}

// glob is a compiled pattern. A nil glob matches nothing: git treats a pattern
// that ends in a lone backslash or holds an unterminated bracket as one that no
// path can satisfy.
type glob struct {
	tokens     []token
	ignoreCase bool
}

// WildMatch tells whether a pattern in that dialect matches the whole of a text.
func WildMatch(pattern, text string, ignoreCase bool) bool {
	g := compile(pattern, ignoreCase)
	return g != nil && g.match(text)
}

// compile translates a pattern in the dialect of git's wildmatch.c with
// WM_PATHNAME, as gitignore(5) describes it. It returns nil where the pattern
// can match nothing.
func compile(pattern string, ignoreCase bool) *glob {
	g := &glob{ignoreCase: ignoreCase}
	for i := 0; i < len(pattern); {
		switch c := pattern[i]; c {
		case '*':
			start := i
			for i < len(pattern) && pattern[i] == '*' {
				i++
			}
			t := token{kind: star}
			if i-start > 1 && (start == 0 || pattern[start-1] == '/') {
				rest := pattern[i:]
				switch {
				case strings.HasPrefix(rest, "/"):
					t.kind = deepDir
					i++
				case rest == "", strings.HasPrefix(rest, `\/`):
					t.kind = deep
				}
			}
			g.tokens = append(g.tokens, t)
		case '?':
			g.tokens = append(g.tokens, token{kind: anyByte})
			i++
		case '[':
			in, n := parseSet(pattern[i:], ignoreCase)
			if n == 0 {
				return nil
			}
			g.tokens = append(g.tokens, token{kind: set, in: in})
			i += n
		case '\\':
			i++
			if i == len(pattern) {
				return nil
			}
			c = pattern[i]
			fallthrough
		default:
			if ignoreCase {
				c = lower(c)
			}
			g.tokens = append(g.tokens, token{kind: literal, b: c})
			i++
		}
	}
	return g
}

// match reports whether the whole of text matches. It backtracks to the last
// star and, failing that, to the last deep token: what stands before a star
// needs no second try, so the time is at most quadratic in each.
func (g *glob) match(text string) bool {
	if g == nil {
		return false
	}
	type mark struct{ token, text int }
	none := mark{token: -1}
	lastStar, lastDeep := none, none
	ti, si := 0, 0
	for {
		if ti < len(g.tokens) {
			t := &g.tokens[ti]
			switch t.kind {
			case star:
				ti++
				lastStar = mark{ti, si}
				continue
			case deep, deepDir:
				ti++
				lastDeep, lastStar = mark{ti, si}, none
				continue
			}
			if si < len(text) && g.one(t, text[si]) {
				ti++
				si++
				continue
			}
		} else if si == len(text) {
			return true
		}
		// Mismatch: let the last star take one byte more, or the last deep token.
		if lastStar != none && lastStar.text < len(text) && text[lastStar.text] != '/' {
			lastStar.text++
			ti, si = lastStar.token, lastStar.text
			continue
		}
		if lastDeep == none {
			return false
		}
		next := lastDeep.text + 1
		if g.tokens[lastDeep.token-1].kind == deepDir {
			slash := strings.IndexByte(text[lastDeep.text:], '/')
			if slash < 0 {
				return false
			}
			next = lastDeep.text + slash + 1
		}
		if next > len(text) {
			return false
		}
		lastDeep.text, lastStar = next, none
		ti, si = lastDeep.token, next
	}
}

func (g *glob) one(t *token, c byte) bool {
	if g.ignoreCase {
		c = lower(c)
	}
	switch t.kind {
	case literal:
		return c == t.b
	case anyByte:
		return c != '/'
	default:
		return t.in[c>>6]&(1<<(c&63)) != 0
	}
}

// parseSet compiles the bracket expression at the start of p and returns how
// many bytes it takes, 0 where it is malformed.
//
// Two habits of git are kept: "]" directly after the opening is a member, and
// when case is ignored the text is lowered but a single upper-case member is
// not, so that "[A]" matches neither "a" nor "A", while "[A-Z]" matches both.
func parseSet(p string, ignoreCase bool) (*[4]uint64, int) {
	m := members{ignoreCase: ignoreCase}
	i, negated := 1, false
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		negated = true
		i++
	}
	prev, hasPrev := byte(0), false
	for first := true; ; first = false {
		if i >= len(p) {
			return nil, 0
		}
		c := p[i]
		if c == ']' && !first {
			i++
			break
		}
		switch {
		case c == '\\':
			i++
			if i >= len(p) {
				return nil, 0
			}
			c = p[i]
			m.spans = append(m.spans, span{c, c})
			prev, hasPrev = c, true
		case c == '-' && hasPrev && i+1 < len(p) && p[i+1] != ']':
			i++
			hi := p[i]
			if hi == '\\' {
				i++
				if i >= len(p) {
					return nil, 0
				}
				hi = p[i]
			}
			m.spans = append(m.spans, span{prev, hi})
			hasPrev = false
		case c == '[' && i+1 < len(p) && p[i+1] == ':':
			n, isClass := m.class(p[i+2:])
			if n < 0 {
				return nil, 0
			}
			if !isClass {
				prev, hasPrev = '[', true
				break
			}
			i += n
			hasPrev = false
		default:
			m.spans = append(m.spans, span{c, c})
			prev, hasPrev = c, true
		}
		i++
	}
	return m.set(negated), i
}

// class adds a class such as alpha:] to the members, of which "[:" stands before p, and returns
// how many bytes more than the bracket it takes, less than 0 where it is malformed. What ends as
// no class does is a bracket.
func (m *members) class(p string) (n int, isClass bool) {
	end := strings.IndexByte(p, ']')
	if end < 0 {
		return -1, false
	}
	name, ok := strings.CutSuffix(p[:end], ":")
	if !ok {
		m.spans = append(m.spans, span{'[', '['})
		return 0, false
	}
	class := posixClass(name, m.ignoreCase)
	if class == nil {
		return -1, false
	}
	m.classes = append(m.classes, class)
	return 2 + end, true
}

// members are what a bracket expression names.
type members struct {
	spans      []span
	classes    []func(byte) bool
	ignoreCase bool
}

type span struct{ lo, hi byte }

// set has a bit for each byte that matches. A slash never does.
func (m members) set(negated bool) *[4]uint64 {
	in := new([4]uint64)
	for c := range 256 {
		b := byte(c)
		if m.has(b) != negated && b != '/' {
			in[b>>6] |= 1 << (b & 63)
		}
	}
	return in
}

func (m members) has(b byte) bool {
	for _, s := range m.spans {
		if s.lo <= b && b <= s.hi {
			return true
		}
		if m.ignoreCase && s.lo != s.hi && 'a' <= b && b <= 'z' {
			if up := b - 'a' + 'A'; s.lo <= up && up <= s.hi {
				return true
			}
		}
	}
	return slices.ContainsFunc(m.classes, func(class func(byte) bool) bool { return class(b) })
}

// posixClass returns the members of [:name:] as git's sane_ctype sees them,
// ASCII only; nil for a name that POSIX does not define.
func posixClass(name string, ignoreCase bool) func(byte) bool {
	between := func(lo, hi byte) func(byte) bool {
		return func(c byte) bool { return lo <= c && c <= hi }
	}
	low, up, digit := between('a', 'z'), between('A', 'Z'), between('0', '9')
	alpha := func(c byte) bool { return low(c) || up(c) }
	switch name {
	case "alnum":
		return func(c byte) bool { return alpha(c) || digit(c) }
	case "alpha":
		return alpha
	case "blank":
		return func(c byte) bool { return c == ' ' || c == '\t' }
	case "cntrl":
		return func(c byte) bool { return c < ' ' || c == 0x7f }
	case "digit":
		return digit
	case "graph":
		return between('!', '~')
	case "lower":
		return low
	case "print":
		return between(' ', '~')
	case "punct":
		return func(c byte) bool { return '!' <= c && c <= '~' && !alpha(c) && !digit(c) }
	case "space":
		return func(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f' }
	case "upper":
		return func(c byte) bool { return up(c) || ignoreCase && low(c) }
	case "xdigit":
		return func(c byte) bool { return digit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
	}
	return nil
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
