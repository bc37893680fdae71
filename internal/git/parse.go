package git

import (
	"fmt"
	"strings"
)

// Entry is one line of git's configuration.
type Entry struct {
	// Key is section, subsection and name, joined by dots: the first and the last in
	// lower case, the subsection as it was written.
	Key string

	Value    string
	HasValue bool   // false for a name without "=", which is true as a boolean
	Origin   string // "file:PATH" or "command line:", as git config --show-origin says it
}

// parser reads one configuration file as git does (git-config(1), "Syntax"; what that
// leaves open is as git's config.c has it).
type parser struct {
	text string
	at   int // of the next byte
	line int
	end  bool // the text is over
}

// next returns the next byte. Windows' line ends are one "\n", and so is the end.
func (p *parser) next() byte {
	if p.at >= len(p.text) {
		p.end = true
		return '\n'
	}
	c := p.text[p.at]
	p.at++
	if c == '\r' && p.at < len(p.text) && p.text[p.at] == '\n' {
		p.at++
		c = '\n'
	}
	if c == '\n' {
		p.line++
	}
	return c
}

// bom is what editors on Windows put in front of UTF-8.
const bom = "\xef\xbb\xbf"

// parseConfig calls each for every entry of a file, in their order. An error says the
// line that is no configuration.
func parseConfig(text string, each func(key, value string, hasValue bool) error) error {
	p := &parser{text: strings.TrimPrefix(text, bom), line: 1}
	section, comment := "", false
	for {
		line := p.line
		c := p.next()
		switch {
		case p.end:
			return nil
		case c == '\n':
			comment = false
		case comment || space(c):
		case c == '#' || c == ';':
			comment = true
		case c == '[':
			var ok bool
			if section, ok = p.section(); !ok {
				return p.bad(line)
			}
		case !letter(c):
			return p.bad(line)
		default:
			name, value, hasValue, ok := p.variable(c)
			if !ok {
				return p.bad(line)
			}
			// git keeps both as C strings, which a NUL ends.
			key, _, _ := strings.Cut(section+name, "\x00")
			value, _, _ = strings.Cut(value, "\x00")
			if err := each(key, value, hasValue); err != nil {
				return err
			}
		}
	}
}

func (p *parser) bad(line int) error { return fmt.Errorf("bad line %d", line) }

// section reads what follows "[", and returns it with a dot behind.
func (p *parser) section() (string, bool) {
	var b strings.Builder
	for {
		c := p.next()
		switch {
		case p.end:
			return "", false
		case c == ']':
			return b.String() + ".", b.Len() > 0
		case space(c):
			return p.subsection(&b, c)
		case !keyByte(c) && c != '.':
			return "", false
		}
		b.WriteByte(lower(c))
	}
}

// subsection reads a quoted subsection and the "]" behind it.
func (p *parser) subsection(b *strings.Builder, c byte) (string, bool) {
	for space(c) {
		if c == '\n' {
			return "", false
		}
		c = p.next()
	}
	if c != '"' {
		return "", false
	}
	b.WriteByte('.')
	for {
		c = p.next()
		if c == '"' {
			break
		}
		if c == '\\' {
			c = p.next()
		}
		if c == '\n' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String() + ".", p.next() == ']'
}

// variable reads a name, of which c is the first byte, and its value.
func (p *parser) variable(c byte) (name, value string, hasValue, ok bool) {
	var b strings.Builder
	for ; keyByte(c) && !p.end; c = p.next() {
		b.WriteByte(lower(c))
	}
	for c == ' ' || c == '\t' {
		c = p.next()
	}
	switch c {
	case '\n':
		return b.String(), "", false, true
	case '=':
		value, ok = p.value()
		return b.String(), value, true, ok
	}
	return "", "", false, false
}

// value reads what follows "=", to the end of its last line: blanks around it and
// comments are no part of it, quoted ones are.
func (p *parser) value() (string, bool) {
	var b strings.Builder
	quoted, comment := false, false
	pending := "" // blanks that belong to the value if anything follows them
	for {
		c := p.next()
		switch {
		case c == '\n':
			return b.String(), !quoted
		case comment:
			continue
		case space(c) && !quoted:
			if b.Len() > 0 {
				pending += string(c)
			}
			continue
		case (c == ';' || c == '#') && !quoted:
			comment = true
			continue
		}
		b.WriteString(pending)
		pending = ""
		switch c {
		case '\\':
			switch e := p.next(); e {
			case '\n': // the value goes on in the next line
			case 't':
				b.WriteByte('\t')
			case 'b':
				b.WriteByte('\b')
			case 'n':
				b.WriteByte('\n')
			case '\\', '"':
				b.WriteByte(e)
			default:
				return "", false
			}
		case '"':
			quoted = !quoted
		default:
			b.WriteByte(c)
		}
	}
}

// canonicalKey returns a key as a command line gives it, section.subsection.name, in
// the form of Entry.Key.
func canonicalKey(key string) (string, error) {
	first, last := strings.IndexByte(key, '.'), strings.LastIndexByte(key, '.')
	if last <= 0 {
		return "", fmt.Errorf("the key %q has no section", key)
	}
	section, name := key[:first], key[last+1:]
	valid := keyBytes(section) && name != "" && letter(name[0]) && keyBytes(name)
	if !valid || strings.Contains(key[first:last], "\n") {
		return "", fmt.Errorf("the key %q is none of git's", key)
	}
	return strings.ToLower(section) + key[first:last+1] + strings.ToLower(name), nil
}

func keyBytes(s string) bool {
	for i := range len(s) {
		if !keyByte(s[i]) {
			return false
		}
	}
	return true
}

func keyByte(c byte) bool { return letter(c) || '0' <= c && c <= '9' || c == '-' }
func letter(c byte) bool  { return 'a' <= lower(c) && lower(c) <= 'z' }
func space(c byte) bool   { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
