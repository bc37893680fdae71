package filestat

import "syscall"

const hasCtime = true

func changed(s *syscall.Stat_t) int64 { return s.Ctimespec.Nano() }
