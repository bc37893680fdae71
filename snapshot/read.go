package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git/attributes"
)

// read takes in one folder.
func (w *walker) read(f folder) error {
	abs := filepath.Join(w.dir, filepath.FromSlash(f.path))
	dir, err := os.Open(abs)
	if errors.Is(err, fs.ErrNotExist) && f.path != "" {
		return nil // deleted since its parent was read
	}
	if err != nil {
		return unreadable(err, w.ignoreFile())
	}
	below, err := w.readFiles(f, dir, abs)
	dir.Close()
	for _, sub := range below {
		if err == nil {
			err = w.tasks.do(func() error { return w.read(sub) })
		}
	}
	return err
}

// before is git's order of a folder's entries: a folder counts as if its name
// ended in "/".
func before(a, b fs.DirEntry) int {
	x, y := a.Name(), b.Name()
	n := min(len(x), len(y))
	if c := strings.Compare(x[:n], y[:n]); c != 0 {
		return c
	}
	next := func(e fs.DirEntry, name string) int {
		if n < len(name) {
			return int(name[n])
		}
		if e.IsDir() {
			return '/'
		}
		return 0
	}
	return next(a, x) - next(b, y)
}

// readFiles takes in the files of an open folder and returns the folders in it.
func (w *walker) readFiles(f folder, dir *os.File, abs string) (below []folder, err error) {
	entries, err := dir.ReadDir(-1)
	if errors.Is(err, fs.ErrNotExist) && f.path != "" {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(err, w.ignoreFile())
	}
	slices.SortFunc(entries, before)
	if there, err := w.look(&f, entries, abs); err != nil || !there {
		return nil, err
	}
	r := &reading{w: w, f: f, dir: dir, filters: f.filters.Push(f.scope.info), at: f.lo}
	if f.in != "" {
		r.prefix = len(f.in) + 1
	}
	r.f.node.files = make([]File, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		switch {
		case len(name) == len(".git") && strings.EqualFold(name, ".git"), name == homeDir:
		case e.IsDir():
			err = r.folder(name)
		case e.Type()&^fs.ModeSymlink == 0: // git leaves out a socket, pipe or device as well
			err = r.file(name)
		}
		if err != nil {
			return nil, err
		}
	}
	w.seen.Add(r.seen)
	if r.excluded != nil {
		w.mu.Lock()
		w.excluded = append(w.excluded, r.excluded...)
		w.mu.Unlock()
	}
	return r.below, nil
}

// look takes over what a folder says of itself: that it is a repository, what is ignored
// in it, which filters there are. It tells whether anything in it can travel.
func (w *walker) look(f *folder, entries []fs.DirEntry, abs string) (bool, error) {
	var repository, rules, filtered bool
	for _, e := range entries {
		switch e.Name() {
		case ".git":
			repository = true
		case ".gitattributes":
			filtered = true
		case w.ignoreFile():
			rules = true
		}
	}
	if f.in != "" && f.path != "" && !w.hasAmlignore && (repository && f.hi == f.lo || f.commit) {
		if there, err := w.nested(f, abs); err != nil || f.commit && !there {
			return false, err // of a submodule that is not checked out nothing is the repository's
		}
	}
	// A sparse checkout may have left these files out.
	if rules || f.scope.index.Special > 0 {
		if err := w.enter(f, abs); err != nil {
			return false, err
		}
	}
	if filtered || f.scope.index.Special > 0 {
		if err := f.attributes(abs, f.in); err != nil {
			return false, err
		}
	}
	return true, nil
}

// reading is one folder whose entries are gone through, and the index beside them.
type reading struct {
	w       *walker
	f       folder
	dir     *os.File
	filters attributes.Stack
	prefix  int // of the folder, in the names of the index
	at      int // in the index

	below    []folder
	excluded []Exclusion
	seen     int64
}

// folder takes note of a folder in the folder.
func (r *reading) folder(name string) error {
	f, x := &r.f, r.f.scope.index
	in := join(f.in, name)
	sub := *f
	sub.node, sub.path, sub.in, sub.commit = &node{}, join(f.path, name), in, false
	for r.at < f.hi && x.Name(r.at)[r.prefix:] < name+"/" {
		r.at++
	}
	sub.lo = r.at
	r.at = x.End(r.at, f.hi, in+"/")
	sub.hi = r.at
	if x.Special > 0 {
		i := x.Find(in)
		sub.commit = i >= 0 && x.Mode(i) == filemode.Submodule
		sub.replaced = sub.replaced || i >= 0 && !sub.commit
	}
	keep := !r.w.hasAmlignore && (sub.hi > sub.lo || sub.commit)
	if !sub.excluded {
		if f.unknown != nil && !keep {
			return f.unknown
		}
		if rule := f.rules.Match(in, true); rule != nil && !rule.Negated {
			sub.excluded = true
			if !keep {
				r.excluded = append(r.excluded, exclusion(sub.path+"/", rule))
			}
		}
	}
	if !sub.excluded || keep {
		f.node.kids = append(f.node.kids, kid{len(f.node.files), sub.node})
		r.below = append(r.below, sub)
	}
	return nil
}

// file takes in a file of the folder.
func (r *reading) file(name string) error {
	f, x := &r.f, r.f.scope.index
	for r.at < f.hi && x.Name(r.at)[r.prefix:] < name {
		r.at++
	}
	entry := -1
	if r.at < f.hi && x.Name(r.at)[r.prefix:] == name {
		entry = r.at
		for r.at < f.hi && x.Name(r.at)[r.prefix:] == name {
			r.at++ // the sides of a conflict
		}
	}
	if entry < 0 && f.excluded {
		return nil
	}
	if r.w.hasAmlignore || entry < 0 {
		if f.unknown != nil {
			return f.unknown
		}
		if rule := f.rules.Match(join(f.in, name), false); rule != nil && !rule.Negated {
			r.excluded = append(r.excluded, exclusion(join(f.path, name), rule))
			return nil
		}
	}
	file, err := r.w.file(r.dir, name, f, entry, r.filters)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if file.entry >= 0 {
		r.seen++
	}
	f.node.files = append(f.node.files, file)
	return nil
}

// nested changes the scope of a folder that is a repository of its own, and tells
// whether it is. One with files that the repository around it tracks is none, nor is one
// whose .git is that repository's own.
func (w *walker) nested(f *folder, abs string) (bool, error) {
	repo, err := w.git.At(abs)
	if err != nil {
		return false, fmt.Errorf("snapshot: %w", err)
	}
	if repo == nil || f.scope.repo != nil && sameFile(filepath.Join(abs, ".git"), f.scope.repo.GitDir) {
		return false, nil
	}
	s, err := w.newScope(repo)
	if err != nil {
		return false, err
	}
	if !f.commit && f.scope == w.scope {
		w.untracked.Store(true)
	}
	*f = folder{node: f.node, scope: s, path: f.path, hi: s.index.Len(), rules: s.rules, filters: s.filters}
	return true, w.addSkipped(s, "", f.path)
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}
