package object

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxPrefixed bounds how many ids are listed: git asks for four digits at least, which
// in a repository of a million objects are the beginning of fifteen ids.
const maxPrefixed = 100_000

// Prefixed returns the ids of the objects that begin with some digits, at least two of
// them and in lower case, each once.
func (s *Store) Prefixed(digits string) ([]plumbing.Hash, error) {
	first, err := hex.DecodeString(digits[:len(digits)/2*2])
	if err != nil || len(first) == 0 {
		return nil, err
	}
	found := map[plumbing.Hash]bool{}
	packs, _ := s.load(false)
	for _, p := range packs {
		lo, hi := 0, p.fanout(int(first[0]))
		if first[0] > 0 {
			lo = p.fanout(int(first[0]) - 1)
		}
		name := func(i int) []byte { return p.index[idxNames+i*20 : idxNames+i*20+20] }
		i := lo + sort.Search(hi-lo, func(i int) bool { return bytes.Compare(name(lo + i)[:len(first)], first) >= 0 })
		for ; i < hi && bytes.HasPrefix(name(i), first) && len(found) < maxPrefixed; i++ {
			found[plumbing.Hash(name(i))] = true
		}
	}
	for _, dir := range s.Folders() {
		entries, err := os.ReadDir(filepath.Join(dir, digits[:2]))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if id := digits[:2] + e.Name(); plumbing.IsHash(id) && strings.HasPrefix(id, digits) {
				found[plumbing.NewHash(id)] = true
			}
		}
	}
	var list []plumbing.Hash
	for id := range found {
		if strings.HasPrefix(id.String(), digits) {
			list = append(list, id)
		}
	}
	return list, nil
}
