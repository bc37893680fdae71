// Package inside answers: which files may somebody else's checkout name?
//
// A job file, the settings and the links of a checkout name files: data, a build
// context, a conda file. Whoever wrote them may not reach files of the machine that
// trains, nor what a checkout keeps in .git, such as its token. So a name leads to a file
// below one folder, through links that stay below it, or to an error. A folder's own
// links stay in that folder: it means the same wherever it travels to.
//
// What was looked at is what is opened: folders are held open (os.Root), so that
// nothing outside can take their place, and a file that was replaced is an error.
package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/limited"
)

// Place is a folder whose files may be named.
type Place struct {
	Dir string // absolute

	// FS holds the files of Dir as they are in a commit; nil where those on disk are
	// meant.
	FS fs.ReadLinkFS
}

// OutsideError says that a path leads out of the folder whose files may be named, or
// into what never travels.
type OutsideError struct {
	Path   string // as it was named
	Link   string // on the way, relative to Dir, with what it says; "" where Path itself leads out
	To     string
	Dir    string
	Into   string // .git or .aml-train; "" where it leads out
	Folder bool   // Link was met in a folder, Dir, that was named
}

func (e *OutsideError) Error() string {
	what := e.Path
	if e.Link != "" {
		what = fmt.Sprintf("the link %s, to %s,", e.Link, e.To)
	}
	if e.Into != "" {
		return fmt.Sprintf("%s leads into %s, which never travels", what, e.Into)
	}
	return fmt.Sprintf("%s leads out of %s", what, e.Dir)
}

// Hidden tells whether a file or folder of that name never travels.
func Hidden(name string) bool {
	return strings.EqualFold(name, ".git") || strings.EqualFold(name, ".aml-train")
}

// Tree is a file, or a folder with all below it. It is closed after use.
type Tree struct {
	Path  string // absolute, without links below the place; of a commit's, there is no such file on disk
	Name  string // the last part of the name under which it was opened
	Place string // the place's folder
	Disk  bool   // it is on disk

	info fs.FileInfo
	fsys fs.FS // its own folder, or the folder of the file
	name string
	dir  string
	root *os.Root
}

// Named opens what the person at this machine named, wherever it is. What it holds is
// no more trusted than a checkout: links in it stay in it.
func Named(name string) (*Tree, error) {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	place := Place{Dir: filepath.Dir(real)}
	if info.IsDir() {
		place.Dir = real
	}
	t, err := place.Open(real)
	if err == nil {
		t.Name = filepath.Base(name)
	}
	return t, err
}

// Open opens the file or folder at an absolute path. The error of what may not be named
// is an *OutsideError, that of what is neither file nor folder limited.ErrNotRegular.
func (p Place) Open(name string) (*Tree, error) {
	rel, ok := p.rel(name)
	if !ok {
		return nil, &OutsideError{Path: name, Dir: p.Dir}
	}
	if p.FS != nil {
		return p.open(view{p.FS, ""}, name, rel, nil)
	}
	dir, err := filepath.EvalSymlinks(p.Dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	t, err := p.open(view{root.FS(), dir}, name, rel, root)
	if err != nil || t.root != root {
		root.Close()
	}
	return t, err
}

func (p Place) open(v view, name, rel string, root *os.Root) (*Tree, error) {
	real, info, err := v.resolve(rel)
	if err != nil {
		var outside *OutsideError
		if errors.As(err, &outside) {
			outside.Path, outside.Dir = name, p.Dir
			return nil, outside
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.Unwrap(err)}
	}
	t := &Tree{Path: filepath.Join(p.Dir, filepath.FromSlash(real)), Name: filepath.Base(name), Place: p.Dir,
		Disk: root != nil, info: info, fsys: v.fsys, name: real, dir: v.dir, root: root}
	switch {
	case info.Mode().IsRegular():
		return t, nil
	case !info.IsDir():
		return nil, &fs.PathError{Op: "open", Path: name, Err: limited.ErrNotRegular}
	case real == ".":
		return t, nil
	}
	if root == nil {
		t.name = "."
		t.fsys, err = sub(v.fsys, real)
		return t, err
	}
	if t.root, err = root.OpenRoot(filepath.FromSlash(real)); err != nil {
		return nil, err
	}
	if now, serr := t.root.Stat("."); serr != nil || !os.SameFile(now, info) {
		t.root.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: errReplaced}
	}
	t.fsys, t.name, t.dir = t.root.FS(), ".", filepath.Join(v.dir, filepath.FromSlash(real))
	return t, nil
}

