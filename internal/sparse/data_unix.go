//go:build linux || darwin || freebsd

package sparse

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// data returns the first part of a file from at on that is no hole, and ends before end:
// all of it where the file system tells no holes.
func data(f *os.File, at, end int64) (from, to int64) {
	from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // there is nothing more
		return end, end
	}
	if err != nil {
		return at, end
	}
	if to, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE); err != nil || to <= from {
		to = end
	}
	return min(from, end), min(to, end)
}
