// Package hooks answers: what happens on a push?
//
// It knows git's pre-push hook (githooks(5)): what git tells it, where it lies, and
// how to share the place with the hooks of others. It decides of each branch that is pushed whether
// something trains (Push); the submission itself is its caller's.
package hooks

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/org/aml-train/internal/git"
)

// Update is one ref that a push changes, as git tells it: "LOCAL-REF LOCAL-OID
// REMOTE-REF REMOTE-OID" (githooks(5), pre-push). Object ids have 40 hex digits, or
// 64 in a SHA-256 repository.
type Update struct {
	LocalRef  string // "(delete)" where the remote's ref is deleted
	Local     string // the commit that is pushed
	RemoteRef string // refs/heads/NAME, refs/tags/NAME
	Remote    string // what the remote has; zeros where it has no such ref
}

// maxLine bounds a line: git's names have at most 4,096 bytes each.
const maxLine = 64 << 10

// ParseUpdates reads what git writes to the hook's standard input.
func ParseUpdates(r io.Reader) ([]Update, error) {
	var out []Update
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		text := strings.TrimSuffix(lines.Text(), "\r")
		if text == "" {
			continue
		}
		parts := strings.Split(text, " ")
		if len(parts) == 5 && parts[0] == "" { // nothing is pushed there, so nothing is named
			parts = parts[1:]
		}
		if len(parts) != 4 || !objectID(parts[1]) || !objectID(parts[3]) || len(parts[1]) != len(parts[3]) {
			return nil, fmt.Errorf("git tells the hook %q, which is no line of the pre-push protocol", text)
		}
		out = append(out, Update{parts[0], parts[1], parts[2], parts[3]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("what git tells the hook cannot be read: %w", err)
	}
	return out, nil
}

// ReadUpdates reads what is pushed: git's lines, or of pre-commit, which has read them itself and
// hands one on, its variables (pre-commit.com, "pre-push"). Of a branch that has nothing in common
// with the remote these do not name the commit; commit finds that of a revision.
func ReadUpdates(
	lines io.Reader, getenv func(string) string, commit func(rev string) (id string, err error),
) (list []Update, err error) {
	local, remote := getenv("PRE_COMMIT_LOCAL_BRANCH"), getenv("PRE_COMMIT_REMOTE_BRANCH")
	if remote == "" {
		return ParseUpdates(lines)
	}
	to := getenv("PRE_COMMIT_TO_REF")
	if to == "" {
		if to, err = commit(local); err != nil {
			return nil, err
		}
	}
	from := cmp.Or(getenv("PRE_COMMIT_FROM_REF"), strings.Repeat("0", len(to)))
	return ParseUpdates(strings.NewReader(strings.Join([]string{local, to, remote, from}, " ")))
}

// Next is what git would tell of a push of a branch, which is at that commit, to where it is
// usually pushed.
func Next(repo *git.Repository, branch, commit string) Update {
	u := Update{LocalRef: "HEAD", Local: commit, RemoteRef: "refs/heads/" + branch, Remote: strings.Repeat("0", 40)}
	remote, ref := "origin", u.RemoteRef
	r, merge := repo.Config.Get("branch."+branch+".remote"), repo.Config.Get("branch."+branch+".merge")
	if r != "" && merge != "" {
		remote, ref = r, merge
	}
	_, id, err := repo.Reference("refs/remotes/" + remote + "/" + strings.TrimPrefix(ref, "refs/heads/"))
	if err == nil {
		u.Remote = id.String()
	}
	return u
}

func objectID(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

func zero(id string) bool { return strings.Trim(id, "0") == "" }

// Branch is the branch that gets the commit, "" where no branch does: a deletion,
// a tag, any other ref.
func (u Update) Branch() string {
	if zero(u.Local) {
		return ""
	}
	branch, ok := strings.CutPrefix(u.RemoteRef, "refs/heads/")
	if !ok {
		return ""
	}
	return branch
}

// New tells whether the remote does not have the ref yet.
func (u Update) New() bool { return zero(u.Remote) }
