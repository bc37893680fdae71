//go:build unix

package object

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/org/aml-train/internal/limited"
)

// mapFile returns the content of a file that is never written again, without
// reading what nobody looks at.
func mapFile(name string) ([]byte, func(), error) {
	f, err := limited.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, func() {}, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, &os.PathError{Op: "mmap", Path: name, Err: err}
	}
	return b, func() { unix.Munmap(b) }, nil
}
