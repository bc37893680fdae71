package git_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/testing/testenv"
)

// Which objects a repository has with random lists of folders to borrow from, in the
// environment and in files, is what git cat-file -e says.
func TestBorrowedAgainstGit(t *testing.T) {
	isolateConfig(t)
	top, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	run := func(dir string, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		require.NoError(t, err, args)
		return strings.TrimSpace(string(out))
	}
	names := []string{"main", "b", "c:c", "d d", "e", "f", "g", "h", "#i"}
	ids := make([]string, len(names))
	for i, name := range names {
		require.NoError(t, os.Mkdir(filepath.Join(top, name), 0o755))
		run(filepath.Join(top, name), "init", "-q")
		require.NoError(t, os.WriteFile(filepath.Join(top, "text"), []byte(name), 0o644))
		ids[i] = run(filepath.Join(top, name), "hash-object", "-w", filepath.Join(top, "text"))
	}
	require.NoError(t, os.Mkdir(filepath.Join(top, "main", "below"), 0o755))
	found, missed := 0, 0
	for i := range testenv.Cases(2000) / 10 {
		seed := testenv.Seed() + i
		r := rand.New(rand.NewPCG(uint64(seed), 5))
		folder := func(from string) string {
			objects := filepath.Join(top, pick(r, names...), ".git", "objects")
			if r.IntN(3) == 0 {
				rel, err := filepath.Rel(from, objects)
				require.NoError(t, err)
				objects = rel
			}
			return pick(r, objects, objects, objects, `"`+objects+`"`, "#"+objects, objects+"/", "", "nowhere", `"`+objects,
				strings.ReplaceAll(fmt.Sprintf("%q", objects), "b", `\142`))
		}
		list := func(separator, from string) string {
			var parts []string
			for range r.IntN(4) {
				parts = append(parts, folder(from))
			}
			return strings.Join(parts, separator)
		}
		said := ""
		for _, name := range names {
			objects := filepath.Join(top, name, ".git", "objects")
			text := ""
			if r.IntN(2) == 0 {
				text = list("\n", objects) + pick(r, "", "\n")
			}
			said += fmt.Sprintf("%s: %q\n", name, text)
			require.NoError(t, os.WriteFile(filepath.Join(objects, "info", "alternates"), []byte(text), 0o644))
		}
		main := filepath.Join(top, "main")
		cwd := pick(r, main, filepath.Join(main, "below"))
		variable := list(":", main)
		t.Setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", variable)
		repo, err := git.Find(cwd)
		require.NoError(t, err)
		objects := repo.Objects()
		for i, id := range ids {
			cmd := exec.Command("git", "cat-file", "-e", id)
			cmd.Dir = cwd
			there := cmd.Run() == nil
			_, _, err := objects.Size(plumbing.NewHash(id))
			require.Equal(t, there, err == nil, "seed %d: %s from %s: %v\nenvironment: %s\n%s", seed, names[i], cwd,
				err, variable, said)
			if there {
				found++
			} else {
				missed++
			}
		}
		objects.Close()
	}
	require.Greater(t, found, missed/4)
	require.Positive(t, missed)
}

// A list of folders to borrow from that cannot be read is passed over, and named where an
// object is not found: it may say where that is.
func TestBorrowedUnread(t *testing.T) {
	isolateConfig(t)
	dir := t.TempDir()
	commit := []string{"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"}
	for _, args := range [][]string{{"init", "-q"}, commit} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		require.NoError(t, cmd.Run())
	}
	list := filepath.Join(dir, ".git", "objects", "info", "alternates")
	require.NoError(t, os.Mkdir(list, 0o755))
	repo, err := git.Find(dir)
	require.NoError(t, err)
	objects := repo.Objects()
	defer objects.Close()
	_, head, err := repo.Head()
	require.NoError(t, err)
	_, _, err = objects.Size(head)
	require.NoError(t, err)
	_, _, err = objects.Size(plumbing.NewHash("0123456789012345678901234567890123456789"))
	require.ErrorContains(t, err, "the folders from which the repository borrows objects are not known")
	require.ErrorContains(t, err, list)
}

func TestSystemAttributes(t *testing.T) {
	for value, want := range map[string]string{"": "/etc/gitattributes", "0": "/etc/gitattributes",
		"no":    "/etc/gitattributes",
		"false": "/etc/gitattributes", "1": "", "true": "", "yes": "", "on": "", "2": ""} {
		t.Setenv("GIT_ATTR_NOSYSTEM", value)
		require.Equal(t, want, git.SystemAttributes(), value)
	}
}
