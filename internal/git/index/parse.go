package index

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git/object"
)

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
			return nil, fmt.Errorf("it needs the extension %q, which is not known here; git read-tree HEAD "+
				"writes it without", kind)
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
	if uint64(at)+shortSize > uint64(len(text)) {
		return 0
	}
	if be16(text[at+atFlags:])&flagExtended != 0 {
		size += 2
	}
	if uint64(at)+uint64(size) > uint64(len(text)) {
		return 0
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
