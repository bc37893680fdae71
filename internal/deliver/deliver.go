// Package deliver answers: how does a file get to the place that a person named?
//
// A report, or what a run made, is written where somebody said. In a checkout a link may
// lie there that came with it, and lead to the person's own files; and what a run made
// has the names that its script chose. So below the repository, and below the working
// directory, no link is followed, on the way or at its end; below a folder that was
// named nothing leads out of it, nor into a git directory. A file appears whole or not
// at all.
package deliver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/org/aml-train/internal/sparse"
)

// LinkError is the error of a place behind a link.
type LinkError struct{ Name, To string }

func (e *LinkError) Error() string {
	return fmt.Sprintf("%s is a link, to %s, and may have come with the checkout; name the place itself", e.Name, e.To)
}

// File writes a file to the path that a person named.
func File(name string, content io.Reader) error {
	to, err := placeOf(name)
	if err != nil {
		return err
	}
	if to.root == nil {
		w, err := os.OpenFile(to.name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return unusable(to.name, err)
		}
		_, err = io.Copy(w, content)
		return errors.Join(err, w.Close())
	}
	defer to.root.Close()
	if _, err = put(to.root, to.name, content); err != nil {
		return unusable(name, err)
	}
	return nil
}

// inCheckout opens the checkout that a path lies in, and returns the path below it; nil
// where it lies in none.
func inCheckout(abs string) (root *os.Root, rel string, err error) {
	base, ok := checkout(abs)
	if !ok {
		return nil, "", nil
	}
	if rel, err = filepath.Rel(base, abs); err != nil {
		return nil, "", err
	}
	root, err = os.OpenRoot(base)
	return root, rel, err
}

// Folder is a folder that a person named.
type Folder struct {
	root    *os.Root
	checked map[string]bool // folders in it that are no links
}

// Open opens the folder, and makes it where it is not there. One that it makes in a checkout
// ignores itself: what a run made is no part of the code that makes the next one.
func Open(dir string) (*Folder, error) {
	_, missing := os.Lstat(dir)
	f, err := open(dir)
	if err != nil {
		return nil, unusable(dir, err)
	}
	if !errors.Is(missing, fs.ErrNotExist) {
		return f, nil
	}
	if abs, err := filepath.Abs(dir); err == nil {
		if base, ok := checkout(abs); ok {
			f.ignoreItself(base, abs)
		}
	}
	return f, nil
}

// ignoreItself writes the ignore files that leave a new folder out of what git, and of what
// a snapshot, takes from around it. Where that fails, it travels, and is seen.
func (f *Folder) ignoreItself(base, abs string) {
	names := []string{".gitignore"}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".amlignore")); err == nil { // then no .gitignore counts
			names = append(names, ".amlignore")
			break
		}
		if dir == base || dir == filepath.Dir(dir) {
			break
		}
	}
	for _, name := range names {
		put(f.root, name, strings.NewReader("*\n"))
	}
}

func open(dir string) (*Folder, error) {
	if dir == "" {
		return nil, errNoName
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &Folder{checked: map[string]bool{}}
	if base, ok := checkout(abs); ok {
		if err = obeyed(dir, filepath.Join(abs, "x")); err == nil {
			f.root, err = enter(base, abs, true)
		}
	} else if err = os.MkdirAll(abs, 0o755); err == nil {
		f.root, err = os.OpenRoot(abs)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// enter opens a folder of the checkout base, and makes it where it is not there if create is set.
func enter(base, abs string, create bool) (*os.Root, error) {
	parent, err := os.OpenRoot(base)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	rel, err := filepath.Rel(base, abs)
	if err == nil {
		err = plainWay(parent, rel, create)
	}
	if err != nil {
		return nil, err
	}
	return parent.OpenRoot(rel)
}

// Close lets go of the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Write writes a file below the folder and returns its length. Its name is
// slash-separated and may be anybody's.
func (f *Folder) Write(name string, content io.Reader) (int64, error) {
	local := filepath.FromSlash(name)
	if !filepath.IsLocal(local) {
		return 0, errors.New("this system has no such name")
	}
	for part := range strings.SplitSeq(name, "/") {
		if reserved(part) {
			return 0, fmt.Errorf("nothing is written to %s", part)
		}
	}
	if dir := filepath.Dir(local); !f.checked[dir] {
		if err := plainWay(f.root, dir, true); err != nil {
			return 0, err
		}
		f.checked[dir] = true
	}
	return put(f.root, local, content)
}

// reserved tells whether a name is, on some system, that of a folder whose files git or
// this program obeys (git: is_hfs_dotgit, is_ntfs_dotgit).
func reserved(name string) bool {
	name, _, _ = strings.Cut(name, ":")
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, strings.TrimRight(name, ". "))
	return name == ".git" || name == "git~1" || name == ".aml-train"
}

// checkout returns the outermost folder around a path whose content may have come from
// elsewhere: a repository, or the working directory. ok is false where the path is in
// none.
func checkout(abs string) (base string, ok bool) {
	wd, err := os.Getwd()
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if _, lerr := os.Lstat(filepath.Join(dir, ".git")); lerr == nil || err == nil && dir == wd {
			base, ok = dir, true
		}
		if dir == filepath.Dir(dir) {
			if !ok && err == nil && abs == wd {
				return abs, true
			}
			return base, ok
		}
	}
}

// plainWay sees that no part of a path is a link, and makes what is missing if create is
// set.
func plainWay(root *os.Root, dir string, create bool) error {
	at := ""
	for part := range strings.SplitSeq(filepath.ToSlash(dir), "/") {
		at = filepath.Join(at, part)
		info, err := root.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) && create {
			if err = root.Mkdir(at, 0o755); errors.Is(err, fs.ErrExist) {
				err = nil
			}
			if err == nil {
				info, err = root.Lstat(at)
			}
		}
		switch {
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			return linkError(root, at)
		case !info.IsDir():
			return &fs.PathError{Op: "open", Path: filepath.Join(root.Name(), at), Err: syscall.ENOTDIR}
		}
	}
	return nil
}

func linkError(root *os.Root, name string) error {
	to, err := root.Readlink(name)
	if err != nil {
		return err
	}
	return &LinkError{filepath.Join(root.Name(), name), to}
}

// put writes a file below root, whose parent is there.
func put(root *os.Root, name string, content io.Reader) (n int64, err error) {
	mode := fs.FileMode(0o644)
	switch info, err := root.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, err
	case info.Mode()&fs.ModeSymlink != 0:
		return 0, linkError(root, name)
	case !info.Mode().IsRegular():
		return 0, &fs.PathError{Op: "write", Path: filepath.Join(root.Name(), name),
			Err: errors.New("something that is no file lies there")}
	default:
		mode = info.Mode().Perm()
	}
	w, next, err := begin(root, name, mode)
	if err != nil {
		return 0, err
	}
	n, err = sparse.Copy(w, content)
	if err = errors.Join(err, w.Close()); err == nil {
		err = root.Rename(next, name)
	}
	if err != nil {
		root.Remove(next)
	}
	return n, err
}

// begin makes the file that becomes name once it is whole.
func begin(root *os.Root, name string, mode fs.FileMode) (w *os.File, next string, err error) {
	next = filepath.Join(filepath.Dir(name), hidden())
	w, err = root.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) { // nobody has named that file
		failed.Op, failed.Path = "write", filepath.Join(root.Name(), name)
	}
	return w, next, err
}

// hidden is a name that nothing has: of what is made here to be renamed, or removed.
func hidden() string { return ".aml-train-" + rand.Text() }
