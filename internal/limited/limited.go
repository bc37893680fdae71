// Package limited answers: how is a file read that somebody else may have written?
//
// A job file, the settings, an event or a metrics file comes with a checkout or from a
// training script. It may be a link to a secret, a device without an end, a pipe that
// nobody writes to, or larger than memory. Here it is read only where it is a regular
// file of a stated size.
package limited

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/org/aml-train/internal/size"
)

// Config is the most, in bytes, that a file which a person writes by hand may have:
// a job file, settings, an ignore file, Azure ML's config.json.
const Config = 4 << 20

// ErrNotRegular is the error of a file that is no regular one: a folder, a device, a
// pipe, a socket, and for ReadBelow a link that leads out.
var ErrNotRegular = errors.New("not a regular file")

// TooLargeError is the error of a file that has more than the limit.
type TooLargeError struct {
	Name  string
	Limit int64 // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s has more than %s, the most that is read of such a file", e.Name,
		size.Limit(e.Limit))
}

// Read returns the content of a regular file of at most limit bytes. It follows links:
// it is for a path that the person at this machine named.
func Read(name string, limit int64) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f, name, limit)
}

// Open opens a regular file, of any size, as Read does.
func Open(name string) (*os.File, error) {
	if err := regular(os.Stat(name)); err != nil { // a pipe would be waited for when it is opened
		return nil, pathError(name, err)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := regular(f.Stat()); err != nil { // the name may have come to stand for another file
		f.Close()
		return nil, pathError(name, err)
	}
	return f, nil
}

// ReadBelow is Read for a file below root, whose name may be anybody's: no link on its
// way leads out of root.
func ReadBelow(root *os.Root, name string, limit int64) ([]byte, error) {
	if err := regular(root.Stat(name)); err != nil {
		return nil, pathError(name, err)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f, name, limit)
}

// ReadFS is Read for a file of fsys, such as the files of a commit.
func ReadFS(fsys fs.FS, name string, limit int64) ([]byte, error) {
	if err := regular(fs.Stat(fsys, name)); err != nil {
		return nil, pathError(name, err)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f, name, limit)
}

// read checks again what was opened: the name may have come to stand for another file.
func read(f fs.File, name string, limit int64) ([]byte, error) {
	if err := regular(f.Stat()); err != nil {
		return nil, pathError(name, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, &TooLargeError{name, limit}
	}
	return text, nil
}

func regular(info fs.FileInfo, err error) error {
	if err == nil && !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	return err
}

func pathError(name string, err error) error {
	if errors.Is(err, ErrNotRegular) {
		return &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return err
}
