package snapshot

import (
	"context"
	"path"
	"sort"

	"github.com/org/aml-train/internal/git"
)

// Change is a file that two snapshots do not have alike.
// Old and New are the file before and after, nil where it is not there.
type Change struct{ Old, New *File }

// Path is that of the file.
func (c Change) Path() string {
	if c.New != nil {
		return c.New.Path
	}
	return c.Old.Path
}

// Status is git's letter for the change: A for added, D for deleted, T where a
// file became a link or a link a file, M for modified.
func (c Change) Status() string {
	switch {
	case c.Old == nil:
		return "A"
	case c.New == nil:
		return "D"
	case c.Old.Mode&0o170000 != c.New.Mode&0o170000:
		return "T"
	}
	return "M"
}

// Diff returns what changed from the snapshot old to the snapshot new, by path. A nil
// old has no files.
func Diff(old, new *Snapshot) []Change {
	if old == nil {
		old = &Snapshot{}
	}
	return diff(old.Files, new.Files, nil)
}

// Since returns what Diff does from the commit that rev names in the source directory dir,
// without reading a folder that is the same in both: the time it takes depends on what
// changed. The sizes of all files that changed are known; those of the commit cannot be opened.
func (s *Snapshot) Since(ctx context.Context, finder *git.Finder, dir, rev string) ([]Change, error) {
	c := &committed{git: finder, like: s}
	defer c.stores.close()
	old, err := c.snapshot(ctx, dir, rev, Options{MaxBytes: -1})
	if err != nil {
		return nil, err
	}
	if err := old.Sizes(ctx); err != nil {
		return nil, err
	}
	if err := s.Sizes(ctx); err != nil {
		return nil, err
	}
	sort.Slice(c.same, func(i, j int) bool { return c.same[i].lo < c.same[j].lo })
	return diff(old.Files, s.Files, c.same), nil
}

// diff goes through two lists of files side by side. Those of new in the folders same are
// in both, and left out of old.
func diff(old, new []File, same []*tree) (changes []Change) {
	for i, j := 0, 0; i < len(old) || j < len(new); {
		switch {
		case len(same) > 0 && same[0].lo == j:
			j, same = same[0].hi, same[1:]
		case i == len(old) || j < len(new) && new[j].Path < old[i].Path:
			changes = append(changes, Change{nil, &new[j]})
			j++
		case j == len(new) || old[i].Path < new[j].Path:
			changes = append(changes, Change{&old[i], nil})
			i++
		default:
			if old[i].OID != new[j].OID || old[i].Mode != new[j].Mode {
				changes = append(changes, Change{&old[i], &new[j]})
			}
			i, j = i+1, j+1
		}
	}
	return changes
}

// unchanged tells whether the folder holds in the commit what the snapshot has there, and
// takes note of it. With git-LFS a file stands for another one, which may be there or not.
func (c *committed) unchanged(f *commitFolder) bool {
	t := f.like
	if t == nil || t.id != f.tree || c.hasAmlignore || f.filters.Push(f.info).Drives() {
		return false
	}
	for i := t.lo; i < t.hi; i++ {
		if path.Base(c.like.Files[i].Path) == ".gitattributes" {
			return false
		}
	}
	c.mu.Lock()
	c.same = append(c.same, t)
	c.mu.Unlock()
	return true
}

// below returns the folder at that path directly in the folder, nil where there is none.
func (t *tree) below(p string) *tree {
	if t == nil {
		return nil
	}
	i := sort.Search(len(t.trees), func(i int) bool { return t.trees[i].path >= p+"/" })
	if i < len(t.trees) && t.trees[i].path == p+"/" {
		return t.trees[i]
	}
	return nil
}
