package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/gitdir"
	"github.com/org/aml-train/snapshot/ignore"
)

// homeDir is our own folder, which holds the run history.
const homeDir = ".aml-train"

// walker collects the files of one source directory, reading folders in
// parallel.
type walker struct {
	ctx   context.Context
	dir   string // the source directory, absolute, without links
	aml   bool   // an .amlignore rules, in place of every .gitignore
	scope *scope // the repository around dir
	in    string // dir relative to the root of scope

	group *errgroup.Group
	busy  chan struct{}

	anyLink   bool        // a link may lead anywhere: nothing is going to travel
	untracked atomic.Bool // a file travels that git does not track

	mu       sync.Mutex
	files    []File
	excluded []Exclusion
}

// folder is one folder to read.
type folder struct {
	scope    *scope
	path     string // relative to the source directory, "" for itself
	in       string // relative to the root of scope, "" for itself
	rules    ignore.Stack
	excluded bool // only what git tracks travels from here
}

func newWalker(ctx context.Context, dir string) (*walker, error) {
	w := &walker{dir: dir, busy: make(chan struct{}, runtime.GOMAXPROCS(0)*2)}
	w.group, w.ctx = errgroup.WithContext(ctx)
	repo, err := gitdir.Find(dir)
	if err != nil {
		return nil, err
	}
	if w.scope, err = newScope(repo); err != nil {
		return nil, err
	}
	if repo != nil {
		rel, err := filepath.Rel(repo.Root, dir)
		if err != nil {
			return nil, err
		}
		if rel != "." {
			w.in = filepath.ToSlash(rel)
		}
	}
	_, err = os.Lstat(filepath.Join(dir, ".amlignore"))
	w.aml = err == nil
	return w, nil
}

func (w *walker) ignoreFile() string {
	if w.aml {
		return ".amlignore"
	}
	return ".gitignore"
}

// above returns the source directory as the first folder, with the rules of the
// folders above it, and the pattern that excludes it as a whole.
func (w *walker) above() (folder, *ignore.Pattern, error) {
	f := folder{scope: w.scope, in: w.in}
	if w.aml {
		return f, nil, nil
	}
	f.rules = w.scope.rules
	if w.in == "" {
		return f, nil, nil
	}
	parts := strings.Split(w.in, "/")
	for i := range parts {
		at := strings.Join(parts[:i], "/")
		l, err := w.scope.read(filepath.Join(w.scope.repo.Root, filepath.FromSlash(at)), ".gitignore", at, strings.Repeat("../", len(parts)-i)+".gitignore")
		if err != nil {
			return f, nil, err
		}
		f.rules = f.rules.Push(l)
		if p := f.rules.Match(strings.Join(parts[:i+1], "/"), true); p != nil && !p.Negated {
			f.excluded = true
			return f, p, nil
		}
	}
	return f, nil, nil
}

// enter adds the rules of the folder's own ignore file.
func (w *walker) enter(f *folder, abs string) error {
	scope, name := f.scope, w.ignoreFile()
	if w.aml {
		scope = w.scope
	} else if f.excluded {
		return nil
	}
	l, err := scope.read(abs, name, f.in, join(f.path, name))
	if err == nil {
		f.rules = f.rules.Push(l)
	}
	return err
}

func (w *walker) walk() error {
	first, _, err := w.above()
	if err != nil {
		return err
	}
	w.group.Go(func() error { return w.read(first) })
	if err := w.group.Wait(); err != nil {
		return err
	}
	if !w.aml {
		return w.addSkipped(w.scope, w.in, "")
	}
	return nil
}

