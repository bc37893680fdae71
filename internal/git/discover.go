package git

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/limited"
)

// What git does to find a repository is not all in its manual: the order of the rules is
// setup.c's (setup_git_directory_gently), and t1510 of git's own tests lists the cases.

// gitFileLimit is the most, in bytes, that git reads of a file called .git.
const gitFileLimit = 1 << 20

// errGitFile is the error of a file called .git that names no git directory.
var errGitFile = errors.New("is no file of git's")

// gitDirOf returns the git directory that a path named .git is, or that the file there
// names; "" where nothing is there. common is GIT_COMMON_DIR.
func gitDirOf(path, common string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil: // git passes over what it cannot look at
		return "", nil
	case info.IsDir() && isGitDir(path, common):
		return path, nil
	case !info.Mode().IsRegular():
		return "", nil
	}
	text, err := limited.Read(path, gitFileLimit)
	var large *limited.TooLargeError
	if errors.As(err, &large) {
		return "", fmt.Errorf("%s %w: it is too large", path, errGitFile)
	}
	if err != nil {
		return "", err
	}
	to, ok := strings.CutPrefix(string(text), "gitdir: ")
	if to = strings.TrimRight(to, "\r\n"); !ok || to == "" {
		return "", fmt.Errorf("%s %w: its line does not begin with \"gitdir: \" and a path", path, errGitFile)
	}
	to, _, _ = strings.Cut(to, "\x00")
	to = against(filepath.Dir(path), to)
	if !isGitDir(to, common) {
		return "", fmt.Errorf("%s %w: it points to %s, which is no git directory", path, errGitFile, to)
	}
	return to, nil
}

// isGitDir tells whether a folder is a git directory: HEAD is a reference or an id, and
// there are objects and refs (gitrepository-layout(5)).
func isGitDir(dir, common string) bool {
	if !headIsOne(filepath.Join(dir, "HEAD")) {
		return false
	}
	shared := cmp.Or(common, commonDir(dir))
	return isDir(cmp.Or(os.Getenv("GIT_OBJECT_DIRECTORY"), filepath.Join(shared, "objects"))) &&
		isDir(filepath.Join(shared, "refs"))
}

