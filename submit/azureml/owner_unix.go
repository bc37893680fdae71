//go:build unix

package azureml

import (
	"io/fs"
	"os"
	"syscall"
)

// trusted tells whether a file belongs to this user, to the machine's, or to the owner of a
// folder: the action's container is root in somebody's workspace.
func trusted(info fs.FileInfo, folder string) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 || int(owner.Uid) == os.Geteuid() {
		return true
	}
	at, err := os.Stat(folder)
	if err != nil {
		return false
	}
	around, ok := at.Sys().(*syscall.Stat_t)
	return ok && os.Geteuid() == 0 && around.Uid == owner.Uid
}
