package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// FS returns the files of the snapshot as a file system to read, such as those of a
// commit that is not checked out. Sizes has been called where sizes are asked for. No
// link is followed: package internal/inside knows which ones may be.
func (s *Snapshot) FS() fs.ReadLinkFS { return snapshotFS{s} }

type snapshotFS struct{ s *Snapshot }

var _ fs.ReadDirFS = snapshotFS{}

// below returns the files below a folder, "." for all.
func (f snapshotFS) below(dir string) []File {
	files := f.s.Files
	if dir == "." {
		return files
	}
	prefix := dir + "/"
	lo := sort.Search(len(files), func(i int) bool { return files[i].Path >= prefix })
	hi := lo + sort.Search(len(files)-lo, func(i int) bool { return !strings.HasPrefix(files[lo+i].Path, prefix) })
	return files[lo:hi]
}

func (f snapshotFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if file := f.s.Find(name); file != nil {
		r, err := f.s.Open(file)
		if err != nil {
			return nil, err
		}
		return openFile{fileEntry{path.Base(name), file}, r}, nil
	}
	if entries, err := f.ReadDir(name); err == nil {
		return &openDir{fileEntry{path.Base(name), nil}, entries}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Lstat describes a file, link or folder.
func (f snapshotFS) Lstat(name string) (fs.FileInfo, error) {
	if file := f.s.Find(name); file != nil && fs.ValidPath(name) {
		if file.Size < 0 { // of a commit without a limit
			_, size, err := file.objects.Size(file.OID)
			return sized{fileEntry{path.Base(name), file}, size}, err
		}
		return fileEntry{path.Base(name), file}, nil
	}
	if fs.ValidPath(name) && (name == "." || len(f.below(name)) > 0) {
		return fileEntry{path.Base(name), nil}, nil
	}
	return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
}

// ReadLink returns what a link says, in slashes.
func (f snapshotFS) ReadLink(name string) (string, error) {
	file := f.s.Find(name)
	if file == nil || file.Mode != filemode.Symlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	r, err := f.s.Open(file)
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, 1<<16))
	return string(text), err
}

// ReadDir lists a folder, by name.
func (f snapshotFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	files := f.below(name)
	if len(files) == 0 && name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	skip := len(name) + 1
	if name == "." {
		skip = 0
	}
	var out []fs.DirEntry
	for i := range files {
		first, _, dir := strings.Cut(files[i].Path[skip:], "/")
		if n := len(out); n > 0 && out[n-1].Name() == first {
			continue
		}
		e := fileEntry{first, nil}
		if !dir {
			e.file = &files[i]
		}
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out, nil
}

// fileEntry is a file, or with none a folder, as io/fs describes it.
type fileEntry struct {
	name string
	file *File
}

func (e fileEntry) Name() string               { return e.name }
func (e fileEntry) IsDir() bool                { return e.file == nil }
func (e fileEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e fileEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e fileEntry) ModTime() time.Time         { return time.Time{} }
func (e fileEntry) Sys() any                   { return e.file }

func (e fileEntry) Size() int64 {
	if e.file == nil {
		return 0
	}
	return max(e.file.Size, 0)
}

func (e fileEntry) Mode() fs.FileMode {
	switch {
	case e.file == nil:
		return fs.ModeDir | 0o755
	case e.file.Mode == filemode.Symlink:
		return fs.ModeSymlink | 0o777
	case e.file.Mode == filemode.Executable:
		return 0o755
	}
	return 0o644
}

// sized is a file whose size was not known.
type sized struct {
	fileEntry
	size int64
}

func (s sized) Size() int64 { return s.size }

type openFile struct {
	fileEntry
	io.ReadCloser
}

func (f openFile) Stat() (fs.FileInfo, error) { return f.fileEntry, nil }

// openDir is a folder with the entries that ReadDir has not returned yet.
type openDir struct {
	fileEntry
	rest []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.fileEntry, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("it is a folder")}
}

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.rest) {
		n = len(d.rest)
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out, nil
}
