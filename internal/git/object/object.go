// Package object answers: what does the object with this id hold?
//
// It reads a repository's object store as gitrepository-layout(5) and
// gitformat-pack(5) describe it: packs, loose objects, deltas, alternates. It is
// here because a snapshot asks for tens of thousands of sizes and trees: go-git
// first reads the index of each pack whole, which alone takes longer than git
// takes to list the tree of a commit.
package object

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/git/quoted"
	"github.com/org/aml-train/internal/limited"
)

// ErrNotFound says that the object is not in the store. In a partial clone it may
// be at the remote.
var ErrNotFound = errors.New("the object is not in this repository")

// ErrDamaged says that the store holds something else than it announces.
var ErrDamaged = errors.New("the repository is damaged; git fsck tells more")

// Store is the objects of a repository. It can be used by several goroutines.
type Store struct {
	folders func() ([]string, error) // the objects folder and its alternates, and which list of them cannot be read

	mu    sync.Mutex
	packs []*pack
	known map[string]bool // the index files that were opened
	ready bool

	damage error // of a pack or a folder that cannot be read, and may hold what is not found

	bases cache
}

// New returns the store in an objects folder, and in those that it borrows from, more
// among them. They are opened when the store is first asked.
func New(dir string, more ...string) *Store {
	folders := sync.OnceValues(func() ([]string, error) { return alternates(append([]string{dir}, more...)) })
	return &Store{folders: folders, known: map[string]bool{}}
}

// Folders returns the objects folder and those that it borrows from.
func (s *Store) Folders() []string {
	dirs, _ := s.folders()
	return dirs
}

// Close lets go of the packs. No object may be in use.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.packs {
		p.close()
	}
	s.packs, s.ready, s.known, s.damage = nil, false, map[string]bool{}, nil
	s.bases = cache{}
}

// maxFolders is how many folders a store may borrow from, many times what a server
// that shares objects among forks makes. A link to a folder's own parent would let two
// lines of a file stand for any number of them.
const maxFolders = 256

// alternates returns the folders and those that they borrow from
// (gitrepository-layout(5), "objects/info/alternates"), which nest five deep in
// git. One whose list cannot be read is passed over, as in git; the error is for what is
// then not found.
func alternates(found []string) (_ []string, unread error) {
	seen := map[string]bool{}
	for _, dir := range found {
		seen[dir] = true
	}
	for next, end, depth := 0, len(found), 0; depth <= 5 && next < end; depth++ {
		for ; next < end; next++ {
			text, err := limited.Read(filepath.Join(found[next], "info", "alternates"), limited.Config)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				unread = fmt.Errorf("the folders from which the repository borrows objects are not known: %w", err)
			}
			for _, dir := range Alternates(string(text), "\n", found[next]) {
				if !seen[dir] && len(found) <= maxFolders {
					seen[dir] = true
					found = append(found, dir)
				}
			}
		}
		end = len(found)
	}
	return found, unread
}

// Alternates reads a list of folders, relative ones against base. Between quotation marks
// one may hold the separator; one that begins with # is left out (git: parse_alt_odb_entry
// in object-file.c).
func Alternates(list, separator, base string) (dirs []string) {
	for list != "" {
		dir, rest, ok := quoted.Cut(list)
		if ok {
			list = rest[min(1, len(rest)):]
		} else {
			dir, list, _ = strings.Cut(list, separator)
			if strings.HasPrefix(dir, "#") {
				continue
			}
		}
		if dir != "" && !filepath.IsAbs(dir) {
			dir = filepath.Join(base, dir)
		}
		if dir != "" {
			dirs = append(dirs, filepath.Clean(dir))
		}
	}
	return dirs
}

