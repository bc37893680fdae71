package github

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/git/object"
)

// treeEntry is one of a tree's.
type treeEntry struct {
	mode string // six octal digits
	name string
	id   plumbing.Hash
}

// packed are objects on their way to a repository (git-scm.com, gitformat-pack).
type packed struct {
	bytes.Buffer
	count uint32
}

// add adds an object, and returns its id.
func (p *packed) add(kind plumbing.ObjectType, text []byte) plumbing.Hash {
	p.count++
	size := len(text)
	first := byte(kind)<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		p.WriteByte(first | 0x80)
		first = byte(size & 0x7f)
	}
	p.WriteByte(first)
	z := zlib.NewWriter(p)
	z.Write(text)
	z.Close()
	return hashOf(kind, text)
}

// hashOf is git's id of an object.
func hashOf(kind plumbing.ObjectType, text []byte) plumbing.Hash {
	hash := object.NewHash(kind, int64(len(text)))
	hash.Write(text)
	return object.Sum(hash)
}

// file returns all of them as a pack.
func (p *packed) file() []byte {
	out := append([]byte("PACK"), 0, 0, 0, 2)
	out = binary.BigEndian.AppendUint32(out, p.count)
	out = append(out, p.Bytes()...)
	sum := sha1.Sum(out)
	return append(out, sum[:]...)
}

// treeOf writes a tree. Its order is that of git, to which a folder's name ends in "/".
func treeOf(entries []treeEntry) []byte {
	sorted := func(e treeEntry) string {
		if e.mode == "040000" {
			return e.name + "/"
		}
		return e.name
	}
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b treeEntry) int { return cmp.Compare(sorted(a), sorted(b)) })
	var out bytes.Buffer
	for _, e := range entries {
		mode := e.mode
		if mode[0] == '0' { // as git writes it in a tree
			mode = mode[1:]
		}
		fmt.Fprintf(&out, "%s %s\x00%s", mode, e.name, e.id[:])
	}
	return out.Bytes()
}

// orphan writes a commit without parents.
func orphan(tree plumbing.Hash, when time.Time) []byte {
	const who = "github-actions[bot] <41898282+github-actions[bot]@users.noreply.github.com>"
	return fmt.Appendf(nil, "tree %s\nauthor %s %d +0000\ncommitter %[2]s %[3]d +0000\n\n"+
		"Run history of aml-train\n\nEach file is the record of a run that completed. The older ones are dropped.\n",
		tree, who, when.Unix())
}
