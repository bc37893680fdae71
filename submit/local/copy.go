package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/snapshot"
)

// materialise writes the files of a snapshot below dir, in parallel, but for those
// that are right already. What is written is what was hashed: a file that has
// changed since is an error. The list says what each file then is.
func materialise(ctx context.Context, s *snapshot.Snapshot, dir string, right map[string]bool) ([]copied, error) {
	list := make([]copied, len(s.Files))
	made := map[string]bool{".": true}
	for i := range s.Files {
		if parent := filepath.Dir(filepath.FromSlash(s.Files[i].Path)); !made[parent] {
			if err := os.MkdirAll(filepath.Join(dir, parent), 0o755); err != nil {
				return nil, err
			}
			for p := parent; !made[p]; p = filepath.Dir(p) {
				made[p] = true
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) * 2 {
		g.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(s.Files) {
					return nil
				}
				f := &s.Files[i]
				if _, ok := right[f.Path]; !ok {
					if err := s.Copy(f, dir); err != nil {
						return err
					}
				}
				info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Path)))
				if err != nil {
					return err
				}
				list[i] = copied{f.Path, f.OID, uint32(f.Mode), filestat.Of(info)}
			}
			return ctx.Err()
		})
	}
	return list, g.Wait()
}

// move puts the entries of the folder from below to, by renaming where it can. A
// file that is there already is replaced. What is neither file nor folder nor a
// link within from stays behind and is named.
func move(from, to string) (left []string, err error) {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder", filepath.Base(from))
	}
	root, err := filepath.EvalSymlinks(from)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		switch kind := e.Type(); {
		case e.IsDir():
			// A folder that the script made unreadable is still its owner's.
			if info, err := e.Info(); err == nil && info.Mode()&0o700 != 0o700 {
				os.Chmod(p, info.Mode()|0o700)
			}
			return nil
		case kind&fs.ModeSymlink != 0:
			// A link is kept as the file that it leads to; what lies elsewhere was
			// not put here to be kept.
			target, err := filepath.EvalSymlinks(p)
			if err != nil {
				left = append(left, rel)
				return os.Remove(p)
			}
			inside, err := filepath.Rel(root, target)
			info, serr := os.Stat(target)
			if err != nil || !filepath.IsLocal(inside) || serr != nil || !info.Mode().IsRegular() {
				left = append(left, rel)
				return os.Remove(p)
			}
			os.Remove(p)
			return copyPlain(target, p)
		case kind != 0:
			left = append(left, rel)
			return os.Remove(p)
		}
		return nil
	})
	if err != nil {
		return left, err
	}
	return left, merge(root, to)
}

// merge moves from to to; where both are folders, their entries.
func merge(from, to string) error {
	if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if os.Rename(from, to) == nil {
			return nil
		}
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if os.Rename(from, to) == nil {
			return nil
		}
		return copyPlain(from, to) // on another file system
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, merge(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
	return err
}

func copyPlain(from, to string) error {
	r, err := os.Open(from)
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

// removeAll deletes a folder with many files, its entries in parallel.
func removeAll(dir string) {
	entries, err := os.ReadDir(dir)
	if err == nil {
		var wg sync.WaitGroup
		slots := make(chan struct{}, runtime.GOMAXPROCS(0)*2)
		for _, e := range entries {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				os.RemoveAll(filepath.Join(dir, e.Name()))
			})
		}
		wg.Wait()
	}
	if os.RemoveAll(dir) == nil {
		return
	}
	// A script may have taken its own rights away.
	filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	os.RemoveAll(dir)
}
