package index

import (
	"encoding/binary"
	"fmt"
	mathbits "math/bits"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
)

// builder makes an index of records and names from elsewhere, of at most limit bytes.
type builder struct {
	x     *Index
	data  strings.Builder
	limit int
	full  bool
}

func newBuilder(count, bytes int) *builder {
	b := &builder{x: &Index{entries: make([]entry, 0, count)}, limit: maxIndex}
	b.data.Grow(bytes)
	return b
}

func (b *builder) add(record, name string) {
	at := uint32(b.data.Len())
	if b.full = b.full || b.data.Len()+len(record)+len(name) > b.limit; b.full {
		return
	}
	b.data.WriteString(record)
	b.data.WriteString(name)
	b.x.entries = append(b.x.entries, entry{record: at, name: at + uint32(len(record)), size: uint32(len(name))})
}

func (b *builder) done() (*Index, error) {
	if b.full {
		return nil, &limited.TooLargeError{Name: "the list of its names", Limit: int64(b.limit)}
	}
	b.x.data = b.data.String()
	return b.x, nil
}

// record returns the bytes of an entry before its name.
func (x *Index) record(i int) string {
	e := x.entries[i]
	return x.data[e.record : e.record+recordSize(x.data, e.record)]
}

// merge applies a split index to the shared one: the bitmaps say which entries of
// the base are deleted and which are replaced, in order, by the nameless entries
// that come first (gitformat-index(5), "Split index").
func merge(base, own *Index, bitmaps string) (*Index, error) {
	deleted, rest, err := bits(bitmaps, base.Len())
	if err != nil {
		return nil, err
	}
	replaced, _, err := bits(rest, base.Len())
	if err != nil {
		return nil, err
	}
	type part struct{ record, name string }
	var all []part
	next := 0
	for i := range base.entries {
		record := base.record(i)
		if replaced[i] {
			if next == own.Len() || own.Name(next) != "" {
				return nil, errDamaged
			}
			record = own.record(next)
			next++
		}
		if !deleted[i] {
			all = append(all, part{record, base.Name(i)})
		}
	}
	for ; next < own.Len(); next++ {
		all = append(all, part{own.record(next), own.Name(next)})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].name < all[j].name })
	b := newBuilder(len(all), len(base.data)+len(own.data))
	for _, p := range all {
		b.add(p.record, p.name)
	}
	return b.done()
}

// bits reads a bitmap of at most size bits in EWAH compression
// (gitformat-bitmap(5), "Appendix A"), and returns what follows it.
func bits(s string, size int) ([]bool, string, error) {
	out := make([]bool, size)
	if len(s) < 8 {
		return nil, "", errDamaged
	}
	words := uint64(be32(s[4:]))
	if uint64(len(s)) < 8+words*8+4 {
		return nil, "", errDamaged
	}
	text, rest := s[8:8+words*8], s[8+words*8+4:]
	word := func() uint64 {
		w := binary.BigEndian.Uint64([]byte(text[:8]))
		text = text[8:]
		return w
	}
	at := uint64(0)
	for len(text) > 0 {
		w := word()
		run, literal := (w>>1)&0xffffffff*64, w>>33
		if w&1 != 0 {
			for i := at; i < min(at+run, uint64(size)); i++ {
				out[i] = true
			}
		}
		at += run
		for ; literal > 0; literal-- {
			if len(text) == 0 {
				return nil, "", errDamaged
			}
			for l := word(); l != 0; l &= l - 1 {
				if i := at + uint64(mathbits.TrailingZeros64(l)); i < uint64(size) {
					out[i] = true
				}
			}
			at += 64
		}
	}
	return out, rest, nil
}

// expand puts the files of the folders that a sparse index keeps as one entry in
// their place (gitformat-index(5), "Sparse directory entries").
func expand(x *Index, objects *object.Store) (*Index, error) {
	b := newBuilder(x.Len(), len(x.data))
	budget := &object.Budget{}
	for i := range x.entries {
		if x.Mode(i) != filemode.Dir {
			b.add(x.record(i), x.Name(i))
			continue
		}
		err := objects.Walk(x.ID(i), budget, func(path string, e object.Entry) bool {
			if e.Mode == filemode.Dir {
				return true
			}
			record := make([]byte, shortSize+2)
			binary.BigEndian.PutUint32(record[atMode:], uint32(e.Mode))
			copy(record[atID:], e.ID[:])
			binary.BigEndian.PutUint16(record[atFlags:], flagExtended)
			binary.BigEndian.PutUint16(record[atExtended:], extSkipWorktree)
			b.add(string(record), x.Name(i)+path)
			return false
		})
		if err != nil {
			return nil, fmt.Errorf("it is sparse, and the folder %s cannot be read: %w", x.Name(i), err)
		}
	}
	return b.done()
}
