package limited_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/limited"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("12345"), 0o600))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "within")))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(dir, "endless")))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()

	readers := map[string]func(name string, limit int64) ([]byte, error){
		"Read": func(name string, limit int64) ([]byte, error) {
			return limited.Read(filepath.Join(dir, name),
				limit)
		},
		"ReadBelow": func(name string, limit int64) ([]byte, error) { return limited.ReadBelow(root, name, limit) },
		"ReadFS":    func(name string, limit int64) ([]byte, error) { return limited.ReadFS(root.FS(), name, limit) },
	}
	for reader, read := range readers {
		t.Run(reader, func(t *testing.T) {
			for _, name := range []string{"file", "within"} {
				text, err := read(name, 5)
				require.NoError(t, err)
				require.Equal(t, "12345", string(text))
			}
			var large *limited.TooLargeError
			_, err := read("file", 4)
			require.ErrorAs(t, err, &large)
			_, err = read(".", 100)
			require.ErrorIs(t, err, limited.ErrNotRegular)
			_, err = read("missing", 100)
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = read("endless", 100)
			require.Error(t, err)
			text, err := read("out", 100)
			if reader == "Read" {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
				require.False(t, errors.Is(err, fs.ErrNotExist), err)
				require.Empty(t, text)
			}
		})
	}
}
