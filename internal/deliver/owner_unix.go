//go:build unix

package deliver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
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

// replaceable tells why a file cannot be put into the place of the one that is there: in a folder such
// as /tmp, nobody removes what another user made, unless the folder is theirs (rename(2), EPERM).
func replaceable(root *os.Root, name string) error {
	file, err := root.Lstat(name)
	if err != nil {
		return nil // nothing is there, or it is told of elsewhere
	}
	dir, err := root.Stat(filepath.Dir(name))
	if err != nil || dir.Mode()&fs.ModeSticky == 0 || os.Geteuid() == 0 {
		return err
	}
	for _, info := range []fs.FileInfo{file, dir} {
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) == os.Geteuid() {
			return nil
		}
	}
	return &fs.PathError{Op: "write", Path: filepath.Join(root.Name(), name), Err: errors.New(
		"the file is another user's, in a folder where nobody replaces those")}
}

// mayWrite tells why a file may not be opened for writing, without opening it.
func mayWrite(name string) error {
	if err := unix.Access(name, unix.W_OK); err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return nil
}
