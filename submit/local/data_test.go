package local

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/filestat"
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

// What a run has written to its data is never what the next one trains on: a file that is as
// large as before, with the time of before, is loaded again as well.
func TestDataWrittenTo(t *testing.T) {
	tmp, err := os.OpenRoot(os.TempDir())
	require.NoError(t, err)
	cache, err := os.MkdirTemp(tmp.Name(), "cache")
	require.NoError(t, err)
	t.Cleanup(func() { removeAll(tmp, filepath.Base(cache)); tmp.Close() })
	t.Setenv("XDG_CACHE_HOME", cache)
	is := []byte("of roses")
	of := found{name: "rows", version: "1", data: &submit.Data{Place: "https://x/rows", Name: "..",
		Files: []submit.DataFile{{Path: "deep/a.csv", Size: int64(len(is)), ETag: "1"}},
		Open: func(_ context.Context, _ submit.DataFile, from int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(is[from:])), nil
		}}}
	hasChange := runtime.GOOS == "linux" || runtime.GOOS == "darwin"
	load := func() (at string, here bool) {
		e, err := (&Target{}).openData(t.Context(), of)
		require.NoError(t, err)
		defer e.close()
		l, at := e.whole()
		if l != nil {
			return at, true
		}
		_, at, err = (&Target{}).fetchData(t.Context(), e, "rows", of)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(at, e.at("")+string(filepath.Separator)), at) // whatever it is called
		return at, false
	}
	at, _ := load()
	file := filepath.Join(at, "deep", "a.csv")
	for i, write := range []func(os.FileInfo){
		func(os.FileInfo) { require.NoError(t, os.WriteFile(file, []byte("of lilac"), 0)) },
		func(was os.FileInfo) {
			if !hasChange {
				return
			}
			require.NoError(t, os.WriteFile(file, []byte("of lilac"), 0))
			require.NoError(t, os.Chtimes(file, was.ModTime(), was.ModTime()))
		},
	} {
		_, there := load()
		require.True(t, there)
		was, err := os.Stat(file)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(file, 0o644))
		write(was)
		for moved := false; !moved && hasChange; { // a file system's clock has ticks of milliseconds
			require.NoError(t, os.Chmod(file, 0o444))
			now, err := os.Stat(file)
			require.NoError(t, err)
			moved = filestat.Of(now).Ctime != filestat.Of(was).Ctime
		}
		_, there = load()
		require.Equal(t, !hasChange && i == 1, there)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "of roses", string(text))
	}
}
