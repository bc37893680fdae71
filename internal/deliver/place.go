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
	if err = plainWay(root, filepath.Dir(rel), false); err != nil {
		err = noFolder(name, err)
	} else if info, lerr := root.Lstat(rel); lerr == nil && info.IsDir() {
		err = folderError(name)
	} else if lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
		err = linkError(root, rel)
	} else if lerr == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file; name another place", name)
	} else if lerr != nil && !errors.Is(lerr, fs.ErrNotExist) {
		err = unusable(name, lerr)
	}
	if err != nil {
		root.Close()
		return place{}, err
	}
	return place{root, rel}, nil
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
	return place{root, filepath.Base(abs)}, nil
}

// Check tells whether File would fail now, before there is anything to write: it makes a file
// beside that one, and removes it. What is there stays as it is.
func Check(name string) error {
	to, err := placeOf(name)
	if err != nil || to.root == nil {
		return err
	}
	defer to.root.Close()
	return probe(to.root, to.name, name)
}

// CheckFolder tells whether Open would fail now, or whatever is written to the folder: it makes
// the folder and a file in it, and removes what it made.
func CheckFolder(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var made []string
	for at := abs; at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := os.Lstat(at); err == nil {
			break
		}
		made = append(made, at)
	}
	defer func() {
		for _, name := range made {
			os.Remove(name) // which leaves what somebody has put there meanwhile
		}
	}()
	f, err := open(dir)
	if err != nil {
		return unusable(dir, err)
	}
	defer f.Close()
	return probe(f.root, "x", dir)
}

// probe makes a file as put does, in the stead of name, and removes it; shown is who is at fault.
func probe(root *os.Root, name, shown string) error {
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
	if errors.As(err, &link) || errors.Is(err, errNoName) {
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
