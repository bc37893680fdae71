package hooks

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatchBranch(t *testing.T) {
	for _, c := range []struct {
		patterns, branch string
		want             bool
	}{
		{"", "anything/at-all", true},
		{"main", "main", true}, {"main", "feature/main", false}, {"main", "mainly", false}, {"main", "main/x", false},
		{"feature/*", "feature/a", true}, {"feature/*", "feature/a/b", false}, {"feature/**", "feature/a/b", true},
		{"*", "main", true}, {"*", "feature/a", false}, {"**", "feature/a", true},
		{"** !release/*", "release/1", false}, {"** !release/*", "main", true}, {"!main", "main", false},
		{"!x main", "main", true},
		{"v[0-9]", "v1", true}, {"v[0-9]", "vx", false}, {"/main", "main", true}, {"#1", "#1", true},
	} {
		require.Equal(t, c.want, matchBranch(strings.Fields(c.patterns), c.branch), "%s: %s", c.patterns, c.branch)
	}
}

func TestMatchPath(t *testing.T) {
	for _, c := range []struct {
		patterns, path string
		want           bool
	}{
		{"", "x", true},
		{"src/", "src/a/b.py", true}, {"src/", "src", false}, {"src", "src/a.py", true}, {"/src", "x/src/a", false},
		{"src/", "x/src/a", true},
		{"*.py", "a/b.py", true}, {"*.py", "a/b.md", false}, {"src/ !*.md", "src/x.md", false},
		{"src/ !*.md", "src/x.py", true}, {"src/**/x", "src/a/b/x", true},
	} {
		require.Equal(t, c.want, matchPath(strings.Fields(c.patterns), c.path), "%s: %s", c.patterns, c.path)
	}
}
