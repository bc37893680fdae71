//go:build unix && !linux && !darwin

package filestat

import "syscall"

const hasCtime = false

func changed(*syscall.Stat_t) int64 { return 0 }
