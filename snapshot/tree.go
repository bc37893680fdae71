package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/git/object"
)

// each calls f for the numbers below n, in parallel. Its buffer belongs to f
// alone.
func each(ctx context.Context, n int, f func(i int, buf []byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0)*2, n) {
		g.Go(func() error {
			buf := make([]byte, 256<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := f(i, buf); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// large is what a worker should not be left alone with at the end.
const large = 4 << 20

// hashAll fills in the ids that the index could not give, reading the files in
// parallel, and returns how many it read.
func hashAll(ctx context.Context, dir string, files []File) (int, error) {
	var todo, small []int32
	for i := range files {
		switch {
		case !files[i].OID.IsZero():
		case files[i].Size >= large:
			todo = append(todo, int32(i))
		default:
			small = append(small, int32(i))
		}
	}
	slices.SortFunc(todo, func(a, b int32) int { return int(files[b].Size>>10 - files[a].Size>>10) })
	todo = append(todo, small...)
	return len(todo), each(ctx, len(todo), func(i int, buf []byte) error { return hashFile(dir, &files[todo[i]], buf) })
}

// hashFile sets the id of one file. A file that changes under the reader is read
// again, three times at most.
func hashFile(dir string, f *File, buf []byte) error {
	name := filepath.Join(dir, filepath.FromSlash(f.Path))
	var err error
	for range 3 {
		if err = hashOnce(name, f, buf); !errors.Is(err, errChanged) {
			break
		}
	}
	if err == nil {
		return nil
	}
	if os.IsNotExist(err) {
		err = fmt.Errorf("it was deleted while the snapshot was taken; run the command again")
	} else if os.IsPermission(err) {
		err = fmt.Errorf("%w; make it readable or leave it out with a line in the ignore file", err)
	}
	return fmt.Errorf("snapshot: %s: %w", f.Path, err)
}

func hashOnce(name string, f *File, buf []byte) error {
	if f.Mode == filemode.Symlink {
		text, err := linkText(name)
		if err != nil {
			return err
		}
		f.Size = int64(len(text))
		h := object.NewHash(plumbing.BlobObject, f.Size)
		io.WriteString(h, text)
		f.OID = object.Sum(h)
		return nil
	}
	file, err := filestat.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	before, err := file.Stat()
	if err != nil {
		return err
	}
	h := object.NewHash(plumbing.BlobObject, before.Size())
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
	f.Size, f.stat, f.OID = n, filestat.Of(before), object.Sum(h)
	return nil
}

// tree is one folder of a snapshot as a git tree.
type tree struct {
	path   string // ends in "/"; "" for the source directory
	id     plumbing.Hash
	lo, hi int // the files below it
	trees  []*tree
}

// newTree makes the tree of the files, which are sorted by path, all below path,
// and the first of which is number lo.
func newTree(files []File, path string, lo int) *tree {
	return (&trees{}).tree(files, path, lo, 0)
}

// trees makes trees. It has the text of one for each depth, so that not each folder's is
// memory that was never touched before.
type trees struct{ bodies [][]byte }

// tree is newTree for a folder at that depth. Tree entries are sorted as git sorts them:
// a folder's name compares as if it ended in "/" (git: base_name_compare), which
// is the order of the paths below it.
func (b *trees) tree(files []File, path string, lo, depth int) *tree {
	t := &tree{path: path, lo: lo, hi: lo + len(files)}
	if depth == len(b.bodies) {
		b.bodies = append(b.bodies, nil)
	}
	body := b.bodies[depth][:0]
	for i := 0; i < len(files); {
		f := &files[i]
		name := f.Path[len(path):]
		slash := strings.IndexByte(name, '/')
		if slash < 0 {
			body = appendEntry(body, f.Mode, name, f.OID)
			i++
			continue
		}
		dir := f.Path[:len(path)+slash+1]
		end := i + sort.Search(len(files)-i, func(j int) bool { return !strings.HasPrefix(files[i+j].Path, dir) })
		sub := b.tree(files[i:end], dir, lo+i, depth+1)
		body = appendEntry(body, filemode.Dir, name[:slash], sub.id)
		t.trees = append(t.trees, sub)
		i = end
	}
	b.bodies[depth] = body
	h := object.NewHash(plumbing.TreeObject, int64(len(body)))
	h.Write(body)
	t.id = object.Sum(h)
	return t
}

// appendEntry writes an entry of a tree: its mode in octal without leading zeros,
// a space, its name, a zero byte, its id.
func appendEntry(body []byte, mode filemode.FileMode, name string, id plumbing.Hash) []byte {
	switch mode {
	case filemode.Regular:
		body = append(body, "100644 "...)
	case filemode.Executable:
		body = append(body, "100755 "...)
	case filemode.Dir:
		body = append(body, "40000 "...)
	case filemode.Symlink:
		body = append(body, "120000 "...)
	default:
		body = fmt.Appendf(body, "%o ", uint32(mode))
	}
	body = append(body, name...)
	body = append(body, 0)
	return append(body, id[:]...)
}
