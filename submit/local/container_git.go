package local

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/size"
)

// maxObjects is the most, in bytes, that is copied of a repository's objects into a
// run's container, where nothing of this machine is mounted.
const maxObjects = 1 << 30

// borrowed returns the folders from which the repository of the copy at top borrows
// its objects, none where it is no repository.
func borrowed(top string) []string {
	own := filepath.Join(top, ".git", "objects")
	return object.New(own).Folders()[1:]
}

// leaveObjects takes the repository out of a copy that goes into a container where its
// objects are too many to follow, and says so.
func leaveObjects(top string) (warnings []string, err error) {
	var bytes int64
	for _, folder := range borrowed(top) {
		err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				bytes += info.Size()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if bytes <= maxObjects {
		return nil, nil
	}
	return []string{fmt.Sprintf("the run's container had no git repository: its objects are %s, and at most %s are "+
			"copied into one", size.Format(bytes), size.Limit(maxObjects))},
		os.RemoveAll(filepath.Join(top, ".git"))
}

// addObjects adds the objects that the copy at top borrows to a tar stream, so that in
// its container, at to, it borrows none.
func addObjects(w *tar.Writer, top, to string) error {
	folders := borrowed(top)
	if len(folders) == 0 {
		return nil
	}
	for _, folder := range folders {
		if err := addTree(w, folder, path.Join(to, ".git/objects")); err != nil {
			return err
		}
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(to, ".git/objects/info/alternates")[1:],
		Mode: 0o666})
}

// trustRepository lets git in a container read the copy although it belongs to another
// user there: the image may run as any.
func trustRepository(env map[string]string, top string) {
	if _, given := env["GIT_CONFIG_COUNT"]; !given {
		env["GIT_CONFIG_COUNT"], env["GIT_CONFIG_KEY_0"], env["GIT_CONFIG_VALUE_0"] = "1", "safe.directory", top
	}
}
