//go:build unix

package cli

import (
	"errors"
	"syscall"
)

// gone tells the error of writing to somebody who does not read any more.
func gone(err error) bool { return errors.Is(err, syscall.EPIPE) }
