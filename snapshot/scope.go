package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"

	"github.com/org/aml-train/internal/gitdir"
	"github.com/org/aml-train/snapshot/ignore"
)

// scope is what one repository says of its files: its index, its ignore rules
// and its configuration. Outside a repository it says nothing.
type scope struct {
	repo        *gitdir.Repo
	rules       ignore.Stack            // core.excludesFile, then .git/info/exclude
	tracked     map[string]*index.Entry // by path relative to the root
	trackedDirs map[string]bool         // folders that hold a tracked file, at any depth
	skipped     []*index.Entry          // tracked, but not checked out (sparse checkout)
	objects     *objects

	fold       bool // core.ignoreCase
	fileMode   bool // core.fileMode
	trustCtime bool // core.trustctime
	trustIndex bool // no content filter stands between a file and its blob
	indexTime  time.Time
}

func newScope(repo *gitdir.Repo) (*scope, error) {
	s := &scope{repo: repo, fileMode: runtime.GOOS != "windows"}
	if repo == nil {
		return s, nil
	}
	c := repo.Config
	s.fold = c.Bool("core", "ignorecase", false)
	s.fileMode = s.fileMode && c.Bool("core", "filemode", true)
	s.trustCtime = c.Bool("core", "trustctime", true)
	s.objects = &objects{repository: sync.OnceValues(repo.Open)}
	if format := c.Get("extensions", "objectformat"); format != "" && format != "sha1" {
		return nil, fmt.Errorf("snapshot: %s has %s object ids; only sha1 is supported", repo.Root, format)
	}
	user := c.Path("core", "excludesfile")
	if user == "" {
		user = gitdir.UserFile("ignore")
	} else if !filepath.IsAbs(user) {
		user = filepath.Join(repo.Root, user)
	}
	for _, name := range []string{user, filepath.Join(repo.CommonDir, "info", "exclude")} {
		if text, err := os.ReadFile(name); err == nil {
			if rel, err := filepath.Rel(repo.Root, name); err == nil && filepath.IsLocal(rel) {
				name = filepath.ToSlash(rel)
			}
			s.rules = s.rules.Push(ignore.Parse(text, name, "", s.fold))
		}
	}
	return s, s.readIndex()
}

func (s *scope) readIndex() error {
	name := filepath.Join(s.repo.GitDir, "index")
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no commit and no git add yet
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	s.indexTime = info.ModTime()
	idx := &index.Index{}
	switch err := index.NewDecoder(bufio.NewReaderSize(file, 1<<20)).Decode(idx); {
	case errors.Is(err, index.ErrUnknownExtension):
		return fmt.Errorf("snapshot: the git index of %s is split or sparse, which cannot be read; run: git update-index --no-split-index && git sparse-checkout reapply --no-sparse-index", s.repo.Root)
	case err != nil:
		return fmt.Errorf("snapshot: the git index of %s cannot be read: %w; git status tells whether it is damaged", s.repo.Root, err)
	}
	s.tracked = make(map[string]*index.Entry, len(idx.Entries))
	s.trackedDirs = map[string]bool{}
	attributes := s.hasAttributesFiles()
	last := ""
	for _, e := range idx.Entries {
		s.tracked[e.Name] = e
		if e.SkipWorktree {
			s.skipped = append(s.skipped, e)
		}
		dir := e.Name
		if i := strings.LastIndexByte(dir, '/'); i >= 0 {
			dir = dir[:i]
		} else {
			dir = ""
		}
		if dir != last {
			last = dir
			for d := dir; d != "" && !s.trackedDirs[d]; {
				s.trackedDirs[d] = true
				i := strings.LastIndexByte(d, '/')
				if i < 0 {
					break
				}
				d = d[:i]
			}
		}
		if e.Name == ".gitattributes" || strings.HasSuffix(e.Name, "/.gitattributes") {
			attributes = true
		}
	}
	crlf := s.repo.Config.Get("core", "autocrlf")
	s.trustIndex = !attributes && (crlf == "" || strings.EqualFold(crlf, "false"))
	return nil
}

// hasAttributesFiles tells whether attributes may be set from outside the index.
func (s *scope) hasAttributesFiles() bool {
	user := s.repo.Config.Path("core", "attributesfile")
	if user == "" {
		user = gitdir.UserFile("attributes")
	}
	for _, name := range []string{user, filepath.Join(s.repo.CommonDir, "info", "attributes"),
		filepath.Join(s.repo.Root, ".gitattributes"), "/etc/gitattributes"} {
		if _, err := os.Stat(name); err == nil {
			return true
		}
	}
	return false
}

// unchanged tells whether the file is as it was when the index was written: same
// kind, same stat data, and not written in the same instant ("racily clean", git:
// Documentation/technical/racy-git.txt).
func (s *scope) unchanged(e *index.Entry, f File) bool {
	return e.Stage == 0 && e.Mode == f.Mode && !e.IntentToAdd && e.ModifiedAt.Before(s.indexTime) &&
		f.stat.MatchesIndex(e.Size, e.ModifiedAt, e.CreatedAt, e.Inode, s.trustCtime)
}

// read parses one ignore file. A symbolic link is not followed, as in git since
// 2.32; one that a sparse checkout leaves out is read from the index.
// One that cannot be read is an error, where git only warns: what it would have
// kept here could be a secret.
func (s *scope) read(abs, name, in, shown string) (*ignore.List, error) {
	empty := &ignore.List{Dir: in}
	full := filepath.Join(abs, name)
	info, err := os.Lstat(full)
	if err != nil {
		if e := s.tracked[join(in, name)]; e != nil && e.SkipWorktree && e.Mode != filemode.Symlink {
			if r, err := s.objects.open(e.Hash.String()); err == nil {
				defer r.Close()
				if text, err := io.ReadAll(r); err == nil {
					return ignore.Parse(text, shown, in, s.fold), nil
				}
			}
		}
		return empty, nil
	}
	if !info.Mode().IsRegular() {
		return empty, nil
	}
	text, err := os.ReadFile(full)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w; it says which files must not travel, so make it readable", err)
	}
	return ignore.Parse(text, shown, in, s.fold), nil
}

// objects reads blobs from a repository's object store.
type objects struct {
	repository func() (*git.Repository, error)
}

func (o *objects) blob(id plumbing.Hash) (plumbing.EncodedObject, error) {
	repo, err := o.repository()
	if err != nil {
		return nil, err
	}
	obj, err := repo.Storer.EncodedObject(plumbing.BlobObject, id)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, fmt.Errorf("git object %s is not on this machine; git fetch gets it", id)
	}
	return obj, err
}

func (o *objects) size(id plumbing.Hash) (int64, error) {
	obj, err := o.blob(id)
	if err != nil {
		return 0, err
	}
	return obj.Size(), nil
}

func (o *objects) open(id string) (io.ReadCloser, error) {
	obj, err := o.blob(plumbing.NewHash(id))
	if err != nil {
		return nil, err
	}
	return obj.Reader()
}
