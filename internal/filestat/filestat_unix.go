//go:build unix

package filestat

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const fromIndex = true

// Of returns the stat data of a file.
func Of(info fs.FileInfo) Stat {
	s := Stat{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Inode = uint64(sys.Ino)
		s.Ctime = changed(sys)
	}
	return s
}

// In returns the stat data and the mode of a file in an open folder, a link not
// followed. That saves the system the way to the folder, for each file.
func In(dir *os.File, name string) (Stat, fs.FileMode, error) {
	var sys unix.Stat_t
	for {
		err := unix.Fstatat(int(dir.Fd()), name, &sys, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Stat{}, 0, &fs.PathError{Op: "lstat", Path: name, Err: err}
		}
		break
	}
	mode := fs.FileMode(sys.Mode & 0o777)
	switch sys.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	default:
		mode |= fs.ModeIrregular
	}
	s := Stat{Size: sys.Size, Mtime: sys.Mtim.Nano(), Inode: uint64(sys.Ino)}
	if hasCtime {
		s.Ctime = sys.Ctim.Nano()
	}
	return s, mode, nil
}

// Open opens a file for reading. os.Open asks the system five times more, to find
// out that a file of the file system cannot be waited for.
func Open(name string) (*os.File, error) {
	for {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}
