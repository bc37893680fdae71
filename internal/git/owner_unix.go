//go:build unix

package git

import (
	"os"
	"strconv"
	"syscall"
)

// foreign tells whether a path belongs to another user. Under sudo root acts for whom
// SUDO_UID says (git(1), "safe.directory").
func foreign(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return true
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	user := os.Geteuid()
	if user == 0 && ok && stat.Uid != 0 {
		if n, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32); err == nil {
			user = int(n)
		}
	}
	return !ok || int(stat.Uid) != user
}

// deviceOf returns the number of the file system that a path lies on.
func deviceOf(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Dev)
	}
	return 0
}
