package ignore

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWildmatch goes through the cases that git tests its own matcher with
// (t/t3070-wildmatch.sh), written down as data.
func TestWildmatch(t *testing.T) {
	text, err := os.ReadFile("testdata/wildmatch.tsv")
	require.NoError(t, err)
	cases := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, f, 3, line)
		verdict, text, pattern := f[0], f[1], f[2]
		require.Equal(t, verdict == "yes", compile(pattern, false).match(text), "%q %q", text, pattern)
		require.Equal(t, verdict != "no", compile(pattern, true).match(text), "%q %q, case ignored", text, pattern)
		cases++
	}
	require.Greater(t, cases, 180)
}

func TestParse(t *testing.T) {
	text := "\xef\xbb\xbf# comment\r\n\r\n*.log  \r\n!keep.log\n\\#hash\n\\!bang\ntrail\\ \n/\n!\ntab\t\n" +
		"cut\x00off\nlast"
	l := Parse([]byte(text), ".gitignore", "", false)
	var got []string
	for _, p := range l.Patterns {
		got = append(got, p.Text)
	}
	require.Equal(t, []string{"*.log", "!keep.log", `\#hash`, `\!bang`, `trail\ `, "tab\t", "cut", "last"}, got)
	require.Equal(t, 3, l.Patterns[0].Line)
	for path, want := range map[string]string{
		"a.log": "*.log", "keep.log": "!keep.log", "x/keep.log": "!keep.log", "#hash": `\#hash`, "!bang": `\!bang`,
		"trail ": `trail\ `, "trail": "", "cut": "cut", "last": "last", "tab\t": "tab\t", "other": "",
	} {
		p := l.Match(path, false)
		if want == "" {
			require.Nil(t, p, path)
			continue
		}
		require.NotNil(t, p, path)
		require.Equal(t, want, p.Text, path)
	}
}

func TestStack(t *testing.T) {
	var s Stack
	s = s.Push(Parse([]byte("*.log\nbuild/\n"), ".gitignore", "", false))
	deeper := s.Push(Parse([]byte("!keep.log\n/only\n"), "src/.gitignore", "src", false))
	require.False(t, s.Match("src/keep.log", false).Negated)
	require.True(t, deeper.Match("src/keep.log", false).Negated)
	require.Nil(t, deeper.Match("src/lib/only", false))
	require.NotNil(t, deeper.Match("src/only", false))
	require.Nil(t, deeper.Match("srcx/only", false))
	require.Nil(t, deeper.Match("build", false), "a folder's pattern does not match a file")
	require.NotNil(t, deeper.Match("src/build", true))
}

// A pattern cannot be made to take for ever: the time is bounded by the product
// of the lengths.
func TestNoExplosion(t *testing.T) {
	pattern := strings.Repeat("*a", 2000) + "b"
	text := strings.Repeat("a", 20000)
	require.False(t, compile(pattern, false).match(text))
	require.False(t, compile(strings.Repeat("**/a/", 500)+"b", false).match(strings.Repeat("a/", 5000)))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("*.py\n!a/**/b\n[a-z]\\"), "a/b/c.py", true)
	f.Add([]byte("\xef\xbb\xbf/**/x/\r\n[[:alpha:]]*"), "x", false)
	f.Fuzz(func(t *testing.T, text []byte, path string, fold bool) {
		if path == "" || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
			return
		}
		l := Parse(text, ".gitignore", "", fold)
		for _, p := range l.Patterns {
			if p.Line < 1 || strings.ContainsAny(p.Text, "\n\x00") {
				t.Fatalf("pattern %+v", p)
			}
		}
		for _, dir := range []bool{false, true} {
			if p := l.Match(path, dir); p != nil && !dir && strings.HasSuffix(p.Text, "/") {
				t.Fatalf("%q matches a file by %q", path, p.Text)
			}
		}
	})
}
