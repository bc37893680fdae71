package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/attributes"
	"github.com/org/aml-train/internal/git/ignore"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
)

// TakeCommit reads the source directory dir as it is in a commit, of which
// nothing needs to be checked out. rev is whatever git rev-parse takes: a branch,
// a tag, an id, HEAD~2.
//
// The files are those of the commit's tree, as they are stored there, less what an
// .amlignore in it excludes. A pointer of git-LFS stands for its object, a
// submodule that is set up here for the files of its commit.
func TakeCommit(ctx context.Context, dir, rev string, o Options) (*Snapshot, error) {
	return (&committed{git: o.Git}).open(ctx, dir, rev, o)
}

// Commit reads every file of a folder as it is in a commit, for looking at it: nothing of it
// is going to travel, so no .amlignore counts, links may lead anywhere, and there is no limit.
func Commit(ctx context.Context, finder *git.Finder, dir, rev string) (*Snapshot, error) {
	return (&committed{git: finder, whole: true}).open(ctx, dir, rev, Options{MaxBytes: -1})
}

// open is snapshot for as long as that is not closed.
func (c *committed) open(ctx context.Context, dir, rev string, o Options) (*Snapshot, error) {
	begin := time.Now()
	snap, err := c.snapshot(ctx, dir, rev, o)
	if err != nil {
		c.stores.close()
	}
	traced(begin, dir+" at "+rev, snap, err)
	return snap, err
}

func (c *committed) snapshot(ctx context.Context, dir, rev string, o Options) (*Snapshot, error) {
	repo, abs, in, err := locate(c.git, dir)
	if err != nil {
		return nil, err
	}
	if repo == nil {
		return nil, fmt.Errorf("source directory %s: no git repository, so there is no commit %s", dir, rev)
	}
	c.repo, c.tasks, c.lfs, c.modules = repo, newTasks(ctx), map[string]pointer{},
		map[plumbing.Hash]map[string][]string{}
	return c.take(ctx, abs, in, dir, rev, o)
}

// take reads the folder in, as it is in a commit; abs is where it would lie, and dir what
// the person calls it.
func (c *committed) take(ctx context.Context, abs, in, dir, rev string, o Options) (*Snapshot, error) {
	first, commit, err := c.first(in, rev)
	if err != nil {
		return nil, err
	}
	c.tasks.group.Go(func() error { return c.read(first) })
	if err := c.tasks.group.Wait(); err != nil {
		return nil, err
	}
	snap := newSnapshot(abs, first.node.flatten(make([]File, 0, first.node.count())), c.excluded)
	snap.Commit, snap.stores.list = commit.String(), c.stores.list
	if len(snap.Files) == 0 && len(c.same) == 0 {
		return nil, fmt.Errorf("source directory %s: no file travels: commit %s has none there", dir, rev)
	}
	if !c.whole && c.like == nil {
		if err := c.checkLinks(snap); err != nil {
			return nil, err
		}
	}
	if err := c.large(ctx, snap); err != nil {
		return nil, err
	}
	snap.sizes = func(ctx context.Context) error { return c.measure(ctx, snap) }
	if o.MaxBytes >= 0 {
		if err := snap.Sizes(ctx); err != nil {
			return nil, err
		}
		if err := snap.weigh(o, ".amlignore"); err != nil {
			return nil, err
		}
	}
	snap.ID = first.tree.String()
	if c.differs || len(snap.lfs) > 0 {
		snap.ID = snap.tree().id.String()
	}
	return snap, nil
}

// first returns the source directory in a commit as the first folder to read.
func (c *committed) first(in, rev string) (f commitFolder, commit plumbing.Hash, err error) {
	s, err := newRules(c.repo)
	if err != nil {
		return f, commit, err
	}
	c.stores.add(s.objects)
	c.ignoreCase = s.ignoreCase
	id, err := resolve(c.repo, rev)
	if err != nil {
		return f, commit, err
	}
	root, commit, err := s.objects.CommitTree(id)
	if err != nil {
		return f, commit, explainRevision(c.repo, rev, err)
	}
	top, err := s.objects.Subtree(root, in)
	if errors.Is(err, object.ErrNoFolder) {
		return f, commit, fmt.Errorf("the commit %s has no folder %s", rev, in)
	}
	if err != nil {
		return f, commit, explainMissing(c.repo, rev, err)
	}
	f = commitFolder{node: &node{}, objects: s.objects, root: root, tree: top, in: in, filters: s.filters, info: s.info}
	entries, err := s.objects.Tree(top)
	if err != nil {
		return f, commit, explainMissing(c.repo, rev, err)
	}
	for _, e := range entries {
		c.hasAmlignore = c.hasAmlignore || e.Name == ".amlignore" && !c.whole
	}
	if c.like != nil {
		f.like = c.like.tree()
	}
	return f, commit, c.above(&f, root)
}

