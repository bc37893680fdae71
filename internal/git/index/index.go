// Package index answers: what does git's index know of a working tree?
//
// It reads the index as gitformat-index(5) describes it: versions 2, 3 and 4,
// split and sparse ones. go-git's decoder refuses the last two and takes several
// times as long as git's status as a whole, because it makes objects of every
// entry; here an entry is a place in the file, and a name a part of it.
//
// The extensions that only speed git up (cache tree, resolve undo, untracked
// cache, fsmonitor, offsets) are passed over: nothing here depends on them.
package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	mathbits "math/bits"
	"path/filepath"
	"sort"
	"strings"
	"time"
	"unsafe"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
)

// Index is the entries of an index, sorted by name and stage. The zero value has
// none.
type Index struct {
	// Time is when the index was written. A file that was modified then or later
	// may differ from its entry although its stat data does not ("racily clean",
	// git's Documentation/technical/racy-git).
	Time time.Time
	// Special counts the entries that are not just a tracked file: those with a
	// stage, submodules, and those with one of the bits below.
	Special int

	data    string // holds the records and names, as in the file
	entries []entry
}

// entry says where an entry's record and name stand in the data.
type entry struct{ record, name, size uint32 }

// The fields of a record, by their offset (gitformat-index(5), "Index entry").
const (
	atCtime    = 0
	atMtime    = 8
	atInode    = 20
	atMode     = 24
	atSize     = 36
	atID       = 40
	atFlags    = 60
	atExtended = 62
	shortSize  = 62 // of a record without extended flags

	flagAssumeValid = 0x8000
	flagExtended    = 0x4000
	flagStage       = 0x3000
	flagNameLength  = 0x0fff
	extSkipWorktree = 0x4000
	extIntentToAdd  = 0x2000
)

// Len returns the number of entries.
func (x *Index) Len() int { return len(x.entries) }

// Name returns the path of an entry relative to the root of the working tree,
// slash-separated. A folder that a sparse index keeps whole ends in "/".
func (x *Index) Name(i int) string {
	e := x.entries[i]
	return x.data[e.name : e.name+e.size]
}

func (x *Index) u32(i int, field uint32) uint32 {
	at := x.entries[i].record + field
	return be32(x.data[at : at+4])
}

func be32(s string) uint32 {
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}

func be16(s string) uint16 { return uint16(s[0])<<8 | uint16(s[1]) }

// ID returns the id of the entry's blob, of a submodule's commit.
func (x *Index) ID(i int) (id plumbing.Hash) {
	at := x.entries[i].record + atID
	copy(id[:], x.data[at:at+20])
	return id
}

// Mode returns the entry's mode.
func (x *Index) Mode(i int) filemode.FileMode { return filemode.FileMode(x.u32(i, atMode)) }

// Size returns the size of the file when it was added, modulo 2^32.
func (x *Index) Size(i int) uint32 { return x.u32(i, atSize) }

// Inode returns the file's inode, modulo 2^32.
func (x *Index) Inode(i int) uint32 { return x.u32(i, atInode) }

// Mtime returns when the file's content was modified, in nanoseconds since 1970.
func (x *Index) Mtime(i int) int64 { return x.nanoseconds(i, atMtime) }

// Ctime returns when the file's inode was changed, in nanoseconds since 1970.
func (x *Index) Ctime(i int) int64 { return x.nanoseconds(i, atCtime) }

func (x *Index) nanoseconds(i int, field uint32) int64 {
	return int64(x.u32(i, field))*1e9 + int64(x.u32(i, field+4))
}

func (x *Index) flags(i int) uint16 {
	at := x.entries[i].record + atFlags
	return be16(x.data[at : at+2])
}

func (x *Index) extended(i int) uint16 {
	if x.flags(i)&flagExtended == 0 {
		return 0
	}
	at := x.entries[i].record + atExtended
	return be16(x.data[at : at+2])
}

// Stage returns 0, or which side of a conflict the entry is, 1 to 3.
func (x *Index) Stage(i int) int { return int(x.flags(i)&flagStage) >> 12 }

// AssumeValid tells whether git was told not to look at the file
// (git update-index --assume-unchanged).
func (x *Index) AssumeValid(i int) bool { return x.flags(i)&flagAssumeValid != 0 }

// SkipWorktree tells whether the file need not be there: a sparse checkout, or
// git update-index --skip-worktree.
func (x *Index) SkipWorktree(i int) bool { return x.extended(i)&extSkipWorktree != 0 }

