package snapshot

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/index"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/home"
)

// sizesDir is the folder, in this program's of the person's cache folder, of what is
// remembered of indexes.
const sizesDir = "blob-sizes"

// worthRemembering is how many blobs have to be looked up before what they say is written
// down: their sizes stand all over the packs, and of a few thousand that takes milliseconds.
var worthRemembering int64 = 2000

// sizes tells which blobs of an index are as large as the index has their files. That never
// changes for an index of one checksum, so it is remembered from one command to the next, a
// bit an entry: every file is asked about, every time.
type sizes struct {
	index   *index.Index
	objects *object.Store
	root    string // of the working tree, where nothing may be written
	key     string // the index, as a file's name

	load sync.Once
	same []uint32     // bits of entries, set where the blob is known to be as large
	read atomic.Int64 // blobs that were looked up and are as large
}

func newSizes(repo *git.Repository, x *index.Index, objects *object.Store) *sizes {
	return &sizes{index: x, objects: objects, root: repo.Root,
		key: fmt.Sprintf("%x", sha256.Sum256([]byte(repo.GitDir)))[:32]}
}

// is tells whether the blob of an entry has that size, which is the unchanged file's.
func (z *sizes) is(entry int, size int64) bool {
	z.load.Do(z.remember)
	word, bit := &z.same[entry/32], uint32(1)<<(entry%32)
	whole := size == int64(z.index.Size(entry)) // the index has it modulo 2^32
	if whole && atomic.LoadUint32(word)&bit != 0 {
		return true
	}
	_, blob, err := z.objects.Size(z.index.ID(entry))
	if err != nil || blob != size {
		return false
	}
	if whole {
		atomic.OrUint32(word, bit)
		z.read.Add(1)
	}
	return true
}

// remember takes over what an earlier command wrote down of this very index.
func (z *sizes) remember() {
	z.same = make([]uint32, (z.index.Len()+31)/32)
	if z.index.Checksum.IsZero() {
		return
	}
	folder, err := z.folder(false)
	if err != nil {
		return
	}
	defer folder.Close()
	sum := z.index.Checksum[:]
	info, err := folder.Lstat(z.key)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(sum)+4*len(z.same)) {
		return
	}
	text, err := folder.ReadFile(z.key)
	if err != nil || !bytes.HasPrefix(text, sum) {
		return
	}
	_, _ = binary.Decode(text[len(sum):], binary.LittleEndian, z.same)
}

// save writes down what is known now, where looking it up took long. Whatever hinders that
// costs the next command the same time again, and nothing else.
func (z *sizes) save() {
	if z.read.Load() < worthRemembering || z.index.Checksum.IsZero() {
		return
	}
	folder, err := z.folder(true)
	if err != nil {
		return
	}
	defer folder.Close()
	text := bytes.Clone(z.index.Checksum[:])
	for _, word := range z.same {
		text = binary.LittleEndian.AppendUint32(text, word)
	}
	next := "." + rand.Text()
	if folder.WriteFile(next, text, 0o600) != nil || folder.Rename(next, z.key) != nil {
		_ = folder.Remove(next)
	}
}

// folder opens the folder of what is remembered. In the working tree itself it would
// travel.
func (z *sizes) folder(create bool) (*os.Root, error) {
	cache, err := home.Cache()
	if err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(z.root, cache); err != nil || filepath.IsLocal(rel) {
		return nil, os.ErrInvalid
	}
	ours, err := home.Private(cache, create)
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	return home.Folder(ours.Root, sizesDir, create)
}
