package git

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/limited"
)

// The forms of a revision with @{...} (gitrevisions(7)); what the manual leaves open is
// as git's object-name.c has it.

// logEntry is one line of a reflog.
type logEntry struct {
	old, new plumbing.Hash
	message  string
}

// logFile returns where the changes of a reference are written down.
func (r *Repository) logFile(ref string) string {
	dir := r.CommonDir
	if own.MatchString(ref) {
		dir = r.GitDir
	}
	return filepath.Join(dir, "logs", filepath.FromSlash(ref))
}

// reflog returns the changes of a reference, the newest first, and whether they are
// written down at all.
func (r *Repository) reflog(ref string) (list []logEntry, there bool, err error) {
	text, err := limited.Read(r.logFile(ref), packedLimit)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, limited.ErrNotRegular) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for line := range strings.Lines(string(text)) {
		head, message, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if len(head) < 82 || head[40] != ' ' || head[81] != ' ' || !plumbing.IsHash(head[:40]) ||
			!plumbing.IsHash(head[41:81]) {
			continue
		}
		list = append(list, logEntry{plumbing.NewHash(head[:40]), plumbing.NewHash(head[41:81]), message})
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list, true, nil
}

// mark is what stands at the end of a name, "1" in main@{1}; ok tells whether any does.
func mark(name string) (base, content string, ok bool) {
	i := strings.LastIndex(name, "@{")
	if i < 0 || !strings.HasSuffix(name, "}") {
		return name, "", false
	}
	return name[:i], name[i+2 : len(name)-1], true
}

func upstreamMark(content string) bool {
	return strings.EqualFold(content, "u") || strings.EqualFold(content, "upstream")
}

// maxEntry is the number from which on git takes one for a time.
const maxEntry = 100_000_000

// marked tells whether a mark is of a form that is read here: an entry of the reflog, a
// branch that was checked out before, or the upstream.
func marked(content string) bool {
	n, err := strconv.ParseUint(strings.TrimPrefix(content, "-"), 10, 64)
	return upstreamMark(content) || err == nil && n < maxEntry
}

// interpret replaces a branch that was checked out before, @{-1}, and an upstream,
// main@{u}, by their names. An upstream's is the whole name of a reference.
func (r *Repository) interpret(name string) (string, error) {
	if name == "@" {
		return "HEAD", nil
	}
	if strings.HasPrefix(name, "@@{") {
		name = "HEAD" + name[1:]
	}
	if prior, ok := strings.CutPrefix(name, "@{-"); ok {
		digits, rest, _ := strings.Cut(prior, "}")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 {
			return "", ErrRevision
		}
		before, err := r.before(n)
		if err != nil || rest == "" {
			return before, err
		}
		name = before + rest
	}
	base, content, ok := mark(name)
	if !ok || !upstreamMark(content) || strings.Contains(base, "@{") {
		return name, nil
	}
	if base == "" || base == "HEAD" {
		if base = r.branch(); base == "" {
			return "", fmt.Errorf("%w: HEAD is no branch", ErrRevision)
		}
	}
	return r.upstream(base)
}

// before returns what was checked out before the n-th last time that something else was.
func (r *Repository) before(n int) (string, error) {
	list, _, err := r.reflog("HEAD")
	if err != nil {
		return "", err
	}
	for _, e := range list {
		moved, ok := strings.CutPrefix(e.message, "checkout: moving from ")
		from, _, to := strings.Cut(moved, " to ")
		if !ok || !to {
			continue
		}
		if n--; n == 0 {
			return from, nil
		}
	}
	return "", fmt.Errorf("%w: the reflog of HEAD does not go back so far", ErrRevision)
}

// upstream returns the reference that follows what a branch is merged with: where the
// remote's fetch puts it, or itself in this repository.
func (r *Repository) upstream(branch string) (string, error) {
	c := r.Config
	remote, merge := c.Get("branch."+branch+".remote"), c.All("branch."+branch+".merge")
	if remote == "" || len(merge) == 0 {
		return "", fmt.Errorf("%w: the branch %s has no upstream", ErrRevision, branch)
	}
	if remote == "." {
		return merge[0], nil
	}
	specs := c.All("remote." + remote + ".fetch")
	for _, spec := range specs {
		if not, ok := strings.CutPrefix(spec, "^"); ok {
			if _, match := matchSpec(not, "", merge[0]); match {
				return "", ErrRevision
			}
		}
	}
	for _, spec := range specs {
		from, to, ok := strings.Cut(strings.TrimPrefix(spec, "+"), ":")
		if !ok || to == "" || strings.HasPrefix(spec, "^") {
			continue
		}
		if ref, match := matchSpec(from, to, merge[0]); match {
			return ref, nil
		}
	}
	return "", fmt.Errorf("%w: nothing here follows the upstream of %s", ErrRevision, branch)
}

// matchSpec maps a reference by the two sides of a refspec, which may have one "*" each.
func matchSpec(from, to, ref string) (string, bool) {
	before, after, pattern := strings.Cut(from, "*")
	if !pattern {
		return to, from == ref
	}
	if len(ref) < len(before)+len(after) || !strings.HasPrefix(ref, before) || !strings.HasSuffix(ref, after) {
		return "", false
	}
	return strings.Replace(to, "*", ref[len(before):len(ref)-len(after)], 1), true
}

// entry returns what a reference was n changes ago.
func (r *Repository) entry(base string, n int) (id plumbing.Hash, err error) {
	if base, err = r.interpret(base); err != nil {
		return id, err
	}
	if base == "" { // @{1} is of the branch, and HEAD@{1} of HEAD
		ref, _, err := r.Reference("HEAD")
		if err != nil {
			return id, err
		}
		return r.nth(ref, n)
	}
	for _, rule := range rules {
		full := fmt.Sprintf(rule, base)
		if !nameable(full) {
			continue
		}
		ref, _, err := r.Reference(full)
		if err != nil {
			continue
		}
		for _, log := range []string{full, ref} {
			if _, there, _ := r.reflog(log); there {
				return r.nth(log, n)
			}
		}
	}
	return id, fmt.Errorf("%w: there is no reflog of %s", ErrRevision, base)
}

func (r *Repository) nth(ref string, n int) (plumbing.Hash, error) {
	list, _, err := r.reflog(ref)
	switch {
	case err != nil:
		return plumbing.ZeroHash, err
	case n == 0 && len(list) > 0:
		return list[0].new, nil
	case n > 0 && n < len(list) && list[n].new != list[n-1].old:
		return plumbing.ZeroHash,
			fmt.Errorf("the reflog of %s has a gap there, of which versions of git say different "+
				"commits; give the one that git rev-parse prints", ref)
	case n > 0 && n <= len(list) && !list[n-1].old.IsZero():
		return list[n-1].old, nil
	}
	return plumbing.ZeroHash, fmt.Errorf("%w: the reflog of %s has %d entries", ErrRevision, ref, len(list))
}
