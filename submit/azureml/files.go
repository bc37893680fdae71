package azureml

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func statFS(f fs.FS, name string) (fs.FileInfo, error) { return fs.Stat(f, name) }

func copyFS(f fs.FS, name, to string) error {
	r, err := f.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

func copyTree(f fs.FS, dir, to string) error {
	return fs.WalkDir(f, dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(filepath.FromSlash(dir), filepath.FromSlash(name))
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		if e.IsDir() {
			return os.MkdirAll(at, 0o755)
		}
		return copyFS(f, name, at)
	})
}
