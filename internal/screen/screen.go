// Package screen answers: what stands there once a terminal has shown it?
//
// Progress bars (tqdm, rich, Keras) write over what they wrote, with carriage returns and
// by moving the cursor up. Where the output is no terminal, each of their states would be
// text of its own; this package leaves the last one.
package screen

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// height is how far up a cursor can go: what is above has scrolled off.
const height = 100

// maxRow bounds a line that is held until it ends; longer ones are passed on in parts.
const maxRow = 64 << 10

// Writer passes on the lines that are written to it as a terminal leaves them. A line goes
// on when the next one begins; one that is overwritten afterwards, as by several bars, goes
// on again with its last state. Other escape sequences than those of cursor and erasing
// pass as they are.
type Writer struct {
	w      io.Writer
	late   bool // a line goes on when it has scrolled off, so that it is final
	rows   []row
	at     int    // the row of the cursor
	escape []byte // an escape sequence that has begun
	err    error
}

type row struct {
	text  []byte
	clear bool // a carriage return: what comes is written over it
	dirty bool // it was not passed on as it is now
	open  bool // its beginning was passed on, its end was not
}

// NewWriter returns a Writer to w; Flush ends it.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, rows: make([]row, 1, height+1)} }

// NewFinal returns a Writer to w that passes each line on once.
func NewFinal(w io.Writer) *Writer {
	s := NewWriter(w)
	s.late = true
	return s
}

// Text is what a terminal shows of s.
func Text(s string) string {
	if !strings.ContainsAny(s, "\r\b\x1b") {
		return s
	}
	var b strings.Builder
	w := NewFinal(&b)
	w.Write([]byte(s))
	w.Flush()
	return b.String()
}

// Write implements io.Writer.
func (s *Writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && s.err == nil {
		if len(s.escape) > 0 {
			p = s.sequence(p)
			continue
		}
		i := bytes.IndexAny(p, "\n\r\b\x1b")
		if i < 0 {
			i = len(p)
		}
		if i > 0 {
			s.print(p[:i])
		}
		if i == len(p) {
			break
		}
		switch p[i] {
		case '\n':
			s.newline()
		case '\r':
			s.rows[s.at].clear = true
		case '\b':
			r := &s.rows[s.at]
			r.text, r.dirty = r.text[:max(0, len(r.text)-1)], true
		case '\x1b':
			s.escape = append(s.escape, '\x1b')
		}
		p = p[i+1:]
	}
	return n, s.err
}

func (s *Writer) print(p []byte) {
	r := &s.rows[s.at]
	if r.clear {
		if r.open { // its beginning cannot be taken back
			s.put([]byte("\n"))
			r.open = false
		}
		r.text = r.text[:0]
	}
	r.text, r.clear, r.dirty = append(r.text, p...), false, true
	if len(r.text) > maxRow && s.at < len(s.rows)-1 { // of a bar, the end is enough
		r.text = append(r.text[:0], r.text[len(r.text)-maxRow/2:]...)
	}
	if len(r.text) > maxRow {
		s.pass(len(s.rows) - 1)
		s.rows = append(s.rows[:0], s.rows[s.at])
		s.at, r = 0, &s.rows[0]
		s.put(r.text)
		r.text, r.dirty, r.open = r.text[:0], false, true
	}
}

// newline moves the cursor to the next row, of which there may be none yet.
func (s *Writer) newline() {
	s.rows[s.at].clear = false
	if s.at++; s.at < len(s.rows) {
		s.rows[s.at].clear = true // the column is the first
		return
	}
	s.rows[s.at-1].dirty = s.rows[s.at-1].dirty || len(s.rows[s.at-1].text) == 0 // an empty line is one
	if !s.late {
		s.pass(s.at)
	}
	if len(s.rows) < height {
		s.rows = append(s.rows, row{})
		return
	}
	s.pass(1)
	first := s.rows[0].text[:0] // its memory is the new row's: a flood of lines makes no garbage
	copy(s.rows, s.rows[1:])
	s.at--
	s.rows[s.at] = row{text: first}
}

// pass passes the first n rows on, as far as they are not.
func (s *Writer) pass(n int) {
	for i := range s.rows[:n] {
		if r := &s.rows[i]; r.dirty || r.open {
			r.text = append(r.text, '\n')
			s.put(r.text)
			r.text, r.dirty, r.open = r.text[:len(r.text)-1], false, false
		}
	}
}

func (s *Writer) put(p []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(p)
	}
}

// sequence takes the rest of an escape sequence off p and returns what follows.
func (s *Writer) sequence(p []byte) []byte {
	for i, c := range p {
		s.escape = append(s.escape, c)
		switch {
		case len(s.escape) == 2 && c == '[':
			continue
		case len(s.escape) > 2 && len(s.escape) < 32 && c < '@' && c >= ' ': // parameters
			continue
		}
		if whole := s.escape; len(whole) > 2 && whole[1] == '[' && strings.IndexByte("ABKJFEG", c) >= 0 {
			s.move(c, string(whole[2:len(whole)-1]))
			s.escape = s.escape[:0]
		} else {
			s.escape = s.escape[:0]
			if c == '\n' || c == '\r' || c == '\b' || c == '\x1b' {
				s.print(whole[:len(whole)-1])
				return p[i:]
			}
			s.print(whole)
		}
		return p[i+1:]
	}
	return nil
}

// move obeys a sequence for the cursor, or one that erases.
func (s *Writer) move(command byte, parameter string) {
	n, err := strconv.Atoi(parameter)
	if err != nil || n < 1 {
		n = 1
	}
	r := &s.rows[s.at]
	switch command {
	case 'A', 'F':
		s.at = max(0, s.at-n)
	case 'B', 'E':
		s.at = min(len(s.rows)-1, s.at+n)
	case 'G':
		r.clear = r.clear || n == 1
	case 'K':
		if parameter == "2" || r.clear {
			r.text, r.dirty = r.text[:0], r.dirty || len(r.text) > 0
		}
	case 'J':
		if r.clear {
			r.text, r.dirty = r.text[:0], r.dirty || len(r.text) > 0
		}
		if parameter == "" || parameter == "0" {
			s.rows = s.rows[:s.at+1]
		}
	}
	if command == 'E' || command == 'F' {
		s.rows[s.at].clear = true
	}
}

// Flush passes on what is there, the line that has not ended included.
func (s *Writer) Flush() error {
	if len(s.escape) > 0 {
		s.print(s.escape)
		s.escape = nil
	}
	last := len(s.rows) - 1
	s.pass(last)
	if r := &s.rows[last]; len(r.text) > 0 && r.dirty {
		s.put(r.text)
		if !s.late {
			s.put([]byte("\n"))
		}
	}
	s.rows, s.at = s.rows[:1], 0
	s.rows[0] = row{}
	return s.err
}
