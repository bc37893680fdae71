//go:build unix

package history

import (
	"errors"
	"syscall"
)

// blocked tells a name that cannot be had from a disk that fails.
func blocked(err error) bool {
	for _, e := range []error{syscall.ENOTDIR, syscall.EISDIR, syscall.EEXIST, syscall.ENOTEMPTY,
		syscall.ENAMETOOLONG, syscall.EINVAL, syscall.EILSEQ} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
