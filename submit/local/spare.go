package local

import (
	"encoding/gob"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/snapshot"
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

func (t *Target) spare() string { return filepath.Join(t.place(), "runs", spareDir) }

// manifest is what is known of a copy.
type manifest struct {
	Source string // where the source directory lies in it
	Files  []copied
}

// record keeps the list of the files of a copy in the folder dir.
func record(dir, source string, list []copied) error {
	w, err := os.Create(filepath.Join(dir, spareList))
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(w).Encode(manifest{source, list}), w.Close())
}

// recorded returns the files of a copy by their path in it, slash-separated, and where
// its source directory lies.
func recorded(dir string) (files map[string]copied, source string, err error) {
	r, err := os.Open(filepath.Join(dir, spareList))
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	var m manifest
	if err := gob.NewDecoder(r).Decode(&m); err != nil {
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
func prune(dir string, keep func(path string, e fs.DirEntry) bool) error {
	root := filepath.Join(dir, workDir)
	var clean func(rel string) (empty bool, err error)
	clean = func(rel string) (bool, error) {
		at := filepath.Join(root, rel)
		if info, err := os.Lstat(at); err != nil || info.Mode().Perm()&0o700 != 0o700 {
			return false, errors.Join(err, fs.ErrPermission) // a script took its rights away
		}
		entries, err := os.ReadDir(at)
		if err != nil {
			return false, err
		}
		left := 0
		for _, e := range entries {
			p := filepath.Join(rel, e.Name())
			gone := false
			if e.IsDir() {
				if gone, err = clean(p); err != nil {
					return false, err
				}
			} else {
				gone = !keep(filepath.ToSlash(p), e)
			}
			if !gone {
				left++
			} else if err := os.Remove(filepath.Join(root, p)); err != nil {
				return false, err
			}
		}
		return left == 0, nil
	}
	_, err := clean("")
	return err
}

// takeSpare moves the spare copy, if there is one, to dir and brings it to the
// snapshot as far as removing goes. It returns the paths of the files that are
// already right; where anything about the copy is odd, it is thrown away.
func (t *Target) takeSpare(dir string, s *snapshot.Snapshot, source string) map[string]bool {
	got := filepath.Join(dir, "spare")
	if os.Rename(t.spare(), got) != nil {
		return nil
	}
	defer removeAll(got)
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
		f := s.Find(c.Path)
		if f == nil || f.OID != c.OID || uint32(f.Mode) != c.Mode {
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
	if err := os.Rename(filepath.Join(got, workDir), filepath.Join(dir, workDir)); err != nil {
		return nil
	}
	return right
}

// keepSpare leaves a run's copy for the next one, if it can be told what it is
// and none lies there yet. It removes at once what the run added: that may be
// large.
func (t *Target) keepSpare(run string) {
	dir := t.base(run)
	files, _, err := recorded(dir)
	if err != nil {
		return
	}
	removeAll(filepath.Join(dir, workDir, ".git"))
	if err := prune(dir, func(path string, _ fs.DirEntry) bool { _, known := files[path]; return known }); err != nil {
		return
	}
	next := filepath.Join(dir, "spare")
	if os.Mkdir(next, 0o755) != nil ||
		os.Rename(filepath.Join(dir, workDir), filepath.Join(next, workDir)) != nil ||
		os.Rename(filepath.Join(dir, spareList), filepath.Join(next, spareList)) != nil {
		return
	}
	os.Rename(next, t.spare()) // fails where another run was first
}
