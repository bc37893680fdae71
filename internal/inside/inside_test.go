package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/testing/testenv"
)

// forest makes random folders, files and links in a new folder: DIR/repo, what may be
// named, and DIR/outside, what may not.
func forest(t *testing.T, r *rand.Rand) string {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	folders := []string{"repo", "repo/data", "repo/.git", "outside", "repo/data/.git"}
	for range r.IntN(5) {
		folders = append(folders, folders[r.IntN(len(folders))]+"/"+string(rune('a'+r.IntN(3))))
	}
	for _, f := range folders {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, f), 0o755))
	}
	names := append([]string{}, folders...)
	for i := range 6 + r.IntN(6) {
		name := folders[r.IntN(len(folders))] + "/" + string(rune('m'+r.IntN(6)))
		if r.IntN(3) == 0 || strings.Contains(name, ".git/") { // what lies in .git is not looked at, links neither
			if err := os.WriteFile(filepath.Join(dir, name), fmt.Append(nil, i), 0o644); err == nil {
				names = append(names, name)
			}
			continue
		}
		to := names[r.IntN(len(names))]
		if r.IntN(8) == 0 {
			to = "repo/nothing"
		}
		text := filepath.Join(dir, to)
		switch r.IntN(6) {
		case 0: // absolute
		case 1: // as it could be written by hand, with steps that lead back
			up, _ := filepath.Rel(filepath.Join(dir, filepath.Dir(name)), dir)
			text = up + "/" + to + "/../" + filepath.Base(to)
		default:
			text, err = filepath.Rel(filepath.Join(dir, filepath.Dir(name)), text)
			require.NoError(t, err)
		}
		if os.Symlink(text, filepath.Join(dir, name)) == nil {
			names = append(names, name)
		}
	}
	return dir
}

var errAway = errors.New("leads out")

// within is where an existing path really is below dir, as the system says.
func within(dir, name string) (string, error) {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(dir, real)
	if err != nil || !filepath.IsLocal(rel) {
		return "", errAway
	}
	for part := range strings.SplitSeq(rel, "/") {
		if part == ".git" {
			return "", errAway
		}
	}
	return rel, nil
}

