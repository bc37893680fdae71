package local

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/progress"
	"github.com/org/aml-train/submit"
)

// parallelFiles is how many files are loaded at the same time.
const parallelFiles = 16

// fetchData loads data to their place: each file comes to its name when it is whole, and the
// list of them when all are. What an attempt before has loaded of the same version stays.
func (t *Target) fetchData(ctx context.Context, e *dataEntry, input string, f found) (*loadedFiles, string, error) {
	e.forgetData()
	l := &loadedFiles{Name: safeName(f.data.Name), File: f.data.File}
	list, err := storable(f.data)
	if err == nil {
		err = e.begin(f.data.Version())
	}
	if err == nil {
		err = t.fetchAll(ctx, e, input, f, l, list)
	}
	if err == nil {
		err = e.finish(l, list)
	}
	if err != nil {
		return nil, "", err
	}
	return l, e.at(l.Name), nil
}

// begin makes the place ready for files of a version; those of another one go, and those that
// were whole once and are not any more.
func (e *dataEntry) begin(version string) error {
	spoilt := e.dir.Remove(loadedAll) == nil
	if had, err := limited.ReadBelow(e.dir, listFile, limited.Config); spoilt || err != nil || string(had) != version {
		removeAll(e.dir, dataDir)
		removeAll(e.dir, partsDir)
	}
	return errors.Join(e.dir.WriteFile(listFile, []byte(version), 0o600), e.dir.MkdirAll(dataDir, 0o755),
		e.dir.MkdirAll(partsDir, 0o700))
}

// storable are the files of data as they can lie in a folder: without what never travels, and
// without empty files of the names of folders, which mark those. A name that no file here can
// have is an error.
func storable(d *submit.Data) ([]submit.DataFile, error) {
	if d.File {
		return d.Files, nil
	}
	folders := map[string]bool{}
	for _, f := range d.Files {
		for dir := path.Dir(f.Path); dir != "." && dir != "/" && !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	var list []submit.DataFile
	for _, f := range d.Files {
		switch {
		case path.Clean(f.Path) != f.Path || f.Path == "." || !filepath.IsLocal(filepath.FromSlash(f.Path)) ||
			strings.ContainsRune(f.Path, 0) || runtime.GOOS == "windows" && strings.ContainsAny(f.Path, `\:`):
			return nil, fmt.Errorf("the file %q has a name that is none in a folder; rename it in the storage "+
				"account, or name a folder without it", f.Path)
		case folders[f.Path] && f.Size > 0:
			return nil, fmt.Errorf("the file %q is called as a folder beside it, which no folder here can hold; "+
				"rename one of them in the storage account", f.Path)
		case folders[f.Path] || slices.ContainsFunc(strings.Split(f.Path, "/"), inside.Hidden):
		default:
			list = append(list, f)
		}
	}
	return list, nil
}

// fetchAll loads every file that is not there yet.
func (t *Target) fetchAll(ctx context.Context, e *dataEntry, input string, f found, l *loadedFiles,
	list []submit.DataFile) error {
	all := int64(0)
	for _, file := range list {
		all += file.Size
	}
	var loaded progress.Transfer
	done := loaded.Tell(len(list), all, func(far string) { t.say("Data %s: %s: %s", input, f.name, far) })
	defer done()
	if !l.File {
		if err := e.dir.MkdirAll(path.Join(dataDir, l.Name), 0o755); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelFiles)
	for _, file := range list {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			to := path.Join(dataDir, l.Name, file.Path)
			if l.File {
				to = path.Join(dataDir, l.Name)
			}
			if err := e.fetch(gctx, f.data, file, to, &loaded.Bytes); err != nil {
				return fmt.Errorf("the file %q: %w", file.Path, e.writing(err))
			}
			loaded.Files.Add(1)
			return nil
		})
	}
	return cmp.Or(g.Wait(), ctx.Err())
}

// writing is why a file cannot be written, without its name in the cache, which is nobody's
// concern.
func (e *dataEntry) writing(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w; make room in %s, which is a cache: any folder in it can be removed", err, e.all.Name())
	}
	return err
}

