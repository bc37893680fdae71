package object

import (
	"fmt"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/size"
)

// maxListed is the most, in bytes, that the list of the files below a tree may take:
// three million of them.
const maxListed = 512 << 20

// entryBytes is what one of them takes beside its path.
const entryBytes = 128

// Budget bounds what is listed. A tree that names another one ten times, which names a
// third one ten times, is small, and stands for more files than any memory holds. The
// zero value is a whole budget; several goroutines can spend it.
type Budget struct{ spent atomic.Int64 }

// Spend takes what the entries of the folder at that path need, and returns an error
// where the budget is used up.
func (b *Budget) Spend(path string, entries []Entry) error {
	n := len(entries) * (len(path) + entryBytes)
	for i := range entries {
		n += len(entries[i].Name)
	}
	if b.spent.Add(int64(n)) > maxListed {
		return fmt.Errorf("%s: the list of the files takes more than %s; name a folder with fewer of them",
			path, size.Limit(maxListed))
	}
	return nil
}

// Walk calls each for what lies below a tree, in the order of the paths: for a folder
// with its path, to learn whether to go into it, and for anything else, whose answer
// does not count. Paths are relative to the tree, slash-separated.
func (s *Store) Walk(tree plumbing.Hash, b *Budget, each func(path string, e Entry) bool) error {
	return s.walk(tree, "", b, each)
}

func (s *Store) walk(tree plumbing.Hash, at string, b *Budget, each func(string, Entry) bool) error {
	entries, err := s.Tree(tree)
	if err != nil {
		return err
	}
	if err := b.Spend(at, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if path := at + e.Name; each(path, e) && e.Mode == filemode.Dir {
			if err := s.walk(e.ID, path+"/", b, each); err != nil {
				return err
			}
		}
	}
	return nil
}