// read takes in one folder: its files at once, the folders below it through
// another goroutine where one is free.
func (w *walker) read(f folder) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	abs := filepath.Join(w.dir, filepath.FromSlash(f.path))
	entries, err := os.ReadDir(abs)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && f.path != "" {
			return nil // deleted since its parent was read
		}
		return fmt.Errorf("snapshot: %w; make the folder readable or leave it out with a line in %s", err, w.ignoreFile())
	}
	if f.in != "" && f.path != "" && !w.aml {
		for _, e := range entries {
			if e.Name() != ".git" {
				continue
			}
			nested, err := gitdir.At(abs)
			if err != nil {
				return fmt.Errorf("snapshot: %w", err)
			}
			if nested != nil {
				s, err := newScope(nested)
				if err != nil {
					return err
				}
				if f.scope.tracked[f.in] == nil {
					w.untracked.Store(true)
				}
				f = folder{scope: s, path: f.path, rules: s.rules}
				if err := w.addSkipped(s, "", f.path); err != nil {
					return err
				}
			}
			break
		}
	}
	if err := w.enter(&f, abs); err != nil {
		return err
	}
	var files []File
	var excluded []Exclusion
	for _, e := range entries {
		name := e.Name()
		if strings.EqualFold(name, ".git") || name == homeDir {
			continue
		}
		p, in := join(f.path, name), join(f.in, name)
		tracked := f.scope.tracked[in]
		if e.IsDir() {
			keep := !w.aml && (f.scope.trackedDirs[in] || tracked != nil && tracked.Mode == filemode.Submodule)
			out := f.excluded
			if !out {
				if rule := f.rules.Match(in, true); rule != nil && !rule.Negated {
					out = true
					if !keep {
						excluded = append(excluded, exclusion(p+"/", rule))
					}
				}
			}
			if !out || keep {
				w.descend(folder{scope: f.scope, path: p, in: in, rules: f.rules, excluded: out})
			}
			continue
		}
		if e.Type()&^fs.ModeSymlink != 0 {
			continue // a socket, pipe or device: git leaves it out as well
		}
		if w.aml || tracked == nil {
			if f.excluded {
				continue
			}
			if rule := f.rules.Match(in, false); rule != nil && !rule.Negated {
				excluded = append(excluded, exclusion(p, rule))
				continue
			}
		}
		file, err := w.file(e, p, f.scope, tracked)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	w.mu.Lock()
	w.files = append(w.files, files...)
	w.excluded = append(w.excluded, excluded...)
	w.mu.Unlock()
	return nil
}

func (w *walker) descend(f folder) {
	select {
	case w.busy <- struct{}{}:
		w.group.Go(func() error {
			defer func() { <-w.busy }()
			return w.read(f)
		})
	default:
		if err := w.read(f); err != nil {
			w.group.Go(func() error { return err })
		}
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func exclusion(p string, rule *ignore.Pattern) Exclusion {
	return Exclusion{Path: p, Source: fmt.Sprintf("%s:%d", rule.File, rule.Line), Pattern: rule.Text}
}

// file describes one file that travels, with its id where the index knows it.
func (w *walker) file(e fs.DirEntry, p string, s *scope, tracked *index.Entry) (File, error) {
	if !utf8.ValidString(p) || strings.ContainsAny(p, "\n\r\x00") {
		return File{}, fmt.Errorf("snapshot: the name %q cannot be stored: it is not UTF-8 or holds a line break; rename it or leave it out with a line in %s", p, w.ignoreFile())
	}
	info, err := e.Info()
	if err != nil {
		return File{}, err
	}
	f := File{Path: p, Mode: filemode.Regular, Size: info.Size(), stat: filestat.Of(info)}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		f.Mode = filemode.Symlink
		if !w.anyLink {
			if err := w.checkLink(p); err != nil {
				return File{}, err
			}
		}
	case !info.Mode().IsRegular():
		return File{}, fs.ErrNotExist // replaced by something else just now
	case s.fileMode:
		if info.Mode()&0o100 != 0 {
			f.Mode = filemode.Executable
		}
	case tracked != nil && tracked.Mode == filemode.Executable:
		f.Mode = filemode.Executable
	}
	if tracked == nil {
		w.untracked.Store(true)
	} else if s == w.scope {
		f.tracked = tracked
		f.clean = s.unchanged(tracked, f)
	}
	if tracked != nil && s.trustIndex && s.unchanged(tracked, f) {
		f.OID = tracked.Hash.String()
	}
	return f, nil
}

// checkLink refuses a symbolic link that leads to something which may not leave
// this machine: what lies outside the source directory, and the git directory,
// where a checkout keeps its credentials.
func (w *walker) checkLink(p string) error {
	name := filepath.Join(w.dir, filepath.FromSlash(p))
	text, err := os.Readlink(name)
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(name)
	if err != nil { // dangling, or a loop: what it says decides
		target = text
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
	}
	rel, err := filepath.Rel(w.dir, target)
	if err == nil && filepath.IsLocal(rel) {
		for part := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
			if strings.EqualFold(part, ".git") || part == homeDir {
				return fmt.Errorf("snapshot: the link %s leads into %s, which never travels; remove the link or leave it out with a line in %s", p, part, w.ignoreFile())
			}
		}
		return nil
	}
	return fmt.Errorf("snapshot: the link %s leads out of the source directory, to %s; copy the file there, make the source directory wider (--source-directory), or leave the link out with a line in %s", p, text, w.ignoreFile())
}

