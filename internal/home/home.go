// Package home answers: which folder holds what this machine knows of its runs, and
// may it be believed?
//
// The folder is .aml-train at the root of a repository, or what AML_TRAIN_HOME names.
// A checkout can bring a folder of that name along, and whoever obeyed it would write
// and delete where its links and paths lead. So it is believed only if this machine's
// user made it (no repository tracks it, nobody else owns it, no link stands in it or
// on its way), and everything below it is reached through the open folder, out of
// which no link leads.
package home

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
)

// Home is the folder, open.
type Home struct {
	*os.Root
	Dir string // absolute; for people, and for what takes no open folder
}

// UntrustedError is the error of a folder that is not believed.
type UntrustedError struct {
	Dir, Reason string
}

func (e *UntrustedError) Error() string {
	return fmt.Sprintf("%s is not taken for this machine's run history: %s", e.Dir, e.Reason)
}

// Is tells that it is a mistake in what was asked.
func (*UntrustedError) Is(target error) bool { return target == mistake.Err }

// Open opens the folder dir; where it is not there, its error is an fs.ErrNotExist. It
// writes nothing.
func Open(dir string) (*Home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	repositories, err := around(dir)
	if err != nil {
		return nil, err
	}
	h, err := open(dir)
	if err != nil {
		return nil, err
	}
	for _, r := range repositories {
		if name := tracked(r, h); name != "" {
			return nil, errors.Join(
				&UntrustedError{dir, fmt.Sprintf("the repository tracks %s, so it came with the checkout; "+
					"git rm -r --cached and a commit leave the folder to this machine, or AML_TRAIN_HOME names another",
					name)}, h.Close())
		}
	}
	return h, nil
}

// Make is Open for whoever is about to write: it makes the folder where it is not
// there. The folder carries a .gitignore of "*", so that it is never committed.
func Make(dir string) (*Home, error) {
	h, err := Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o755); err == nil { // Open has looked at the way
			h, err = Open(dir)
		}
	}
	if err != nil {
		var untrusted *UntrustedError
		if !errors.As(err, &untrusted) {
			err = fmt.Errorf("run history: %w; AML_TRAIN_HOME names another folder", err)
		}
		return nil, err
	}
	if _, err := h.Lstat(".gitignore"); errors.Is(err, fs.ErrNotExist) {
		if err := h.WriteFile(".gitignore", []byte("*\n"), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("run history: %w", err), h.Close())
		}
	}
	return h, nil
}

// Cache is this program's folder in the person's cache folder, such as ~/.cache/aml-train.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "aml-train"), err
}

// Private opens a folder of this user's in a cache or temporary folder, where others
// may have put something in its place; it makes the folder where it is not there if
// create is set.
func Private(dir string, create bool) (*Home, error) {
	if create {
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return nil, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return open(dir)
}

// Folder opens the folder of that name in a folder, which it makes where it is not
// there if create is set. Unlike OpenRoot it takes no link, not even one that stays
// inside: only a folder that was made here.
func Folder(root *os.Root, name string, create bool) (*os.Root, error) {
	if create {
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &UntrustedError{filepath.Join(root.Name(), name), "it is no folder"}
	}
	return root.OpenRoot(name)
}

// MkdirTemp makes a new folder in the folder of that name, and returns its absolute path.
func (h *Home) MkdirTemp(name string) (string, error) {
	parent, err := Folder(h.Root, name, true)
	if err != nil {
		return "", err
	}
	defer parent.Close()
	made := rand.Text()
	return filepath.Join(h.Dir, name, made), parent.Mkdir(made, 0o755)
}

// open opens a folder that is no link, belongs to this user, and holds no link itself.
func open(dir string) (*Home, error) {
	untrusted := func(format string, args ...any) error {
		return &UntrustedError{dir, fmt.Sprintf(format, args...)}
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if to, err := os.Readlink(dir); err == nil {
		return nil, untrusted("it is a link, to %s; AML_TRAIN_HOME names another folder", to)
	}
	if !info.IsDir() {
		return nil, untrusted("it is no folder; AML_TRAIN_HOME names another")
	}
	if reason := foreign(info, filepath.Dir(dir)); reason != "" {
		return nil, untrusted("%s; remove it, or name another with AML_TRAIN_HOME", reason)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	h := &Home{root, dir}
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = untrusted("it became another while it was looked at")
	}
	if err == nil {
		err = h.plain()
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return h, nil
}

// plain refuses a folder with an entry that is neither file nor folder: programs that
// know nothing of this one, SQLite and MLflow, open some of them by name.
func (h *Home) plain() error {
	entries, err := fs.ReadDir(h.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() && !e.Type().IsRegular() {
			return &UntrustedError{h.Dir,
				fmt.Sprintf("%s in it is a link or another special file, and this program makes none there; remove it",
					e.Name())}
		}
	}
	return nil
}

// around returns the repositories whose working trees hold a folder by its name,
// innermost first. What stands between their roots and the folder may have come with
// them, so that none of it may be a link.
func around(dir string) ([]*git.Repository, error) {
	var found []*git.Repository
	for root := filepath.Dir(dir); ; root = filepath.Dir(root) {
		r, err := git.Locate(root)
		if err != nil && len(found) == 0 {
			return nil, err // of a repository further out, nothing is asked otherwise
		}
		if r != nil {
			found = append(found, r)
			for name := filepath.Dir(dir); name != root; name = filepath.Dir(name) {
				if to, err := os.Readlink(name); err == nil {
					return nil, &UntrustedError{dir, fmt.Sprintf("%s on its way is a link, to %s", name, to)}
				}
			}
		}
		if root == filepath.Dir(root) {
			return found, nil
		}
	}
}