// walkOracle lists the files below dir/real by what the system says of each path.
func walkOracle(dir, at, real string, stack []string, to map[string]string) error {
	entries, err := os.ReadDir(filepath.Join(dir, real))
	if err != nil {
		return err
	}
	stack = append(stack[:len(stack):len(stack)], real)
	for _, e := range entries {
		if e.Name() == ".git" {
			continue
		}
		rel, err := within(dir, filepath.Join(dir, real, e.Name()))
		if errors.Is(err, errAway) {
			return err
		}
		if err != nil {
			continue // leads nowhere
		}
		info, err := os.Stat(filepath.Join(dir, rel))
		if err != nil {
			return err
		}
		if !info.IsDir() {
			text, err := os.ReadFile(filepath.Join(dir, rel))
			if err != nil {
				return err
			}
			to[filepath.Join(at, e.Name())] = string(text)
			continue
		}
		ends := false
		for _, s := range stack {
			ends = ends || s == rel || rel == "." || strings.HasPrefix(s, rel+"/")
		}
		if !ends {
			if err := walkOracle(dir, filepath.Join(at, e.Name()), rel, stack, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// A folder of random links has the files that the system sees in it, and is refused
// where the system says that a link leads out or into .git.
func TestRandom(t *testing.T) {
	seed := testenv.Seed()
	var refused, listed, named int
	for i := range testenv.Cases(500) {
		r := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
		dir := forest(t, r)
		repo := filepath.Join(dir, "repo")
		// Each path of the place.
		filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			require.NoError(t, err)
			want, werr := within(repo, name)
			tree, err := Place{Dir: repo}.Open(name)
			switch {
			case errors.Is(werr, errAway):
				require.ErrorAs(t, err, new(*OutsideError), "seed %d case %d %s", seed, i, name)
			case werr != nil: // leads nowhere: it may be refused for what it says
				require.Error(t, err, "seed %d case %d %s %v", seed, i, name, werr)
			default:
				if !strings.HasPrefix(name, repo) || strings.Contains(name, ".git") {
					return nil // led in from elsewhere
				}
				require.NoError(t, err, "seed %d case %d %s", seed, i, name)
				require.Equal(t, filepath.Join(repo, want), tree.Path)
				require.NoError(t, tree.Close())
				named++
			}
			return nil
		})
		data := filepath.Join(repo, "data")
		want := map[string]string{}
		werr := walkOracle(data, "", ".", nil, want)
		tree, err := Place{Dir: repo}.Open(data)
		require.NoError(t, err)
		files, err := tree.Files(t.Context())
		if werr != nil {
			require.ErrorIs(t, werr, errAway)
			require.ErrorAs(t, err, new(*OutsideError), "seed %d case %d", seed, i)
			refused++
		} else if err != nil {
			// Only for a link that leads nowhere, and says that it would lead out.
			var o *OutsideError
			require.ErrorAs(t, err, &o)
			_, eerr := filepath.EvalSymlinks(filepath.Join(data, o.Link))
			require.Error(t, eerr, "seed %d case %d %v", seed, i, err)
		} else {
			got := map[string]string{}
			for _, f := range files {
				rd, err := f.Open()
				require.NoError(t, err)
				text, err := io.ReadAll(rd)
				require.NoError(t, err)
				require.NoError(t, rd.Close())
				got[f.Path] = string(text)
			}
			require.Equal(t, want, got, "seed %d case %d", seed, i)
			listed++
		}
		require.NoError(t, tree.Close())
	}
	require.Greater(t, refused, 0)
	require.Greater(t, listed, 0)
	require.Greater(t, named, 0)
}

func put(t *testing.T, dir, name, text string) {
	name = filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

// What a link says decides although nothing is there: it may be there where it is read.
func TestDangling(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "data/a", "a")
	require.NoError(t, os.Symlink("nothing", filepath.Join(dir, "data", "x")))
	tree, err := Place{Dir: dir}.Open(filepath.Join(dir, "data"))
	require.NoError(t, err)
	defer tree.Close()
	files, err := tree.Files(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Symlink("../../nothing", filepath.Join(dir, "data", "y")))
	require.ErrorContains(t, tree.Check(t.Context()), "the link y, to ../../nothing, leads out of")
}

// A file that is replaced by a link, or changed, after it was found is not read.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "secret", "secret")
	put(t, dir, "repo/.git/config", "secret")
	for _, swap := range []string{"../../secret", "../.git/config"} {
		put(t, dir, "repo/data/a", "a")
		tree, err := Place{Dir: filepath.Join(dir, "repo")}.Open(filepath.Join(dir, "repo/data"))
		require.NoError(t, err)
		files, err := tree.Files(t.Context())
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(dir, "repo/data/a")))
		require.NoError(t, os.Symlink(swap, filepath.Join(dir, "repo/data/a")))
		_, err = files[0].Open()
		require.Error(t, err)
		require.NoError(t, os.Remove(filepath.Join(dir, "repo/data/a")))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "repo/data/a"), 0o755))
		_, err = files[0].Open()
		require.Error(t, err)
		require.NoError(t, os.Remove(filepath.Join(dir, "repo/data/a")))
		put(t, dir, "repo/data/a", "another")
		_, err = files[0].Open()
		require.ErrorContains(t, err, "replaced")
		require.NoError(t, tree.Close())
	}
}

// Eleven folders with ten links each to the next stand for 10^10 files: refused, after
// work in proportion to what there is.
func TestFanOut(t *testing.T) {
	dir := t.TempDir()
	for i := range 11 {
		put(t, dir, fmt.Sprintf("%d/file", i), "x")
		for k := range 10 {
			require.NoError(t,
				os.Symlink(fmt.Sprintf("../%d", (i+1)%11), filepath.Join(dir, fmt.Sprint(i), fmt.Sprintf("l%d", k))))
		}
	}
	tree, err := Named(dir)
	require.NoError(t, err)
	defer tree.Close()
	require.NoError(t, tree.Check(t.Context()), "each link by itself is right")
	w := tree.walk(t.Context())
	require.NoError(t, w.check("."))
	require.ErrorContains(t, w.dir(".", ".", nil), "stand for over 10 times")
	require.LessOrEqual(t, w.linked, mostEntries+1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tree.Files(ended)
	require.ErrorIs(t, err, context.Canceled)
}

// What the person named is opened wherever it is; its own links still stay in it.
func TestNamed(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "store/a", "a")
	require.NoError(t, os.Symlink("store", filepath.Join(dir, "link")))
	tree, err := Named(filepath.Join(dir, "link", "a"))
	require.NoError(t, err)
	text, err := tree.Read(limited.Config)
	require.NoError(t, err)
	require.Equal(t, "a", string(text))
	require.NoError(t, tree.Close())
	_, err = Place{Dir: dir}.Read(filepath.Join(dir, "link"), 10)
	require.ErrorIs(t, err, limited.ErrNotRegular)
	put(t, dir, "large", strings.Repeat("x", 11))
	_, err = Place{Dir: dir}.Read(filepath.Join(dir, "large"), 10)
	require.ErrorAs(t, err, new(*limited.TooLargeError))
	require.NoError(t, os.Symlink("../large", filepath.Join(dir, "store", "out")))
	tree, err = Named(filepath.Join(dir, "link"))
	require.NoError(t, err)
	defer tree.Close()
	_, err = tree.Files(t.Context())
	require.ErrorAs(t, err, new(*OutsideError))
}
