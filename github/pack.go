package github

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// pack returns a commit without parents as it goes to a repository (git-scm.com,
// gitformat-pack): it, its tree of these entries, and a blob that is among them.
func pack(blob []byte, entries []object.TreeEntry, when time.Time) (commit plumbing.Hash, file []byte, err error) {
	store := memory.NewStorage()
	var ids []plumbing.Hash
	add := func(encode func(plumbing.EncodedObject) error) (id plumbing.Hash) {
		o := store.NewEncodedObject()
		if err == nil {
			err = encode(o)
		}
		if err == nil {
			id, err = store.SetEncodedObject(o)
		}
		ids = append(ids, id)
		return id
	}
	add(func(o plumbing.EncodedObject) error {
		o.SetType(plumbing.BlobObject)
		w, err := o.Writer()
		if err == nil {
			_, err = w.Write(blob)
		}
		return err
	})
	sorted := object.TreeEntrySorter(slices.Clone(entries))
	sort.Sort(sorted)
	tree := add((&object.Tree{Entries: sorted}).Encode)
	who := object.Signature{Name: "github-actions[bot]",
		Email: "41898282+github-actions[bot]@users.noreply.github.com", When: when.UTC()}
	commit = add((&object.Commit{Author: who, Committer: who, TreeHash: tree, Message: "Run history of aml-train\n\n" +
		"Each file is the record of a run that completed. The older ones are dropped.\n"}).Encode)
	if err != nil {
		return commit, nil, err
	}
	var out bytes.Buffer
	_, err = packfile.NewEncoder(&out, store, false).Encode(ids, 0)
	return commit, out.Bytes(), err
}
