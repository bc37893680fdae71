package local

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// However many files a run leaves, a stated number of them is kept, and the run says how
// many are not. A folder that is as it may be moves as a whole, one that is not file by
// file; both count.
func TestCollectFiles(t *testing.T) {
	for _, odd := range []string{"", "odd\n"} {
		for most, lost := range map[int]int{5: 1, 6: 0, 3: 3, 0: 6} {
			dir := t.TempDir()
			for _, sub := range []string{"from/outputs/a", "from/logs", "kept"} {
				require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
			}
			for i := range 3 {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "from/outputs/a", fmt.Sprint(i, odd)), nil, 0o644))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "from/logs", fmt.Sprint(i, odd)), nil, 0o644))
			}
			from, err := os.OpenRoot(filepath.Join(dir, "from"))
			require.NoError(t, err)
			kept, err := os.OpenRoot(filepath.Join(dir, "kept"))
			require.NoError(t, err)
			c := collector{files: kept, room: 100, limit: 100, most: most, tries: map[string]int{}}
			c.take(from, "outputs", "run")
			c.take(from, "logs", "run")
			found := 0
			for _, pattern := range []string{"run/logs/*", "run/outputs/*/*"} {
				names, err := filepath.Glob(filepath.Join(dir, "kept", pattern))
				require.NoError(t, err)
				found += len(names)
			}
			require.Equal(t, 6-lost, found, "%q %d", odd, most)
			if lost == 0 {
				require.NoError(t, c.lost())
			} else {
				require.ErrorContains(t, c.lost(),
					fmt.Sprintf("more than 1000000 files, the most that are kept; %d are not", lost))
			}
			require.NoError(t, from.Close())
			require.NoError(t, kept.Close())
		}
	}
}
