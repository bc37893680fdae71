package filestat

import (
	"io/fs"
	"os"
	"path/filepath"
)

const fromIndex = false

// Of returns the stat data of a file.
func Of(info fs.FileInfo) Stat {
	return Stat{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
}

// In returns the stat data and the mode of a file in an open folder, a link not
// followed.
func In(dir *os.File, name string) (Stat, fs.FileMode, error) {
	info, err := os.Lstat(filepath.Join(dir.Name(), name))
	if err != nil {
		return Stat{}, 0, err
	}
	return Of(info), info.Mode(), nil
}

// Open opens a file for reading.
func Open(name string) (*os.File, error) { return os.Open(name) }
