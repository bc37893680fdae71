//go:build !linux && !darwin && !freebsd

package sparse

import "os"

// data returns all of the file: how a system tells holes is not known here.
func data(_ *os.File, at, end int64) (from, to int64) { return at, end }
