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
			for _, from := range []io.Reader{bytes.NewReader(content), iotest.HalfReader(bytes.NewReader(content)), iotest.DataErrReader(bytes.NewReader(content))} {
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
