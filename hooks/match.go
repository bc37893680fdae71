package hooks

import (
	"strings"

	"github.com/org/aml-train/internal/git/ignore"
)

// matchBranch tells whether one of the patterns names the branch: "*" stands for
// any part of a name without "/", "**" for any part, and the last pattern that fits
// decides, so that "!release/*" takes out what an earlier one let in. Without
// patterns, every branch is named.
func matchBranch(patterns []string, branch string) bool {
	if len(patterns) == 0 {
		return true
	}
	match := false
	for _, text := range patterns {
		text, not := strings.CutPrefix(text, "!")
		if p, ok := ignore.ParsePattern("/"+strings.TrimPrefix(text, "/"), false); ok && p.MatchFile(branch) {
			match = !not
		}
	}
	return match
}

// matchPath tells whether a file is one that the patterns name, in the words of
// .gitignore: "src/", "*.py", "!docs". Without patterns, every file is named.
func matchPath(patterns []string, path string) bool {
	if len(patterns) == 0 {
		return true
	}
	list := ignore.Parse([]byte(strings.Join(patterns, "\n")), "", "", false)
	match := false
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if p := list.Match(path[:i], i < len(path)); p != nil {
			match = !p.Negated
		}
	}
	return match
}
