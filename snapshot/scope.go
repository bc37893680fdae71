package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/git/attributes"
	"github.com/org/aml-train/internal/git/ignore"
	"github.com/org/aml-train/internal/git/index"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
)

// scope is what one repository says of its files: its index, its ignore rules,
// its attributes and its configuration. Outside a repository it says nothing.
type scope struct {
	repo    *git.Repository
	rules   ignore.Stack     // core.excludesFile, then .git/info/exclude
	filters attributes.Stack // the system's and the person's attributes
	info    *attributes.List // .git/info/attributes, which win over all others
	index   *index.Index
	objects *object.Store
	sizes   *sizes

	ignoreCase bool   // core.ignoreCase
	fileMode   bool   // core.fileMode
	symlinks   bool   // core.symlinks
	trustCtime bool   // core.trustctime
	sparse     bool   // core.sparseCheckout
	autocrlf   string // core.autocrlf
}

// newScope reads what a repository says. Its objects are the walker's to close.
func (w *walker) newScope(repo *git.Repository) (*scope, error) {
	s, err := newRules(repo)
	if err != nil || repo == nil {
		return s, err
	}
	w.stores.add(s.objects)
	if s.index, err = repo.Index(s.objects); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s.sizes = newSizes(repo, s.index, s.objects)
	w.mu.Lock()
	w.sizes = append(w.sizes, s.sizes)
	w.mu.Unlock()
	return s, nil
}

// newRules is a scope without the index, which says nothing of commits.
func newRules(repo *git.Repository) (*scope, error) {
	s := &scope{repo: repo, fileMode: runtime.GOOS != "windows", symlinks: true, index: &index.Index{},
		info: &attributes.List{}}
	if repo == nil {
		return s, nil
	}
	c := repo.Config
	if err := repo.Readable(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s.ignoreCase = c.Bool("core.ignorecase", false)
	s.fileMode = s.fileMode && c.Bool("core.filemode", true)
	s.symlinks = c.Bool("core.symlinks", true)
	s.trustCtime = c.Bool("core.trustctime", true)
	s.sparse = c.Bool("core.sparsecheckout", false)
	if s.autocrlf = strings.ToLower(c.Get("core.autocrlf")); s.autocrlf != "input" {
		s.autocrlf = ""
		if c.Bool("core.autocrlf", false) {
			s.autocrlf = "true"
		}
	}
	s.objects = repo.Objects()
	for _, name := range []string{s.userFile("excludesfile", "ignore"),
		filepath.Join(repo.CommonDir, "info", "exclude")} {
		if text, err := limited.Read(name, limited.Config); err == nil {
			if rel, err := filepath.Rel(repo.Root, name); err == nil && filepath.IsLocal(rel) {
				name = filepath.ToSlash(rel)
			}
			s.rules = s.rules.Push(ignore.Parse(text, name, "", s.ignoreCase))
		}
	}
	for _, name := range []string{git.SystemAttributes(), s.userFile("attributesfile", "attributes")} {
		if text, err := limited.Read(name, limited.Config); err == nil {
			s.filters = s.filters.Push(attributes.Parse(text, "", true, s.ignoreCase))
		}
	}
	if text, err := limited.Read(filepath.Join(repo.CommonDir, "info", "attributes"), limited.Config); err == nil {
		s.info = attributes.Parse(text, "", true, s.ignoreCase)
	}
	return s, nil
}

// userFile is a file of the person's that core.KEY names, with git's own default.
func (s *scope) userFile(key, usual string) string {
	name, ok := s.repo.Config.Path("core." + key)
	if !ok {
		return git.UserFile(usual)
	}
	if name != "" && !filepath.IsAbs(name) {
		name = filepath.Join(s.repo.Root, name)
	}
	return name
}

// unchanged tells whether the file is as it was when the index was written: same
// kind, same stat data, and not written in the same instant. Where the change time is not
// trusted, a program can set a file's times back, and the instant is a second, as for git.
func (s *scope) unchanged(entry int, f *File) bool {
	x := s.index
	written := x.Time.UnixNano()
	if !s.trustCtime {
		written = x.Time.Unix() * int64(time.Second)
	}
	return x.Mode(entry) == f.Mode && x.Mtime(entry) < written &&
		f.stat.MatchesIndex(x.Size(entry), x.Mtime(entry), x.Ctime(entry), x.Inode(entry), s.trustCtime) &&
		x.Stage(entry) == 0 && !x.IntentToAdd(entry)
}

// sameBytes tells whether an unchanged file holds the bytes of its blob. Line ends can only have been
// converted where the sizes differ: git drops bytes when it adds a file, and adds none. The sizes count
// where nothing is converted, too: the file may have been added when attributes or the configuration said
// something else, for git does not add it anew because of that (git-add(1), --renormalize).
func (s *scope) sameBytes(entry int, f *File, filters attributes.Stack) bool {
	if f.Mode == filemode.Symlink {
		return true
	}
	if len(filters) > 0 || s.autocrlf != "" {
		filter := filters.Of(s.index.Name(entry), s.autocrlf)
		if !filter.None() && !filter.OnlyLines() {
			return false
		}
	}
	return s.sizes.is(entry, f.Size)
}

// read returns the text of a file that says something of others, and whether it is
// there. A symbolic link is not followed, as in git since 2.32; one that a sparse
// checkout leaves out is read from the repository. One that cannot be read is an
// error, where git only warns: what it would have kept here could be a secret.
func (s *scope) read(abs, name, in string) ([]byte, bool, error) {
	full := filepath.Join(abs, name)
	info, err := os.Lstat(full)
	if err != nil {
		i := s.index.Find(join(in, name))
		if i >= 0 && s.index.SkipWorktree(i) && s.index.Mode(i) != filemode.Symlink {
			text, err := s.objects.Read(s.index.ID(i), plumbing.BlobObject, limited.Config)
			if err != nil {
				return nil, false, explainMissing(s.repo, join(in, name), err)
			}
			return text, true, nil
		}
		return nil, false, nil
	}
	if !info.Mode().IsRegular() {
		return nil, false, nil
	}
	text, err := limited.Read(full, limited.Config)
	if err != nil {
		return nil, false, fmt.Errorf("snapshot: %w; it says which files must not travel, so make it readable", err)
	}
	return text, true, nil
}

// linkText returns what a symbolic link says, slash-separated. Where links cannot
// be made (core.symlinks is false), git leaves a file with that text.
func linkText(name string) (string, error) {
	text, err := os.Readlink(name)
	if err == nil {
		return filepath.ToSlash(text), nil
	}
	info, serr := os.Lstat(name)
	if serr != nil || !info.Mode().IsRegular() || info.Size() > 1<<16 {
		return "", err
	}
	content, err := os.ReadFile(name)
	return string(content), err
}

// unreadable explains why a folder or file cannot be read.
func unreadable(err error, ignoreFile string) error {
	if strings.Contains(err.Error(), "file name too long") {
		return fmt.Errorf("snapshot: %w: no program can open a path of that length; shorten it or leave it out with "+
			"a line in %s", err, ignoreFile)
	}
	return fmt.Errorf("snapshot: %w; make it readable or leave it out with a line in %s", err, ignoreFile)
}
