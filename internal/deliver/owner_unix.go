//go:build unix

package deliver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// GiveToOwner gives path, and everything in it and made for it, to whom the folder root belongs,
// if it lies there: what a container of an action makes is root's, which no later step can delete.
// It follows no link out of root, and gives away none of what a link leads to.
func GiveToOwner(path, root string) error {
	info, err := os.Stat(root)
	if err != nil || path == "" || os.Geteuid() != 0 {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	rel, err := filepath.Rel(root, path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return nil
	}
	within, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer within.Close()
	give := func(name string) error { return within.Lchown(name, int(owner.Uid), int(owner.Gid)) }
	for dir := filepath.Dir(rel); dir != "."; dir = filepath.Dir(dir) {
		err = errors.Join(err, give(dir))
	}
	return errors.Join(err, fs.WalkDir(within.FS(), filepath.ToSlash(rel),
		func(name string, _ fs.DirEntry, err error) error {
			if err == nil {
				err = give(filepath.FromSlash(name))
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // nothing was made, or another process has removed it
			}
			return err
		}))
}
