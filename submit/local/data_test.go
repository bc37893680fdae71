package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/submit"
)

// Names of blobs are anybody's: what leads out of a folder, or is no file's name, is refused by
// its name; what marks a folder or never travels is left out.
func TestStorable(t *testing.T) {
	files := func(names ...string) *submit.Data {
		d := &submit.Data{}
		for _, name := range names {
			name, full := strings.CutSuffix(name, "=")
			f := submit.DataFile{Path: name}
			if full {
				f.Size = 1
			}
			d.Files = append(d.Files, f)
		}
		return d
	}
	for _, name := range []string{"../x", "a/../../x", "..", "a/..", "/etc/x", "//x", "a//b", "a/", "./a", "a/./b", "",
		".", "a\x00b"} {
		_, err := storable(files("good", name+"="))
		require.ErrorContains(t, err, "has a name that is none in a folder; rename it in the storage account", "%q",
			name)
	}
	_, err := storable(files("a=", "a/b"))
	require.ErrorContains(t, err, `the file "a" is called as a folder beside it`)
	list, err := storable(files("a", "a/b/c=", "a/b", "x/.git/config=", ".GIT=", ".aml-train/y=", "..x=", "a.b=", `c\d=`))
	if isWindows {
		require.ErrorContains(t, err, `c\\d`)
		return
	}
	require.NoError(t, err)
	var names []string
	for _, f := range list {
		names = append(names, f.Path)
	}
	require.Equal(t, []string{"a/b/c", "..x", "a.b", `c\d`}, names)
}

// Data that no run has used for long are removed when others are loaded, and so is what
// nobody went on loading; not what is used, or being loaded.
func TestForgetData(t *testing.T) {
	cache, err := os.MkdirTemp("", "cache")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(cache) })
	t.Setenv("XDG_CACHE_HOME", cache)
	here := &Target{}
	var kept *dataEntry
	for _, name := range []string{"old", "begun", "new", "locked"} {
		e, err := here.openData(t.Context(), found{version: name})
		require.NoError(t, err)
		file := loadedAll
		if name == "begun" {
			file = listFile
		}
		require.NoError(t, e.dir.WriteFile(file, nil, 0o600))
		require.NoError(t, e.dir.MkdirAll(dataDir, 0o755))
		require.NoError(t, e.dir.WriteFile(dataDir+"/"+name, nil, 0o444))
		require.NoError(t, e.dir.Chmod(dataDir, 0o555))
		if name != "new" {
			past := time.Now().Add(-unused - time.Hour)
			require.NoError(t, e.dir.Chtimes(file, past, past))
		}
		if name == "locked" {
			kept = e
			defer e.close()
		} else {
			e.close()
		}
	}
	kept.forgetData()
	left, err := filepath.Glob(filepath.Join(cache, "aml-train", dataDir, "*", dataDir, "*"))
	require.NoError(t, err)
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	require.ElementsMatch(t, []string{"new", "locked"}, left)
}
