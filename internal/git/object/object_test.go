package object

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

func git(t testing.TB, dir string, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), errs.String())
	return out.String()
}

// repository has a history in which a file and its folder change a line at a time,
// so that packs hold chains of deltas, a file larger than what is cached, and a
// tag of a tag.
func repository(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(dir, os.DirFS(template(t))))
	return dir
}

var made string

func template(t testing.TB) string {
	if made != "" {
		return made
	}
	dir, err := os.MkdirTemp("", "objects")
	require.NoError(t, err)
	made = dir
	git(t, dir, "", "init", "-q")
	r := rand.New(rand.NewPCG(1, 1))
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = byte(r.IntN(200))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), large, 0o644))
	lines := strings.Split(strings.Repeat("a line of text that is a little long\n", 300), "\n")
	for i := range 12 {
		for range 5 {
			lines[r.IntN(len(lines))] = fmt.Sprint("changed ", r.IntN(1000))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Join(lines, "\n")), 0o644))
		for j := range 30 {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub", "deep"), 0o755))
			if i == 0 || j == i {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", "deep", fmt.Sprint("f", j)),
					fmt.Append(nil, i, j), 0o644))
			}
		}
		git(t, dir, "", "add", "-A")
		git(t, dir, "", "commit", "-q", "-m", fmt.Sprint(i))
	}
	large[1<<20] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), large, 0o644))
	git(t, dir, "", "commit", "-q", "-a", "-m", "large")
	git(t, dir, "", "tag", "-a", "-m", "x", "one")
	git(t, dir, "", "tag", "-a", "-m", "x", "two", "one")
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(made)
	os.Exit(code)
}

// Every object in every form that git stores it in is read as git reads it.
func TestEveryObject(t *testing.T) {
	for name, prepare := range map[string]func(dir string) string{
		"loose":  func(dir string) string { return dir },
		"packed": func(dir string) string { git(t, dir, "", "repack", "-adfq", "--depth=50"); return dir },
		"packed, deltas by id": func(dir string) string {
			git(t, dir, "", "-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq")
			return dir
		},
		"packed, 64 bit offsets": func(dir string) string {
			git(t, dir, "", "repack", "-adfq")
			packs, _ := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
			idx := strings.TrimSuffix(packs[0], ".pack") + ".idx"
			require.NoError(t, os.Remove(idx))
			git(t, dir, "", "index-pack", "--index-version=2,0x40", packs[0])
			return dir
		},
		"several packs, some loose": func(dir string) string {
			git(t, dir, git(t, dir, "", "rev-list", "--objects", "HEAD~6"), "pack-objects", "-q",
				".git/objects/pack/pack")
			git(t, dir, git(t, dir, "", "rev-list", "--objects", "HEAD~2", "^HEAD~6"), "pack-objects", "-q",
				".git/objects/pack/pack")
			git(t, dir, "", "prune-packed", "-q")
			return dir
		},
		"multi-pack index": func(dir string) string {
			git(t, dir, "", "repack", "-adfq")
			git(t, dir, "", "multi-pack-index", "write")
			return dir
		},
		"alternates": func(dir string) string {
			git(t, dir, "", "repack", "-adfq")
			second, third := filepath.Join(t.TempDir(), "second"), filepath.Join(t.TempDir(), "third")
			git(t, dir, "", "clone", "-q", "--shared", dir, second)
			git(t, dir, "", "clone", "-q", "--shared", second, third)
			git(t, third, "", "commit", "-q", "--allow-empty", "-m", "own")
			return third
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := prepare(repository(t))
			s := New(filepath.Join(dir, ".git", "objects"))
			defer s.Close()
			n := 0
			for line := range strings.Lines(git(t, dir, "", "cat-file", "--batch-all-objects", "--batch-check")) {
				var hex, kind string
				var size int64
				_, err := fmt.Sscan(line, &hex, &kind, &size)
				require.NoError(t, err)
				id := plumbing.NewHash(hex)
				k, n1, err := s.Size(id)
				require.NoError(t, err)
				require.Equal(t, kind, k.String())
				require.Equal(t, size, n1, line)
				r, k, n2, err := s.Open(id)
				require.NoError(t, err)
				require.Equal(t, kind, k.String())
				require.Equal(t, size, n2)
				text, err := io.ReadAll(r)
				require.NoError(t, err)
				require.NoError(t, r.Close())
				require.NoError(t, r.Close(), "a second Close does nothing")
				require.Equal(t, hex, plumbing.ComputeHash(k, text).String())
				text, err = s.Read(id, k, MaxWhole)
				require.NoError(t, err)
				require.Equal(t, hex, plumbing.ComputeHash(k, text).String())
				n++
			}
			require.Greater(t, n, 60)
			_, _, err := s.Size(plumbing.NewHash("12345678"))
			require.ErrorIs(t, err, ErrNotFound)

			tag := plumbing.NewHash(strings.TrimSpace(git(t, dir, "", "rev-parse", "two")))
			tree, commit, err := s.CommitTree(tag)
			require.NoError(t, err)
			require.Equal(t, strings.TrimSpace(git(t, dir, "", "rev-parse", "two^{commit}")), commit.String())
			require.Equal(t, strings.TrimSpace(git(t, dir, "", "rev-parse", "two^{tree}")), tree.String())
			entries, err := s.Tree(tree)
			require.NoError(t, err)
			var list strings.Builder
			for _, e := range entries {
				fmt.Fprintf(&list, "%06o %s %s\n", uint32(e.Mode), e.ID, e.Name)
			}
			require.Equal(t, git(t, dir, "", "ls-tree", "--format=%(objectmode) %(objectname) %(path)", "two"),
				list.String())
		})
	}
}

