package local

import (
	"bytes"
	"encoding/gob"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
)

// A run leaves its copy of the snapshot behind, without what it added, for the
// next run to take over: making twenty thousand files costs a second or more,
// looking at them a tenth of that. A file counts as untouched while its stat data
// is what it was when it was copied; everything else is made anew or removed.

// spareDir, beside the folders of the runs, is the copy that is free to be taken: its
// folder workDir and its list of files.
const (
	spareDir  = ".spare"
	spareList = "files"
)

// copied is one file of a copy.
type copied struct {
	Path string // slash-separated, relative to the source directory
	OID  plumbing.Hash
	Mode uint32
	Stat filestat.Stat
}

// manifest is what is known of a copy.
type manifest struct {
	Source string // where the source directory lies in it
	Files  []copied
}

// record keeps the list of the files of a copy in the folder dir.
func record(dir *os.Root, source string, list []copied) error {
	w, err := dir.Create(spareList)
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(w).Encode(manifest{source, list}), w.Close())
}

// maxList bounds what is read of such a list: a million files take 200 MB.
const maxList = 512 << 20

// recorded returns the files of a copy by their path in it, slash-separated, and where
// its source directory lies.
func recorded(dir *os.Root) (files map[string]copied, source string, err error) {
	text, err := limited.ReadBelow(dir, spareList, maxList)
	if err != nil {
		return nil, "", err
	}
	var m manifest
	if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&m); err != nil {
		return nil, "", err
	}
	files = make(map[string]copied, len(m.Files))
	for _, c := range m.Files {
		files[path.Join(filepath.ToSlash(m.Source), c.Path)] = c
	}
	return files, m.Source, nil
}

// prune removes from the copy in dir what keep does not want, and every folder
// that is left empty. It calls keep with the path and the entry of each file.
func prune(dir *os.Root, keep func(path string, e fs.DirEntry) bool) error {
	root, err := home.Folder(dir, workDir, false)
	if err != nil {
		return err
	}
	defer root.Close()
	var clean func(rel string) (empty bool, err error)
	clean = func(rel string) (bool, error) {
		if info, err := root.Lstat(rel); err != nil || info.Mode().Perm()&0o700 != 0o700 {
			return false, errors.Join(err, fs.ErrPermission) // a script took its rights away
		}
		entries, err := fs.ReadDir(root.FS(), rel)
		if err != nil {
			return false, err
		}
		left := 0
		for _, e := range entries {
			p := path.Join(rel, e.Name())
			gone := false
			if e.IsDir() {
				if gone, err = clean(p); err != nil {
					return false, err
				}
			} else {
				gone = !keep(p, e)
			}
			if !gone {
				left++
			} else if err := root.Remove(p); err != nil {
				return false, err
			}
		}
		return left == 0, nil
	}
	_, err = clean(".")
	return err
}

// takeSpare moves the spare copy, if there is one, to the folder of that name among the
// copies and brings it to what find has of each path, as far as removing goes. It returns
// the paths of the files that are already right; where anything about the copy is odd, it
// is thrown away.
func takeSpare(
	copies *os.Root, name string, find func(path string) (plumbing.Hash, uint32, bool), source string,
) map[string]bool {
	at := path.Join(name, "spare")
	if copies.Rename(spareDir, at) != nil {
		return nil
	}
	defer removeAll(copies, at)
	got, err := home.Folder(copies, at, false)
	if err != nil {
		return nil
	}
	defer got.Close()
	files, was, err := recorded(got)
	if err != nil || was != source {
		return nil
	}
	right := map[string]bool{}
	err = prune(got, func(path string, e fs.DirEntry) bool {
		c, known := files[path]
		if !known {
			return false
		}
		if id, mode, ok := find(c.Path); !ok || id != c.OID || mode != c.Mode {
			return false
		}
		info, err := e.Info()
		if err != nil || filestat.Of(info) != c.Stat {
			return false
		}
		right[c.Path] = true
		return true
	})
	if err != nil {
		return nil
	}
	if err := copies.Rename(path.Join(at, workDir), path.Join(name, workDir)); err != nil {
		return nil
	}
	return right
}

// keepSpare leaves a run's copy for the next one, if it can be told what it is
// and none lies there yet. It removes at once what the run added: that may be
// large.
func (t *Target) keepSpare(run string) {
	copies, err := t.copies(false)
	if err != nil {
		return
	}
	defer copies.Close()
	dir, err := t.openBase(run, false)
	if err != nil {
		return
	}
	defer dir.Close()
	files, _, err := recorded(dir)
	if err != nil {
		return
	}
	removeAll(dir, workDir+"/.git")
	if err := prune(dir, func(path string, _ fs.DirEntry) bool { _, known := files[path]; return known }); err != nil {
		return
	}
	if dir.Mkdir("spare", 0o755) != nil ||
		dir.Rename(workDir, "spare/"+workDir) != nil ||
		dir.Rename(spareList, "spare/"+spareList) != nil {
		return
	}
	copies.Rename(path.Join(run, "spare"), spareDir) // fails where another run was first
}