// fetch loads one file. What was loaded of it before an interruption is gone on with.
func (e *dataEntry) fetch(ctx context.Context, d *submit.Data, f submit.DataFile, to string,
	loaded *atomic.Int64) error {
	if info, err := e.dir.Lstat(to); err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
		loaded.Add(f.Size)
		return nil
	}
	sum := sha256.Sum256([]byte(f.Path + "\x00" + f.ETag))
	part := path.Join(partsDir, hex.EncodeToString(sum[:16]))
	if err := e.dir.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	for again := false; ; again = true {
		right, err := e.part(ctx, d, f, part, loaded)
		if err != nil {
			return err
		}
		if right {
			return e.dir.Rename(part, to)
		}
		e.dir.Remove(part)
		if again {
			return errors.New("what arrived is not what the storage account says of it (its MD5); it was uploaded " +
				"with a wrong one, or something on the way changes it")
		}
	}
}

// part loads a file to the name part, and tells whether it is what the store says.
func (e *dataEntry) part(ctx context.Context, d *submit.Data, f submit.DataFile, part string,
	loaded *atomic.Int64) (right bool, err error) {
	w, err := e.dir.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sum := md5.New()
	had, err := io.Copy(sum, w)
	if err == nil && had > f.Size {
		had = 0
		sum.Reset()
		_, err = w.Seek(0, io.SeekStart)
		err = errors.Join(err, w.Truncate(0))
	}
	if err != nil {
		return false, err
	}
	n := &counted{w: w, sum: sum, all: loaded}
	n.all.Add(had)
	defer func() {
		if err != nil || !right {
			n.all.Add(-had - n.n)
		}
	}()
	if had < f.Size {
		r, err := d.Open(ctx, f, had)
		if err != nil {
			return false, err
		}
		defer r.Close()
		if _, err = io.Copy(n, io.LimitReader(r, f.Size-had+1)); err != nil {
			return false, err
		}
		if had+n.n != f.Size {
			w.Truncate(had)
			return false, fmt.Errorf("the transfer ended after %d of %d bytes; run the command again", had+n.n, f.Size)
		}
	}
	return f.MD5 == nil || bytes.Equal(sum.Sum(nil), f.MD5), nil
}

// counted counts what is written, and hashes it.
type counted struct {
	w   io.Writer
	sum hash.Hash
	all *atomic.Int64
	n   int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	c.all.Add(int64(n))
	return n, err
}

// finish looks whether every file has come to its name, and writes the list by which they
// are found. Nobody writes to them from then on.
func (e *dataEntry) finish(l *loadedFiles, list []submit.DataFile) error {
	for _, f := range list {
		to := path.Join(dataDir, l.Name, f.Path)
		if l.File {
			f.Path, to = l.Name, path.Join(dataDir, l.Name)
		}
		err := e.dir.Chmod(to, 0o444)
		info, there := e.dir.Lstat(to)
		if err = cmp.Or(there, err); err != nil {
			return fmt.Errorf("the file %q: %w", f.Path, e.writing(err))
		}
		l.Files = append(l.Files, loadedFile{f.Path, filestat.Of(info)})
	}
	if name := e.differs(l); name != "" {
		removeAll(e.dir, dataDir)
		return fmt.Errorf("the file %q and another one have the same name for the file system of %s, as upper and "+
			"lower case have for some; rename one in the storage account, or have the cache elsewhere (XDG_CACHE_HOME)",
			name, e.dir.Name())
	}
	err := fs.WalkDir(e.dir.FS(), path.Join(dataDir, l.Name), func(at string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = e.dir.Chmod(at, 0o555)
		}
		return err
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	removeAll(e.dir, partsDir)
	const next = loadedAll + ".new"
	if err := e.dir.WriteFile(next, text, 0o600); err != nil {
		return e.writing(err)
	}
	return e.dir.Rename(next, loadedAll)
}
