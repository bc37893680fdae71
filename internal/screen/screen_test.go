package screen

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"plain\ntext\n":                     "plain\ntext\n",
		"no end":                            "no end",
		"windows\r\nline\r\n":               "windows\nline\n",
		"10%\r20%\r100%\nnext":              "100%\nnext",
		"\r 0%\r 50%\r100%\n":               "100%\n",
		"long text\rshort\n":                "short\n",
		"ends in one\r":                     "ends in one",
		"a\n\n\nb\n":                        "a\n\n\nb\n",
		"1/9\b\b\b2/9\n":                    "2/9\n",
		"\x1b[31mred\x1b[0m\r\x1b[32mgreen": "\x1b[32mgreen",
		"\x1b]0;title\x07text":              "\x1b]0;title\x07text",
		// tqdm: two bars, the inner one redrawn below the outer one.
		"\router 0\n\rinner 0\x1b[A\n\rinner 9\x1b[A\router 9\n\x1b[A\n": "outer 9\ninner 9",
		// rich: two rows, drawn again from the first.
		"a 0\nb 0\r\x1b[2K\x1b[1A\x1b[2Ka 1\nb 1\r\x1b[2K\x1b[1A\x1b[2Ka 2\nb 2\n": "a 2\nb 2\n",
		"up\x1b[500Atop\n":            "uptop\n",
		"broken \x1b[":                "broken \x1b[",
		"old\nrows\n\x1b[2A\x1b[Jnew": "oldnew",
	} {
		require.Equal(t, want, Text(s), "%q", s)
	}
}

// TestWriter: a line goes on as soon as it has ended, and again where it was changed later.
func TestWriter(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, step := range []struct{ in, out string }{
		{"line\n", "line\n"}, {"\r10%", ""}, {"\r20%", ""}, {"\r100%\n", "100%\n"}, {"half", ""},
		{" a line\n", "half a line\n"},
		{"outer 0\n\rinner 0\x1b[A", "outer 0\n"}, {"\router 5\n", ""}, {"\rinner 5\n", "outer 5\ninner 5\n"},
		{"the end", ""},
	} {
		_, err := w.Write([]byte(step.in))
		require.NoError(t, err)
		require.Equal(t, step.out, b.String(), "%q", step.in)
		b.Reset()
	}
	require.NoError(t, w.Flush())
	require.Equal(t, "the end\n", b.String())
}

// TestLongLine: a line without an end costs no memory, and none of it is lost.
func TestLongLine(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	part := strings.Repeat("x", 10_000)
	for range 100 {
		w.Write([]byte(part))
		require.Less(t, cap(w.rows[0].text), 4*maxRow)
	}
	w.Write([]byte("y\nz\n"))
	require.NoError(t, w.Flush())
	require.Equal(t, strings.Repeat(part, 100)+"y\nz\n", b.String())
}

// TestLongBar: above the last line it costs none either.
func TestLongBar(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Write([]byte("first\nsecond\x1b[A"))
	for range 1000 {
		w.Write([]byte(strings.Repeat("x", 10_000)))
		require.Less(t, cap(w.rows[0].text), 4*maxRow)
	}
	require.NoError(t, w.Flush())
	require.Contains(t, b.String(), "xxx\nsecond\n")
}

// TestParts: how the text is cut into writes makes no difference, and text without control
// characters passes as it is.
func TestParts(t *testing.T) {
	pieces := []string{"a", "bc ", "é", "\n", "\n", "\r", "\r\n", "\b", "\x1b[A", "\x1b[2A", "\x1b[1B", "\x1b[K",
		"\x1b[2K", "\x1b[J", "\x1b[31m", "\x1b[", "\x1b", "10%"}
	for i := range testenv.Cases(5000) {
		r := rand.New(rand.NewPCG(uint64(testenv.Seed()), uint64(i)))
		var text strings.Builder
		for range r.IntN(40) {
			text.WriteString(pieces[r.IntN(len(pieces))])
		}
		s := text.String()
		for _, make := range []func(*bytes.Buffer) *Writer{
			func(b *bytes.Buffer) *Writer { return NewWriter(b) }, func(b *bytes.Buffer) *Writer { return NewFinal(b) },
		} {
			var whole, parts bytes.Buffer
			w := make(&whole)
			w.Write([]byte(s))
			require.NoError(t, w.Flush())
			w = make(&parts)
			for rest := s; rest != ""; {
				n := 1 + r.IntN(len(rest))
				w.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			require.NoError(t, w.Flush())
			require.Equal(t, whole.String(), parts.String(), "%q", s)
		}
		if !strings.ContainsAny(s, "\r\b\x1b") {
			var b bytes.Buffer
			w := NewFinal(&b)
			w.Write([]byte(s))
			require.NoError(t, w.Flush())
			require.Equal(t, s, b.String())
		}
	}
}