func headIsOne(head string) bool {
	if to, err := os.Readlink(head); err == nil && strings.HasPrefix(to, "refs/") {
		return true
	}
	text, err := limited.Read(head, refLimit)
	if err != nil {
		return false
	}
	if to, ok := bytes.CutPrefix(text, []byte("ref:")); ok {
		return bytes.HasPrefix(bytes.TrimLeft(to, " \t\n\v\f\r"), []byte("refs/"))
	}
	return len(text) >= 40 && plumbing.IsHash(string(text[:40]))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// commonDir returns what the working trees of a repository share: the git directory, but
// for a linked working tree (git-worktree(1), "DETAILS").
func commonDir(gitDir string) string {
	text, err := limited.Read(filepath.Join(gitDir, "commondir"), gitFileLimit)
	if err != nil {
		return gitDir
	}
	return against(gitDir, strings.TrimRight(string(text), "\r\n"))
}

// against returns a path that is relative to base, or absolute. What is there goes by
// its path without links: "LINK/.." is above what the link leads to.
func against(base, path string) string {
	path = filepath.FromSlash(path)
	if !filepath.IsAbs(path) {
		path = base + string(filepath.Separator) + path
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// discover finds the repository for dir, an absolute path without links; nil where there
// is none.
func (f *Finder) discover(dir string) (*Repository, error) {
	here, err := os.Getwd()
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err != nil {
		return nil, err
	}
	common := os.Getenv("GIT_COMMON_DIR")
	if common != "" {
		common = against(here, common)
	}
	var gitDir, tree string
	named, explicit := os.LookupEnv("GIT_DIR")
	if explicit {
		if gitDir, err = explicitGitDir(here, named, common); err != nil {
			return nil, err
		}
	} else if gitDir, tree, err = f.above(dir, common); err != nil || gitDir == "" {
		return nil, err
	}
	r := &Repository{GitDir: gitDir, CommonDir: cmp.Or(common, commonDir(gitDir))}
	format, err := r.format(&f.texts, common != "")
	if err != nil {
		return nil, err
	}
	if err := r.place(here, tree, explicit, format); err != nil {
		return nil, err
	}
	r.environment(here)
	if rel, err := filepath.Rel(r.Root, dir); !r.Bare && (err != nil || !filepath.IsLocal(rel)) {
		return nil, fmt.Errorf("%s is not in the working tree %s of the repository %s; "+
			"GIT_DIR, GIT_WORK_TREE or core.worktree name them", dir, r.Root, r.GitDir)
	}
	return r, nil
}

func explicitGitDir(here, named, common string) (string, error) {
	path := against(here, named)
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() {
		path, err = gitDirOf(path, common)
		if err != nil {
			return "", fmt.Errorf("GIT_DIR: %w", err)
		}
		return path, nil
	}
	if named == "" || !isGitDir(path, common) {
		return "", fmt.Errorf("GIT_DIR is %q, which is no git directory; unset it, or let it name one", named)
	}
	return path, nil
}

// broken tells whether a folder called .git was a git directory once: git passes over it,
// as over any folder, but what it ignored and tracked would be forgotten then.
func broken(dotGit string) bool {
	return isDir(filepath.Join(dotGit, "objects")) || isDir(filepath.Join(dotGit, "refs")) ||
		isDir(dotGit) && isThere(filepath.Join(dotGit, "HEAD"))
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// above looks for a repository in dir and the folders above it, up to the first that
// GIT_CEILING_DIRECTORIES names or that lies on another file system. tree is the folder
// in which .git lies, "" where the repository was found without one.
func (f *Finder) above(dir, common string) (gitDir, tree string, err error) {
	ceiling, damaged := ceilingOf(dir), ""
	across, _ := Entry{Value: os.Getenv("GIT_DISCOVERY_ACROSS_FILESYSTEM"), HasValue: true}.boolean()
	device := deviceOf(dir)
	defer func() {
		if err == nil && gitDir == "" && damaged != "" {
			err = fmt.Errorf("%s is damaged: it is no git directory any more (HEAD, objects or refs are not what they "+
				"should be); git status does not find it either", damaged)
		}
	}()
	for root := dir; ; root = filepath.Dir(root) {
		if root == ceiling || !across && deviceOf(root) != device {
			return "", "", nil
		}
		dotGit := filepath.Join(root, ".git")
		gitDir, err := gitDirOf(dotGit, common)
		if err != nil {
			return "", "", err
		}
		if gitDir != "" {
			owned := []string{root, gitDir}
			if gitDir != dotGit {
				owned = append(owned, dotGit)
			}
			return gitDir, root, f.owned(root, owned)
		}
		if damaged == "" && broken(dotGit) {
			damaged = dotGit
		}
		if isGitDir(root, common) {
			if err := f.unplanted(root); err != nil {
				return "", "", err
			}
			return root, "", f.owned(root, []string{root})
		}
		if root == filepath.Dir(root) {
			return "", "", nil
		}
	}
}

// ErrPlanted is the error of a bare repository that nobody named.
var ErrPlanted = errors.New("may have come with files that others wrote")

// unplanted refuses a bare repository that lies among the files of another one: a commit
// can bring it, other than a folder called .git, and then its configuration and its HEAD
// are a stranger's. So it refuses every one where safe.bareRepository says so
// (git-config(1)).
func (f *Finder) unplanted(root string) error {
	for dir := root; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if strings.EqualFold(filepath.Base(dir), ".git") {
			return nil // nothing that is committed is called that
		}
	}
	l := &loader{repository: &Repository{}, texts: &f.texts}
	if err := l.all(machineSources()); err != nil {
		return err
	}
	if strings.EqualFold(l.config.Get("safe.barerepository"), "explicit") {
		return fmt.Errorf("%s is a bare repository, which %w; safe.bareRepository is explicit, so GIT_DIR has to "+
			"name it",
			root, ErrPlanted)
	}
	for dir := filepath.Dir(root); ; dir = filepath.Dir(dir) {
		if isThere(filepath.Join(dir, ".git")) {
			return fmt.Errorf("%s is a bare repository inside the repository %s, and %w; "+
				"GIT_DIR names it if it is yours", root, dir, ErrPlanted)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// ceilingOf returns the innermost folder above dir at which the search ends. After an
// empty entry of the list, links in the others are not resolved (git(1)).
func ceilingOf(dir string) (ceiling string) {
	plain := false
	for _, entry := range filepath.SplitList(os.Getenv("GIT_CEILING_DIRECTORIES")) {
		if entry == "" {
			plain = true
		}
		if !filepath.IsAbs(entry) {
			continue
		}
		entry = filepath.Clean(entry)
		if real, err := filepath.EvalSymlinks(entry); err == nil && !plain {
			entry = real
		}
		rel, err := filepath.Rel(entry, dir)
		if err == nil && rel != "." && filepath.IsLocal(rel) && len(entry) > len(ceiling) {
			ceiling = entry
		}
	}
	return ceiling
}

// owned refuses a repository of another user, as git does: what it says would be
// believed. safe.directory, in a configuration that is not the repository's, lists
// exceptions.
func (f *Finder) owned(root string, paths []string) error {
	if !slices.ContainsFunc(paths, foreign) {
		return nil
	}
	for _, trusted := range f.Trusted {
		if rel, err := filepath.Rel(trusted, root); err == nil && filepath.IsLocal(rel) {
			return nil
		}
	}
	l := &loader{repository: &Repository{}, texts: &f.texts}
	if err := l.all(machineSources()); err != nil {
		return err
	}
	safe := false
	for _, value := range l.config.All("safe.directory") {
		path, err := expand(value)
		switch {
		case value == "":
			safe = false
		case value == "*" || err == nil && (path == root || filepath.Clean(path) == root):
			safe = true
		case strings.HasSuffix(value, "/*"):
			rel, rerr := filepath.Rel(strings.TrimSuffix(path, "*"), root)
			safe = safe || err == nil && rerr == nil && filepath.IsLocal(rel)
		}
	}
	if safe {
		return nil
	}
	return fmt.Errorf("the repository %s belongs to another user, whose settings and job would be obeyed; "+
		"git config --global --add safe.directory %s trusts it", root, root)
}

// format is what the repository's own files say of how it is to be read.
type format struct {
	bare     bool
	worktree string
}

// extensions are those of the format that change nothing here, or are looked at where
// they do.
var extensions = []string{"noop", "noop-v1", "preciousobjects", "partialclone", "worktreeconfig", "objectformat",
	"compatobjectformat", "refstorage", "relativeworktrees", "submodulepathconfig"}

// format reads core.bare and core.worktree, which count in the repository's own files
// alone, and refuses a format that is not known (git's repository-version(5)). shared
// says that the environment names the shared folder.
func (r *Repository) format(t *texts, shared bool) (f format, err error) {
	own, err := r.ownConfig(t)
	if err != nil {
		return f, err
	}
	text, ok := own.Lookup("core.repositoryformatversion")
	version, perr := strconv.Atoi(text.Value)
	if !ok || perr != nil {
		return f, nil // nor does git look at the rest then
	}
	if version > 1 {
		return f, fmt.Errorf("%s: the repository has the format %d; 0 and 1 are known", r.GitDir, version)
	}
	for _, e := range own.entries {
		name, ok := strings.CutPrefix(e.Key, "extensions.")
		if ok && version == 1 && !slices.Contains(extensions, name) {
			return f, fmt.Errorf("%s: the repository needs %s, which is not known here", r.GitDir, e.Key)
		}
	}
	linked := shared || r.CommonDir != r.GitDir // then the shared file does not say it
	if own.Bool("extensions.worktreeconfig", false) {
		l := &loader{repository: r, plain: true, texts: t, config: own}
		if err := l.file(source{filepath.Join(r.GitDir, "config.worktree"), false}, 0); err != nil {
			return f, err
		}
		own, linked = l.config, false
	}
	if !linked {
		f = format{own.Bool("core.bare", false), own.Get("core.worktree")}
	}
	return f, nil
}

// place says where the working tree is. tree is where the repository was found.
func (r *Repository) place(here, tree string, explicit bool, f format) error {
	named, set := os.LookupEnv("GIT_WORK_TREE")
	switch {
	case set:
		if named == "" {
			return errors.New("GIT_WORK_TREE is empty; unset it, or let it name a folder")
		}
		r.Root = against(here, named)
	case f.bare:
	case f.worktree != "":
		r.Root = against(r.GitDir, f.worktree)
	case !explicit:
		r.Root = tree
	default:
		implicit, ok := Entry{Value: os.Getenv("GIT_IMPLICIT_WORK_TREE"), HasValue: true}.boolean()
		if _, set := os.LookupEnv("GIT_IMPLICIT_WORK_TREE"); !set || !ok || implicit {
			r.Root = here
		}
	}
	if r.Root == "" {
		r.Root, r.Bare = r.GitDir, true
		return nil
	}
	real, err := filepath.EvalSymlinks(r.Root)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("the working tree %s of the repository %s is not there", r.Root, r.GitDir)
	}
	r.Root = real
	return err
}

// environment takes over what the environment says of the parts of the repository.
func (r *Repository) environment(here string) {
	base := r.Root // where git would stand
	if r.Bare {
		base = here
	}
	name := func(variable, usual string) string {
		if value := os.Getenv(variable); value != "" {
			return against(base, value)
		}
		return usual
	}
	r.IndexFile = name("GIT_INDEX_FILE", filepath.Join(r.GitDir, "index"))
	r.ObjectDir = name("GIT_OBJECT_DIRECTORY", filepath.Join(r.CommonDir, "objects"))
	list := os.Getenv("GIT_ALTERNATE_OBJECT_DIRECTORIES")
	r.borrowed = object.Alternates(list, string(filepath.ListSeparator), base)
}
