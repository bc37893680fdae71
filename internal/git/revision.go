package git

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

// ErrRevision is the error of a revision that names nothing here.
var ErrRevision = errors.New("names no commit")

// refused are the forms of a revision that are not answered (gitrevisions(7)): git would
// look into the index or the text of commits, or they stand for several commits.
var refused = lazyregexp.New(`^:|\^\{/|\^[-!@]|\.\.`)

// marks are what stands behind names in @{...}.
var marks = lazyregexp.New(`@\{([^}]*)\}`)

// answered tells whether a revision is of a form that is read here. Of a reflog, that
// is an entry by its number, not by its time.
func answered(rev string) bool {
	for _, m := range marks.FindAllStringSubmatch(rev, -1) {
		if !marked(m[1]) {
			return false
		}
	}
	return !refused.MatchString(rev) && !strings.Contains(marks.ReplaceAllString(rev, ""), "@{")
}

// suffix is what may follow the name of a revision: parents, ancestors and types.
var suffix = lazyregexp.New(`^(\^\{[a-z]*\}|\^[0-9]*|~[0-9]*)`)

// Revision returns the object that a revision names, as git rev-parse does: an id or the
// unique beginning of one, a reference, what git describe prints, what a reference was
// (@{1}), a branch that was checked out before (@{-1}), an upstream (@{u}), each with ^N,
// ~N and ^{TYPE} behind it. Any other form is refused with the reason, and never taken for
// another commit.
func (r *Repository) Revision(rev string) (plumbing.Hash, error) {
	begin := time.Now()
	id, err := r.revision(rev)
	if err != nil {
		debuglog.Step(begin, "git: revision %q of %s: %v", rev, r.Root, err)
	} else {
		debuglog.Step(begin, "git: revision %q of %s is %s", rev, r.Root, id)
	}
	return id, err
}

func (r *Repository) revision(rev string) (plumbing.Hash, error) {
	unread := fmt.Errorf("%q is a revision of a form that is not read here; "+
		"give the commit that git rev-parse prints for it", rev)
	if !answered(rev) {
		return plumbing.ZeroHash, unread
	}
	if err := r.Readable(); err != nil {
		return plumbing.ZeroHash, err
	}
	if why := r.rewritten(); why != "" {
		return plumbing.ZeroHash, fmt.Errorf("%s has %s, so that %q stands for other commits than it names; "+
			"that is not read here: remove it, or train the working tree", r.Root, why, rev)
	}
	name, rest := rev, ""
	if i := strings.IndexAny(rev, "^~"); i >= 0 {
		name, rest = rev[:i], rev[i:]
	}
	objects := r.Objects()
	defer objects.Close()
	id, err := r.named(objects, name)
	for err == nil && rest != "" {
		step := suffix.FindString(rest)
		if step == "" {
			err = errors.New("it is no revision")
			break
		}
		rest = rest[len(step):]
		id, err = r.follow(objects, id, step)
	}
	if err != nil && strings.Contains(name, "@{") && rev != name && strings.HasSuffix(rev, "}") {
		return plumbing.ZeroHash, unread // git takes all that is between the braces for a time
	}
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("%s: %w", rev, err)
	}
	return id, nil
}

// named returns the object of a revision without what follows its name. The order is
// git's: a whole id, a reference, what git describe prints, the beginning of an id.
func (r *Repository) named(objects *object.Store, name string) (plumbing.Hash, error) {
	if plumbing.IsHash(name) {
		return plumbing.NewHash(name), nil
	}
	if base, content, ok := mark(name); ok && !upstreamMark(content) && !strings.HasPrefix(content, "-") {
		n, err := strconv.Atoi(content)
		if err != nil {
			return plumbing.ZeroHash, ErrRevision
		}
		return r.entry(base, n)
	}
	name, err := r.interpret(name)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if plumbing.IsHash(name) { // was checked out before
		return plumbing.NewHash(name), nil
	}
	var broken error
	for _, rule := range rules {
		full := fmt.Sprintf(rule, name)
		if !nameable(full) {
			continue
		}
		_, id, err := r.Reference(full)
		if err == nil {
			return id, nil
		}
		if errors.Is(err, errPacked) || !errors.Is(err, ErrNoReference) && full == "HEAD" {
			return plumbing.ZeroHash, err
		}
		if !errors.Is(err, ErrNoReference) && rule != "%s" { // git warns of one that is damaged, and goes on
			broken = err
		}
	}
	if broken != nil && strings.Contains(name, "/") {
		return plumbing.ZeroHash, broken
	}
	if m := described.FindStringSubmatch(name); m != nil {
		name = m[1]
	}
	return r.abbreviated(objects, name)
}

