//go:build unix

package filestat

import (
	"io/fs"
	"syscall"
	"time"
)

// Of returns the stat data of a file.
func Of(info fs.FileInfo) Stat {
	s := Stat{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Inode = uint64(sys.Ino)
		s.Ctime = changed(sys)
	}
	return s
}

// MatchesIndex compares with an entry of git's index. Times without nanoseconds
// there never match: such an index was written by a program that does not keep
// them.
func (s Stat) MatchesIndex(size uint32, mtime, ctime time.Time, inode uint32, trustCtime bool) bool {
	return uint32(s.Size) == size && s.Mtime == mtime.UnixNano() && uint32(s.Inode) == inode &&
		(!trustCtime || s.Ctime == ctime.UnixNano())
}
