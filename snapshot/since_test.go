package snapshot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// What changed since a commit is the same whether the folders that are alike are read or
// not, whatever the files say of others: attributes, git-LFS, ignore files. Where they say
// nothing, it is what git says.
func TestSince(t *testing.T) {
	isolate(t)
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 1))
	const sum = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" // SHA-256 of foo
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + sum + "\nsize 3\n"
	texts := []string{"1", "2", "3\n", "a\r\nb\r\n", pointer}
	rules := []string{"* text=auto\n", "*.x filter=lfs\n", "[attr]large filter=lfs\n*.x large\n", "*.x -text\n", "f0\n"}
	for range testenv.Cases(60) {
		dir := t.TempDir()
		runGit(t, dir, "init", "-q")
		object := filepath.Join(dir, ".git/lfs/objects", sum[:2], sum[2:4], sum)
		require.NoError(t, os.MkdirAll(filepath.Dir(object), 0o755))
		require.NoError(t, os.WriteFile(object, []byte("foo"), 0o644))
		ruled := r.IntN(2) == 0
		change := func(n int) {
			for range n {
				name := []string{"f0", "f1.x", "a/f0", "a/f1.x", "a/b/f0", "a/b/f1.x", "c/d/f0", "c/f1.x", "a.x",
					"a-/f0"}[r.IntN(10)]
				text := texts[r.IntN(len(texts))]
				if ruled && r.IntN(3) == 0 {
					name = filepath.Join([]string{".", "a", "a/b", "c"}[r.IntN(4)],
						[]string{".gitattributes", ".amlignore"}[r.IntN(10)/9])
					text = rules[r.IntN(len(rules))]
				}
				p := filepath.Join(dir, name)
				if r.IntN(4) == 0 {
					require.NoError(t, os.RemoveAll(p))
				} else {
					require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
					require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
				}
			}
		}
		write(t, dir, "always", "1")
		change(12)
		if ruled && r.IntN(3) == 0 {
			write(t, dir, "a/f1.x", pointer)
			write(t, dir, "a/.gitattributes", rules[1+r.IntN(2)])
		}
		commitAny(t, dir)
		change(r.IntN(4))
		in := dir
		if info, err := os.Stat(filepath.Join(dir, "a")); err == nil && info.IsDir() && r.IntN(4) == 0 {
			in = filepath.Join(dir, "a")
		}
		now, err := Take(context.Background(), in, Options{})
		if err != nil {
			require.ErrorContains(t, err, "no file travels")
			continue
		}
		old, err := TakeCommit(context.Background(), in, "HEAD", Options{})
		if err != nil {
			require.ErrorContains(t, err, "no ", "%v", err) // no such folder, or no file in it
			continue
		}
		got, err := now.Since(context.Background(), nil, in, "HEAD")
		require.NoError(t, err)
		require.Equal(t, listed(Diff(old, now)), listed(got))
		if !ruled && in == dir {
			want := runGit(t, dir, "-c", "core.safecrlf=false", "diff", "--name-status", "--no-renames", "HEAD")
			untracked := runGit(t, dir, "ls-files", "--others")
			require.Len(t, got, len(strings.Fields(want))/2+len(strings.Fields(untracked)), "%s\n%s\n%v", want,
				untracked, listed(got))
		}
		now.Close()
		old.Close()
	}
}

func listed(changes []Change) (all []string) {
	for _, c := range changes {
		s := c.Status() + " " + c.Path()
		for _, f := range []*File{c.Old, c.New} {
			if f != nil {
				s += fmt.Sprintf(" %s %s %d", f.Mode, f.OID, f.Size)
			}
		}
		all = append(all, s)
	}
	return all
}
