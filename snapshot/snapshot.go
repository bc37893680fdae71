// Package snapshot answers: which files of a source directory travel to where
// the training runs, and which of them changed?
//
// A snapshot is a git tree. Its id is the id of the tree that git itself would
// write for the same files (git add -A in the source directory, then git
// write-tree), so that anyone can check it with git and an unchanged folder is
// one comparison.
//
// Which files travel:
//
//   - Where the source directory holds no .amlignore: tracked files, and
//     untracked ones that no .gitignore (those above the source directory up to
//     the repository's root included), .git/info/exclude or core.excludesFile
//     ignores. Outside a repository: what the .gitignore files inside the
//     directory leave.
//   - Where it holds an .amlignore: every file that no .amlignore pattern
//     matches, tracked or not; no .gitignore counts. Nested .amlignore files
//     work as nested .gitignore files do.
//   - .git and .aml-train never travel, nor do sockets, pipes and devices, which
//     git leaves out too.
//   - A nested repository, a checked-out submodule included, travels as the
//     files that it would send itself: a training job needs them. The id is that
//     of a tree that holds those files as a folder, where git would record a
//     commit.
//
// The bytes that count are those in the working tree: where line ends, $Id$, an
// encoding or a driver such as git-LFS's stand between a file and its blob, the
// id is that of the file.
package snapshot

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/size"
)

// DefaultMaxBytes is Azure ML's own limit of a snapshot: 300 MiB
// (how-to-save-write-experiment-files, "Storage limits of experiment
// snapshots").
const DefaultMaxBytes = 300 << 20

// File is one file of a snapshot.
type File struct {
	Path string // slash-separated, relative to the source directory
	Mode filemode.FileMode
	Size int64         // bytes; of a link, of its text
	OID  plumbing.Hash // git's blob id

	stat    filestat.Stat
	objects *object.Store // holds the content of a file that is not in the working tree; else nil
	entry   int32         // in the index of the repository around the source directory; else -1
	clean   bool          // the index says that it is unchanged
}

// MarshalJSON writes the path, the mode as git prints it, in six octal digits, the
// size, and the id in lower-case hex.
func (f File) MarshalJSON() ([]byte, error) { return f.AppendJSON(nil), nil }

// AppendJSON appends what MarshalJSON returns. Reflection would take longer than
// the whole snapshot.
func (f *File) AppendJSON(b []byte) []byte {
	b = append(b, `{"path": `...)
	plain := true
	for i := range len(f.Path) {
		c := f.Path[i]
		plain = plain && ' ' <= c && c <= '~' && c != '"' && c != '\\'
	}
	if plain {
		b = append(append(append(b, '"'), f.Path...), '"')
	} else {
		quoted, _ := json.Marshal(f.Path) // a string always can be
		b = append(b, quoted...)
	}
	b = fmt.Appendf(b, `, "mode": "%06o", "size": `, uint32(f.Mode))
	b = strconv.AppendInt(b, f.Size, 10)
	b = append(b, `, "oid": "`...)
	b = hex.AppendEncode(b, f.OID[:])
	return append(b, `"}`...)
}

// Exclusion is a file or folder that does not travel, and the line that says so.
type Exclusion struct {
	Path    string `json:"path"`    // a folder ends in "/"; nothing below it is listed
	Source  string `json:"source"`  // the ignore file and line, as FILE:LINE
	Pattern string `json:"pattern"` // the line
}

// Snapshot is the files that travel.
type Snapshot struct {
	ID       string
	Dir      string      // the source directory, absolute
	Commit   string      // whose files these are; "" for those of the working tree
	Files    []File      // in the order of git's index: by the bytes of the path
	Bytes    int64       // of all files; 0 until Sizes for a commit without a limit
	Excluded []Exclusion // by path
	Hashed   int         // files whose bytes had to be read for their id
	Dirty    bool        // the directory differs from the commit that is checked out, see Dirty

	lfs   map[string]string // of files that git-LFS keeps: where the content lies
	tree  func() *tree
	sizes func(context.Context) error

	frozen string // where copies of the working tree's files lie; "" where they are read there

	stores stores // hold the content of files that are not in the working tree
}

// Close lets go of what is open of the repositories. No file may be in use; a nil
// Snapshot has nothing.
func (s *Snapshot) Close() {
	if s != nil {
		s.stores.close()
	}
}

