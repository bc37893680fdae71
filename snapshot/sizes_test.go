package snapshot

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func rememberAll(t *testing.T) {
	before := worthRemembering
	worthRemembering = 1
	t.Cleanup(func() { worthRemembering = before })
}

// What the size of a blob proves of its file is remembered for an index that has not
// changed: then no object is asked for, and without one every file is read.
func TestRememberedSizes(t *testing.T) {
	isolate(t)
	rememberAll(t)
	dir := t.TempDir()
	runGit(t, dir, "init", "-q")
	write(t, dir, ".gitattributes", "* text=auto\n")
	write(t, dir, "unix.txt", "a\nb\n")
	write(t, dir, "other/windows.txt", "a\r\nb\r\n")
	settle := func() {
		runGit(t, dir, "add", "-A")
		later := time.Now().Add(time.Minute) // the files are older than the index
		require.NoError(t, os.Chtimes(filepath.Join(dir, ".git", "index"), later, later))
	}
	objects := filepath.Join(dir, ".git", "objects")
	hashed := func(there bool) int {
		t.Helper()
		if !there {
			require.NoError(t, os.Rename(objects, dir+"-away"))
			require.NoError(t, os.Mkdir(objects, 0o755))
			defer func() {
				require.NoError(t, os.Remove(objects))
				require.NoError(t, os.Rename(dir+"-away", objects))
			}()
		}
		s, err := Take(context.Background(), dir, Options{})
		require.NoError(t, err)
		s.Close()
		return s.Hashed
	}
	settle()
	require.Equal(t, 3, hashed(false), "nothing is known yet")
	require.Equal(t, 1, hashed(true), "the file with other line ends than its blob")
	require.Equal(t, 1, hashed(false))

	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	list, err := filepath.Glob(filepath.Join(cache, "aml-train", sizesDir, "*"))
	require.NoError(t, err)
	require.Len(t, list, 1)
	text, err := os.ReadFile(list[0])
	require.NoError(t, err)
	for name, damaged := range map[string][]byte{
		"empty":            nil,
		"cut":              text[:len(text)-1],
		"longer":           append(text[:len(text):len(text)], 0),
		"of another index": append([]byte{text[0] + 1}, text[1:]...),
	} {
		require.NoError(t, os.WriteFile(list[0], damaged, 0o600))
		require.Equal(t, 3, hashed(false), name)
	}
	require.NoError(t, os.Remove(list[0]))
	require.NoError(t, os.Symlink("/dev/zero", list[0]))
	require.Equal(t, 3, hashed(false), "a link")
	require.Equal(t, 1, hashed(true))
	require.Equal(t, 1, hashed(false))

	write(t, dir, "unix.txt", "a\nc\nc\n")
	settle()
	require.Equal(t, 3, hashed(false), "the index is another one")

	write(t, dir, "unix.txt", "a\nd\nd\nd\n")
	settle()
	index, err := os.OpenFile(filepath.Join(dir, ".git", "index"), os.O_RDWR, 0)
	require.NoError(t, err)
	info, err := index.Stat()
	require.NoError(t, err)
	_, err = index.WriteAt(make([]byte, 20), info.Size()-20) // as with index.skipHash of git 2.40
	require.NoError(t, err)
	require.NoError(t, index.Close())
	later := time.Now().Add(time.Minute)
	require.NoError(t, os.Chtimes(index.Name(), later, later))
	require.Equal(t, 1, hashed(true))
	require.Equal(t, 3, hashed(false), "an index without a checksum may be any")

	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "other"))
	write(t, dir, "unix.txt", "a\ne\n")
	settle()
	require.Equal(t, 1, hashed(true))
	require.NoDirExists(t, filepath.Join(dir, "other", "aml-train"), "in the working tree it would travel")
}
