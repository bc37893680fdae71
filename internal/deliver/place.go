package deliver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// place is where a file is to be written.
type place struct {
	root *os.Root // nil for a device, or a pipe
	name string   // below root; else the path
}

// placeOf finds the place that a path names, and refuses one to which no file can be written. In
// a checkout, no part of it may be a link. Elsewhere links are the person's own, and so are
// devices and pipes, such as /dev/stdout.
func placeOf(name string) (place, error) {
	switch {
	case name == "":
		return place{}, errNoName
	case os.IsPathSeparator(name[len(name)-1]):
		return place{}, folderError(name)
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return place{}, err
	}
	root, rel, err := inCheckout(abs)
	if err != nil {
		return place{}, err
	}
	if root == nil {
		return elsewhere(name, abs)
	}
	if err = obeyed(name, abs); err == nil {
		err = mayBecome(root, rel, name)
	}
	if err != nil {
		root.Close()
		return place{}, err
	}
	return place{root, rel}, nil
}

// mayBecome tells why what is at a path of a checkout cannot become a file of ours.
func mayBecome(root *os.Root, rel, name string) error {
	if err := plainWay(root, filepath.Dir(rel), false); err != nil {
		return noFolder(name, err)
	}
	info, err := root.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return unusable(name, err)
	case info.IsDir():
		return folderError(name)
	case info.Mode()&fs.ModeSymlink != 0:
		return linkError(root, rel)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file; name another place", name)
	}
	if err := replaceable(root, rel); err != nil {
		return unusable(name, err)
	}
	return nil
}

// elsewhere is placeOf outside any checkout.
func elsewhere(name, abs string) (place, error) {
	// behind it may be a file that somebody else writes to as well
	stream := strings.HasPrefix(abs, "/dev/") && !strings.HasPrefix(abs, "/dev/shm/") || // which is memory for files
		strings.HasPrefix(abs, "/proc/")
	to, err := filepath.EvalSymlinks(abs)
	if err == nil && !stream {
		abs = to
	}
	info, err := os.Stat(abs)
	switch {
	case err == nil && info.IsDir():
		return place{}, folderError(name)
	case err == nil && (stream || !info.Mode().IsRegular()):
		return place{name: abs}, nil
	case err != nil && (isLink(abs) || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)):
		return place{}, unusable(name, err)
	}
	dir := filepath.Dir(abs)
	if info, err := os.Stat(dir); err == nil && !info.IsDir() { // a pipe waits for who opens it
		return place{}, unusable(name, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR})
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return place{}, noFolder(name, err)
	}
	if err := replaceable(root, filepath.Base(abs)); err != nil {
		root.Close()
		return place{}, unusable(name, err)
	}
	return place{root, filepath.Base(abs)}, nil
}

// Check tells whether File would fail now, before there is anything to write: it makes a file
// beside that one, and lets go of it. What is there stays as it is.
func Check(name string) error {
	to, err := placeOf(name)
	if err != nil {
		return err
	}
	if to.root == nil {
		if err := opens(to.name); err != nil {
			return unusable(to.name, err)
		}
		return nil
	}
	defer to.root.Close()
	return probe(to.root, to.name, name)
}

// opens tells why a device, a pipe or a stream cannot be written to. A pipe is not opened: who reads
// from it would take that for the end.
func opens(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeNamedPipe != 0 {
		return mayWrite(name)
	}
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return w.Close()
}

