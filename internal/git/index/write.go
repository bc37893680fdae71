package index

import (
	"crypto/sha1"
	"encoding/binary"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/filestat"
)

// Entry is one entry of an index that is to be written.
type Entry struct {
	Name  string // relative to the root of the working tree, slash-separated
	Mode  filemode.FileMode
	ID    plumbing.Hash
	Stage int

	AssumeValid, SkipWorktree, IntentToAdd bool

	// Stat is that of the file while it holds the blob's bytes; with the zero value git
	// compares the bytes when it is asked.
	Stat        filestat.Stat
	User, Group uint32 // of the file
}

// Entry returns an entry as it can be written for another working tree, without the
// stat data of this one.
func (x *Index) Entry(i int) Entry {
	return Entry{Name: x.Name(i), Mode: x.Mode(i), ID: x.ID(i), Stage: x.Stage(i),
		AssumeValid: x.AssumeValid(i), SkipWorktree: x.SkipWorktree(i), IntentToAdd: x.IntentToAdd(i)}
}

// Append appends an index with the entries, which are sorted by name and stage, in
// version 2, or 3 where a bit needs it (gitformat-index(5)). The device is left out: git
// compares it only where it was built to.
func Append(b []byte, entries []Entry) []byte {
	start, version := len(b), uint32(2)
	if slices.ContainsFunc(entries, Entry.extended) {
		version = 3
	}
	b = append(b, "DIRC"...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(entries)))
	for i := range entries {
		b = entries[i].append(b)
	}
	sum := sha1.Sum(b[start:])
	return append(b, sum[:]...)
}

func (e Entry) extended() bool { return e.SkipWorktree || e.IntentToAdd }

func (e *Entry) append(b []byte) []byte {
	start := len(b)
	u32 := func(n uint32) { b = binary.BigEndian.AppendUint32(b, n) }
	for _, ns := range []int64{e.Stat.Ctime, e.Stat.Mtime} {
		u32(uint32(ns / 1e9))
		u32(uint32(ns % 1e9))
	}
	u32(0) // device
	u32(uint32(e.Stat.Inode))
	u32(uint32(e.Mode))
	u32(e.User)
	u32(e.Group)
	u32(uint32(e.Stat.Size))
	b = append(b, e.ID[:]...)
	flags := uint16(e.Stage)<<12 | uint16(min(len(e.Name), flagNameLength))
	if e.AssumeValid {
		flags |= flagAssumeValid
	}
	if !e.extended() {
		b = binary.BigEndian.AppendUint16(b, flags)
	} else {
		b = binary.BigEndian.AppendUint16(b, flags|flagExtended)
		more := uint16(0)
		if e.SkipWorktree {
			more |= extSkipWorktree
		}
		if e.IntentToAdd {
			more |= extIntentToAdd
		}
		b = binary.BigEndian.AppendUint16(b, more)
	}
	b = append(b, e.Name...)
	// One to eight zero bytes end the entry at a multiple of eight.
	return append(b, make([]byte, 8-(len(b)-start)%8)...)
}
