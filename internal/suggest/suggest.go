// Package suggest answers: which known name did the person mean?
package suggest

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the known name closest to name, "" where none is close: a
// third of its letters may differ, and case does not count.
func Nearest(name string, known []string) string {
	low := strings.ToLower(name)
	best, at := "", len([]rune(name))/3+1
	sorted := append([]string(nil), known...)
	sort.Strings(sorted)
	for _, k := range sorted {
		if d := levenshtein.ComputeDistance(low, strings.ToLower(k)); d < at || d == at && best == "" {
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
