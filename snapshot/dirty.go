package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/attributes"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
)

// Dirty tells whether the source directory differs from the commit that is
// checked out, as git status --porcelain would by printing anything for it.
// Outside a repository nothing does. go-git's own Worktree.Status takes ten
// times as long as git; this is the pass that the snapshot makes anyway.
func Dirty(ctx context.Context, finder *git.Finder, dir string) (bool, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return false, err
	}
	repo, err := finder.Find(abs)
	if err != nil || repo == nil {
		return false, err
	}
	return dirtyIn(ctx, finder, repo, abs, false)
}

// dirtyIn is Dirty for a folder of a repository. With plain, files that git does not
// track do not count (git status -uno).
func dirtyIn(ctx context.Context, finder *git.Finder, repo *git.Repository, abs string, plain bool) (bool, error) {
	w, err := newWalker(ctx, finder, repo, abs)
	if err != nil {
		return false, err
	}
	defer w.stores.close()
	w.hasAmlignore, w.anyLink = false, true
	w.plain = w.plain || plain
	if err := w.walk(); err != nil {
		return false, err
	}
	return w.dirty(plumbing.ZeroHash)
}

// dirty compares the files that were walked with the index, and the index with
// the commit. id is the id of their tree where it is known: for a clean directory
// it is the index's too.
func (w *walker) dirty(id plumbing.Hash) (bool, error) {
	if w.untracked.Load() && !w.plain {
		return true, nil
	}
	x := w.scope.index
	lo, hi := w.entries()
	there, plain := hi-lo, !id.IsZero()
	for i := lo; i < hi && x.Special > 0; i++ {
		if x.Stage(i) != 0 || x.IntentToAdd(i) {
			return true, nil
		}
		submodule := x.Mode(i) == filemode.Submodule
		if !submodule && !w.unwatched(i) {
			continue
		}
		there--
		plain = false
		if submodule {
			if moved, err := w.moved(i); moved || err != nil {
				return moved, err
			}
		}
	}
	seen := 0
	for i := range w.files {
		f := &w.files[i]
		if f.entry < 0 || w.unwatched(int(f.entry)) || x.Mode(int(f.entry)) == filemode.Submodule {
			continue
		}
		seen++
		plain = plain && f.OID == x.ID(int(f.entry))
		if f.clean {
			continue
		}
		if f.Mode != x.Mode(int(f.entry)) {
			return true, nil
		}
		if same, err := w.sameContent(f); err != nil || !same {
			return true, err
		}
	}
	if seen < there {
		return true, nil // a tracked file is gone
	}
	if !plain || seen < len(w.files) {
		id = w.indexTree(lo, hi)
	}
	head, err := w.headTree()
	return head != id, err
}

// unwatched tells whether git status passes over what the working tree has for an
// entry: it was told to assume that it is unchanged, or the entry need not be
// there. In a sparse checkout git forgets the latter of a file that is there.
func (w *walker) unwatched(i int) bool {
	x := w.scope.index
	if x.Special == 0 {
		return false
	}
	if x.SkipWorktree(i) {
		if !w.scope.sparse {
			return true
		}
		_, err := os.Lstat(filepath.Join(w.scope.repo.Root, filepath.FromSlash(x.Name(i))))
		return err != nil
	}
	return x.AssumeValid(i)
}

// moved tells whether the submodule that is an entry of the index differs from it, as
// far as the configuration has git status look. One that is not checked out does not.
func (w *walker) moved(entry int) (bool, error) {
	x := w.scope.index
	name := x.Name(entry)
	modules, err := w.modules()
	if err != nil {
		return false, err
	}
	ignored, err := w.scope.repo.Config.Ignores(modules, name, w.plain)
	if err != nil || ignored.All {
		return false, err
	}
	dir := filepath.Join(w.scope.repo.Root, filepath.FromSlash(name))
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return true, nil
	}
	found, err := w.git.At(dir)
	if err != nil {
		return false, err
	}
	if found == nil {
		if dotGit := filepath.Join(dir, ".git"); exists(dotGit) && !ignored.Dirty {
			return false,
				fmt.Errorf("the submodule %s: %s is neither a git directory nor names one; git status says more", name,
					dotGit)
		}
		return false, nil
	}
	_, head, err := found.Head()
	if err != nil && !errors.Is(err, git.ErrNoReference) {
		return false, err
	}
	if err == nil && head != x.ID(entry) || ignored.Dirty {
		return err == nil && head != x.ID(entry), nil
	}
	return dirtyIn(context.WithoutCancel(w.ctx), w.git, found, dir, ignored.Untracked)
}

// modules returns what .gitmodules says: that of the working tree, else of the index,
// else of the commit that is checked out.
func (w *walker) modules() ([]git.Module, error) {
	if w.modulesRead {
		return w.moduleList, nil
	}
	const name = ".gitmodules"
	s := w.scope
	text, ok, err := s.read(s.repo.Root, name, "")
	if err != nil {
		return nil, err
	}
	if i := s.index.Find(name); !ok && i >= 0 {
		text, err = s.objects.Read(s.index.ID(i), plumbing.BlobObject, limited.Config)
	} else if !ok {
		text, err = s.committed(name)
	}
	if err != nil {
		return nil, err
	}
	if w.moduleList, err = git.Modules(string(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(s.repo.Root, name), err)
	}
	w.modulesRead = true
	return w.moduleList, nil
}

