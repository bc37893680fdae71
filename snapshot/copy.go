package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/filestat"
)

// Copy writes a file of the snapshot to its path below dir, whose folders are there.
// What is written is what was hashed: a file that has changed since is an error.
func (s *Snapshot) Copy(f *File, dir string) error {
	to := filepath.Join(dir, filepath.FromSlash(f.Path))
	r, err := s.Open(f)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer r.Close()
	if f.Mode == filemode.Symlink {
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		target := filepath.FromSlash(string(text))
		if filepath.IsAbs(target) { // inside the source directory, or it would have been refused
			if target, err = filepath.Rel(filepath.Join(s.Dir, filepath.Dir(filepath.FromSlash(f.Path))),
				target); err != nil {
				return err
			}
		}
		return os.Symlink(target, to)
	}
	mode := fs.FileMode(0o644)
	if f.Mode == filemode.Executable {
		mode = 0o755
	}
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, r)
	if err == nil && f.Size >= 0 && n != f.Size {
		err = fmt.Errorf("snapshot: %s changed while it was copied; run the command again", f.Path)
	}
	return errors.Join(err, w.Close())
}

// Freeze copies the files that are read in the working tree to dir, an empty folder: from
// then on they are read there, as they are now, whatever becomes of the working tree. Links
// are texts, and stay where they are.
func (s *Snapshot) Freeze(dir string) error {
	for i := range s.Files {
		f := &s.Files[i]
		if _, lfs := s.lfs[f.Path]; lfs || f.objects != nil || f.Mode == filemode.Symlink {
			continue
		}
		to := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := s.Copy(f, dir); err != nil {
			return err
		}
		info, err := os.Lstat(to)
		if err != nil {
			return err
		}
		f.stat = filestat.Of(info)
	}
	s.frozen = dir
	return nil
}
