// Package quoted answers: which text did git put between quotation marks?
package quoted

import "strings"

// escapes are the letters that stand for one character after a backslash.
const escapes, meant = `abfnrtv\"`, "\a\b\f\n\r\t\v\\\""

// Cut reads the text in quotation marks at the start of s, and returns it with what follows.
// It is written as in C, octal numbers of three digits included, and may hold line breaks
// (git: unquote_c_style in quote.c). ok is false where s starts otherwise.
func Cut(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", s, false
			}
			if at := strings.IndexByte(escapes, s[i]); at >= 0 {
				b.WriteByte(meant[at])
				continue
			}
			if i+2 >= len(s) || s[i] > '3' || !octal(s[i]) || !octal(s[i+1]) || !octal(s[i+2]) {
				return "", s, false
			}
			b.WriteByte((s[i]-'0')<<6 | (s[i+1]-'0')<<3 | (s[i+2] - '0'))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return "", s, false
}

func octal(c byte) bool { return '0' <= c && c <= '7' }
