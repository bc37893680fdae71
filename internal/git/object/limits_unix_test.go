//go:build unix

package object

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/stretchr/testify/require"
)

// No link of a pack, an index, a list of alternates or an object to a pipe or a device
// makes it wait or read for ever.
func TestNotFiles(t *testing.T) {
	for _, name := range []string{"pack/pack-1.idx", "pack/pack-1.pack", "info/alternates",
		"12/34567890123456789012345678901234567890"} {
		for _, kind := range []string{"pipe", "device", "folder"} {
			dir := t.TempDir()
			at := filepath.Join(dir, filepath.FromSlash(name))
			require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
			switch kind {
			case "pipe":
				require.NoError(t, syscall.Mkfifo(at, 0o644))
			case "device":
				require.NoError(t, os.Symlink("/dev/zero", at))
			default:
				require.NoError(t, os.Mkdir(at, 0o755))
			}
			s := New(dir)
			_, err := s.Read(plumbing.NewHash("1234567890123456789012345678901234567890"), plumbing.BlobObject,
				MaxWhole)
			require.Error(t, err, "%s as a %s", name, kind)
			s.Close()
		}
	}
}
