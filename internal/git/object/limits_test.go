package object

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/testing/testenv"
)

// write puts a loose object into an objects folder, whose header announces size bytes.
func write(t testing.TB, dir string, kind plumbing.ObjectType, text []byte, size int) plumbing.Hash {
	h := NewHash(kind, int64(len(text)))
	h.Write(text)
	id := Sum(h)
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	fmt.Fprintf(z, "%s %d\x00", kind, size)
	z.Write(text)
	require.NoError(t, z.Close())
	name := filepath.Join(dir, id.String()[:2], id.String()[2:])
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o644))
	return id
}

func treeEntry(mode, name string, id plumbing.Hash) string {
	return mode + " " + name + "\x00" + string(id[:])
}

// Ten folders that are each the same ten folders, ten times over, stand for ten billion
// files; one in the other, three thousand times, for a path of half a megabyte.
func TestTreesOfTrees(t *testing.T) {
	testenv.Large(t, "trees that name a billion files")
	dir := t.TempDir()
	s := New(dir)
	defer s.Close()
	id := write(t, dir, plumbing.BlobObject, []byte("x"), 1)
	mode := "100644"
	for range 10 {
		text := ""
		for i := range 10 {
			text += treeEntry(mode, fmt.Sprint(i), id)
		}
		id, mode = write(t, dir, plumbing.TreeObject, []byte(text), len(text)), "40000"
	}
	nearly := func() *Budget { // so that the test need not list five million
		b := new(Budget)
		b.spent.Store(maxListed - 32<<20)
		return b
	}
	files := 0
	err := s.Walk(id, nearly(), func(_ string, e Entry) bool {
		if e.Mode != filemode.Dir {
			files++
		}
		return true
	})
	require.ErrorContains(t, err, "the list of the files takes more than 512 MiB; name a folder with fewer of them")
	require.InDelta(t, 32<<20/entryBytes, files, 100_000)

	id, mode = write(t, dir, plumbing.BlobObject, []byte("x"), 1), "100644"
	for range 3_000 {
		text := treeEntry(mode, strings.Repeat("n", 200), id)
		id, mode = write(t, dir, plumbing.TreeObject, []byte(text), len(text)), "40000"
	}
	deepest := 0
	err = s.Walk(id, nearly(), func(path string, _ Entry) bool { deepest = len(path); return true })
	require.ErrorContains(t, err, "the list of the files takes more than 512 MiB")
	require.Less(t, deepest, 200<<10)
}

// What is read whole has a limit, whichever way it is stored and whatever its header says.
func TestTooLargeObjects(t *testing.T) {
	testenv.Large(t, "objects of gigabytes")
	dir := repository(t)
	large := plumbing.NewHash(strings.TrimSpace(git(t, dir, "", "rev-parse", "HEAD:large")))
	older := plumbing.NewHash(strings.TrimSpace(git(t, dir, "", "rev-parse", "HEAD~1:large")))
	for _, how := range []string{"loose", "packed, one of them a delta"} {
		if how != "loose" {
			git(t, dir, "", "repack", "-adfq")
		}
		s := New(filepath.Join(dir, ".git", "objects"))
		for _, id := range []plumbing.Hash{large, older} {
			_, err := s.Read(id, plumbing.BlobObject, 3<<20-1)
			require.ErrorAs(t, err, new(*limited.TooLargeError), how)
			require.ErrorContains(t, err, "object "+id.String()+": its content has more than", how)
			text, err := s.Read(id, plumbing.BlobObject, 3<<20)
			require.NoError(t, err, how)
			require.Len(t, text, 3<<20)
		}
		s.Close()
	}
	objects := t.TempDir()
	s := New(objects)
	id := write(t, objects, plumbing.CommitObject, []byte("tree x"), 1<<50)
	require.Less(t, testenv.Allocated(func() {
		_, err := s.Read(id, plumbing.CommitObject, 1<<60)
		require.ErrorIs(t, err, ErrDamaged)
		_, _, err = s.CommitTree(id)
		require.ErrorIs(t, err, ErrDamaged)
	}), int64(4<<20))
	bomb := write(t, objects, plumbing.CommitObject, make([]byte, 200<<20), 200<<20)
	require.Less(t, testenv.Allocated(func() {
		_, _, err := s.CommitTree(bomb)
		require.ErrorIs(t, err, ErrDamaged)
	}), int64(1<<20), "the tree's name is all that is kept of a commit")
}

