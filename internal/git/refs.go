package git

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

// refLimit is the most, in bytes, that the file of one reference may have.
const refLimit = 64 << 10

// packedLimit is the most, in bytes, that packed-refs may have: some millions of
// references.
const packedLimit = 512 << 20

// maxSymbolic is how many symbolic references may lead to each other, as in git.
const maxSymbolic = 5

// ErrNoReference is the error of a reference that is not there: of HEAD, on a branch
// without a commit.
var ErrNoReference = errors.New("there is no such reference")

// errPacked is the error of packed-refs that cannot be read.
var errPacked = errors.New("the file is damaged")

// Head returns what is checked out: the full name of the branch's reference, "" for a
// detached HEAD, and its commit. The error of a branch without a commit is
// ErrNoReference.
func (r *Repository) Head() (ref string, commit plumbing.Hash, err error) {
	ref, commit, err = r.Reference("HEAD")
	if ref == "HEAD" {
		ref = ""
	}
	return ref, commit, err
}

// DefaultBranch is the branch that a clone checks out, as far as this one knows: what the remote
// origin's HEAD was, else main or master, whichever is there, else what is checked out, else main.
func (r *Repository) DefaultBranch() string {
	const tracked = "refs/remotes/origin/"
	if last, _, err := r.Reference(tracked + "HEAD"); err == nil && last != tracked+"HEAD" {
		return strings.TrimPrefix(last, tracked)
	}
	for _, name := range []string{"main", "master"} {
		for _, in := range []string{"refs/heads/", tracked} {
			if _, _, err := r.Reference(in + name); err == nil {
				return name
			}
		}
	}
	if ref, _, _ := r.Head(); strings.HasPrefix(ref, "refs/heads/") {
		return strings.TrimPrefix(ref, "refs/heads/")
	}
	return "main"
}

// Readable refuses what of git's formats cannot be read here.
func (r *Repository) Readable() error {
	if format := r.Config.Get("extensions.objectformat"); format != "" && format != "sha1" {
		return fmt.Errorf("%s: repositories with %s object ids cannot be read; only sha1 can", r.Root, format)
	}
	if format := r.Config.Get("extensions.refstorage"); format != "" && format != "files" {
		return fmt.Errorf("%s keeps its references as %s, which cannot be read; only files can: "+
			"git refs migrate --ref-format=files", r.Root, format)
	}
	return nil
}

// Reference returns the object that a reference of a full name, such as
// refs/heads/main, stands for, and the name that symbolic ones on the way led to. A
// tag's object is the tag.
func (r *Repository) Reference(name string) (last string, id plumbing.Hash, err error) {
	if err := r.Readable(); err != nil {
		return name, id, err
	}
	if !nameable(name) {
		return name, id, ErrNoReference
	}
	for range maxSymbolic + 1 {
		text, err := r.looseRef(name)
		if errors.Is(err, fs.ErrNotExist) {
			id, err := r.packedRef(name)
			return name, id, err
		}
		if err != nil {
			return name, id, err
		}
		to, symbolic := strings.CutPrefix(text, "ref:")
		if !symbolic {
			if len(text) < 40 || !plumbing.IsHash(text[:40]) || len(text) > 40 && !space(text[40]) {
				return name, id, fmt.Errorf("%s: the reference holds no object id", r.refFile(name))
			}
			return name, plumbing.NewHash(text[:40]), nil
		}
		file := r.refFile(name)
		if name = strings.TrimSpace(to); !validRef(name) {
			return name, id, fmt.Errorf("%s: %q is no name of a reference", file, name)
		}
	}
	return name, id, fmt.Errorf("%s: symbolic references lead to each other", r.Root)
}

// own are the references that each working tree has for itself.
var own = lazyregexp.New(`^(refs/(bisect|worktree|rewritten)/|[A-Z_-]+$)`)

// beside are the references that lie beside HEAD, such as ORIG_HEAD.
var beside = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)

// ofWorktree are the references of one working tree, as others call them
// (git-worktree(1), "REFS").
var ofWorktree = lazyregexp.New(`^(main-worktree|worktrees/[^/]+)/[A-Z_-]+$`)

// nameable tells whether a revision can name a reference so.
func nameable(name string) bool {
	return validRef(name) || beside.MatchString(name) || ofWorktree.MatchString(name) && validRef("refs/"+name)
}

// refFile is where a reference has its own file, if it has one.
func (r *Repository) refFile(name string) string {
	dir := r.CommonDir
	if own.MatchString(name) {
		dir = r.GitDir
	}
	return filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, "main-worktree/")))
}

// looseRef returns the content of a reference's file: each working tree has HEAD and
// what is below refs/bisect, refs/worktree and refs/rewritten for itself
// (git-worktree(1), "REFS"). A link is a symbolic reference, as git wrote them once.
func (r *Repository) looseRef(name string) (string, error) {
	file := r.refFile(name)
	if to, err := os.Readlink(file); err == nil && strings.HasPrefix(to, "refs/") && validRef(to) {
		return "ref: " + to, nil
	}
	text, err := limited.Read(file, refLimit)
	switch {
	case errors.Is(err, limited.ErrNotRegular), errors.Is(err, syscall.ENOTDIR): // a folder of that name
		return "", fs.ErrNotExist
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(text), " \t\r\n"), nil
}

// packedRef looks a reference up in packed-refs.
func (r *Repository) packedRef(name string) (id plumbing.Hash, err error) {
	text, err := limited.Read(filepath.Join(r.CommonDir, "packed-refs"), packedLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		switch {
		case whole && len(line) > 41 && line[40] == ' ' && hexadecimal(line[:40]):
			if string(line[41:]) == name {
				return plumbing.NewHash(string(line[:40])), nil
			}
		case whole && number == 1 && bytes.HasPrefix(line, []byte("# pack-refs with:")):
		case whole && len(line) == 41 && line[0] == '^' && hexadecimal(line[1:]):
		default:
			return id, fmt.Errorf("%s:%d: %w, so that nobody can tell which references it had; git fsck tells more",
				filepath.Join(r.CommonDir, "packed-refs"), number, errPacked)
		}
	}
	return id, ErrNoReference
}

func hexadecimal(text []byte) bool {
	for _, c := range text {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// CanBeBranch tells whether a name can be that of a branch, here or elsewhere; HEAD~2 cannot.
func CanBeBranch(name string) bool { return validRef("refs/heads/" + name) }

// validRef tells whether a name can be that of a reference: no part of it leads out of
// the folder of references (git-check-ref-format(1)).
func validRef(name string) bool {
	if name == "HEAD" {
		return true
	}
	if !strings.HasPrefix(name, "refs/") || strings.ContainsAny(name, "\x00 ~^:?*[\\\x7f") ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}
