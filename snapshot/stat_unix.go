//go:build unix

package snapshot

import (
	"io/fs"
	"syscall"
	"time"
)

// stat is what tells that a file is still the one that was seen: what git keeps
// of it in its index (gitformat-index(5), "Index entry").
type stat struct {
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
	inode        uint64
}

func (s stat) same(t stat) bool { return s == t }

func statOf(info fs.FileInfo) stat {
	s := stat{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = uint64(sys.Ino)
		s.ctime = changed(sys)
	}
	return s
}

// matches compares with an entry of git's index. Times without nanoseconds there
// never match: such an index was written by a program that does not keep them.
func (s stat) matches(size uint32, mtime, ctime time.Time, inode uint32, trustCtime bool) bool {
	return uint32(s.size) == size && s.mtime == mtime.UnixNano() && uint32(s.inode) == inode &&
		(!trustCtime || s.ctime == ctime.UnixNano())
}