// chain writes a pack of one object and of deltas, each against the one before, and
// returns its end.
func chain(t testing.TB, dir string, base []byte, depth int, delta []byte) plumbing.Hash {
	git(t, dir, "", "init", "-q", "--bare")
	var pack bytes.Buffer
	pack.WriteString("PACK\x00\x00\x00\x02")
	binary.Write(&pack, binary.BigEndian, uint32(depth+1))
	put := func(kind plumbing.ObjectType, base, text []byte) (at int) {
		at = pack.Len()
		n := len(text)
		c := byte(kind)<<4 | byte(n&15)
		for n >>= 4; n > 0; n >>= 7 {
			pack.WriteByte(c | 0x80)
			c = byte(n & 0x7f)
		}
		pack.WriteByte(c)
		pack.Write(base)
		z := zlib.NewWriter(&pack)
		z.Write(text)
		z.Close()
		return at
	}
	last := put(plumbing.BlobObject, nil, base)
	text := base
	for range depth {
		back := pack.Len() - last
		digits := []byte{byte(back & 0x7f)}
		for back >>= 7; back > 0; back >>= 7 {
			back--
			digits = append([]byte{byte(back&0x7f) | 0x80}, digits...)
		}
		last = put(plumbing.OFSDeltaObject, digits, delta)
		var err error
		text, err = patch(text, delta, MaxWhole)
		require.NoError(t, err)
	}
	h := NewHash(plumbing.BlobObject, int64(len(text)))
	h.Write(text)
	id := Sum(h)
	sum := NewHash(plumbing.AnyObject, 0)
	sum.Reset()
	sum.Write(pack.Bytes())
	pack.Write(sum.Sum(nil))

	// An index of that one name.
	var idx bytes.Buffer
	idx.WriteString("\xfftOc\x00\x00\x00\x02")
	for i := range 256 {
		n := uint32(0)
		if i >= int(id[0]) {
			n = 1
		}
		binary.Write(&idx, binary.BigEndian, n)
	}
	idx.Write(id[:])
	idx.Write(make([]byte, 4))
	binary.Write(&idx, binary.BigEndian, uint32(last))
	idx.Write(make([]byte, 40))
	name := filepath.Join(dir, "objects", "pack", "pack-x")
	require.NoError(t, os.WriteFile(name+".pack", pack.Bytes(), 0o644))
	require.NoError(t, os.WriteFile(name+".idx", idx.Bytes(), 0o644))
	return id
}

// A chain as deep as git makes them is read; one that is deeper is damage.
func TestChain(t *testing.T) {
	testenv.Large(t, "a chain of four thousand deltas")
	size := []byte{0x80, 0x80, 0x04} // 64 KiB
	base := bytes.Repeat([]byte("a"), 64<<10)
	delta := append(append(bytes.Clone(size), size...), 0x80) // copies all of it
	for _, depth := range []int{1, 4095, maxChain + 1} {
		dir := t.TempDir()
		id := chain(t, dir, base, depth, delta)
		s := New(filepath.Join(dir, "objects"))
		text, err := s.Read(id, plumbing.BlobObject, MaxWhole)
		if depth > maxChain {
			require.ErrorIs(t, err, ErrDamaged)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, base, text)
		_, n, err := s.Size(id)
		require.NoError(t, err)
		require.Equal(t, int64(64<<10), n)
		_, err = s.Read(id, plumbing.BlobObject, 64<<10-1)
		require.ErrorAs(t, err, new(*limited.TooLargeError))
		s.Close()
	}
}

// A link to the folder itself makes any number of names of one.
func TestAlternatesOfAlternates(t *testing.T) {
	dir := t.TempDir()
	lines := ""
	for i := range 60 {
		require.NoError(t, os.Symlink(".", filepath.Join(dir, fmt.Sprint("l", i))))
		lines += fmt.Sprintf("l%d\n", i)
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "info"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "info", "alternates"), []byte(lines), 0o644))
	s := New(dir)
	defer s.Close()
	require.Len(t, s.Folders(), 1+maxFolders)
	_, err := s.Read(plumbing.NewHash("1234567890123456789012345678901234567890"), plumbing.BlobObject, MaxWhole)
	require.ErrorIs(t, err, ErrNotFound)
}

// Whatever stands in one of its files, a store answers, in memory in proportion.
func FuzzStore(f *testing.F) {
	from := repository(f)
	git(f, from, "", "repack", "-adfq", "--depth=50")
	git(f, from, "", "commit", "-q", "--allow-empty", "-m", "loose")
	ids := strings.Fields(git(f, from, "", "rev-parse", "HEAD", "HEAD^{tree}", "HEAD:file", "HEAD~3:file",
		"HEAD~9^{tree}", "two"))
	objects := filepath.Join(f.TempDir(), "objects")
	require.NoError(f, os.CopyFS(objects, os.DirFS(filepath.Join(from, ".git", "objects"))))
	loose := filepath.Join(ids[0][:2], ids[0][2:])
	names := []string{"info/alternates", loose}
	for _, ext := range []string{"*.idx", "*.pack"} {
		found, err := filepath.Glob(filepath.Join(objects, "pack", ext))
		require.NoError(f, err)
		name, err := filepath.Rel(objects, found[0])
		require.NoError(f, err)
		names = append(names, name)
	}
	good := map[string][]byte{}
	for i, name := range names {
		good[name], _ = os.ReadFile(filepath.Join(objects, name))
		if len(good[name]) < 1<<20 {
			f.Add(byte(i), uint32(0), good[name])
		}
		for at := range 40 {
			f.Add(byte(i), uint32(at*97), []byte{0xff, 0x80, 0x00, 0x01})
		}
	}
	f.Fuzz(func(t *testing.T, which byte, at uint32, patch []byte) {
		name := names[int(which)%len(names)]
		text := bytes.Clone(good[name])
		if i := int(at) % (len(text) + 1); i+len(patch) <= len(text) {
			copy(text[i:], patch)
		} else {
			text = append(text[:i], patch...)
		}
		full := filepath.Join(objects, name)
		require.NoError(t, os.RemoveAll(full))
		require.NoError(t, os.WriteFile(full, text, 0o644))
		defer os.WriteFile(full, good[name], 0o644)
		got := testenv.Allocated(func() {
			s := New(objects)
			defer s.Close()
			for _, hex := range ids {
				id := plumbing.NewHash(hex)
				s.Size(id)
				for _, kind := range []plumbing.ObjectType{plumbing.CommitObject, plumbing.TreeObject,
					plumbing.BlobObject, plumbing.TagObject} {
					s.Read(id, kind, 1<<20)
				}
				s.CommitTree(id)
				s.Tree(id)
			}
		})
		if got > 512<<20 {
			t.Fatalf("%d bytes for %d in %s", got, len(text), name)
		}
	})
}
