//go:build unix

package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// giveToOwner gives path, and everything in it and made for it, to whom the folder
// root belongs, if it lies there: what is root's, no later step can delete.
func giveToOwner(path, root string) {
	info, err := os.Stat(root)
	if err != nil || path == "" || os.Geteuid() != 0 {
		return
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return
	}
	rel, err := filepath.Rel(root, path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return
	}
	for dir := filepath.Dir(path); dir != root; dir = filepath.Dir(dir) {
		os.Lchown(dir, int(owner.Uid), int(owner.Gid))
	}
	filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err == nil {
			os.Lchown(name, int(owner.Uid), int(owner.Gid))
		}
		return nil
	})
}
