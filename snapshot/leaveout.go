package snapshot

import (
	"context"
	"path/filepath"

	"github.com/org/aml-train/internal/git"
)

// LeaveOut has git, and with it the snapshots, leave out a file that aml-train has written into the
// repository, unless git tracks it: what came out of one run is no part of what makes the next. The
// place for that is the repository's own list, .git/info/exclude, which is nobody else's. done is
// false where nothing had to be done; the error is that the list cannot be written.
func LeaveOut(ctx context.Context, finder *git.Finder, name string) (done bool, err error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return false, nil
	}
	repo, err := finder.Find(filepath.Dir(abs))
	if err != nil || repo == nil {
		return false, nil
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return false, nil
	}
	rel, err := filepath.Rel(repo.Root, abs)
	if err != nil || !filepath.IsLocal(rel) {
		return false, nil
	}
	d, err := Why(ctx, finder, repo.Root, rel)
	if err != nil || !d.Travels || d.Tracked {
		return false, nil
	}
	if err := repo.Exclude(filepath.ToSlash(rel)); err != nil {
		return false, err
	}
	return true, nil
}
