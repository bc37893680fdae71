package git

import (
	"bytes"
	"fmt"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
)

// Ancestors returns how many commits away from a commit each of its nearest ancestors is,
// at most that many of them, itself among them with 0. A history ends where a shallow clone
// has no more of it.
func (r *Repository) Ancestors(from plumbing.Hash, most int) (map[plumbing.Hash]int, error) {
	if err := r.Readable(); err != nil {
		return nil, err
	}
	if why := r.rewritten(); why != "" {
		return nil, fmt.Errorf("%s has %s, so that commits have other parents than they name; "+
			"that is not read here", r.Root, why)
	}
	objects := r.Objects()
	defer objects.Close()
	shallow, _ := limited.Read(filepath.Join(r.CommonDir, "shallow"), packedLimit)
	away := map[plumbing.Hash]int{from: 0}
	for queue := []plumbing.Hash{from}; len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		if bytes.Contains(shallow, []byte(id.String())) {
			continue
		}
		text, err := objects.Read(id, plumbing.CommitObject, object.MaxWhole)
		if err != nil {
			if id == from {
				return nil, fmt.Errorf("commit %s: %w", id, err)
			}
			continue // a partial clone has not all of them
		}
		for _, parent := range parents(text) {
			if _, seen := away[parent]; seen || len(away) >= most {
				continue
			}
			away[parent] = away[id] + 1
			queue = append(queue, parent)
		}
	}
	return away, nil
}

// parents are those that the text of a commit names, in its order.
func parents(commit []byte) (ids []plumbing.Hash) {
	head, _, _ := bytes.Cut(commit, []byte("\n\n"))
	for line := range bytes.Lines(head) {
		if to, ok := bytes.CutPrefix(bytes.TrimRight(line, "\n"), []byte("parent ")); ok &&
			plumbing.IsHash(string(to)) {
			ids = append(ids, plumbing.NewHash(string(to)))
		}
	}
	return ids
}
