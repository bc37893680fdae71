// Package size answers: how is a number of bytes or of things written for people, and read
// from them?
package size

import (
	"fmt"
	"strconv"
	"strings"
)

// Format writes bytes with three significant digits and a binary unit's usual
// name: 512 B, 1.20 kB, 84.1 MB.
func Format(bytes int64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d B", bytes)
	}
	v, unit := float64(bytes)/1024, "kB"
	for _, next := range []string{"MB", "GB", "TB"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1024, next
	}
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f %s", v, unit)
	case v < 99.95:
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// Count writes how many of something there are: 1 file, 2 files.
func Count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Parse reads "300MB", "2 GB", "1048576"; units are powers of 1024 and their
// case does not matter.
func Parse(s string) (int64, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	t = strings.TrimSuffix(strings.TrimSuffix(t, "b"), "i")
	factor := 1.0
	for i, unit := range []string{"k", "m", "g", "t"} {
		if rest, ok := strings.CutSuffix(t, unit); ok {
			t = rest
			for range i + 1 {
				factor *= 1024
			}
			break
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(t), 64)
	if err != nil || !(v >= 0) || v*factor > 1<<62 {
		return 0, fmt.Errorf("%q is no size; write it as 300MB or 2GB", s)
	}
	return int64(v * factor), nil
}