// CheckFolder tells whether Open would fail now, or whatever is written to the folder, and to those
// in it that are called as below says. What it makes to find out, and removes, has names of its own: where
// several look at once, none finds what another one made, or removes a folder that another one opened.
func CheckFolder(dir string, below ...string) error {
	if dir == "" {
		return errNoName
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	root, missing, err := nearest(dir, abs)
	if err != nil {
		return unusable(dir, err)
	}
	defer root.Close()
	if len(missing) == 0 {
		err := probe(root, "x", dir)
		for _, name := range below {
			if _, lerr := root.Lstat(name); err != nil || errors.Is(lerr, fs.ErrNotExist) {
				continue
			}
			in := filepath.Join(dir, name)
			if err = plainWay(root, name, false); err != nil {
				return unusable(in, err)
			}
			err = probe(root, filepath.Join(name, "x"), in)
		}
		return err
	}
	if unnamed(root, ".") {
		return nil
	}
	name := hidden()
	if err = root.Mkdir(name, 0o755); err == nil {
		defer root.Remove(name)
		return probe(root, filepath.Join(name, "x"), dir)
	}
	return unusable(dir, about(abs, err))
}

// nearest opens the folder that is there, of the folder dir and those around it, and returns the names of
// those that are missing in it, outermost first. That one of them can be no name is an error.
func nearest(dir, abs string) (root *os.Root, missing []string, err error) {
	there := abs
	for there != filepath.Dir(there) {
		if _, err := os.Lstat(there); err == nil {
			break
		}
		missing = append([]string{filepath.Base(there)}, missing...)
		there = filepath.Dir(there)
	}
	base, in := checkout(abs)
	switch {
	case in:
		if err = obeyed(dir, filepath.Join(abs, "x")); err == nil {
			root, err = enter(base, there, false)
		}
	default:
		if info, serr := os.Stat(there); serr != nil {
			err = serr
		} else if !info.IsDir() { // a pipe waits for who opens it
			err = &fs.PathError{Op: "open", Path: there, Err: syscall.ENOTDIR}
		} else if _, serr = os.Lstat(abs); errors.Is(serr, syscall.ENAMETOOLONG) {
			err = serr
		} else {
			root, err = os.OpenRoot(there)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	for _, name := range missing {
		if _, err := root.Lstat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			root.Close()
			return nil, nil, about(abs, err)
		}
	}
	return root, missing, nil
}

// Within tells whether a folder that is to be is a file that is to be, or lies below it: by whatever
// paths and links they are named.
func Within(dir, file string) bool {
	rel, err := filepath.Rel(resolved(file), resolved(dir))
	return err == nil && filepath.IsLocal(rel)
}

// resolved is an absolute path without links, as far as there is something; the path itself where
// nothing can be told of it.
func resolved(name string) string {
	abs, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	rest := ""
	for at := abs; ; at = filepath.Dir(at) {
		if to, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(to, rest)
		}
		if at == filepath.Dir(at) {
			return abs
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// obeyed refuses a place within a folder whose files git, or this program, obeys: of the working tree
// that it lies in, or of the working directory.
func obeyed(name, abs string) error {
	wd, _ := os.Getwd()
	for at := filepath.Dir(abs); at != filepath.Dir(at) && at != wd; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return nil
		}
		if reserved(filepath.Base(at)) {
			return &placeError{fmt.Sprintf("%s lies in %s, whose files are not for people to write; name another place",
				name, at), fs.ErrPermission}
		}
	}
	return nil
}

// probe makes a file as put does, in the stead of name, and removes it; shown is who is at fault. Where it
// can it makes one that no other program sees: another job's snapshot would have it, or miss it.
func probe(root *os.Root, name, shown string) error {
	if unnamed(root, filepath.Dir(name)) {
		return nil
	}
	w, next, err := begin(root, name, 0o600)
	if err == nil {
		err = errors.Join(w.Close(), root.Remove(next))
	}
	if err != nil {
		return unusable(shown, err)
	}
	return nil
}

var errNoName = errors.New("the name of the place is empty; name one, or none at all")

func folderError(name string) error { return fmt.Errorf("%s is a folder; name a file in it", name) }

// about is an error that names what people know of.
func about(path string, err error) error {
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		return &fs.PathError{Op: "write", Path: path, Err: failed.Err}
	}
	return err
}

func isLink(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// noFolder says why a file has no folder to lie in.
func noFolder(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && !isLink(filepath.Dir(name)) {
		return &placeError{fmt.Sprintf("there is no folder %s to write %s to; make it, or name another",
			filepath.Dir(name), filepath.Base(name)), err}
	}
	return unusable(name, err)
}

// placeError is the error of a place to which nothing can be written.
type placeError struct {
	text   string
	reason error
}

func (e *placeError) Error() string { return e.text }
func (e *placeError) Unwrap() error { return e.reason }

// unusable says why nothing can be written to a place that was named, and what to do.
func unusable(name string, err error) error {
	var link *LinkError
	var told *placeError
	if errors.As(err, &link) || errors.As(err, &told) || errors.Is(err, errNoName) {
		return err
	}
	why := err.Error()
	var failed *fs.PathError
	if errors.As(err, &failed) {
		why = failed.Err.Error()
		if errors.Is(failed.Err, syscall.ENOTDIR) {
			why = failed.Path + " is no folder"
		}
		for at := failed.Path; at != filepath.Dir(at); at = filepath.Dir(at) {
			if _, err := os.Stat(at); err != nil && isLink(at) {
				to, _ := os.Readlink(at)
				why = fmt.Sprintf("%s is a link, to %s, and leads nowhere", at, to)
			}
		}
	}
	return &placeError{fmt.Sprintf("%s cannot be written: %s; name another place", name, why), err}
}