// addSkipped adds what a sparse checkout tracks without having it on disk: git
// add -A leaves it in the index, so it belongs to the tree.
func (w *walker) addSkipped(s *scope, in, at string) error {
	for _, e := range s.skipped {
		p := e.Name
		if in != "" {
			rest, ok := strings.CutPrefix(p, in+"/")
			if !ok {
				continue
			}
			p = rest
		}
		p = join(at, p)
		if _, err := os.Lstat(filepath.Join(w.dir, filepath.FromSlash(p))); err == nil {
			continue
		}
		if e.Mode == filemode.Submodule {
			continue
		}
		size, err := s.objects.size(e.Hash)
		if err != nil {
			return fmt.Errorf("snapshot: %s is left out by the sparse checkout and %w", p, err)
		}
		w.mu.Lock()
		w.files = append(w.files, File{Path: p, Mode: e.Mode, Size: size, OID: e.Hash.String(), objects: s.objects})
		w.mu.Unlock()
	}
	return nil
}

// whyEmpty explains a snapshot without files.
func (w *walker) whyEmpty(s *Snapshot) string {
	if _, rule, _ := w.above(); rule != nil {
		return fmt.Sprintf(": the folder itself is ignored (%s:%d: %s)", rule.File, rule.Line, rule.Text)
	}
	if len(s.Excluded) > 0 {
		e := s.Excluded[0]
		return fmt.Sprintf(": all of it is ignored, %s by %s: %s", e.Path, e.Source, e.Pattern)
	}
	return ": it is empty"
}

// Decision is what an ignore file, or git's index, says of one path.
type Decision struct {
	Path    string
	Travels bool
	Tracked bool            // git tracks it, so no .gitignore counts
	Rule    *ignore.Pattern // the line that decides, nil where none matches
}

// Why tells whether path, relative to the source directory dir, travels, and
// which line of which ignore file decides, as git check-ignore -v would.
func Why(dir, p string) (Decision, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Decision{}, err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return Decision{}, err
	}
	asked := p
	if filepath.IsAbs(p) {
		if p, err = filepath.Rel(abs, p); err != nil {
			return Decision{}, err
		}
	}
	p = path.Clean(filepath.ToSlash(p))
	if p == "." || !filepath.IsLocal(p) {
		return Decision{}, fmt.Errorf("%s is not a path inside the source directory %s", asked, dir)
	}
	w, err := newWalker(context.Background(), abs)
	if err != nil {
		return Decision{}, err
	}
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
		if strings.EqualFold(name, ".git") || name == homeDir {
			return d, nil
		}
		here := strings.Join(parts[:i], "/")
		at := filepath.Join(abs, filepath.FromSlash(here))
		if i > 0 && !w.aml {
			if nested, err := gitdir.At(at); err == nil && nested != nil {
				s, err := newScope(nested)
				if err != nil {
					return d, err
				}
				f, d.Rule = folder{scope: s, rules: s.rules}, nil
			}
		}
		f.path = here
		if err := w.enter(&f, at); err != nil {
			return d, err
		}
		f.in = join(f.in, name)
		if !f.excluded {
			d.Rule = f.rules.Match(f.in, i < len(parts)-1 || isDir)
			f.excluded = d.Rule != nil && !d.Rule.Negated
		}
	}
	if !w.aml && (f.scope.tracked[f.in] != nil || f.scope.trackedDirs[f.in]) {
		d.Tracked, d.Travels = true, statErr == nil
		return d, nil
	}
	d.Travels = statErr == nil && !f.excluded
	return d, nil
}
