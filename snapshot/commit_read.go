package snapshot

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git/attributes"
	"github.com/org/aml-train/internal/git/ignore"
	"github.com/org/aml-train/internal/git/object"
)

// read takes in one folder of a commit.
func (c *committed) read(f commitFolder) error {
	if c.unchanged(&f) {
		return nil
	}
	entries, err := f.objects.Tree(f.tree)
	if err != nil {
		return explainMissing(c.repo, join(f.path, ""), err)
	}
	if err := c.budget.Spend(f.path, entries); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if c.hasAmlignore {
		text, err := c.text(&f, entries, ".amlignore", f.in)
		if err != nil {
			return err
		}
		f.rules = f.rules.Push(ignore.Parse(text, join(f.path, ".amlignore"), f.in, c.ignoreCase))
	}
	if err := c.attributes(&f, entries, f.in); err != nil {
		return err
	}
	r := &commitReading{c: c, f: f, filters: f.filters.Push(f.info)}
	f.node.files = make([]File, 0, len(entries))
	paths := joined(f.path, entries)
	for i, e := range entries {
		if err := r.entry(e, paths[i]); err != nil {
			return err
		}
	}
	if r.differs || r.excluded != nil {
		c.mu.Lock()
		c.excluded = append(c.excluded, r.excluded...)
		c.differs = true
		c.mu.Unlock()
	}
	for _, sub := range r.below {
		if err := c.tasks.do(func() error { return c.read(sub) }); err != nil {
			return err
		}
	}
	return nil
}

// commitReading is one folder of a commit whose entries are gone through.
type commitReading struct {
	c       *committed
	f       commitFolder
	filters attributes.Stack

	below    []commitFolder
	excluded []Exclusion
	differs  bool // the tree is not the commit's
}

// entry takes in a file or folder of the folder, whose path is p.
func (r *commitReading) entry(e object.Entry, p string) error {
	f := &r.f
	if e.Name == homeDir {
		r.differs = true
		return nil
	}
	in := p
	if f.in != f.path {
		in = join(f.in, e.Name)
	}
	folder := e.Mode == filemode.Dir || e.Mode == filemode.Submodule
	if rule := f.rules.Match(in, folder); rule != nil && !rule.Negated {
		if folder {
			p += "/"
		}
		r.excluded = append(r.excluded, exclusion(p, rule))
		return nil
	}
	if !folder {
		file := File{Path: p, Mode: e.Mode, Size: -1, OID: e.ID, objects: f.objects, entry: -1}
		if err := r.c.file(&file, in, r.filters); err != nil {
			return err
		}
		f.node.files = append(f.node.files, file)
		return nil
	}
	sub := *f
	sub.node, sub.tree, sub.path, sub.in, sub.like = &node{}, e.ID, p, in, f.like.below(p)
	if e.Mode == filemode.Submodule {
		r.differs = true
		if there, err := r.c.submodule(&sub); err != nil || !there {
			return err
		}
	}
	f.node.kids = append(f.node.kids, kid{len(f.node.files), sub.node})
	r.below = append(r.below, sub)
	return nil
}

// file checks that a file can travel, and looks whether git-LFS keeps its content. in is
// its path in the repository.
func (c *committed) file(f *File, in string, filters attributes.Stack) error {
	if err := storable(f.Path, ".amlignore"); err != nil {
		return err
	}
	if filepath.Separator != '/' && !filepath.IsLocal(filepath.FromSlash(f.Path)) {
		return fmt.Errorf("snapshot: the name %q in the commit leads elsewhere on this system", f.Path)
	}
	if len(filters) > 0 && f.Mode != filemode.Symlink && filters.Of(in, "").Driver == "lfs" {
		return c.pointer(f)
	}
	return nil
}

// joined returns the paths of the entries of a folder, as parts of one string.
func joined(dir string, entries []object.Entry) []string {
	var b strings.Builder
	n := 0
	for _, e := range entries {
		n += len(dir) + 1 + len(e.Name)
	}
	b.Grow(n)
	for _, e := range entries {
		if dir != "" {
			b.WriteString(dir)
			b.WriteByte('/')
		}
		b.WriteString(e.Name)
	}
	all, at := b.String(), 0
	paths := make([]string, len(entries))
	for i, e := range entries {
		n := len(e.Name)
		if dir != "" {
			n += len(dir) + 1
		}
		paths[i] = all[at : at+n]
		at += n
	}
	return paths
}