var errReplaced = errors.New("it was replaced while it was read; run the command again")

// rel returns where a path lies in the place, in slashes. A place may be reached by
// another way than its name, such as a link to it.
func (p Place) rel(name string) (string, bool) {
	if rel, err := filepath.Rel(p.Dir, name); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel), true
	}
	here, err := os.Stat(p.Dir)
	if err != nil {
		return "", false
	}
	for at := filepath.Clean(name); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && os.SameFile(info, here) {
			rel, err := filepath.Rel(at, name)
			return filepath.ToSlash(rel), err == nil
		}
		if at == filepath.Dir(at) {
			return "", false
		}
	}
}

// Has tells whether a path lies in the place, whatever links say.
func (p Place) Has(name string) bool {
	_, ok := p.rel(name)
	return ok
}

// Stat describes a file or folder that may be named.
func (p Place) Stat(name string) (fs.FileInfo, error) {
	t, err := p.Open(name)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.info, nil
}

// Read returns the content of a regular file of at most limit bytes.
func (p Place) Read(name string, limit int64) ([]byte, error) {
	t, err := p.Open(name)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.Read(limit)
}

// Of is a folder that is a file system: the one at dir on disk, or with "" one of a
// commit.
func Of(fsys fs.FS, dir string) (*Tree, error) {
	info, err := fs.Lstat(fsys, ".")
	return &Tree{Path: dir, Place: dir, Name: filepath.Base(dir), info: info, fsys: fsys, name: ".", dir: dir}, err
}

// Close lets go of the folder.
func (t *Tree) Close() error {
	if t.root == nil {
		return nil
	}
	return t.root.Close()
}

// IsDir tells a folder from a file.
func (t *Tree) IsDir() bool { return t.info.IsDir() }

// Info describes the file or folder.
func (t *Tree) Info() fs.FileInfo { return t.info }

// FS is the folder to look at.
func (t *Tree) FS() fs.FS { return t.fsys }

// Read returns the content of the file, which has at most limit bytes.
func (t *Tree) Read(limit int64) ([]byte, error) {
	if t.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: t.Path, Err: limited.ErrNotRegular}
	}
	r, err := t.file().Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = &limited.TooLargeError{Name: t.Path, Limit: limit}
	}
	return text, err
}

// view is a file system with the folder on disk that it shows, "" for a commit's.
type view struct {
	fsys fs.FS
	dir  string
}

// mostLinks is how many links a path may go through, as in Linux (path_resolution(7)).
const mostLinks = 40

