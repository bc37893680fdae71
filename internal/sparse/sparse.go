// Package sparse answers: how is a file copied whose holes take no room?
//
// A checkpoint or a disk image may be mostly holes: a terabyte long, and a megabyte on
// the disk. A plain copy fills them with zeros.
package sparse

import (
	"errors"
	"io"
	"os"
)

// block is the least hole that is left out: that of common file systems.
const block = 4 << 10

// Copy copies r to the end of a file that is empty, and leaves out blocks of zeros. It
// returns the length of the file.
func Copy(w *os.File, r io.Reader) (n int64, err error) {
	buf := make([]byte, 64*block)
	hole := false // at the end
	for {
		got, err := io.ReadFull(r, buf)
		for at := 0; at < got; at += block {
			part := buf[at:min(at+block, got)]
			if hole = zeros(part); !hole {
				if _, err := w.WriteAt(part, n); err != nil {
					return n, err
				}
			}
			n += int64(len(part))
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return n, err
		case hole:
			return n, w.Truncate(n)
		default:
			return n, nil
		}
	}
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
