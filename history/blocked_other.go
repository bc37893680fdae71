//go:build !unix

package history

import (
	"errors"
	"io/fs"
)

// blocked tells a name that cannot be had from a disk that fails.
func blocked(err error) bool { return errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrInvalid) }
