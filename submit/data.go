package submit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Data are the files that an address in a workspace's storage leads to: one file, or all
// below a folder. Their names are those of the store, which takes any text for one.
type Data struct {
	Place string     // where they lie, an address without a secret
	Name  string     // the last part of that; "" where a whole container is meant
	File  bool       // it is one file, whose Path is Name
	Files []DataFile // in the order of their paths

	// Open reads a file of that version from an offset on, or says why not. Whoever reads gets
	// the bytes as they are stored.
	Open func(ctx context.Context, f DataFile, from int64) (io.ReadCloser, error)
}

// DataFile is one version of a file.
type DataFile struct {
	Path string // below the place, slash-separated
	Size int64  // in bytes
	ETag string // of the version (RFC 9110)
	MD5  []byte // of the content; nil where the store does not know it
}

// Version identifies the files by where they lie, their names and their versions, as
// "sha256:" and 64 hex digits.
func (d *Data) Version() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %v\n", d.Place, d.File)
	for _, f := range d.Files {
		fmt.Fprintf(hash, "%q %d %q\n", f.Path, f.Size, f.ETag)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}
