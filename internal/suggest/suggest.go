// Package suggest answers: which known name did the person mean?
package suggest

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the known name closest to name, "" where none is close: a
// third of its letters may differ, and case does not count. An extension that both have makes
// them no closer: env.yml is not two.yml.
func Nearest(name string, known []string) string {
	low := strings.ToLower(name)
	best, at := "", 0
	sorted := append([]string(nil), known...)
	sort.Strings(sorted)
	for _, k := range sorted {
		letters := len([]rune(name))
		if ext := path.Ext(name); ext == path.Ext(k) {
			letters -= len([]rune(ext))
		}
		d := levenshtein.ComputeDistance(low, strings.ToLower(k))
		if d <= letters/3+1 && (best == "" || d < at) {
			best, at = k, d
		}
	}
	return best
}

// DidYouMean is "; did you mean X?" for the nearest known name, else "".
func DidYouMean(name string, known []string) string {
	if n := Nearest(name, known); n != "" && n != name {
		return fmt.Sprintf("; did you mean %s?", n)
	}
	return ""
}

// MostListed is how many names are listed for a person.
const MostListed = 8

// Among is DidYouMean, else the known names where they are few, after what is said of them:
// "; it has x, y" for "it has".
func Among(name string, known []string, said string) string {
	if d := DidYouMean(name, known); d != "" || len(known) == 0 || len(known) > MostListed {
		return d
	}
	return "; " + said + " " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}
