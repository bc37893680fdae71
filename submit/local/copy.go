package local

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
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
