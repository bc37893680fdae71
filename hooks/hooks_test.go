package hooks

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	a40, z40 = strings.Repeat("a", 40), strings.Repeat("0", 40)
	a64, z64 = strings.Repeat("a", 64), strings.Repeat("0", 64)
)

func TestParseUpdates(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		branch []string // of each update
		isNew  bool     // the first one
	}{
		"nothing":  {"", nil, false},
		"a branch": {"refs/heads/main " + a40 + " refs/heads/main " + a40 + "\n", []string{"main"}, false},
		"a new one": {"refs/heads/a " + a40 + " refs/heads/feature/a " + z40 + "\n", []string{"feature/a"},
			true},
		"several": {"refs/heads/a " + a40 + " refs/heads/a " + z40 + "\nHEAD~1 " + a40 + " refs/heads/b " +
			a40 + "\n", []string{"a", "b"}, true},
		"a deletion":      {"(delete) " + z40 + " refs/heads/main " + a40 + "\n", []string{""}, false},
		"a deletion, old": {" " + z40 + " refs/heads/main " + a40 + "\n", []string{""}, false},
		"a tag":           {"refs/tags/v1 " + a40 + " refs/tags/v1 " + z40 + "\n", []string{""}, true},
		"another ref":     {"refs/notes/x " + a40 + " refs/notes/x " + z40 + "\n", []string{""}, true},
		"SHA-256":         {"refs/heads/main " + a64 + " refs/heads/main " + z64 + "\n", []string{"main"}, true},
		"windows, no end": {"refs/heads/main " + a40 + " refs/heads/main " + a40 + "\r\n\r\n", []string{"main"},
			false},
		"without line end": {"refs/heads/main " + a40 + " refs/heads/main " + a40, []string{"main"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := ParseUpdates(strings.NewReader(c.text))
			require.NoError(t, err)
			var branches []string
			for _, u := range list {
				branches = append(branches, u.Branch())
			}
			require.Equal(t, c.branch, branches)
			if len(list) > 0 {
				require.Equal(t, c.isNew, list[0].New())
			}
		})
	}
	for _, bad := range []string{"x", "a b c d", "refs/heads/main " + a40 + " refs/heads/main " + a64,
		"refs/heads/main " + strings.ToUpper(a40) + " refs/heads/main " + a40,
		"a " + a40 + " b " + a40 + " c", strings.Repeat("x", maxLine+1)} {
		_, err := ParseUpdates(strings.NewReader(bad))
		require.Error(t, err, bad)
	}
}

func FuzzParseUpdates(f *testing.F) {
	f.Add("refs/heads/main " + a40 + " refs/heads/main " + z40 + "\n")
	f.Add(" " + z40 + " refs/heads/main " + a40)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseUpdates(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, u := range list {
			if !objectID(u.Local) || !objectID(u.Remote) || strings.ContainsAny(u.Branch(), " \n") {
				t.Fatalf("%q gives %+v", text, u)
			}
		}
	})
}

func TestOptionsOf(t *testing.T) {
	require.Equal(t, []string{"a", "b", "c=d", "e"},
		optionsOf(strings.Fields("-q -o a --push-option b origin --push-option=c=d -oe main -- -o f")))
	require.Empty(t, optionsOf([]string{"-o"}))
}
