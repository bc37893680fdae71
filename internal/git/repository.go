// Package git answers: which git repository does this folder belong to, and
// what is configured there?
//
// It finds the repository as git does (gitrepository-layout(5)), reads the
// configuration of every scope (git-config(1), "FILES"), and opens the
// repository with go-git.
package git

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/org/aml-train/internal/limited"
)

// Repository is where the parts of a repository lie, as absolute paths.
type Repository struct {
	Root      string // the working tree
	GitDir    string // HEAD and the index of this working tree
	CommonDir string // objects, refs and config; differs from GitDir in a linked worktree
	Config    Config
}

// Find returns the repository whose working tree holds dir, nil where there is
// none. Symbolic links in dir are resolved first, as git does.
func Find(dir string) (*Repository, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	for root := dir; ; root = filepath.Dir(root) {
		if r, err := At(root); r != nil || err != nil {
			return r, err
		}
		if root == filepath.Dir(root) {
			return nil, nil
		}
	}
}

// At returns the repository whose working tree is rooted exactly at root, nil
// where root is not one.
func At(root string) (*Repository, error) {
	dotGit := filepath.Join(root, ".git")
	info, err := os.Stat(dotGit)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Repository{Root: root, GitDir: dotGit}
	if !info.IsDir() {
		text, err := limited.Read(dotGit, refLimit)
		if err != nil {
			return nil, err
		}
		to, ok := strings.CutPrefix(string(text), "gitdir:")
		if !ok {
			return nil, fmt.Errorf("%s: not a git directory and no \"gitdir:\" line in it", dotGit)
		}
		r.GitDir = against(root, strings.TrimSpace(to))
	}
	if _, err := os.Stat(filepath.Join(r.GitDir, "HEAD")); err != nil {
		if info.IsDir() {
			return nil, nil // an empty folder called .git is no repository
		}
		return nil, fmt.Errorf("%s points to %s, which is no git directory", dotGit, r.GitDir)
	}
	r.CommonDir = r.GitDir
	if text, err := limited.Read(filepath.Join(r.GitDir, "commondir"), refLimit); err == nil {
		r.CommonDir = against(r.GitDir, strings.TrimSpace(string(text)))
	}
	r.Config, err = readConfig(r)
	return r, err
}

func against(base, path string) string {
	path = filepath.FromSlash(path)
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	return filepath.Clean(path)
}

// Open opens the repository with go-git.
func (r *Repository) Open() (*gogit.Repository, error) {
	if format := r.Config.Get("extensions.objectformat"); format != "" && format != "sha1" {
		return nil, fmt.Errorf("%s: repositories with %s object ids cannot be read; only sha1 can", r.Root, format)
	}
	dot := dotgit.NewRepositoryFilesystem(osfs.New(r.GitDir), osfs.New(r.CommonDir))
	if r.GitDir == r.CommonDir {
		dot = dotgit.NewRepositoryFilesystem(osfs.New(r.GitDir), nil)
	}
	store := filesystem.NewStorage(dot, cache.NewObjectLRUDefault())
	repo, err := gogit.Open(lenient{store}, osfs.New(r.Root))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Root, err)
	}
	return repo, nil
}

// lenient is go-git's storage without the repository's configuration, which go-git
// refuses where it does not know a value or an extension of it, even one that it has no
// use for.
type lenient struct{ *filesystem.Storage }

func (lenient) Config() (*config.Config, error) { return config.NewConfig(), nil }
