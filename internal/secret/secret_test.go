package secret_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/internal/testing/testenv"
)

var kinds = []string{"ghs_workflow_Token12", "a*b*c*d*e", "p<a>ss&word", "50%_off_100%", "with space and / +",
	"line one of it\nline two of it\n", "ümläut-秘密", `quo"te\back`, "eyJhbGciOi.J9-_x"}

// writings are the ways in which text is written somewhere.
var writings = map[string]func(string) string{
	"plain": func(s string) string { return s },
	"query": url.QueryEscape, "path": url.PathEscape,
	"json":   func(s string) string { text, _ := json.Marshal(s); return string(text) },
	"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 of a sign-in": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte("x-access-token:" + s))
	},
	"base64 in the middle": func(s string) string {
		return base64.URLEncoding.EncodeToString([]byte("user:" + s + "!"))
	},
	"hex":           func(s string) string { return hex.EncodeToString([]byte(s)) },
	"small escapes": func(s string) string { return strings.ToLower(url.QueryEscape(strings.ToLower(s))) },
}

// told tells whether a text still has a secret, in whatever way it is written: its plain
// bytes, or those that come out when it is read back.
func told(text, s string) bool {
	if strings.Contains(text, s) || strings.Contains(html.UnescapeString(text), s) {
		return true
	}
	if q, err := url.QueryUnescape(text); err == nil && strings.Contains(q, s) {
		return true
	}
	if q, err := url.PathUnescape(text); err == nil && strings.Contains(q, s) {
		return true
	}
	var j string
	if json.Unmarshal([]byte(text), &j) == nil && strings.Contains(j, s) {
		return true
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		if b, err := e.DecodeString(text); err == nil && strings.Contains(string(b), s) {
			return true
		}
	}
	b, err := hex.DecodeString(text)
	return err == nil && strings.Contains(string(b), s)
}

func TestEveryWriting(t *testing.T) {
	for _, s := range kinds {
		for name, write := range writings {
			if name == "small escapes" && s != strings.ToLower(s) {
				continue
			}
			var r secret.Redactor
			r.Add(s)
			text := write(s)
			require.True(t, told(text, s), "%s: the test reads %q back", name, text)
			require.False(t, told(r.String(text), s), "%s of %q: %q", name, s, r.String(text))
			require.Contains(t, r.String(text), secret.Mark)
			require.Equal(t, "before *** after", r.String("before "+strings.TrimSpace(s)+" after"))
		}
	}
}

func TestShortTextsAreNoSecrets(t *testing.T) {
	var r secret.Redactor
	r.Add("", "true", " \n", "12345")
	require.Equal(t, "true 12345", r.String("true 12345"))
}

// TestStreams cuts texts at random and writes them in pieces: what comes out is what
// comes out of the whole.
func TestStreams(t *testing.T) {
	var r secret.Redactor
	r.Add("abcabcabd", "bcabdefgh", "x\ny\nz1234")
	for seed := range testenv.Cases(2000) {
		random := rand.New(rand.NewPCG(uint64(seed), 2))
		var b strings.Builder
		for range random.IntN(40) {
			b.WriteString([]string{"a", "b", "c", "abc", "abcab", "abcabcabd", "bcabdefgh", "x\ny", "\n", "x\n",
				"defgh", "z1234"}[random.IntN(12)])
		}
		text := b.String()
		want := r.String(text)
		var out strings.Builder
		w := secret.NewWriter(&out, &r)
		cut := &pieces{text: text, random: random}
		for cut.text != "" {
			_, err := io.WriteString(w, cut.next())
			require.NoError(t, err)
		}
		require.NoError(t, w.Flush())
		require.Equal(t, want, out.String(), "seed %d", seed)
		got, err := io.ReadAll(secret.NewReader(io.NopCloser(&cutReader{pieces{text: text, random: random}}), &r))
		require.NoError(t, err)
		require.Equal(t, want, string(got), "seed %d", seed)
	}
}

type pieces struct {
	text   string
	random *rand.Rand
}

func (p *pieces) next() string {
	n := 1 + p.random.IntN(min(len(p.text), 7))
	piece := p.text[:n]
	p.text = p.text[n:]
	return piece
}

type cutReader struct{ pieces }

func (p *cutReader) Read(buf []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	return copy(buf, p.next()), nil
}

// A line that holds no beginning of a secret is written at once.
func TestLinesDoNotWait(t *testing.T) {
	var r secret.Redactor
	r.Add("secret-value")
	var out strings.Builder
	w := secret.NewWriter(&out, &r)
	io.WriteString(w, "a line that ends in sec\n")
	require.Equal(t, "a line that ends in sec\n", out.String())
	io.WriteString(w, "sec")
	require.Equal(t, "a line that ends in sec\n", out.String())
	io.WriteString(w, "ond\n")
	require.Equal(t, "a line that ends in sec\nsecond\n", out.String())
}

func TestOf(t *testing.T) {
	type inner struct {
		Name  string
		Any   any
		plain string
	}
	type outer struct {
		List  []string
		Map   map[string]inner
		Point *inner
		Array [2]string
		Nil   *inner
		F     func() string
	}
	s := "top-secret"
	in := &outer{List: []string{s}, Map: map[string]inner{s: {s, s, s}}, Point: &inner{s, []any{s, 1}, "p"},
		Array: [2]string{s, "b"}, F: func() string { return "f" }}
	var r secret.Redactor
	r.Add(s)
	out := secret.Of(&r, in)
	require.Equal(t, []string{"***"}, out.List)
	require.Equal(t, "***", out.Map["***"].Name)
	require.Equal(t, "***", out.Map["***"].Any)
	require.Equal(t, []any{"***", 1}, out.Point.Any)
	require.Equal(t, "p", out.Point.plain)
	require.Equal(t, [2]string{"***", "b"}, out.Array)
	require.Equal(t, "f", out.F())
	require.Equal(t, s, in.Point.Name, "the original stays as it is")
}

// A character without a width, or one that a terminal obeys, in the middle of a secret:
// who takes it out later must not make the secret whole.
func TestInvisible(t *testing.T) {
	var r secret.Redactor
	r.Add(kinds...)
	marks := []rune{0, 1, 7, '\b', 0x1b, 0x7f, 0x85, 0xad, 0x200b, 0x200c, 0x200d, 0x200e, 0x202a, 0x202e, 0x2060,
		0x2066, 0x2069, 0xfeff, 0xe0001}
	for seed := range testenv.Cases(2000) {
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		s := strings.TrimSpace(kinds[random.IntN(len(kinds))])
		var b strings.Builder
		for _, c := range s {
			for range random.IntN(3) {
				b.WriteRune(marks[random.IntN(len(marks))])
			}
			b.WriteRune(c)
		}
		got := r.String("before " + b.String() + " after")
		require.NotContains(t, secret.Visible(got), s, "seed %d", seed)
		require.NotContains(t, got, s, "seed %d", seed)
	}
	require.Equal(t, "a\u200bb\x01", r.String("a\u200bb\x01"), "nothing else is changed")
}
