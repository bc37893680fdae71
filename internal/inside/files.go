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
	"slices"
	"strings"
)

// File is a regular file of a tree, under a name by which it travels.
type File struct {
	Path string // slash-separated, below the tree; of a tree that is a file, its name
	Info fs.FileInfo

	fsys fs.FS
	name string
	disk bool
}

// Open opens the file that was found. One that has another size or time since, or is
// another file, is an error.
func (f File) Open() (io.ReadCloser, error) {
	r, err := f.fsys.Open(f.name)
	if err != nil {
		return nil, err
	}
	now, err := r.Stat()
	if err == nil && f.disk && (!os.SameFile(now, f.Info) || now.Size() != f.Info.Size() ||
		!now.ModTime().Equal(f.Info.ModTime())) {
		err = fmt.Errorf("%s: %w", f.Path, errReplaced)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (t *Tree) file() File {
	return File{Path: t.Name, Info: t.info, fsys: t.fsys, name: t.name, disk: t.Disk}
}

// Files lists every file of the tree, by path. A link stands for what it leads to, as
// in a store that has no links; one that leads nowhere, or to a folder that holds it,
// for nothing. What never travels is left out.
func (t *Tree) Files(ctx context.Context) ([]File, error) {
	if !t.IsDir() {
		return []File{t.file()}, nil
	}
	w := t.walk(ctx)
	if err := w.check("."); err != nil {
		return nil, err
	}
	if err := w.dir(".", ".", nil); err != nil {
		return nil, err
	}
	slices.SortFunc(w.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return w.files, nil
}

// Copy writes the files of the tree below the folder to, which it makes, and returns where
// the tree is then.
func (t *Tree) Copy(ctx context.Context, to string) (string, error) {
	files, err := t.Files(ctx)
	if err != nil {
		return "", err
	}
	top := filepath.Join(to, t.Name)
	at := to
	if t.IsDir() {
		at = top
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", err
	}
	for _, f := range files {
		if err := f.copy(filepath.Join(at, filepath.FromSlash(f.Path))); err != nil {
			return "", err
		}
	}
	return top, nil
}

func (f File) copy(to string) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Info.Mode()&0o111|0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// A folder of a few links to folders of links can stand for more files than there are
// atoms. What its links stand for is at most this many times what it has.
const (
	mostTimes   = 10
	mostEntries = 10_000 // of a small folder
)

// walk goes through a tree.
type walk struct {
	ctx  context.Context
	tree *Tree
	view view

	files         []File
	plain, linked int // entries met, by themselves and through links
}

func (t *Tree) walk(ctx context.Context) *walk {
	return &walk{ctx: ctx, tree: t, view: view{t.fsys, t.dir}}
}

// entries lists a folder but for what never travels.
func (w *walk) entries(dir string) ([]fs.DirEntry, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	list, err := fs.ReadDir(w.view.fsys, dir)
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool { return Hidden(e.Name()) }), err
}

// check looks at the links below a folder, and counts what it has.
func (w *walk) check(dir string) error {
	list, err := w.entries(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Join(dir, e.Name())
		w.plain++
		switch {
		case e.IsDir():
			err = w.check(name)
		case e.Type()&fs.ModeSymlink != 0:
			_, err = w.target(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// target returns where a link leads, "" where it leads nowhere.
func (w *walk) target(name string) (string, error) {
	real, _, err := w.view.resolve(name)
	var outside *OutsideError
	if errors.As(err, &outside) {
		outside.Path, outside.Dir = filepath.Join(w.tree.Path, filepath.FromSlash(name)), w.tree.Path
		outside.Link, outside.Folder = name, true
		if text, rerr := fs.ReadLink(w.view.fsys, name); rerr == nil {
			outside.To = text
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return real, err
}

// dir adds the files of the folder real under the name at. within is the folders that
// are being added: a link to one of them would have no end.
func (w *walk) dir(at, real string, within []string) error {
	list, err := w.entries(real)
	if err != nil {
		return err
	}
	within = append(within[:len(within):len(within)], real)
	for _, e := range list {
		if at != real {
			w.linked++
		}
		if w.linked > max(mostEntries, mostTimes*w.plain) {
			return fmt.Errorf("the links in %s stand for over %d times the files that it has; replace links to "+
				"folders by the folders", w.tree.Path, mostTimes)
		}
		if err := w.entry(path.Join(at, e.Name()), path.Join(real, e.Name()), within); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(at, real string, within []string) error {
	info, err := fs.Lstat(w.view.fsys, real)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted since its folder was read
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if real, err = w.target(real); real == "" || err != nil {
			return err
		}
		if info, err = fs.Lstat(w.view.fsys, real); err != nil {
			return err
		}
	}
	switch {
	case info.Mode().IsRegular():
		w.files = append(w.files, File{Path: at, Info: info, fsys: w.view.fsys, name: real, disk: w.tree.Disk})
	case info.IsDir() &&
		!slices.ContainsFunc(within, func(dir string) bool {
			return dir == real || real == "." ||
				strings.HasPrefix(dir, real+"/")
		}):
		return w.dir(at, real, within)
	}
	return nil // neither file nor folder: nothing of it could travel
}
