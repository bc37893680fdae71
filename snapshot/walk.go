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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/attributes"
	"github.com/org/aml-train/internal/git/ignore"
	"github.com/org/aml-train/internal/git/object"
)

// homeDir is our own folder, which holds the run history.
const homeDir = ".aml-train"

// walker collects the files of one source directory, reading folders in
// parallel. It goes through a folder and through git's index side by side: both
// are sorted, so that nothing has to be looked up.
type walker struct {
	ctx          context.Context
	git          *git.Finder
	dir          string // the source directory, absolute, without links
	hasAmlignore bool   // an .amlignore rules, in place of every .gitignore
	scope        *scope // the repository around dir
	in           string // dir relative to the root of scope

	tasks   tasks
	anyLink bool // nothing is going to travel: a link may lead anywhere, and what is not here does not matter
	plain   bool // git status does not show what is not tracked
	each    bool // it shows each such file, and not the folder that it is in

	modulesRead bool
	moduleList  []git.Module // see modules

	untracked atomic.Bool  // a file travels that git does not track
	seen      atomic.Int64 // entries of the index of scope whose files are there

	files      []File
	attributes map[string]attributes.Stack // of the folders that dirty looked at, within scope

	stores   stores
	mu       sync.Mutex
	sizes    []*sizes // of each scope
	excluded []Exclusion
	skipped  []File // tracked, but not in the working tree
}

// tasks runs work in parallel that finds more of its kind.
type tasks struct {
	group *errgroup.Group
	ctx   context.Context
	busy  chan struct{}
}

func newTasks(ctx context.Context) tasks {
	t := tasks{busy: make(chan struct{}, runtime.GOMAXPROCS(0)*2)}
	t.group, t.ctx = errgroup.WithContext(ctx)
	return t
}

// do runs f, elsewhere where somebody is free.
func (t *tasks) do(f func() error) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	select {
	case t.busy <- struct{}{}:
		t.group.Go(func() error {
			defer func() { <-t.busy }()
			return f()
		})
		return nil
	default:
		return f()
	}
}

// node is what a folder holds, in git's order: kids[i] stands before
// files[kids[i].at].
type node struct {
	files []File
	kids  []kid
}

type kid struct {
	at int
	*node
}

// flatten appends the files of n and of all below it. It lets go of them on the
// way.
func (n *node) flatten(to []File) []File {
	at := 0
	for _, k := range n.kids {
		to = append(to, n.files[at:k.at]...)
		at = k.at
		to = k.flatten(to)
	}
	to = append(to, n.files[at:]...)
	n.files, n.kids = nil, nil
	return to
}

func (n *node) count() int {
	c := len(n.files)
	for _, k := range n.kids {
		c += k.count()
	}
	return c
}

// folder is one folder to read.
type folder struct {
	node     *node
	scope    *scope
	path     string // relative to the source directory, "" for itself
	in       string // relative to the root of scope, "" for itself
	lo, hi   int    // the entries of the scope's index below it
	rules    ignore.Stack
	filters  attributes.Stack
	excluded bool // only what git tracks travels from here

	unknown  error // nobody knows what is ignored here: a sparse checkout has not got the file that says it
	unsure   bool  // nor which content filters there are
	commit   bool  // the index has a commit for it: a submodule
	replaced bool  // the index has a file for it, so git status hides what it holds
}

