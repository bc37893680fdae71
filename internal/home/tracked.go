package home

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/object"
)

// tracked returns the path under which a repository tracks the folder or something in
// it, in its index or in its HEAD; "" where it does not. On a file system that takes
// several names for the same folder (.AML-TRAIN, AML-TR~1), every one of them counts.
func tracked(r *git.Repository, h *Home) string {
	rel, err := filepath.Rel(r.Root, h.Dir)
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	t := &tracker{root: r.Root, parts: strings.Split(filepath.ToSlash(rel), "/"), seen: map[string]bool{}}
	if name := t.index(r); name != "" {
		return name
	}
	return t.head(r)
}

type tracker struct {
	root  string
	parts []string        // of the folder's path relative to the root
	seen  map[string]bool // what is has answered
}

// is tells whether a path of the repository is the folder, or one on its way.
func (t *tracker) is(path string) bool {
	known, ok := t.seen[path]
	if !ok {
		name := strings.Join(t.parts[:strings.Count(path, "/")+1], "/")
		known = strings.EqualFold(path, name)
		if !known {
			a, aerr := os.Lstat(filepath.Join(t.root, filepath.FromSlash(path)))
			b, berr := os.Lstat(filepath.Join(t.root, filepath.FromSlash(name)))
			known = aerr == nil && berr == nil && os.SameFile(a, b)
		}
		t.seen[path] = known
	}
	return known
}

// index looks at the index. One that cannot be read tells nothing; git does not go on
// with it either.
func (t *tracker) index(r *git.Repository) string {
	x, err := r.Index(nil)
	if err != nil {
		return ""
	}
	for i := 0; i < x.Len(); {
		name := x.Name(i)
		prefix, deep := name, 0
		for at := range len(name) {
			if name[at] == '/' {
				if deep++; deep == len(t.parts) {
					prefix = name[:at]
					break
				}
			}
		}
		if len(prefix) < len(name) || deep == len(t.parts)-1 {
			if t.is(prefix) {
				return name
			}
		}
		if len(prefix) < len(name) { // the rest of that folder is no other one
			i = x.End(i, x.Len(), prefix+"/")
		} else {
			i++
		}
	}
	return ""
}

// head looks at the tree of HEAD: what was taken out of the index alone is still what
// the checkout brought.
func (t *tracker) head(r *git.Repository) string {
	_, commit, err := r.Head()
	switch {
	case errors.Is(err, git.ErrNoReference):
		return "" // there is no commit yet
	case err != nil: // nobody knows what the checkout brought
		return "HEAD, which cannot be read"
	}
	objects := r.Objects()
	defer objects.Close()
	id, _, err := objects.CommitTree(commit)
	if err != nil {
		return ""
	}
	return t.tree(objects, id, "", len(t.parts)-1)
}

// tree looks at the entries of a tree, in the folder prefix, and that many levels
// below it.
func (t *tracker) tree(objects *object.Store, id plumbing.Hash, prefix string, below int) string {
	entries, err := objects.Tree(id)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		path := prefix + e.Name
		switch {
		case !t.is(path):
		case below == 0:
			return path
		case e.Mode == filemode.Dir:
			if name := t.tree(objects, e.ID, path+"/", below-1); name != "" {
				return name
			}
		}
	}
	return ""
}