// stores are the objects of several repositories.
type stores struct {
	mu   sync.Mutex
	list []*object.Store
}

// add takes care of a store, which may be nil.
func (l *stores) add(s *object.Store) {
	if s != nil {
		l.mu.Lock()
		l.list = append(l.list, s)
		l.mu.Unlock()
	}
}

func (l *stores) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.list {
		s.Close()
	}
	l.list = nil
}

// Options are the bounds of a snapshot. The zero value is the default.
type Options struct {
	MaxBytes int64 // 0 is DefaultMaxBytes, negative is no limit

	// Git finds the repositories; nil finds them anew.
	Git *git.Finder
}

// Take reads the source directory dir. It returns a *TooLargeError over the
// limit, and an error that names the file where one cannot travel: a link that
// leads out of dir, a name that no blob store can hold, an unreadable file.
func Take(ctx context.Context, dir string, o Options) (*Snapshot, error) {
	begin := time.Now()
	s, err := takeOf(ctx, dir, o)
	traced(begin, dir, s, err)
	return s, err
}

// traced notes that a snapshot was taken.
func traced(begin time.Time, of string, s *Snapshot, err error) {
	if err == nil {
		debuglog.Step(begin, "snapshot of %s: %s, %s, %d ignored", of, s.ID, size.Count(len(s.Files), "file"),
			len(s.Excluded))
	}
}

func takeOf(ctx context.Context, dir string, o Options) (*Snapshot, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("source directory: %s: no such file or directory", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("source directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("source directory %s is a file; give the folder that it stands in", dir)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, fmt.Errorf("source directory: %w", err)
	}
	repo, err := o.Git.Find(abs)
	if err != nil {
		return nil, err
	}
	w, err := newWalker(ctx, o.Git, repo, abs)
	if err != nil {
		return nil, err
	}
	s, err := w.take(ctx, dir, o)
	if err != nil || len(w.skipped) == 0 {
		w.stores.close()
	}
	return s, err
}

// take reads the walker's folder, which the person calls dir.
func (w *walker) take(ctx context.Context, dir string, o Options) (*Snapshot, error) {
	if err := w.walk(); err != nil {
		return nil, err
	}
	s := newSnapshot(w.dir, w.files, w.excluded)
	s.stores.list = w.stores.list
	if len(s.Files) == 0 {
		return nil, fmt.Errorf("source directory %s: no file travels%s", dir, w.whyEmpty(s))
	}
	if err := s.weigh(o, w.ignoreFile()); err != nil {
		return nil, err
	}
	var err error
	if s.Hashed, err = hashAll(ctx, w.dir, s.Files); err != nil {
		return nil, err
	}
	id := s.tree().id
	s.ID = id.String()
	switch {
	case w.hasAmlignore:
		s.Dirty, err = Dirty(ctx, o.Git, w.dir)
	case w.scope.repo != nil:
		s.Dirty, err = w.dirty(id)
	}
	return s, err
}

func newSnapshot(dir string, files []File, excluded []Exclusion) *Snapshot {
	s := &Snapshot{Dir: dir, Files: files, Excluded: excluded}
	sort.Slice(s.Excluded, func(i, j int) bool { return s.Excluded[i].Path < s.Excluded[j].Path })
	s.tree = sync.OnceValue(func() *tree { return newTree(s.Files, "", 0) })
	s.sizes = func(context.Context) error { return nil }
	return s
}

// weigh adds up the files and holds the sum against the limit.
func (s *Snapshot) weigh(o Options, ignoreFile string) error {
	s.Bytes = 0
	for i := range s.Files {
		// The header of an object may say anything until its content is read.
		if s.Bytes += s.Files[i].Size; s.Bytes < 0 {
			s.Bytes = math.MaxInt64
		}
	}
	if limit := cmp.Or(o.MaxBytes, DefaultMaxBytes); limit > 0 && s.Bytes > limit {
		return &TooLargeError{Bytes: s.Bytes, Limit: limit, Largest: largest(s.Files), IgnoreFile: ignoreFile}
	}
	return nil
}

// Sizes makes sure that the size of each file is known. From a commit without a
// limit they are not read at first, because that takes longer than the list.
func (s *Snapshot) Sizes(ctx context.Context) error { return s.sizes(ctx) }

// Size is what one file or folder adds to a snapshot.
type Size struct {
	Path    string // a folder ends in "/"
	Bytes   int64
	Tracked bool // git tracks some of it, so that no .gitignore leaves that out
}

// TooLargeError says that a snapshot exceeds the limit, and which files and
// folders make it large.
type TooLargeError struct {
	Bytes, Limit int64
	Largest      []Size
	IgnoreFile   string
}

func (e *TooLargeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the snapshot is %s, over the limit of %s (--max-snapshot-size moves it); largest:",
		size.Format(e.Bytes), size.Limit(e.Limit))
	for _, l := range e.Largest {
		fmt.Fprintf(&b, "\n  %10s  %s  (to leave it out, add this line to %s: /%s)", size.Format(l.Bytes), l.Path,
			e.IgnoreFile, escapePattern(l.Path))
		if l.Tracked && e.IgnoreFile == ".gitignore" {
			fmt.Fprintf(&b, "\n              git tracks it; after that: git rm -r --cached -- '%s'",
				strings.ReplaceAll(l.Path, "'", `'\''`))
		}
	}
	return b.String()
}