// load returns the packs, the youngest first. With again it looks for packs that
// were added since, as a git gc does; more tells whether there were any.
func (s *Store) load(again bool) (packs []*pack, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready && !again {
		return s.packs, false
	}
	dirs, unread := s.folders()
	s.damage = cmp.Or(s.damage, unread)
	var fresh []*pack
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(dir, "pack"))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			s.damage = err
		case err != nil && !isThere(dir):
			s.damage = fmt.Errorf("the folder %s, from which the repository borrows objects, is not there", dir)
		}
		for _, e := range entries {
			name := filepath.Join(dir, "pack", e.Name())
			if !strings.HasSuffix(name, ".idx") || s.known[name] {
				continue
			}
			switch p, err := openPack(name); {
			case err == nil:
				s.known[name] = true
				fresh = append(fresh, p)
			case !errors.Is(err, fs.ErrNotExist): // else a git gc has just taken it away
				s.damage = fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	s.packs, s.ready = append(fresh, s.packs...), true
	sort.SliceStable(s.packs, func(i, j int) bool { return s.packs[i].modified > s.packs[j].modified })
	return s.packs, len(fresh) > 0
}

// find returns where an object is packed.
func (s *Store) find(id plumbing.Hash) (*pack, int64, bool) {
	packs, _ := s.load(false)
	for _, p := range packs {
		if at, ok := p.find(id); ok {
			return p, at, true
		}
	}
	return nil, 0, false
}

// Error is what is wrong with an object, and with which file.
type Error struct {
	ID   plumbing.Hash
	File string // "" where that is not known, or said by the error
	Err  error
}

func (e *Error) Error() string {
	if e.File == "" {
		return fmt.Sprintf("object %s: %v", e.ID, e.Err)
	}
	return fmt.Sprintf("object %s in %s: %v", e.ID, e.File, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// explain says of an error which object it is about, and of damage, where that lies.
func (s *Store) explain(id plumbing.Hash, err error) error {
	if already := (*Error)(nil); errors.As(err, &already) {
		return err
	}
	if errors.Is(err, ErrDamaged) {
		return &Error{id, s.where(id), err}
	}
	return &Error{id, "", err}
}

// where names the file in which an object lies, for what is said of damage.
func (s *Store) where(id plumbing.Hash) string {
	if p, _, ok := s.find(id); ok {
		return p.path
	}
	hex := id.String()
	for _, dir := range s.Folders() {
		if name := filepath.Join(dir, hex[:2], hex[2:]); isThere(name) {
			return name
		}
	}
	return "nowhere"
}

func isThere(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// Size returns the kind and the size of an object without reading it.
func (s *Store) Size(id plumbing.Hash) (plumbing.ObjectType, int64, error) {
	for again := false; ; again = true {
		if p, at, ok := s.find(id); ok {
			kind, size, err := s.packedSize(p, at)
			if err != nil {
				err = &Error{id, p.path, err}
			}
			return kind, size, err
		}
		r, kind, size, err := s.loose(id)
		if err == nil {
			return kind, size, r.Close()
		}
		if !s.retry(err, again) {
			return 0, 0, err
		}
	}
}

// retry tells whether to look once more: a git gc may just have moved the object
// into a new pack.
func (s *Store) retry(err error, again bool) bool {
	if again || !errors.Is(err, ErrNotFound) {
		return false
	}
	_, more := s.load(true)
	return more
}

// Open returns the content of an object, whose last byte comes only if the whole
// has that id. A large one that is no delta is not held in memory.
func (s *Store) Open(id plumbing.Hash) (io.ReadCloser, plumbing.ObjectType, int64, error) {
	r, kind, size, err := s.open(id)
	if err != nil {
		return nil, 0, 0, err
	}
	return &verified{ReadCloser: r, store: s, id: id, sum: NewHash(kind, size)}, kind, size, nil
}

// NewHash starts the id of an object, the hash of a header such as "blob 12\x00"
// and the content. It is crypto/sha1, which uses the processor's instructions
// and so is several times as fast as the collision-detecting one of go-git.
func NewHash(kind plumbing.ObjectType, size int64) hash.Hash {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, size)
	return h
}

// Sum returns the id that NewHash started.
func Sum(h hash.Hash) (id plumbing.Hash) {
	h.Sum(id[:0])
	return id
}

// verified reads an object and says at its end whether it was the right one.
type verified struct {
	io.ReadCloser
	store *Store
	id    plumbing.Hash
	sum   hash.Hash
}

func (v *verified) Read(b []byte) (int, error) {
	n, err := v.ReadCloser.Read(b)
	v.sum.Write(b[:n])
	if err == io.EOF && Sum(v.sum) != v.id || errors.Is(err, ErrDamaged) {
		err = v.store.explain(v.id, ErrDamaged)
	}
	return n, err
}

func (s *Store) open(id plumbing.Hash) (io.ReadCloser, plumbing.ObjectType, int64, error) {
	for again := false; ; again = true {
		if p, at, ok := s.find(id); ok {
			r, kind, size, err := s.openPacked(p, at)
			if err != nil {
				err = &Error{id, p.path, err}
			}
			return r, kind, size, err
		}
		r, kind, size, err := s.loose(id)
		if err == nil || !s.retry(err, again) {
			return r, kind, size, err
		}
	}
}

// MaxWhole is the most, in bytes, that is held in memory of one object: what git calls
// a big file above, which it stores as no delta (git-config(1), core.bigFileThreshold).
const MaxWhole = 512 << 20

func tooLarge(most int64) error { return &limited.TooLargeError{Name: "its content", Limit: most} }

// Read returns the content of an object of at most that many bytes; of a larger one the
// error is a *limited.TooLargeError. It must not be changed.
func (s *Store) Read(id plumbing.Hash, want plumbing.ObjectType, most int64) ([]byte, error) {
	text, err := s.read(id, want, most)
	if err != nil {
		return nil, s.explain(id, err)
	}
	return text, nil
}

func (s *Store) read(id plumbing.Hash, want plumbing.ObjectType, most int64) (text []byte, err error) {
	var kind plumbing.ObjectType
	if p, at, ok := s.find(id); ok {
		if kind, text, err = s.unpack(p, at, most); err != nil {
			return nil, err
		}
		h := NewHash(kind, int64(len(text)))
		h.Write(text)
		if Sum(h) != id {
			return nil, ErrDamaged
		}
	} else {
		r, k, size, err := s.open(id)
		if err != nil {
			return nil, err
		}
		r = &verified{ReadCloser: r, store: s, id: id, sum: NewHash(k, size)}
		defer r.Close()
		if size > most {
			return nil, tooLarge(most)
		}
		if kind = k; kind == want {
			if text, err = readAll(r, size); err != nil {
				return nil, err
			}
		}
	}
	if kind != want {
		return nil, fmt.Errorf("it is a %s, not a %s", kind, want)
	}
	return text, nil
}

// readAll reads what should be size bytes, without believing the number before
// they come.
func readAll(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(size, 1<<20)) + bytes.MinRead)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// CommitTree returns the tree of a commit, or of what a tag or a tree itself
// stands for, and the commit, which is zero for a tree.
func (s *Store) CommitTree(id plumbing.Hash) (tree, commit plumbing.Hash, err error) {
	for range 10 { // tags of tags
		r, kind, size, err := s.Open(id)
		if err != nil {
			return tree, commit, err
		}
		if kind == plumbing.TreeObject {
			return id, commit, r.Close()
		}
		if kind == plumbing.BlobObject {
			r.Close()
			return tree, commit, fmt.Errorf("%s is a file, not a commit", id)
		}
		start := make([]byte, min(size, 64)) // more than the first line of either
		_, err = io.ReadFull(r, start)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // whose end proves the start
		}
		r.Close()
		if err != nil {
			return tree, commit, err
		}
		field := "object "
		if kind == plumbing.CommitObject {
			field, commit = "tree ", id
		}
		line, _, _ := strings.Cut(string(start), "\n")
		hex, ok := strings.CutPrefix(line, field)
		if !ok || !plumbing.IsHash(hex) {
			return tree, commit, s.explain(id, ErrDamaged)
		}
		id = plumbing.NewHash(hex)
	}
	return tree, commit, s.explain(id, ErrDamaged)
}
