package snapshot

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

// Diff returns what changed from the snapshot old to the snapshot new, by path. It
// does not look into a folder that is the same in both, so the time it takes
// depends on what changed. A nil old has no files.
func Diff(old, new *Snapshot) []Change {
	if old == nil {
		old = newSnapshot("", nil, nil)
	}
	d := differ{old: old.Files, new: new.Files}
	d.compare(old.tree(), new.tree())
	return d.changes
}

type differ struct {
	old, new []File
	changes  []Change
}

// compare goes through the entries of two folders side by side.
func (d *differ) compare(old, new *tree) {
	if old.id == new.id {
		return
	}
	a, b := cursor{old, d.old, old.lo, 0}, cursor{new, d.new, new.lo, 0}
	for !a.done() || !b.done() {
		switch {
		case b.done() || !a.done() && a.key() < b.key():
			d.all(a.next(), d.old, func(f *File) Change { return Change{f, nil} })
		case a.done() || b.key() < a.key():
			d.all(b.next(), d.new, func(f *File) Change { return Change{nil, f} })
		default:
			x, y := a.next(), b.next()
			if x.tree != nil {
				d.compare(x.tree, y.tree)
			} else if f, g := &d.old[x.lo], &d.new[y.lo]; f.OID != g.OID || f.Mode != g.Mode {
				d.changes = append(d.changes, Change{f, g})
			}
		}
	}
}

func (d *differ) all(e entry, files []File, change func(*File) Change) {
	for i := e.lo; i < e.hi; i++ {
		d.changes = append(d.changes, change(&files[i]))
	}
}

// entry is a file or a folder: a range of files, and the tree where it is one.
type entry struct {
	tree   *tree
	lo, hi int
}

// cursor stands at an entry of a folder.
type cursor struct {
	in    *tree
	files []File
	at    int // the file
	sub   int // the next folder
}

func (c *cursor) done() bool { return c.at == c.in.hi }

// here is the folder that starts at the cursor, nil where it stands at a file.
func (c *cursor) here() *tree {
	if c.sub < len(c.in.trees) && c.in.trees[c.sub].lo == c.at {
		return c.in.trees[c.sub]
	}
	return nil
}

// key is the path of the entry; a folder's ends in "/".
func (c *cursor) key() string {
	if t := c.here(); t != nil {
		return t.path
	}
	return c.files[c.at].Path
}

func (c *cursor) next() entry {
	e := entry{lo: c.at, hi: c.at + 1}
	if e.tree = c.here(); e.tree != nil {
		e.hi = e.tree.hi
		c.sub++
	}
	c.at = e.hi
	return e
}
