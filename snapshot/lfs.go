package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// pointer is where git-LFS keeps the content of a file.
type pointer struct {
	oid  string // the content's SHA-256
	size int64
}

// pointer takes note of a file whose blob is a pointer of git-LFS.
func (c *committed) pointer(f *File) error {
	_, size, err := f.objects.Size(f.OID)
	if err != nil {
		return explainMissing(c.repo, f.Path, err)
	}
	if size >= maxPointer {
		return nil
	}
	text, err := f.objects.Read(f.OID, plumbing.BlobObject, maxPointer)
	if err != nil {
		return explainMissing(c.repo, f.Path, err)
	}
	if p, ok := parsePointer(string(text)); ok {
		c.mu.Lock()
		c.lfs[f.Path] = p
		c.mu.Unlock()
	}
	return nil
}

// parsePointer reads a pointer: lines of a key and a value, the version first
// (git-lfs, docs/spec.md, "The Pointer").
func parsePointer(text string) (p pointer, ok bool) {
	p.size = -1
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch {
		case i == 0:
			if key != "version" || value != lfsVersion {
				return p, false
			}
		case key == "oid":
			oid, ok := strings.CutPrefix(value, "sha256:")
			if !ok || len(oid) != 64 || strings.Trim(oid, "0123456789abcdef") != "" {
				return p, false
			}
			p.oid = oid
		case key == "size":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return p, false
			}
			p.size = n
		}
	}
	return p, p.oid != "" && p.size >= 0
}

// large puts the objects of git-LFS in the place of their pointers.
func (c *committed) large(ctx context.Context, s *Snapshot) error {
	if len(c.lfs) == 0 {
		return nil
	}
	store, _ := c.repo.Config.Path("lfs.storage")
	if store == "" {
		store = "lfs"
	}
	if !filepath.IsAbs(store) {
		store = filepath.Join(c.repo.CommonDir, store)
	}
	s.lfs = map[string]string{}
	var files []*File
	for i := range s.Files {
		f := &s.Files[i]
		p, ok := c.lfs[f.Path]
		if !ok || p.size == 0 {
			continue // git-LFS has no object for an empty file
		}
		s.lfs[f.Path] = filepath.Join(store, "objects", p.oid[:2], p.oid[2:4], p.oid)
		files = append(files, f)
	}
	s.Hashed = len(files)
	return each(ctx, len(files), func(i int, buf []byte) error {
		f, name := files[i], s.lfs[files[i].Path]
		mode := f.Mode
		p := c.lfs[f.Path]
		err := hashOnce(name, f, buf)
		switch {
		case os.IsNotExist(err):
			return fmt.Errorf("snapshot: %s is kept by git-LFS, and its content (%d bytes, sha256:%s) is not on this "+
				"machine; get it with: git lfs fetch origin %s", f.Path, p.size, p.oid, s.Commit)
		case err != nil:
			return fmt.Errorf("snapshot: %s: %w", f.Path, err)
		case f.Size != p.size:
			return fmt.Errorf("snapshot: %s has %d bytes, and its git-LFS pointer says %d; git lfs fsck tells more",
				name, f.Size, p.size)
		}
		f.Mode, f.objects = mode, nil
		return nil
	})
}

// maxPointer is more than a pointer has, in bytes (git-lfs, docs/spec.md, "The Pointer").
const maxPointer = 1024