// rewritten says what makes commits stand for others: git replace, or the grafts that
// there were before it.
func (r *Repository) rewritten() string {
	if os.Getenv("GIT_NO_REPLACE_OBJECTS") == "" && r.Config.Bool("core.usereplacerefs", true) {
		if entries, err := os.ReadDir(filepath.Join(r.CommonDir, "refs", "replace")); err == nil && len(entries) > 0 {
			return "refs/replace"
		}
		text, err := limited.Read(filepath.Join(r.CommonDir, "packed-refs"), packedLimit)
		if err == nil && bytes.Contains(text, []byte(" refs/replace/")) {
			return "refs/replace"
		}
	}
	text, err := limited.Read(filepath.Join(r.CommonDir, "info", "grafts"), limited.Config)
	if err == nil && len(bytes.TrimSpace(text)) > 0 {
		return "info/grafts"
	}
	return ""
}

// rules are the references that a name stands for, in git's order (gitrevisions(7)).
var rules = []string{"%s", "refs/%s", "refs/tags/%s", "refs/heads/%s", "refs/remotes/%s", "refs/remotes/%s/HEAD"}

// described is what git describe prints of a commit that has no tag.
var described = lazyregexp.New(`-g([0-9a-f]{4,40})$`)

// abbreviated returns the object whose id begins so: of several, the only commit or tag
// of one.
func (r *Repository) abbreviated(objects *object.Store, prefix string) (plumbing.Hash, error) {
	if plumbing.IsHash(prefix) {
		return plumbing.NewHash(prefix), nil
	}
	prefix = strings.ToLower(prefix)
	if len(prefix) < 4 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return plumbing.ZeroHash, ErrRevision
	}
	all, err := objects.Prefixed(prefix)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	var commits []plumbing.Hash
	for _, id := range all {
		if _, err := peel(objects, id, plumbing.CommitObject); err == nil {
			commits = append(commits, id)
		}
	}
	switch len(commits) {
	case 0:
		return plumbing.ZeroHash, ErrRevision
	case 1:
		return commits[0], nil
	}
	return plumbing.ZeroHash, fmt.Errorf("it is the beginning of %d commits; give more of it", len(commits))
}

// follow takes one step from an object: to a parent, an ancestor, or what a tag is of.
func (r *Repository) follow(objects *object.Store, id plumbing.Hash, step string) (plumbing.Hash, error) {
	switch step {
	case "^{}":
		return peel(objects, id, plumbing.AnyObject)
	case "^{commit}":
		return peel(objects, id, plumbing.CommitObject)
	case "^{tag}":
		return peel(objects, id, plumbing.TagObject)
	case "^{blob}":
		return peel(objects, id, plumbing.BlobObject)
	case "^{object}":
		_, err := kind(objects, id)
		return id, err
	case "^{tree}":
		id, err := peel(objects, id, plumbing.AnyObject)
		if err != nil {
			return id, err
		}
		if t, err := kind(objects, id); err != nil || t == plumbing.TreeObject {
			return id, err
		}
		tree, _, err := objects.CommitTree(id)
		return tree, err
	}
	if strings.HasPrefix(step, "^{") {
		return id, fmt.Errorf("git has no type %s", step)
	}
	n := 1
	if step[1:] != "" {
		var err error
		if n, err = strconv.Atoi(step[1:]); err != nil || n > 1<<20 {
			return id, fmt.Errorf("%s is no number of commits", step)
		}
	}
	id, err := peel(objects, id, plumbing.CommitObject)
	if err != nil {
		return id, err
	}
	if step[0] == '^' {
		if n == 0 {
			return id, nil
		}
		return r.parent(objects, id, n)
	}
	for range n {
		if id, err = r.parent(objects, id, 1); err != nil {
			return id, err
		}
	}
	return id, nil
}

func kind(objects *object.Store, id plumbing.Hash) (plumbing.ObjectType, error) {
	t, _, err := objects.Size(id)
	return t, err
}

// peel follows tags to an object of a type, or to what is no tag.
func peel(objects *object.Store, id plumbing.Hash, want plumbing.ObjectType) (plumbing.Hash, error) {
	for range 100 {
		t, err := kind(objects, id)
		if err != nil {
			return id, err
		}
		if t == want {
			return id, nil
		}
		if t != plumbing.TagObject {
			if want == plumbing.AnyObject {
				return id, nil
			}
			return id, fmt.Errorf("%s is a %s, and no %s", id, t, want)
		}
		text, err := objects.Read(id, plumbing.TagObject, object.MaxWhole)
		if err != nil {
			return id, err
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		to, ok := bytes.CutPrefix(line, []byte("object "))
		if !ok || !plumbing.IsHash(string(to)) {
			return id, fmt.Errorf("the tag %s is damaged", id)
		}
		id = plumbing.NewHash(string(to))
	}
	return id, errors.New("tags of tags without an end")
}

// parent returns the n-th parent of a commit, from 1. Those where a shallow history ends
// have none.
func (r *Repository) parent(objects *object.Store, id plumbing.Hash, n int) (plumbing.Hash, error) {
	shallow, err := limited.Read(filepath.Join(r.CommonDir, "shallow"), packedLimit)
	if err == nil && bytes.Contains(shallow, []byte(id.String())) {
		return id, ErrRevision
	}
	text, err := objects.Read(id, plumbing.CommitObject, object.MaxWhole)
	if err != nil {
		return id, err
	}
	if all := parents(text); n > 0 && n <= len(all) {
		return all[n-1], nil
	}
	return id, ErrRevision
}