// IntentToAdd tells whether the file has a name here and no content yet
// (git add --intent-to-add).
func (x *Index) IntentToAdd(i int) bool { return x.extended(i)&extIntentToAdd != 0 }

// special tells whether the entry counts for Special.
func (x *Index) special(i int) bool {
	return x.flags(i)&(flagStage|flagAssumeValid) != 0 || x.extended(i)&(extSkipWorktree|extIntentToAdd) != 0 ||
		x.Mode(i) == filemode.Submodule
}

// Find returns the first entry with that name, -1 where there is none.
func (x *Index) Find(name string) int {
	i := sort.Search(len(x.entries), func(i int) bool { return x.Name(i) >= name })
	if i < len(x.entries) && x.Name(i) == name {
		return i
	}
	return -1
}

// Range returns the entries [lo, hi) whose names start with prefix.
func (x *Index) Range(prefix string) (lo, hi int) {
	lo = sort.Search(len(x.entries), func(i int) bool { return x.Name(i) >= prefix })
	return lo, x.End(lo, len(x.entries), prefix)
}

// End returns the end of the entries from lo on, and before hi, whose names start
// with prefix.
func (x *Index) End(lo, hi int, prefix string) int {
	return lo + sort.Search(hi-lo, func(i int) bool { return !strings.HasPrefix(x.Name(lo+i), prefix) })
}

// maxIndex is the most, in bytes, that the entries of an index may have, in the file and
// with their names written out: of ten million files, several times what the largest
// repositories hold.
const maxIndex = 1 << 30

// Read reads the index of that name, which lies in the git directory dir unless
// GIT_INDEX_FILE names another. One that is not there has no entries: nothing was
// added yet. The folders that a sparse index keeps as one entry are listed from the
// objects, and stay one entry without any.
func Read(name, dir string, objects *object.Store) (*Index, error) {
	text, when, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Index{}, nil
	}
	if err != nil {
		return nil, err
	}
	x, err := parse(text, func(id string) (string, error) {
		shared, _, err := readFile(filepath.Join(dir, "sharedindex."+id))
		return shared, err
	}, objects)
	if err != nil {
		return nil, fmt.Errorf("git index %s: %w", name, err)
	}
	x.Time = when
	return x, nil
}

// readFile returns the text of a file without a copy of it, and when it was
// modified.
func readFile(name string) (string, time.Time, error) {
	f, err := limited.Open(name)
	if err != nil {
		return "", time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", time.Time{}, err
	}
	if info.Size() > maxIndex {
		return "", time.Time{}, &limited.TooLargeError{Name: name, Limit: maxIndex}
	}
	text := make([]byte, info.Size())
	// git replaces an index by renaming, so what was opened does not change.
	if n, err := f.ReadAt(text, 0); n < len(text) {
		return "", time.Time{}, err
	}
	return unsafe.String(unsafe.SliceData(text), len(text)), info.ModTime(), nil
}

// errDamaged is an index that does not hold what it announces.
var errDamaged = errors.New("the file is damaged; git status tells more, and rm .git/index && git reset makes it anew")

// parse reads the text of an index. shared returns the text of the shared index
// with that id, which a split index builds on.
func parse(text string, shared func(id string) (string, error), objects *object.Store) (*Index, error) {
	x, ext, err := parseEntries(text)
	if err != nil {
		return nil, err
	}
	var link string
	split, sparse := false, false
	for len(ext) > 20 { // the checksum ends the file
		if len(ext) < 8+20 || uint64(be32(ext[4:])) > uint64(len(ext)-8-20) {
			return nil, errDamaged
		}
		kind, size := ext[:4], be32(ext[4:8])
		switch {
		case kind == "link":
			link, split = ext[8:8+size], true
		case kind == "sdir":
			sparse = true
		case kind[0] < 'A' || kind[0] > 'Z':
			return nil, fmt.Errorf("it needs the extension %q, which is not known here; git read-tree HEAD writes it without", kind)
		}
		ext = ext[8+size:]
	}
	if split && strings.Trim(link[:min(20, len(link))], "\x00") != "" {
		if len(link) < 20 {
			return nil, errDamaged
		}
		text, err := shared(fmt.Sprintf("%x", link[:20]))
		if err != nil {
			return nil, fmt.Errorf("it is split, and the part that others share cannot be read: %w", err)
		}
		base, _, err := parseEntries(text)
		if err != nil {
			return nil, fmt.Errorf("the part that others share: %w", err)
		}
		if x, err = merge(base, x, link[20:]); err != nil {
			return nil, err
		}
	}
	if sparse && objects != nil {
		if x, err = expand(x, objects); err != nil {
			return nil, err
		}
	}
	return x, x.check()
}