// newWalker returns a walker of dir, which lies in the working tree of repo, or in none
// where that is nil.
func newWalker(ctx context.Context, finder *git.Finder, repo *git.Repository, dir string) (w *walker, err error) {
	if repo != nil && repo.Bare {
		return nil, fmt.Errorf("%s is a bare repository, which has no files; name a commit with --commit", repo.GitDir)
	}
	w = &walker{ctx: ctx, git: finder, dir: dir, tasks: newTasks(ctx)}
	if w.scope, err = w.newScope(repo); err != nil {
		w.stores.close()
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
	if repo != nil {
		shown := strings.ToLower(repo.Config.Get("status.showuntrackedfiles"))
		w.plain, w.each = slices.Contains([]string{"no", "false", "off", "0"}, shown), shown == "all"
	}
	_, err = os.Lstat(filepath.Join(dir, ".amlignore"))
	w.hasAmlignore = err == nil
	return w, nil
}

func (w *walker) ignoreFile() string {
	if w.hasAmlignore {
		return ".amlignore"
	}
	return ".gitignore"
}

// above returns the source directory as the first folder, with the rules of the
// folders above it, and the pattern that excludes it as a whole.
func (w *walker) above() (folder, *ignore.Pattern, error) {
	s := w.scope
	f := folder{scope: s, in: w.in, filters: s.filters}
	f.lo, f.hi = w.entries()
	if !w.hasAmlignore {
		f.rules = s.rules
	}
	if w.in == "" {
		return f, nil, nil
	}
	var decided *ignore.Pattern
	parts := strings.Split(w.in, "/")
	for i := range parts {
		f.replaced = f.replaced || s.index.Find(strings.Join(parts[:i+1], "/")) >= 0
		at := strings.Join(parts[:i], "/")
		abs := filepath.Join(s.repo.Root, filepath.FromSlash(at))
		if err := f.attributes(abs, at); err != nil {
			return f, nil, err
		}
		if w.hasAmlignore || f.excluded {
			continue
		}
		text, err := f.text(abs, ".gitignore", at)
		if err != nil {
			return f, nil, err
		}
		f.rules = f.rules.Push(ignore.Parse(text, strings.Repeat("../", len(parts)-i)+".gitignore", at, s.ignoreCase))
		if p := f.rules.Match(strings.Join(parts[:i+1], "/"), true); p != nil && !p.Negated {
			f.excluded, decided = true, p
		}
	}
	return f, decided, nil
}

// entries returns the part of the index that lies in the source directory.
func (w *walker) entries() (lo, hi int) {
	if w.in == "" {
		return 0, w.scope.index.Len()
	}
	return w.scope.index.Range(w.in + "/")
}

// enter adds the rules of the folder's own ignore file.
func (w *walker) enter(f *folder, abs string) error {
	s, name := f.scope, w.ignoreFile()
	if w.hasAmlignore {
		s = w.scope
	} else if f.excluded {
		return nil
	}
	at := *f
	at.scope = s
	text, err := at.text(abs, name, f.in)
	if err == nil {
		f.unknown = at.unknown
		f.rules = f.rules.Push(ignore.Parse(text, join(f.path, name), f.in, s.ignoreCase))
	}
	return err
}

// text returns an ignore file of the folder in, which is f or one above it. One that is
// missing in a partial clone is noted: nobody misses it where nothing is untracked.
func (f *folder) text(abs, name, in string) ([]byte, error) {
	text, _, err := f.scope.read(abs, name, in)
	if errors.Is(err, object.ErrNotFound) {
		f.unknown, err = err, nil
	}
	return text, err
}

// attributes adds the content filters that a folder's own file names. One that is missing
// in a partial clone is noted: then no file is taken for its blob.
func (f *folder) attributes(abs, in string) error {
	text, ok, err := f.scope.read(abs, ".gitattributes", in)
	if errors.Is(err, object.ErrNotFound) {
		f.unsure = true
		return nil
	}
	if ok {
		f.filters = f.filters.Push(attributes.Parse(text, in, in == "", f.scope.ignoreCase))
	}
	return err
}

func (w *walker) walk() error {
	first, _, err := w.above()
	if err != nil {
		return err
	}
	root := &node{}
	first.node = root
	w.tasks.group.Go(func() error { return w.read(first) })
	if err := w.tasks.group.Wait(); err != nil {
		return err
	}
	for _, z := range w.sizes {
		z.save()
	}
	if !w.hasAmlignore {
		if err := w.addSkipped(w.scope, w.in, ""); err != nil {
			return err
		}
	}
	w.files = root.flatten(make([]File, 0, root.count()+len(w.skipped)))
	if len(w.skipped) > 0 {
		w.files = append(w.files, w.unreplaced(w.skipped)...)
		slices.SortFunc(w.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	}
	return nil
}

// unreplaced leaves out of files that are not on disk those below a path that is a file there: git add has it
// replace them.
func (w *walker) unreplaced(skipped []File) []File {
	return slices.DeleteFunc(skipped, func(f File) bool {
		for at := path.Dir(f.Path); at != "."; at = path.Dir(at) {
			_, is := slices.BinarySearchFunc(w.files, at, func(f File, at string) int {
				return strings.Compare(f.Path, at)
			})
			if is {
				return true
			}
		}
		return false
	})
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

// storable refuses a path that no blob store can hold.
func storable(p, ignoreFile string) error {
	plain := true
	for i := range len(p) {
		plain = plain && p[i] >= ' ' && p[i] < utf8.RuneSelf
	}
	if plain {
		return nil
	}
	if !utf8.ValidString(p) || strings.ContainsAny(p, "\n\r\x00") {
		return fmt.Errorf("snapshot: the name %q cannot be stored: it is not UTF-8 or holds a line break; rename it "+
			"or leave it out with a line in %s", p, ignoreFile)
	}
	return nil
}

// file describes one file that travels, with its id where the index knows it.
func (w *walker) file(dir *os.File, name string, in *folder, entry int, filters attributes.Stack) (File, error) {
	s, x := in.scope, in.scope.index
	f := File{Mode: filemode.Regular, entry: -1}
	if entry >= 0 && s == w.scope { // the name is there already
		f.Path = x.Name(entry)
		if w.in != "" {
			f.Path = f.Path[len(w.in)+1:]
		}
	} else {
		f.Path = join(in.path, name)
	}
	if err := storable(f.Path, w.ignoreFile()); err != nil {
		return f, err
	}
	var mode fs.FileMode
	var err error
	if f.stat, mode, err = filestat.In(dir, name); err != nil {
		return f, err
	}
	f.Size = f.stat.Size
	switch {
	case mode&fs.ModeSymlink != 0:
		f.Mode = filemode.Symlink
	case !mode.IsRegular():
		return f, fs.ErrNotExist // replaced by something else just now
	case entry >= 0 && !s.symlinks && x.Mode(entry) == filemode.Symlink:
		f.Mode = filemode.Symlink
	case s.fileMode:
		if mode&0o100 != 0 {
			f.Mode = filemode.Executable
		}
	case entry >= 0 && x.Mode(entry) == filemode.Executable:
		f.Mode = filemode.Executable
	}
	if f.Mode == filemode.Symlink && !w.anyLink {
		if err := w.checkLink(f.Path); err != nil {
			return f, err
		}
	}
	if entry < 0 {
		if (!in.replaced || w.each) && s == w.scope {
			w.untracked.Store(true)
		}
		return f, nil
	}
	clean := s.unchanged(entry, &f)
	if s == w.scope {
		f.entry, f.clean = int32(entry), clean
	}
	if clean && !in.unsure && s.sameBytes(entry, &f, filters) {
		f.OID = x.ID(entry)
	}
	return f, nil
}

// instead says what brings the file for which a link of git-annex stands.
func instead(p, text, usual string) string {
	if strings.Contains(filepath.ToSlash(text), "/annex/objects/") {
		return fmt.Sprintf("it is a file of git-annex: git annex get and git annex unlock %s make a file of it, or", p)
	}
	return usual
}

// addSkipped adds what a sparse checkout tracks without having it on disk: git
// add -A leaves it in the index, so it belongs to the tree.
func (w *walker) addSkipped(s *scope, in, at string) error {
	x := s.index
	if x.Special == 0 || w.anyLink {
		return nil
	}
	lo, hi := 0, x.Len()
	if in != "" {
		lo, hi = x.Range(in + "/")
	}
	for i := lo; i < hi; i++ {
		if !x.SkipWorktree(i) || x.Mode(i) == filemode.Submodule {
			continue
		}
		p := x.Name(i)
		if in != "" {
			p = p[len(in)+1:]
		}
		p = join(at, p)
		if _, err := os.Lstat(filepath.Join(w.dir, filepath.FromSlash(p))); err == nil {
			continue
		}
		if err := storable(p, w.ignoreFile()); err != nil {
			return err
		}
		_, size, err := s.objects.Size(x.ID(i))
		if err != nil {
			return explainMissing(s.repo, p, err)
		}
		w.mu.Lock()
		w.skipped = append(w.skipped, File{Path: p, Mode: x.Mode(i), Size: size, OID: x.ID(i), objects: s.objects,
			entry: -1})
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
