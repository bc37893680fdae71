package snapshot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// However a file came by its bytes, with the size and the time of those before, beside an
// index that was refreshed, touched, copied or taken from elsewhere, a snapshot says what
// the folder says without any repository. With core.trustctime off a file that was set
// back in time is what git takes it for.
func TestRacy(t *testing.T) {
	isolate(t)
	rememberAll(t)
	believed := 0
	for i := range testenv.Cases(40) {
		seed := testenv.Seed() + i
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		dir, said := t.TempDir(), ""
		t.Setenv("GIT_INDEX_FILE", filepath.Join(dir, ".git", "index"))
		runGit(t, dir, "init", "-q")
		trusted := r.IntN(2) > 0
		if !trusted {
			runGit(t, dir, "config", "core.trustctime", "false")
		}
		if r.IntN(2) == 0 {
			write(t, dir, ".gitattributes", "* text=auto\n")
		}
		past := time.Now().Add(-time.Hour)
		name := func() string { return filepath.Join(dir, fmt.Sprintf("f%d", r.IntN(3))) }
		put := func() {
			text := []string{"a\r\nb\r\n", "a\n\nb\n\n", "a-b-c-", "a-b-d-", "a\n"}[r.IntN(5)]
			require.NoError(t, os.WriteFile(name(), []byte(text), 0o644))
		}
		index := func() string { return os.Getenv("GIT_INDEX_FILE") }
		steps := map[string]func(){
			"write": put,
			"write, set back": func() {
				n := name()
				info, err := os.Stat(n)
				put()
				if err == nil {
					require.NoError(t, os.Chtimes(n, info.ModTime(), info.ModTime()))
				}
			},
			"set back": func() {
				if n := name(); exists(n) {
					require.NoError(t, os.Chtimes(n, past, past))
				}
			},
			"add":         func() { runGit(t, dir, "add", "-A") },
			"refresh":     func() { runGit(t, dir, "status", "--porcelain") },
			"touch index": func() { require.NoError(t, os.Chtimes(index(), time.Time{}, time.Now())) },
			"age index":   func() { require.NoError(t, os.Chtimes(index(), time.Time{}, past.Add(time.Minute))) },
			"copy index": func() {
				text, err := os.ReadFile(index())
				require.NoError(t, err)
				other := filepath.Join(dir, ".git", fmt.Sprintf("index%d", r.IntN(9)))
				require.NoError(t, os.WriteFile(other, text, 0o644))
				t.Setenv("GIT_INDEX_FILE", other)
			},
		}
		names := []string{"write", "write, set back", "write, set back", "set back",
			"add", "refresh", "touch index", "age index", "age index", "copy index"}
		put()
		runGit(t, dir, "add", "-A")
		for range 8 {
			step := names[r.IntN(len(names))]
			said += step + "\n"
			steps[step]()
			got, err := Take(context.Background(), dir, Options{})
			require.NoError(t, err)
			require.NoError(t, os.Rename(filepath.Join(dir, ".git"), dir+".git"))
			want, err := Take(context.Background(), dir, Options{})
			require.NoError(t, err)
			require.NoError(t, os.Rename(dir+".git", filepath.Join(dir, ".git")))
			if got.ID != want.ID && !trusted {
				require.Empty(t, runGit(t, dir, "diff-files", "--name-only"), "seed %d\n%s", seed, said)
				got.Close()
				break
			}
			require.Equal(t, want.ID, got.ID, "seed %d\n%s", seed, said)
			if got.Hashed < len(got.Files) {
				believed++
			}
			got.Close()
		}
		require.NoError(t, os.RemoveAll(dir))
	}
	require.Positive(t, believed) // else the index was never asked
}
