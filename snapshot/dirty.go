package snapshot

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/org/aml-train/internal/gitdir"
)

// Dirty tells whether the source directory differs from the commit that is
// checked out, as git status --porcelain would by printing anything for it.
// Outside a repository nothing does. go-git's own Worktree.Status takes ten
// times as long as git; this is the pass that the snapshot makes anyway.
func Dirty(ctx context.Context, dir string) (bool, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return false, err
	}
	w, err := newWalker(ctx, abs)
	if err != nil || w.scope.repo == nil {
		return false, err
	}
	w.aml, w.anyLink = false, true
	if err := w.walk(); err != nil {
		return false, err
	}
	return w.dirty("")
}

// dirty compares the files that were walked with the index, and the index with
// the commit. id is the id of their tree where it is known: for a clean directory
// it is the index's too.
func (w *walker) dirty(id string) (bool, error) {
	if w.untracked.Load() {
		return true, nil
	}
	seen, tracked, plain := 0, 0, id != ""
	for p, e := range w.scope.tracked {
		if w.in != "" && !strings.HasPrefix(p, w.in+"/") {
			continue
		}
		if e.Stage != 0 || e.IntentToAdd {
			return true, nil
		}
		if e.Mode == filemode.Submodule || e.SkipWorktree {
			seen++
			plain = false
		}
		if e.Mode == filemode.Submodule {
			if moved, err := w.moved(filepath.Join(w.scope.repo.Root, filepath.FromSlash(p)), e.Hash); moved || err != nil {
				return moved, err
			}
		}
		tracked++
	}
	for i := range w.files {
		f := &w.files[i]
		if f.tracked == nil || f.objects != nil || f.tracked.SkipWorktree {
			continue
		}
		seen++
		plain = plain && f.OID == f.tracked.Hash.String()
		if f.clean {
			continue
		}
		if f.Mode != f.tracked.Mode {
			return true, nil
		}
		if same, err := w.sameContent(f); err != nil || !same {
			return true, err
		}
	}
	if seen < tracked {
		return true, nil // a tracked file is gone
	}
	if !plain {
		id = w.indexTree()
	}
	head, err := w.headTree()
	return head != id, err
}

// moved tells whether a submodule differs from the commit that the index records.
// One that is not checked out does not.
func (w *walker) moved(dir string, want plumbing.Hash) (bool, error) {
	found, err := gitdir.At(dir)
	if err != nil || found == nil {
		return false, err
	}
	repo, err := found.Open()
	if err != nil {
		return false, err
	}
	if head, err := repo.Head(); err != nil || head.Hash() != want {
		return true, nil
	}
	return Dirty(context.WithoutCancel(w.ctx), dir)
}

// indexTree returns the id of the source directory's tree in the index.
func (w *walker) indexTree() string {
	var files []File
	for p, e := range w.scope.tracked {
		if w.in != "" {
			rest, ok := strings.CutPrefix(p, w.in+"/")
			if !ok {
				continue
			}
			p = rest
		}
		files = append(files, File{Path: p, Mode: e.Mode, OID: e.Hash.String()})
	}
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	return treeID(files)
}

// sameContent tells whether a tracked file holds what the index does. Where
// content filters may stand between the two, line ends do not count.
func (w *walker) sameContent(f *File) (bool, error) {
	id := *f
	if id.OID == "" {
		if err := hashFile(w.dir, &id, make([]byte, 64<<10)); err != nil {
			return false, err
		}
	}
	want := f.tracked.Hash.String()
	if id.OID == want {
		return true, nil
	}
	if w.scope.trustIndex || f.Mode == filemode.Symlink {
		return false, nil
	}
	text, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(f.Path)))
	if err != nil {
		return false, err
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	h := objectHasher("blob", int64(len(text)))
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil)) == want, nil
}

// headTree returns the id of the source directory's tree in the commit that is
// checked out, that of the empty tree where there is none.
func (w *walker) headTree() (string, error) {
	empty := treeID(nil)
	repo, err := w.scope.repo.Open()
	if err != nil {
		return "", err
	}
	ref, err := repo.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return empty, nil
	}
	if err != nil {
		return "", err
	}
	commit, err := repo.CommitObject(ref.Hash())
	if err != nil {
		return "", err
	}
	if w.in == "" {
		return commit.TreeHash.String(), nil
	}
	tree, err := commit.Tree()
	if err != nil {
		return "", err
	}
	entry, err := tree.FindEntry(w.in)
	if errors.Is(err, object.ErrEntryNotFound) || errors.Is(err, object.ErrDirectoryNotFound) {
		return empty, nil
	}
	if err != nil {
		return "", err
	}
	return entry.Hash.String(), nil
}