// measure fills in the sizes that are not known yet.
func (c *committed) measure(ctx context.Context, snap *Snapshot) error {
	err := each(ctx, len(snap.Files), func(i int, _ []byte) (err error) {
		f := &snap.Files[i]
		if f.Size < 0 {
			if _, f.Size, err = f.objects.Size(f.OID); err != nil {
				f.Size = -1
				err = explainMissing(c.repo, f.Path, err)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return snap.weigh(Options{MaxBytes: -1}, "")
}

// locate returns the repository around a directory that need not be there any
// more, and where in it the directory lies.
func locate(finder *git.Finder, dir string) (repo *git.Repository, abs, in string, err error) {
	if abs, err = filepath.Abs(dir); err != nil {
		return nil, "", "", err
	}
	there, gone := abs, ""
	for {
		info, err := os.Stat(there)
		if err == nil && info.IsDir() {
			break
		}
		if parent := filepath.Dir(there); parent != there {
			there, gone = parent, filepath.Join(filepath.Base(there), gone)
			continue
		}
		return nil, "", "", fmt.Errorf("source directory: %w", err)
	}
	if there, err = filepath.EvalSymlinks(there); err != nil {
		return nil, "", "", err
	}
	if repo, err = finder.Find(there); err != nil || repo == nil {
		return nil, "", "", err
	}
	abs = filepath.Join(there, gone)
	if repo.Bare {
		return repo, abs, "", nil
	}
	rel, err := filepath.Rel(repo.Root, abs)
	if rel != "." {
		in = filepath.ToSlash(rel)
	}
	return repo, abs, in, err
}

// resolve returns the object that a revision names.
func resolve(repo *git.Repository, rev string) (plumbing.Hash, error) {
	id, err := repo.Revision(rev)
	if errors.Is(err, git.ErrRevision) {
		_, why, _ := strings.Cut(err.Error(), git.ErrRevision.Error())
		fetch := "git fetch gets those of the remote"
		if repo.Shallow() {
			fetch = "git fetch --unshallow gets those that this shallow clone lacks"
		}
		return id, fmt.Errorf("%s names no commit of %s%s; git log --all shows them, and %s", rev, repo.Root, why,
			fetch)
	}
	return id, err
}

// explainRevision says what to do where the commit that a revision names cannot be read.
func explainRevision(repo *git.Repository, rev string, err error) error {
	switch {
	case !errors.Is(err, object.ErrNotFound) || !plumbing.IsHash(rev):
		return explainMissing(repo, rev, err)
	case repo.Shallow():
		return fmt.Errorf("snapshot: %s: %w, which is a shallow clone; get it with: git fetch --unshallow", rev, err)
	}
	return fmt.Errorf("snapshot: %s: %w; git fetch gets what the remote has", rev, err)
}

// explainMissing says what to do where an object cannot be read that the repository
// should have: a reference names it, or another object.
func explainMissing(repo *git.Repository, what string, err error) error {
	if !errors.Is(err, object.ErrNotFound) {
		return fmt.Errorf("snapshot: %s: %w", what, err)
	}
	// git leaves a mark beside each pack that is not whole (gitrepository-layout(5)).
	if promised, _ := filepath.Glob(filepath.Join(repo.ObjectDir, "pack", "*.promisor")); len(promised) > 0 {
		return fmt.Errorf("snapshot: %s: %w, which is a partial clone; get it with: git fetch --refetch --no-filter",
			what, err)
	}
	return fmt.Errorf("snapshot: %s: %w, and should be: %s is damaged; git fsck tells more, "+
		"and git fetch --refetch gets again what the remote has", what, err, repo.ObjectDir)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// committed collects the files of a commit, reading trees in parallel.
type committed struct {
	repo         *git.Repository
	git          *git.Finder
	whole        bool      // nothing travels: it is looked at
	like         *Snapshot // nil, or what it is compared with: nothing travels, and a folder that is there is left out
	same         []*tree   // those folders
	hasAmlignore bool
	ignoreCase   bool
	tasks        tasks

	budget object.Budget

	stores   stores
	mu       sync.Mutex
	excluded []Exclusion
	lfs      map[string]pointer // by path
	modules  map[plumbing.Hash]map[string][]string
	differs  bool // the tree is not the commit's: something was left out or put in
}

// commitFolder is one tree to read.
type commitFolder struct {
	node    *node
	objects *object.Store
	root    plumbing.Hash // the tree at the top of the repository
	tree    plumbing.Hash
	path    string // relative to the source directory
	in      string // relative to the repository's root
	rules   ignore.Stack
	filters attributes.Stack
	info    *attributes.List
	like    *tree // what it is compared with, nil for nothing
}

// above adds the attributes of the folders above the source directory.
func (c *committed) above(f *commitFolder, root plumbing.Hash) error {
	if f.in == "" {
		return nil
	}
	parts := strings.Split(f.in, "/")
	for i := range parts {
		at := strings.Join(parts[:i], "/")
		id, err := f.objects.Subtree(root, at)
		if err != nil {
			return err
		}
		entries, err := f.objects.Tree(id)
		if err != nil {
			return err
		}
		if err := c.attributes(f, entries, at); err != nil {
			return err
		}
	}
	return nil
}

// text returns the file of that name among the entries of a folder.
func (c *committed) text(f *commitFolder, entries []object.Entry, name, in string) ([]byte, error) {
	for _, e := range entries {
		if e.Name == name && (e.Mode == filemode.Regular || e.Mode == filemode.Executable) {
			text, err := f.objects.Read(e.ID, plumbing.BlobObject, limited.Config)
			if err != nil {
				return nil, explainMissing(c.repo, join(in, name), err)
			}
			return text, nil
		}
	}
	return nil, nil
}

func (c *committed) attributes(f *commitFolder, entries []object.Entry, in string) error {
	text, err := c.text(f, entries, ".gitattributes", in)
	if text != nil {
		f.filters = f.filters.Push(attributes.Parse(text, in, in == "", c.ignoreCase))
	}
	return err
}

// submodule turns a folder that is a commit of another repository into that
// commit's tree. One that is not set up here has no files, as in the working tree.
func (c *committed) submodule(f *commitFolder) (bool, error) {
	modules, err := c.modulesOf(f)
	if err != nil {
		return false, err
	}
	var found []string
	if repo, err := c.git.At(filepath.Join(c.repo.Root, filepath.FromSlash(f.in))); err == nil && repo != nil {
		found = append(found, repo.CommonDir)
	}
	for _, name := range modules[f.in] {
		if filepath.IsLocal(filepath.FromSlash(name)) {
			found = append(found, filepath.Join(c.repo.CommonDir, "modules", filepath.FromSlash(name)))
		}
	}
	for _, dir := range found {
		if !exists(filepath.Join(dir, "objects")) {
			continue
		}
		objects := object.New(filepath.Join(dir, "objects"))
		c.stores.add(objects)
		tree, _, err := objects.CommitTree(f.tree)
		if err != nil {
			return false,
				fmt.Errorf("snapshot: the submodule %s at commit %s: %w; git fetch --recurse-submodules gets it",
					f.path, f.tree, err)
		}
		f.objects, f.root, f.tree, f.in, f.rules, f.filters, f.info = objects, tree, tree, "", nil, nil,
			&attributes.List{}
		return true, nil
	}
	return false, nil
}

// modulesOf returns the names of the submodules of the tree at the top, by path. It is
// read once: there may be as many submodules as the file has lines.
func (c *committed) modulesOf(f *commitFolder) (map[string][]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.modules[f.root]; ok {
		return known, nil
	}
	entries, err := f.objects.Tree(f.root)
	if err != nil {
		return nil, explainMissing(c.repo, f.path, err)
	}
	text, err := c.text(f, entries, ".gitmodules", "")
	if err != nil {
		return nil, err
	}
	modules, err := git.Modules(string(text))
	if err != nil {
		return nil, fmt.Errorf("snapshot: .gitmodules: %w", err)
	}
	byPath := map[string][]string{}
	for _, m := range modules {
		byPath[m.Path] = append(byPath[m.Path], m.Name)
	}
	c.modules[f.root] = byPath
	return byPath, nil
}