// parseEntries reads the header and the entries, and returns what follows them.
func parseEntries(text string) (*Index, string, error) {
	if len(text) < 12+20 || text[:4] != "DIRC" {
		return nil, "", errDamaged
	}
	version, count := be32(text[4:]), be32(text[8:])
	if version < 2 || version > 4 {
		return nil, "", fmt.Errorf("it has version %d; 2, 3 and 4 are known", version)
	}
	if uint64(count)*(shortSize+1) > uint64(len(text)) {
		return nil, "", errDamaged
	}
	if version == 4 {
		return parseCompressed(text, int(count))
	}
	x := &Index{data: text, entries: make([]entry, count)}
	at := uint32(12)
	for i := range x.entries {
		size := recordSize(text, at)
		if size == 0 {
			return nil, "", errDamaged
		}
		name := at + size
		length := uint32(be16(text[at+atFlags:]) & flagNameLength)
		if length == flagNameLength { // that long or longer
			end := strings.IndexByte(text[name:], 0)
			if end < 0 {
				return nil, "", errDamaged
			}
			length = uint32(end)
		}
		x.entries[i] = entry{record: at, name: name, size: length}
		at += (size + length + 8) &^ 7
		if uint64(at)+20 > uint64(len(text)) {
			return nil, "", errDamaged
		}
	}
	return x, text[at:], nil
}

// recordSize returns the size of the record at that place, 0 where the text ends
// before it does.
func recordSize(text string, at uint32) uint32 {
	size := uint32(shortSize)
	if uint64(at)+shortSize+2 > uint64(len(text)) {
		return 0
	}
	if be16(text[at+atFlags:])&flagExtended != 0 {
		size += 2
	}
	return size
}

// parseCompressed reads the entries of version 4, each of whose names shares the
// start of the one before.
func parseCompressed(text string, count int) (*Index, string, error) {
	b := newBuilder(count, len(text)*2)
	// A name that a file can have has at most 4,096 bytes, and needs 64 with its record.
	b.limit = min(maxIndex, 64*len(text))
	var name []byte
	at := uint32(12)
	for range count {
		size := recordSize(text, at)
		if size == 0 {
			return nil, "", errDamaged
		}
		rest := text[at+size:]
		strip, n := offset(rest)
		end := -1
		if n > 0 {
			end = strings.IndexByte(rest[n:], 0)
		}
		if end < 0 || strip > uint64(len(name)) {
			return nil, "", errDamaged
		}
		name = append(name[:len(name)-int(strip)], rest[n:n+end]...)
		if b.add(text[at:at+size], string(name)); b.full {
			break
		}
		at += size + uint32(n+end+1)
		if uint64(at)+20 > uint64(len(text)) {
			return nil, "", errDamaged
		}
	}
	x, err := b.done()
	return x, text[at:], err
}

// offset reads a number in the form that packs have for the distance to a delta's
// base (gitformat-pack(5)), and returns how many bytes it takes, 0 where it does
// not end.
func offset(s string) (value uint64, n int) {
	for n < len(s) && n < 9 {
		c := s[n]
		n++
		value |= uint64(c & 0x7f)
		if c&0x80 == 0 {
			return value, n
		}
		value = (value + 1) << 7
	}
	return 0, 0
}

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

// check counts what is special, and refuses what would lead a reader astray: a
// wrong order, and an entry without a file whose name leads elsewhere.
func (x *Index) check() error {
	last, stage := "", -1
	for i := range x.entries {
		name := x.Name(i)
		if name < last || name == last && x.Stage(i) <= stage {
			return errDamaged
		}
		last, stage = name, x.Stage(i)
		if x.special(i) {
			x.Special++
			if x.Mode(i) == filemode.Dir {
				name = strings.TrimSuffix(name, "/")
			}
			if x.SkipWorktree(i) && !Valid(name) {
				return fmt.Errorf("the path %q cannot stand in a repository", name)
			}
		}
	}
	return nil
}

// Valid tells whether a path may come from a repository: it leads neither out of
// the working tree nor into a git directory (git: verify_path in read-cache.c).
func Valid(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || len(part) == 4 && strings.EqualFold(part, ".git") {
			return false
		}
	}
	return strings.IndexByte(path, 0) < 0
}