// resolve follows the links in a path, itself one included. Where it leads nowhere, the
// error is fs.ErrNotExist; that it leads out is said all the same.
func (v view) resolve(name string) (string, fs.FileInfo, error) {
	w := &way{view: v, rest: strings.Split(name, "/")}
	w.info, w.missing = fs.Lstat(v.fsys, ".")
	for len(w.rest) > 0 {
		if err := w.step(); err != nil {
			return "", nil, err
		}
	}
	if w.links > mostLinks {
		return "", nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	real := path.Join(w.at...)
	if real == "" {
		real = "."
	}
	if w.missing == nil {
		w.info, w.missing = fs.Lstat(v.fsys, real) // ".." may have led back
	}
	if w.missing != nil {
		return real, nil, &fs.PathError{Op: "open", Path: name, Err: unwrap(w.missing)}
	}
	return real, w.info, nil
}

// way is how far a path has been followed.
type way struct {
	view
	at, rest []string    // behind, without links, and before
	info     fs.FileInfo // of what is behind
	missing  error       // why there is nothing; the rest is looked at only for where it leads

	links    int
	link, to string // the first one, and what it says
}

// outside is the error of a path that leads out, or into what never travels.
func (w *way) outside(into string) error { return &OutsideError{Link: w.link, To: w.to, Into: into} }

// step goes on by one part of the path.
func (w *way) step() error {
	part := w.rest[0]
	w.rest = w.rest[1:]
	switch {
	case part == "" || part == ".":
		return nil
	case part == ".." && len(w.at) == 0: // out, and perhaps in again
		return w.from(w.dir + "/..")
	case part == "..":
		w.at = w.at[:len(w.at)-1]
		return nil
	case Hidden(part) || w.missing == nil && w.alias(w.at, part):
		return w.outside(part)
	}
	w.at = append(w.at[:len(w.at):len(w.at)], part)
	if w.missing != nil {
		return nil
	}
	here := path.Join(w.at...)
	if w.info, w.missing = fs.Lstat(w.fsys, here); w.missing != nil {
		return nil
	}
	if w.info.Mode()&fs.ModeSymlink != 0 {
		return w.follow(here)
	}
	if !w.info.IsDir() && len(w.rest) > 0 {
		w.missing = fs.ErrNotExist // nothing is below a file
	}
	return nil
}

// follow goes on where a link leads.
func (w *way) follow(link string) error {
	if w.links++; w.links > mostLinks {
		w.rest = nil
		return nil
	}
	to, err := fs.ReadLink(w.fsys, link)
	if err != nil {
		return err
	}
	if w.link == "" {
		w.link, w.to = link, to
	}
	w.at = w.at[:len(w.at)-1]
	if to = filepath.ToSlash(to); strings.HasPrefix(to, "/") || filepath.VolumeName(filepath.FromSlash(to)) != "" {
		w.at = nil
		return w.from(to)
	}
	w.rest = append(strings.Split(to, "/"), w.rest...)
	return nil
}

// from goes on at an absolute path, which has to lie in the folder on disk.
func (w *way) from(dir string) (err error) {
	w.rest, err = w.below(dir + "/" + strings.Join(w.rest, "/"))
	if errors.Is(err, errOut) {
		return w.outside("")
	}
	if err != nil {
		w.missing = fs.ErrNotExist
	}
	return nil
}

// unwrap drops the path of an error.
func unwrap(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

var errOut = errors.New("it leads out")

// below returns where an absolute path, with links on its way, lies in the folder, part
// by part. Of one that leads nowhere, what it says decides whether that is out.
func (v view) below(name string) ([]string, error) {
	if v.dir == "" {
		return nil, errOut
	}
	name = filepath.FromSlash(name)
	real, missing := filepath.EvalSymlinks(strings.TrimSuffix(name, string(filepath.Separator)))
	if missing != nil {
		real = name
	}
	rel, err := filepath.Rel(v.dir, real)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, errOut
	}
	return strings.Split(filepath.ToSlash(rel), "/"), missing
}

// alias tells whether a name is another one of a hidden folder: GIT~1, or one that the
// file system takes for the same.
func (v view) alias(at []string, part string) bool {
	if runtime.GOOS != "windows" && runtime.GOOS != "darwin" {
		return false
	}
	info, err := fs.Lstat(v.fsys, path.Join(append(at[:len(at):len(at)], part)...))
	return err == nil && slices.ContainsFunc([]string{".git", ".aml-train"}, func(name string) bool {
		hidden, err := fs.Lstat(v.fsys, path.Join(append(at[:len(at):len(at)], name)...))
		return err == nil && os.SameFile(info, hidden)
	})
}

// subFS is a folder of a commit. fs.Sub knows of no links.
type subFS struct {
	fs.FS
	all fs.FS
	at  string
}

func sub(fsys fs.FS, at string) (fs.FS, error) {
	below, err := fs.Sub(fsys, at)
	return subFS{below, fsys, at}, err
}

func (s subFS) ReadLink(name string) (string, error) {
	return fs.ReadLink(s.all, path.Join(s.at, name))
}

func (s subFS) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(s.all, path.Join(s.at, name)) }

// Check refuses a folder with a link that leads out of it, or into what never travels.
func (t *Tree) Check(ctx context.Context) error {
	if !t.IsDir() {
		return nil
	}
	return t.walk(ctx).check(".")
}

// Relative shortens a path for people: from the working directory on, where that is shorter.
func Relative(path string) string {
	if cwd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(cwd, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}
