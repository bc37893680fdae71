// Package clip answers: what is shown, or kept, of a text that is too long?
//
// Its beginning and three dots. No character is cut in two.
package clip

import "strings"

const dots = "..."

// Bytes returns a text in at most so many bytes, which are three at least.
func Bytes(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(dots)], "") + dots
}

// Runes returns a text in at most so many characters, which are three at least.
func Runes(s string, most int) string {
	if len(s) <= most {
		return s
	}
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-len(dots)]) + dots
}
