package sparse

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// What is copied is what was there, whatever its length and wherever its holes are, and
// however it arrives.
func TestCopy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	name := filepath.Join(t.TempDir(), "copy")
	for _, size := range []int{0, 1, block - 1, block, block + 1, 64*block - 1, 64 * block, 64*block + 1, 200 * block} {
		for range 5 {
			content := make([]byte, size)
			for at := 0; at < size; at += 1 + r.IntN(3*block) {
				if r.IntN(2) == 0 {
					content[at] = 1
				}
			}
			for _, from := range []io.Reader{bytes.NewReader(content), iotest.HalfReader(bytes.NewReader(content)),
				iotest.DataErrReader(bytes.NewReader(content))} {
				f, err := os.Create(name)
				require.NoError(t, err)
				n, err := Copy(f, from)
				require.NoError(t, err)
				require.NoError(t, f.Close())
				require.EqualValues(t, size, n)
				got, err := os.ReadFile(name)
				require.NoError(t, err)
				require.True(t, bytes.Equal(content, got), "%d bytes", size)
			}
		}
	}
	_, err := Copy(nil, iotest.ErrReader(io.ErrClosedPipe))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

// Of a file, the same; its holes stay holes.
func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		f, err := os.Create(filepath.Join(dir, "from"))
		require.NoError(t, err)
		size := r.Int64N(300 * block)
		require.NoError(t, f.Truncate(size))
		for range r.IntN(5) {
			part := make([]byte, r.IntN(20*block))
			for i := range part {
				part[i] = byte(r.IntN(256))
			}
			_, err := f.WriteAt(part, r.Int64N(size+1))
			require.NoError(t, err)
		}
		to, err := os.Create(filepath.Join(dir, "to"))
		require.NoError(t, err)
		n, err := Copy(to, f)
		require.NoError(t, err)
		want, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		got, err := os.ReadFile(to.Name())
		require.NoError(t, err)
		require.EqualValues(t, len(want), n)
		require.True(t, bytes.Equal(want, got))
		require.NoError(t, f.Close())
		require.NoError(t, to.Close())
	}
}
