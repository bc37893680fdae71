// Package secret answers: how does a secret stay out of what is told?
//
// A Redactor is the one place that knows the secrets of a command. Data pass it before
// any text is made of them, since escaping for Markdown or a URL writes a secret in a
// way in which nobody finds it again, and every stream passes it on its way out.
package secret

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Mark stands where a secret stood, as in GitHub's logs.
const Mark = "***"

// Shortest is the least number of bytes that a secret has: a shorter one would black
// out words.
const Shortest = 6

// Redactor takes secrets out of text. Its zero value, and nil, know none. It is safe for use by
// several goroutines.
type Redactor struct {
	mu      sync.RWMutex
	secrets []string
	forms   [256][]string // every way to write one of them, by its first byte, the longest first
}

// Add makes texts secrets, and each line of them.
func (r *Redactor) Add(texts ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range texts {
		for _, s := range append([]string{s, strings.TrimSpace(s)}, strings.Split(s, "\n")...) {
			s = strings.TrimRight(s, "\r\n")
			if len(strings.TrimSpace(s)) < Shortest || slices.Contains(r.secrets, s) {
				continue
			}
			r.secrets = append(r.secrets, s)
			for _, f := range forms(s) {
				list := append(r.forms[f[0]], f)
				slices.SortFunc(list, func(a, b string) int {
					return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
				})
				r.forms[f[0]] = slices.Compact(list)
			}
		}
	}
}

// forms returns the ways in which a secret is written elsewhere than alone: in a URL, in
// JSON, in base64 and hexadecimal digits, there also as part of a longer text.
func forms(s string) []string {
	list := []string{s}
	for _, escaped := range []string{url.QueryEscape(s), url.PathEscape(s), percent(s)} {
		list = append(list, escaped, lowerEscapes(escaped))
	}
	digits := hex.EncodeToString([]byte(s))
	list = append(list, digits, strings.ToUpper(digits))
	for _, escape := range []bool{true, false} {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escape)
		if e.Encode(s) == nil {
			list = append(list, strings.Trim(strings.TrimSpace(b.String()), `"`))
		}
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // bytes in front of it, which share a digit with it
			text := encoding.EncodeToString([]byte(strings.Repeat("x", before) + s))
			text = text[(before*8+5)/6 : (before+len(s))*8/6]
			if len(text) >= Shortest {
				list = append(list, text)
			}
		}
	}
	return slices.DeleteFunc(list, func(f string) bool { return len(f) < Shortest })
}

// percent escapes every byte that is no letter and no digit.
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// lowerEscapes writes the digits of percent escapes as small letters.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}

// String returns s without the secrets.
func (r *Redactor) String(s string) string {
	out, _ := r.redact(s, true)
	if r == nil || r.none() {
		return out
	}
	if plain := Visible(out); plain != out { // whoever removes them later makes the secret whole
		if redacted, _ := r.redact(plain, true); redacted != plain {
			return redacted
		}
	}
	return out
}

// Visible returns s without control characters, but for line ends and tabs, and without
// those that have no width or turn the direction of what follows.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

// none tells that no secret is known.
func (r *Redactor) none() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.secrets) == 0
}

// redact returns s without the secrets. Unless s is all that there is, its end may be
// the beginning of a secret: it is returned as it is, to be looked at with what follows.
func (r *Redactor) redact(s string, all bool) (out, rest string) {
	if r == nil {
		return s, ""
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.secrets) == 0 {
		return s, ""
	}
	var b strings.Builder
	done := 0 // up to where b has s
next:
	for i := 0; i < len(s); {
		for _, f := range r.forms[s[i]] {
			switch {
			case strings.HasPrefix(s[i:], f):
				b.WriteString(s[done:i] + Mark)
				i += len(f)
				done = i
				continue next
			case !all && strings.HasPrefix(f, s[i:]):
				b.WriteString(s[done:i])
				return b.String(), s[i:]
			}
		}
		i++
	}
	if done == 0 {
		return s, ""
	}
	b.WriteString(s[done:])
	return b.String(), ""
}

// Of returns a copy of v in which no text holds a secret: no string, key of a map or
// field of a struct, as deep as it goes. What the copy shares with v are functions,
// channels, unexported fields and interfaces' other types.
func Of[T any](r *Redactor, v T) T {
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	out.Set(r.value(reflect.ValueOf(&v).Elem()))
	return out.Interface().(T)
}

func (r *Redactor) value(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.String:
		out.SetString(r.String(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			p := reflect.New(v.Type().Elem())
			p.Elem().Set(r.value(v.Elem()))
			out.Set(p)
		}
	case reflect.Interface:
		if !v.IsNil() {
			out.Set(r.value(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(r.value(v.Index(i)))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(r.value(v.Index(i)))
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
			for k, e := range v.Seq2() {
				out.SetMapIndex(r.value(k), r.value(e))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(r.value(v.Field(i)))
			}
		}
	}
	return out
}
