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

// Copy copies r to a file that is empty, without its blocks of zeros, and returns the
// file's length. The holes of a file are not even read, where the system tells them.
func Copy(w *os.File, r io.Reader) (n int64, err error) {
	f, ok := r.(*os.File)
	if !ok {
		return stream(w, r, 0)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return stream(w, r, 0)
	}
	end := info.Size()
	for at := int64(0); at < end; {
		from, to := data(f, at, end)
		if _, err := stream(w, io.NewSectionReader(f, from, to-from), from); err != nil {
			return at, err
		}
		at = to
	}
	return end, w.Truncate(end)
}

// stream copies r to the place at of w and returns where it ended.
func stream(w *os.File, r io.Reader, at int64) (int64, error) {
	buf := make([]byte, 64*block)
	hole := false // at the end
	for {
		got, err := io.ReadFull(r, buf)
		for part := buf[:got]; len(part) > 0; {
			b := part[:min(block, len(part))]
			if hole = zeros(b); !hole {
				if _, err := w.WriteAt(b, at); err != nil {
					return at, err
				}
			}
			at, part = at+int64(len(b)), part[len(b):]
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return at, err
		case hole:
			return at, w.Truncate(at)
		default:
			return at, nil
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
