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
	"errors"
	"fmt"
	"io/fs"
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
	// Checksum is the SHA-1 of all that Read was given, zero where git was told to leave
	// it out (index.skipHash).
	Checksum plumbing.Hash

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
	copy(x.Checksum[:], text[len(text)-20:])
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
