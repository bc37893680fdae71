package cli

import (
	"errors"

	"golang.org/x/sys/windows"
)

// gone tells the error of writing to somebody who does not read any more.
func gone(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}
