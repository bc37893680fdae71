package job

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Files is where the files of a job are looked up: those below Root in FS, such as
// a commit's, all others on this machine. The zero value is this machine.
type Files struct {
	Root string // absolute
	FS   fs.FS
}

// within returns the path of a file in FS.
func (f Files) within(path string) (string, bool) {
	if f.FS == nil {
		return "", false
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(f.Root, abs)
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}

func (f Files) stat(path string) (fs.FileInfo, error) {
	if name, ok := f.within(path); ok {
		return fs.Stat(f.FS, name)
	}
	return os.Stat(path)
}

func (f Files) read(path string) ([]byte, error) {
	if name, ok := f.within(path); ok {
		return fs.ReadFile(f.FS, name)
	}
	return os.ReadFile(path)
}

// dir returns the folder at path as a file system.
func (f Files) dir(path string) fs.FS {
	if name, ok := f.within(path); ok {
		if sub, err := fs.Sub(f.FS, name); err == nil {
			return sub
		}
	}
	return os.DirFS(path)
}

func (f Files) isDir(path string) bool {
	info, err := f.stat(path)
	return err == nil && info.IsDir()
}