// An object that a git gc moves between two looks is found again.
func TestRepackedMeanwhile(t *testing.T) {
	dir := repository(t)
	s := New(filepath.Join(dir, ".git", "objects"))
	defer s.Close()
	head := plumbing.NewHash(strings.TrimSpace(git(t, dir, "", "rev-parse", "HEAD")))
	_, _, err := s.Size(head)
	require.NoError(t, err)
	git(t, dir, "", "repack", "-adq")
	_, _, err = s.CommitTree(head)
	require.NoError(t, err)
}

// A bit that is wrong is noticed wherever it stands: nothing is read that is not
// what was stored, and nothing crashes.
func TestDamagedObjects(t *testing.T) {
	dir := repository(t)
	git(t, dir, "", "repack", "-adfq")
	packs, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
	require.NoError(t, err)
	whole, err := os.ReadFile(packs[0])
	require.NoError(t, err)
	ids := strings.Fields(git(t, dir, "", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"))
	require.NoError(t, os.Chmod(packs[0], 0o644))
	r := rand.New(rand.NewPCG(2, 2))
	noticed := 0
	for range testenv.Cases(30) {
		text := bytes.Clone(whole)
		for range 20 {
			text[12+r.IntN(40_000)] ^= byte(1 << r.IntN(8))
		}
		if r.IntN(4) == 0 {
			text = text[:r.IntN(len(text))]
		}
		require.NoError(t, os.WriteFile(packs[0], text, 0o644))
		s := New(filepath.Join(dir, ".git", "objects"))
		for _, hex := range ids {
			r, kind, _, err := s.Open(plumbing.NewHash(hex))
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
				r.Close()
			}
			if err != nil {
				noticed++
			} else {
				require.Equal(t, hex, plumbing.ComputeHash(kind, got).String())
			}
			s.Size(plumbing.NewHash(hex))
		}
		s.Close()
	}
	require.Greater(t, noticed, 30)
}

func TestParseTree(t *testing.T) {
	id := strings.Repeat("i", 20)
	for text, want := range map[string]string{
		"100644 a\x00" + id + "40000 b\x00" + id:  "",
		"100644 ../x\x00" + id:                    `the name "../x" cannot stand in a repository`,
		"100644 ..\x00" + id:                      `the name ".." cannot stand in a repository`,
		"40000 .GIT\x00" + id:                     `the name ".GIT" cannot stand in a repository`,
		"100644 \x00" + id:                        `the name "" cannot stand in a repository`,
		"100644 b\x00" + id + "100644 a\x00" + id: "damaged",
		"100644 a\x00" + id[1:]:                   "damaged",
		"10064x a\x00" + id:                       "damaged",
		"100644a":                                 "damaged",
	} {
		_, err := ParseTree([]byte(text))
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want, text)
		}
	}
}

// A tree that is read is the one that go-git reads.
func FuzzTree(f *testing.F) {
	id := strings.Repeat("i", 20)
	f.Add([]byte("100644 a\x00" + id + "100755 a.b\x00" + id + "40000 a\x00" + id + "120000 l\x00" + id +
		"160000 s\x00" + id))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := ParseTree(text)
		if err != nil {
			return
		}
		o := &plumbing.MemoryObject{}
		o.SetType(plumbing.TreeObject)
		o.Write(text)
		var other object.Tree
		if other.Decode(o) != nil {
			return
		}
		require.Equal(t, len(other.Entries), len(entries))
		for i, e := range other.Entries {
			require.Equal(t, e.Name, entries[i].Name)
			require.Equal(t, e.Hash, entries[i].ID)
		}
	})
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte("hello world"), []byte("\x0b\x05\x90\x05"))
	f.Add([]byte("hello world"), []byte("\x0b\x03\x03abc"))
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		var out []byte
		var err error
		const most = 1 << 16
		if got := testenv.Allocated(func() { out, err = patch(base, delta, most) }); got > 8*most {
			t.Fatalf("%d bytes for %d", got, len(delta))
		}
		if err != nil {
			return
		}
		if _, rest, ok := varint(delta); ok {
			if size, _, ok := varint(rest); !ok || size != int64(len(out)) {
				t.Fatal("not the announced size")
			}
		}
	})
}
