// Package git answers: which git repository does this folder belong to, and
// what is configured there?
//
// It finds the repository as git does (git(1), "ENVIRONMENT VARIABLES";
// gitrepository-layout(5)), reads the configuration of every scope (git-config(1),
// "FILES"), and knows which commit a revision names.
package git

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/git/index"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/size"
)

// Repository is where the parts of a repository lie, as absolute paths.
type Repository struct {
	Root      string // the working tree; of a bare repository, GitDir
	Bare      bool   // there is no working tree
	GitDir    string // HEAD and the index of this working tree
	CommonDir string // objects, refs and config; differs from GitDir in a linked worktree
	IndexFile string
	ObjectDir string
	Config    Config

	borrowed []string // object folders that the environment names beside ObjectDir
}

// Shallow tells whether a clone has not all of its commits (gitglossary(7), "shallow repository").
func (r *Repository) Shallow() bool {
	_, err := os.Stat(filepath.Join(r.CommonDir, "shallow"))
	return err == nil
}

// Objects returns the repository's objects. They are to be closed.
func (r *Repository) Objects() *object.Store { return object.New(r.ObjectDir, r.borrowed...) }

// Index reads what git's index says. The folders that it keeps as one entry are listed
// from the objects, and stay one entry without any.
func (r *Repository) Index(objects *object.Store) (*index.Index, error) {
	begin := time.Now()
	x, err := index.Read(r.IndexFile, r.GitDir, objects)
	if err == nil {
		debuglog.Step(begin, "git: index %s, %s", r.IndexFile, size.Count(x.Len(), "path"))
	}
	return x, err
}

// Finder finds repositories, each of them once. A command has one, which it hands down:
// what is said of a repository is then said of one state of it, and no file of the
// configuration is read twice. It can be used by several goroutines; a nil one finds
// anew each time.
type Finder struct {
	// Trusted are folders in which a repository may belong to another user, as below one
	// that safe.directory names.
	Trusted []string

	mu    sync.Mutex
	found map[string]*Repository // by working tree and git directory
	texts texts
}

// Find returns the repository whose working tree holds dir, nil where there is none. It
// is the one that git would use in dir: what GIT_DIR, GIT_WORK_TREE and core.worktree
// name, else what lies in dir or above it. Symbolic links in dir are resolved first, as
// git does.
func (f *Finder) Find(dir string) (*Repository, error) {
	if f == nil {
		f = &Finder{}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	begin := time.Now()
	r, err := f.discover(dir)
	if err != nil || r == nil {
		debuglog.Step(begin, "git: no repository around %s", dir)
		return nil, err
	}
	key := r.Root + "\x00" + r.GitDir
	if held := f.found[key]; held != nil {
		return held, nil
	}
	if r.Config, err = readConfig(r, &f.texts); err != nil {
		return nil, err
	}
	debuglog.Step(begin, "git: repository %s, git directory %s, %s of configuration", r.Root, r.GitDir,
		size.Count(len(r.Config.entries), "value"))
	if f.found == nil {
		f.found = map[string]*Repository{}
	}
	f.found[key] = r
	return r, nil
}

// At returns the repository whose working tree is rooted exactly at root, nil where root
// is not one. It is for repositories in others, of which the environment says nothing.
func (f *Finder) At(root string) (*Repository, error) {
	if f == nil {
		f = &Finder{}
	}
	r, err := Locate(root)
	if err != nil || r == nil {
		return nil, err
	}
	r.Config, err = readConfig(r, &f.texts)
	return r, err
}

// Find is that of a Finder, anew.
func Find(dir string) (*Repository, error) { return (*Finder)(nil).Find(dir) }

// Locate is Finder.At without the configuration.
func Locate(root string) (*Repository, error) {
	gitDir, err := gitDirOf(filepath.Join(root, ".git"), "")
	if err != nil || gitDir == "" {
		if errors.Is(err, errGitFile) {
			return nil, nil // git takes such a folder for a plain one
		}
		return nil, err
	}
	r := &Repository{Root: root, GitDir: gitDir, CommonDir: commonDir(gitDir)}
	r.IndexFile, r.ObjectDir = filepath.Join(r.GitDir, "index"), filepath.Join(r.CommonDir, "objects")
	return r, nil
}
