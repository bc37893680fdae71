package attributes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is said of each attribute is what git check-attr says.
func TestAgainstCheckAttr(t *testing.T) {
	files := map[string]string{
		".git/info/attributes": "info.txt -text\n[attr]top text eol=lf\n",
		".gitattributes": "\xef\xbb\xbf# comment\n* text=auto\n*.py text eol=lf\r\n*.png binary\n\"with space.txt\" " +
			"eol=crlf\n*.ipynb filter=lfs diff=lfs -text\n" +
			"[attr]mine ident -text\nmine.* mine\nunmine.* mine -mine\n!negated.txt text\ndir/ text\n" +
			"/anchored.txt -text\n" +
			"deep/**/x.txt encoding working-tree-encoding=UTF-16\n*.bad b@d text\n*.cr crlf=input\n*.auto crlf=auto\n" +
			"*.nocr -crlf\n*.top top\n" +
			"override.txt text\noverride.txt !text\ninfo.txt text\n  indented.txt   -text\n*.two text -text\n" +
			"*.q \"quoted\n",
		"deep/.gitattributes":   "*.py -text\n*.txt !eol\n[attr]never text\n",
		"deep/a/.gitattributes": strings.Repeat("x", 3000) + " text\n*.txt ident\n",
	}
	paths := []string{"a.txt", "a.py", "deep/a.py", "deep/a/b.py", "a.png", "with space.txt", "n.ipynb", "mine.txt",
		"unmine.txt", "!negated.txt", "negated.txt", "dir/a.txt",
		"dir", "anchored.txt", "deep/anchored.txt", "deep/a/x.txt", "deep/a/b/c/x.txt", "deep/x.txt", "a.bad", "a.cr",
		"a.auto", "a.nocr", "a.top", "override.txt", "info.txt",
		"indented.txt", "a.two", "a.q", "deep/never.txt", strings.Repeat("x", 30)}
	dir := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_ATTR_NOSYSTEM=1",
			"HOME="+dir, "XDG_CONFIG_HOME="+dir)
		out, err := cmd.Output()
		require.NoError(t, err)
		return string(out)
	}
	git("init", "-q")
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	var s Stack
	s = s.Push(Parse([]byte(files[".gitattributes"]), "", true, false))
	s = s.Push(Parse([]byte(files["deep/.gitattributes"]), "deep", false, false))
	s = s.Push(Parse([]byte(files["deep/a/.gitattributes"]), "deep/a", false, false))
	s = s.Push(Parse([]byte(files[".git/info/attributes"]), "", true, false))
	names := []string{"text", "crlf", "eol", "filter", "ident", "working-tree-encoding"}
	var want, got strings.Builder
	for _, p := range paths {
		fields := strings.Split(git(append(append([]string{"check-attr", "-z"}, names...), "--", p)...), "\x00")
		for i := 0; i+2 < len(fields); i += 3 {
			want.WriteString(fields[i] + " " + fields[i+1] + " " + fields[i+2] + "\n")
		}
		v := s.values(p)
		for i, n := range names {
			value := v.value[i]
			switch value {
			case unspecified:
				value = "unspecified"
			case set:
				value = "set"
			case unset:
				value = "unset"
			}
			got.WriteString(p + " " + n + " " + value + "\n")
		}
	}
	require.Equal(t, want.String(), got.String())
}

func TestOf(t *testing.T) {
	for _, c := range []struct {
		attributes, autocrlf string
		want                 Filter
	}{
		{"", "", Filter{}},
		{"", "true", Filter{Lines: true, Auto: true}},
		{"", "input", Filter{Lines: true, Auto: true}},
		{"* -text", "true", Filter{}},
		{"* text=auto", "", Filter{Lines: true, Auto: true}},
		{"* text=auto eol=crlf", "", Filter{Lines: true, Auto: true}},
		{"* eol=lf", "", Filter{Lines: true}},
		{"* binary", "true", Filter{}},
		{"* ident", "", Filter{Ident: true}},
		{"* filter=lfs -text", "", Filter{Driver: "lfs"}},
		{"* working-tree-encoding=UTF-16", "", Filter{Encoding: "UTF-16"}},
		{"* working-tree-encoding=utf-8", "", Filter{}},
	} {
		got := Stack{}.Push(Parse([]byte(c.attributes), "", true, false)).Of("a", c.autocrlf)
		require.Equal(t, c.want, got, "%q %q", c.attributes, c.autocrlf)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("* text=auto\n\"a b\" -text\n[attr]x ident\n"), "a/b", []byte("$Id: x$\r\n"))
	f.Fuzz(func(t *testing.T, text []byte, path string, content []byte) {
		if path == "" || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
			return
		}
		filter := Stack{}.Push(Parse(text, "", true, true)).Of(path, "")
		cleaned, ok := filter.Clean(content, func() []byte { return nil })
		switch {
		case !ok:
		case filter.None() && !bytes.Equal(cleaned, content):
			t.Fatalf("%q became %q without a filter", content, cleaned)
		case filter.OnlyLines() && len(cleaned) == len(content) && !bytes.Equal(cleaned, content):
			t.Fatalf("%q became %q: its size does not tell", content, cleaned)
		case len(cleaned) > len(content):
			t.Fatalf("%q grew to %q", content, cleaned)
		}
	})
}
