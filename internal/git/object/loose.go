package object

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/limited"
)

// loose opens an object that has a file of its own, after its header.
func (s *Store) loose(id plumbing.Hash) (io.ReadCloser, plumbing.ObjectType, int64, error) {
	hex := id.String()
	for _, dir := range s.Folders() {
		f, err := limited.Open(filepath.Join(dir, hex[:2], hex[2:]))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, 0, err
		}
		r, kind, size, err := openLoose(f)
		if err != nil {
			f.Close()
			return nil, 0, 0, &Error{id, f.Name(), err}
		}
		return r, kind, size, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damage != nil {
		return nil, 0, 0, &Error{id, "", s.damage}
	}
	return nil, 0, 0, ErrNotFound
}

// openLoose reads the header of a loose object, such as "blob 12\x00".
func openLoose(f io.ReadCloser) (io.ReadCloser, plumbing.ObjectType, int64, error) {
	z, err := inflate(f)
	if err != nil {
		return nil, 0, 0, ErrDamaged
	}
	var head []byte
	one := make([]byte, 1)
	for len(head) < 32 {
		if _, err := io.ReadFull(z, one); err != nil {
			return nil, 0, 0, ErrDamaged
		}
		if one[0] == 0 {
			break
		}
		head = append(head, one[0])
	}
	name, digits, _ := strings.Cut(string(head), " ")
	kind, err := plumbing.ParseObjectType(name)
	size, err2 := strconv.ParseInt(digits, 10, 64)
	if err != nil || err2 != nil || size < 0 {
		return nil, 0, 0, ErrDamaged
	}
	return &exact{z, size, f}, kind, size, nil
}

// exact reads what a header announced. More or less than that, or a checksum that
// does not fit, is an error.
type exact struct {
	r    io.ReadCloser
	left int64
	file io.Closer // below r; may be nil
}

func (e *exact) Read(b []byte) (n int, err error) {
	if e.r == nil {
		return 0, fs.ErrClosed
	}
	if len(b) == 0 {
		return 0, nil
	}
	if e.left > 0 {
		n, err = e.r.Read(b[:min(int64(len(b)), e.left)])
		e.left -= int64(n)
	} else {
		n, err = e.r.Read(make([]byte, 1))
		n, e.left = 0, e.left-int64(n)
	}
	if err != nil && (err != io.EOF || e.left > 0) || e.left < 0 {
		return n, ErrDamaged
	}
	return n, err
}

func (e *exact) Close() error {
	if e.r == nil {
		return nil
	}
	e.r.Close() // says again what Read has said, or of bytes that nobody asked for
	e.r = nil
	if e.file != nil {
		return e.file.Close()
	}
	return nil
}
