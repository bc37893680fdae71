//go:build unix

package home

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// foreign says why a folder does not belong to the user of this process, "" where it
// does. Root is also at home in what belongs to the owner of the folder around it: the
// action's container is root, and gives what it makes in the workspace to whom the
// workspace belongs.
func foreign(info fs.FileInfo, parent string) string {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return ""
	}
	if os.Geteuid() == 0 {
		if around, err := os.Stat(parent); err == nil && around.Sys().(*syscall.Stat_t).Uid == owner.Uid {
			return ""
		}
	}
	return fmt.Sprintf("it belongs to another user (%d; this program runs as %d)", owner.Uid, os.Geteuid())
}
