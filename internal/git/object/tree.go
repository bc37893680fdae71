package object

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// Entry is one entry of a tree.
type Entry struct {
	Mode filemode.FileMode
	Name string
	ID   plumbing.Hash
}

// Tree returns the entries of a tree in its order, which is that of the paths
// below it: a folder counts as if its name ended in "/". A name that leads
// elsewhere is refused (git: verify_path).
func (s *Store) Tree(id plumbing.Hash) ([]Entry, error) {
	text, err := s.Read(id, plumbing.TreeObject, MaxWhole)
	if err != nil {
		return nil, err
	}
	entries, err := ParseTree(text)
	if err != nil {
		return nil, fmt.Errorf("tree %s in %s: %w", id, s.where(id), err)
	}
	return entries, nil
}

// ErrNoFolder says that a tree has no folder of that name.
var ErrNoFolder = errors.New("there is no such folder")

// Subtree returns the tree at a slash-separated path below another; "" is that itself. The
// error of a path that is no folder is ErrNoFolder.
func (s *Store) Subtree(id plumbing.Hash, path string) (plumbing.Hash, error) {
	if path == "" {
		return id, nil
	}
	name, rest, _ := strings.Cut(path, "/")
	entries, err := s.Tree(id)
	if err != nil {
		return id, err
	}
	for _, e := range entries {
		if e.Name == name && e.Mode == filemode.Dir {
			return s.Subtree(e.ID, rest)
		}
	}
	return id, ErrNoFolder
}

// ParseTree reads the content of a tree object: for each entry an octal mode, a
// space, the name, a zero byte and the 20 bytes of the id. The names are parts of the
// text, which must not be changed afterwards.
func ParseTree(text []byte) ([]Entry, error) {
	names := unsafe.String(unsafe.SliceData(text), len(text))
	out := make([]Entry, 0, len(text)/32+1)
	for at := 0; at < len(names); {
		space := strings.IndexByte(names[at:], ' ')
		if space < 0 || space > 7 {
			return nil, ErrDamaged
		}
		mode := uint32(0)
		for _, c := range []byte(names[at : at+space]) {
			if c < '0' || c > '7' {
				return nil, ErrDamaged
			}
			mode = mode<<3 | uint32(c-'0')
		}
		at += space + 1
		end := strings.IndexByte(names[at:], 0)
		if end < 0 || at+end+1+20 > len(names) {
			return nil, ErrDamaged
		}
		e := Entry{Mode: canonical(mode), Name: names[at : at+end]}
		at += end + 1
		copy(e.ID[:], names[at:at+20])
		at += 20
		if e.Name == "" || e.Name == "." || e.Name == ".." || strings.EqualFold(e.Name, ".git") ||
			strings.Contains(e.Name, "/") {
			return nil, fmt.Errorf("the name %q cannot stand in a repository", e.Name)
		}
		if n := len(out); n > 0 && !before(out[n-1], e) {
			return nil, ErrDamaged
		}
		out = append(out, e)
	}
	return out, nil
}

// before tells whether a stands before b in a tree.
func before(a, b Entry) bool {
	n := min(len(a.Name), len(b.Name))
	if c := strings.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c < 0
	}
	return next(a, n) < next(b, n)
}

// next is the byte of the name at n, as trees sort it.
func next(e Entry, n int) byte {
	switch {
	case n < len(e.Name):
		return e.Name[n]
	case e.Mode == filemode.Dir:
		return '/'
	}
	return 0
}

// canonical is the mode that git makes of one in a tree (git: canon_mode): the
// group's rights, which old programs wrote, do not count.
func canonical(mode uint32) filemode.FileMode {
	switch mode & 0o170000 {
	case 0o100000:
		if mode&0o100 != 0 {
			return filemode.Executable
		}
		return filemode.Regular
	case 0o120000:
		return filemode.Symlink
	case 0o040000:
		return filemode.Dir
	}
	return filemode.Submodule
}
