package snapshot

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/internal/filestat"
)

// blobHasher starts the id of a git object of the given kind and size
// (gitformat: "blob 12\x00" and the content).
func objectHasher(kind string, size int64) hash.Hash {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, size)
	return h
}

// hashAll fills in the ids that the index could not give, reading the files in
// parallel, and returns how many it read.
func hashAll(ctx context.Context, dir string, files []File) (int, error) {
	var todo []*File
	for i := range files {
		if files[i].OID == "" {
			todo = append(todo, &files[i])
		}
	}
	// The largest first, so that no worker is left alone with one at the end.
	sort.Slice(todo, func(i, j int) bool { return todo[i].Size > todo[j].Size })
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0)*2, len(todo)) {
		g.Go(func() error {
			buf := make([]byte, 256<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(todo) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := hashFile(dir, todo[i], buf); err != nil {
					return err
				}
			}
		})
	}
	return len(todo), g.Wait()
}

// hashFile sets the id of one file. A file that changes under the reader is read
// again, three times at most.
func hashFile(dir string, f *File, buf []byte) error {
	name := filepath.Join(dir, filepath.FromSlash(f.Path))
	var err error
	for range 3 {
		if err = hashOnce(name, f, buf); err == nil || !strings.Contains(err.Error(), errChanged.Error()) {
			break
		}
	}
	if err != nil {
		if os.IsNotExist(err) {
			err = fmt.Errorf("it was deleted while the snapshot was taken; run the command again")
		} else if os.IsPermission(err) {
			err = fmt.Errorf("%w; make it readable or leave it out with a line in the ignore file", err)
		}
		return fmt.Errorf("snapshot: %s: %w", f.Path, err)
	}
	return nil
}

func hashOnce(name string, f *File, buf []byte) error {
	if f.Mode == filemode.Symlink {
		text, err := os.Readlink(name)
		if err != nil {
			return err
		}
		text = filepath.ToSlash(text)
		f.Size = int64(len(text))
		h := objectHasher("blob", f.Size)
		io.WriteString(h, text)
		f.OID = hex.EncodeToString(h.Sum(nil))
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	before, err := file.Stat()
	if err != nil {
		return err
	}
	h := objectHasher("blob", before.Size())
	n, err := io.CopyBuffer(h, struct{ io.Reader }{file}, buf)
	if err != nil {
		return err
	}
	after, err := file.Stat()
	if err != nil {
		return err
	}
	if n != before.Size() || filestat.Of(before) != filestat.Of(after) {
		return errChanged
	}
	f.Size, f.stat = n, filestat.Of(before)
	f.OID = hex.EncodeToString(h.Sum(nil))
	return nil
}

// treeID returns the id of the git tree that holds the files, which are sorted
// by path. Tree entries are sorted as git sorts them: a folder's name compares
// as if it ended in "/" (git: base_name_compare), which is the order of the
// paths below it.
func treeID(files []File) string {
	sum := writeTree(files, 0)
	return hex.EncodeToString(sum[:])
}

func writeTree(files []File, prefix int) [sha1.Size]byte {
	var body []byte
	for i := 0; i < len(files); {
		rest := files[i].Path[prefix:]
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			body = fmt.Appendf(body, "%o %s\x00", uint32(files[i].Mode), rest)
			id, _ := hex.DecodeString(files[i].OID)
			body = append(body, id...)
			i++
			continue
		}
		dir := files[i].Path[:prefix+slash+1]
		end := i + sort.Search(len(files)-i, func(j int) bool { return !strings.HasPrefix(files[i+j].Path, dir) })
		sub := writeTree(files[i:end], len(dir))
		body = fmt.Appendf(body, "%o %s\x00", uint32(filemode.Dir), rest[:slash])
		body = append(body, sub[:]...)
		i = end
	}
	h := objectHasher("tree", int64(len(body)))
	h.Write(body)
	return [sha1.Size]byte(h.Sum(nil))
}
