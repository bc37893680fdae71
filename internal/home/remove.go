package home

import (
	"io/fs"
	"os"
	"path"
	"runtime"
	"sync"
)

// RemoveAll deletes a file, or a folder with many files, whose entries in parallel. It
// follows no link, and what is not there is no error.
func RemoveAll(root *os.Root, name string) error {
	if info, err := root.Lstat(name); err == nil && info.IsDir() {
		entries, _ := fs.ReadDir(root.FS(), name)
		var wg sync.WaitGroup
		slots := make(chan struct{}, runtime.GOMAXPROCS(0)*2)
		for _, e := range entries {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				root.RemoveAll(path.Join(name, e.Name()))
			})
		}
		wg.Wait()
	}
	if root.RemoveAll(name) == nil {
		return nil
	}
	// A script may have taken its own rights away.
	fs.WalkDir(root.FS(), name, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			root.Chmod(p, 0o700)
		}
		return nil
	})
	return root.RemoveAll(name)
}