// committed returns a file at the root of the commit that is checked out, nothing where
// there is none.
func (s *scope) committed(name string) ([]byte, error) {
	_, head, err := s.repo.Head()
	if errors.Is(err, git.ErrNoReference) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tree, _, err := s.objects.CommitTree(head)
	if err != nil {
		return nil, err
	}
	entries, err := s.objects.Tree(tree)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name == name && e.Mode.IsFile() {
			return s.objects.Read(e.ID, plumbing.BlobObject, limited.Config)
		}
	}
	return nil, nil
}

// indexTree returns the id of the source directory's tree in the index.
func (w *walker) indexTree(lo, hi int) plumbing.Hash {
	x := w.scope.index
	files := make([]File, 0, hi-lo)
	prefix := 0
	if w.in != "" {
		prefix = len(w.in) + 1
	}
	for i := lo; i < hi; i++ {
		files = append(files, File{Path: x.Name(i)[prefix:], Mode: x.Mode(i), OID: x.ID(i)})
	}
	return newTree(files, "", 0).id
}

// sameContent tells whether git would store for a tracked file what it has stored,
// content filters applied. Of a filter that only another program can apply nothing
// is known; git-LFS's is the exception, because its result is a hash.
func (w *walker) sameContent(f *File) (bool, error) {
	raw, want := *f, w.scope.index.ID(int(f.entry))
	if raw.OID.IsZero() {
		if err := hashFile(w.dir, &raw, make([]byte, 64<<10)); err != nil {
			return false, err
		}
	}
	filter, err := w.filter(f)
	if err != nil {
		return false, err
	}
	if raw.OID == want && (filter.None() || filter.Driver != "") {
		return true, nil // a driver that is not set up changes nothing
	}
	if filter.None() || f.Mode == filemode.Symlink {
		return false, nil
	}
	content, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(f.Path)))
	if err != nil {
		return false, err
	}
	cleaned, ok := filter.Clean(content, func() []byte {
		blob, _ := w.scope.objects.Read(want, plumbing.BlobObject, object.MaxWhole)
		return blob
	})
	switch {
	case filter.Driver == "lfs":
		cleaned = fmt.Appendf(nil, "version %s\noid sha256:%x\nsize %d\n", lfsVersion, sha256.Sum256(content),
			len(content))
	case !ok:
		return raw.OID == want, nil
	}
	h := object.NewHash(plumbing.BlobObject, int64(len(cleaned)))
	h.Write(cleaned)
	return object.Sum(h) == want, nil
}

// filter returns what stands between a tracked file and its blob.
func (w *walker) filter(f *File) (attributes.Filter, error) {
	in := w.scope.index.Name(int(f.entry))
	stack, err := w.attributesIn(in[:max(strings.LastIndexByte(in, '/'), 0)])
	if err != nil {
		return attributes.Filter{}, err
	}
	return stack.Push(w.scope.info).Of(in, w.scope.autocrlf), nil
}

// attributesIn returns what the .gitattributes files say down to a folder of the
// repository, "" for its root.
func (w *walker) attributesIn(in string) (attributes.Stack, error) {
	if stack, ok := w.attributes[in]; ok {
		return stack, nil
	}
	s := w.scope
	stack := s.filters
	if in != "" {
		var err error
		if stack, err = w.attributesIn(in[:max(strings.LastIndexByte(in, '/'), 0)]); err != nil {
			return nil, err
		}
	}
	text, ok, err := s.read(filepath.Join(s.repo.Root, filepath.FromSlash(in)), ".gitattributes", in)
	if err != nil {
		return nil, err
	}
	if ok {
		stack = stack.Push(attributes.Parse(text, in, in == "", s.ignoreCase))
	}
	if w.attributes == nil {
		w.attributes = map[string]attributes.Stack{}
	}
	w.attributes[in] = stack
	return stack, nil
}

// headTree returns the id of the source directory's tree in the commit that is
// checked out, that of the empty tree where there is none.
func (w *walker) headTree() (plumbing.Hash, error) {
	empty := newTree(nil, "", 0).id
	_, head, err := w.scope.repo.Head()
	if errors.Is(err, git.ErrNoReference) {
		return empty, nil
	}
	if err != nil {
		return empty, err
	}
	id, _, err := w.scope.objects.CommitTree(head)
	if err == nil {
		id, err = w.scope.objects.Subtree(id, w.in)
	}
	if errors.Is(err, object.ErrNoFolder) {
		return empty, nil
	}
	if err != nil {
		return empty, explainMissing(w.scope.repo, "HEAD", err)
	}
	return id, nil
}

// lfsVersion is the only version of git-LFS's pointers (git-lfs, docs/spec.md).
const lfsVersion = "https://git-lfs.github.com/spec/v1"