// escapePattern writes a path so that an ignore file takes it literally.
func escapePattern(path string) string {
	r := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
	path = r.Replace(path)
	if strings.HasSuffix(path, " ") {
		path = path[:len(path)-1] + `\ `
	}
	return path
}

// largest returns the five heaviest folders and top-level files. A folder whose
// weight lies almost wholly in one folder below it is named by that one.
func largest(files []File) []Size {
	total, tracked := map[string]int64{}, map[string]bool{}
	for _, f := range files {
		ofGit := f.entry >= 0 || f.objects != nil
		total[f.Path], tracked[f.Path] = f.Size, ofGit
		for i, c := range f.Path {
			if c == '/' {
				total[f.Path[:i+1]] += f.Size
				tracked[f.Path[:i+1]] = tracked[f.Path[:i+1]] || ofGit
			}
		}
	}
	var top []Size
	for path, bytes := range total {
		if i := strings.IndexByte(path, '/'); i < 0 || i == len(path)-1 {
			top = append(top, Size{path, bytes, tracked[path]})
		}
	}
	sort.Slice(top, func(i, j int) bool {
		return top[i].Bytes > top[j].Bytes || top[i].Bytes == top[j].Bytes && top[i].Path < top[j].Path
	})
	if len(top) > 5 {
		top = top[:5]
	}
	for i := range top {
		for deeper := true; deeper; {
			deeper = false
			for path, bytes := range total {
				below, ok := strings.CutPrefix(path, top[i].Path)
				if ok && strings.HasSuffix(top[i].Path, "/") && below != "" && bytes*10 >= top[i].Bytes*9 &&
					strings.IndexByte(strings.TrimSuffix(below, "/"), '/') < 0 {
					top[i], deeper = Size{path, bytes, tracked[path]}, true
					break
				}
			}
		}
	}
	return top
}

// Find returns the file at path, nil where none travels.
func (s *Snapshot) Find(path string) *File {
	i := sort.Search(len(s.Files), func(i int) bool { return s.Files[i].Path >= path })
	if i < len(s.Files) && s.Files[i].Path == path {
		return &s.Files[i]
	}
	return nil
}

// errChanged is what reading a file reports when its bytes are no longer those
// of the snapshot.
var errChanged = errors.New("it changed while it was read")

// Open opens a file of the snapshot for reading. Where the file is no longer the
// one that was hashed, that is an error: what travels is what the id says.
func (s *Snapshot) Open(f *File) (io.ReadCloser, error) {
	if name, ok := s.lfs[f.Path]; ok {
		return os.Open(name)
	}
	if f.objects != nil {
		r, _, _, err := f.objects.Open(f.OID)
		return r, err
	}
	name := filepath.Join(s.Dir, filepath.FromSlash(f.Path))
	if f.Mode == filemode.Symlink {
		text, err := linkText(name)
		return io.NopCloser(strings.NewReader(text)), err
	}
	if s.frozen != "" {
		name = filepath.Join(s.frozen, filepath.FromSlash(f.Path))
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && filestat.Of(info) != f.stat {
		err = fmt.Errorf("%s: %w after the snapshot was taken; run the command again", f.Path, errChanged)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
