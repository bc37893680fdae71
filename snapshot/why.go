package snapshot

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/ignore"
)

// Decision is what an ignore file, or git's index, says of one path.
type Decision struct {
	Path    string
	Travels bool
	Tracked bool            // git tracks it, so no .gitignore counts
	Rule    *ignore.Pattern // the line that decides, nil where none matches
	Never   bool            // it lies in .git or .aml-train
}

// within returns dir without links, and a path in it relative to it.
func within(dir, asked string) (abs, p string, err error) {
	if abs, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", "", err
	}
	if p = asked; filepath.IsAbs(p) {
		if p, err = filepath.Rel(abs, p); err != nil {
			return "", "", err
		}
	}
	p = path.Clean(filepath.ToSlash(p))
	if p == "." || !filepath.IsLocal(p) {
		return "", "", fmt.Errorf("%s is not a path inside the source directory %s", asked, dir)
	}
	return abs, p, nil
}

// Why tells whether path, relative to the source directory dir, travels, and
// which line of which ignore file decides, as git check-ignore -v would.
func Why(ctx context.Context, finder *git.Finder, dir, p string) (Decision, error) {
	asked := p
	abs, p, err := within(dir, p)
	if err != nil {
		return Decision{}, err
	}
	repo, err := finder.Find(abs)
	if err != nil {
		return Decision{}, err
	}
	w, err := newWalker(ctx, finder, repo, abs)
	if err != nil {
		return Decision{}, err
	}
	defer w.stores.close()
	d := Decision{Path: p}
	info, statErr := os.Lstat(filepath.Join(abs, filepath.FromSlash(p)))
	isDir := statErr == nil && info.IsDir() || strings.HasSuffix(asked, "/")
	f, rule, err := w.above()
	if err != nil {
		return d, err
	}
	d.Rule = rule
	parts := strings.Split(p, "/")
	for i, name := range parts {
		if d.Never = hidden(name); d.Never {
			return d, nil
		}
		here := strings.Join(parts[:i], "/")
		at := filepath.Join(abs, filepath.FromSlash(here))
		if to, err := os.Readlink(at); i > 0 && err == nil {
			return d, beyond(p, here, to)
		}
		f.path = here
		if lo, hi := f.scope.index.Range(f.in + "/"); i > 0 && !w.hasAmlignore && lo == hi {
			if nested, err := w.nested(&f, at); err != nil {
				return d, err
			} else if nested {
				d.Rule = nil
			}
		}
		if err := w.enter(&f, at); err != nil {
			return d, err
		}
		f.in = join(f.in, name)
		if !f.excluded {
			d.Rule = f.rules.Match(f.in, i < len(parts)-1 || isDir)
			f.excluded = d.Rule != nil && !d.Rule.Negated
		}
	}
	if w.tracked(f) {
		d.Tracked, d.Travels = true, statErr == nil
		return d, nil
	}
	if f.unknown != nil {
		return d, f.unknown
	}
	d.Travels = statErr == nil && !f.excluded
	return d, nil
}

func beyond(p, link, to string) error {
	return fmt.Errorf("%s is beyond the symbolic link %s (to %s), which itself travels or not: --why %s",
		p, link, to, link)
}

// tracked tells whether git tracks a file, or something in a folder.
func (w *walker) tracked(f folder) bool {
	lo, hi := f.scope.index.Range(f.in + "/")
	return !w.hasAmlignore && (f.scope.index.Find(f.in) >= 0 || hi > lo)
}
