// Package size answers: how is a number of bytes or of things written for people, and read
// from them?
//
// kB, MB, GB and TB are the SI's, powers of 1000, as in docker's and GitHub's figures; KiB,
// MiB, GiB and TiB are powers of 1024 (IEC 80000-13).
package size

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"
)

// Format writes bytes with three significant digits and an SI unit: 512 B, 1.20 kB,
// 84.1 MB.
func Format(bytes int64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d B", bytes)
	}
	v, unit := float64(bytes)/1000, "kB"
	for _, next := range []string{"MB", "GB", "TB"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1000, next
	}
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f %s", v, unit)
	case v < 99.95:
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// Limit writes a limit as whoever set it would: 300 MiB where it is a whole number of
// binary units, else as Format does.
func Limit(bytes int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if of := int64(1) << (40 - 10*i); bytes%of == 0 && bytes >= of && bytes/of < 10_000 {
			return fmt.Sprintf("%d %s", bytes/of, unit)
		}
	}
	return Format(bytes)
}

// Count writes how many of something there are: 1 file, 2 files.
func Count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Parse reads "300MB", "2 GiB", "1048576". The case of a unit does not matter, and its B
// may be missing.
func Parse(s string) (int64, error) {
	t, read := strings.ToLower(strings.TrimSpace(s)), units.FromHumanSize
	if strings.Contains(t, "i") {
		t, read = strings.TrimSuffix(t, "b")+"b", units.RAMInBytes
	}
	n, err := read(t)
	if err != nil || n < 0 || n > 1<<62 { // what no int64 holds comes out as either
		return 0, fmt.Errorf("%q is no size; write it as 300MB, 2GB or 300MiB", s)
	}
	return n, nil
}

// ParseMemory reads a size as docker run's --memory and --shm-size do: its units are powers
// of 1024, whichever way they are written.
func ParseMemory(s string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no size; write it as 64m or 2g", s)
	}
	return n, nil
}
