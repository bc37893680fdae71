package submit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/inside"
)

// Versions are what a target finds out of a job besides what the job says: which
// environment and which data it would train with now.
type Versions struct {
	Environment string            // all that decides what the script runs in, but for
	Variables   []string          // this machine's variables that it gets, NAME=VALUE
	Code        string            // of code that no snapshot holds; "" where none is
	Inputs      map[string]string // by the name of an input that is data: which data it is

	// What a submission with them trains with, or fails: the image by its content, where the
	// job names it by a tag; the entity tags of inputs that are fetched over https.
	Image  string
	ETags  map[string]string
	Assets map[string]string // by the input's name, "" for the environment, the id of its version

	// Without says what has no version, one sentence each: such a job has no key.
	Without []string
}

// Lacks notes what has no version, and why.
func (v *Versions) Lacks(format string, args ...any) {
	v.Without = append(v.Without, fmt.Sprintf(format, args...))
}

// Key identifies all that decides what comes out of a run, in six parts, each a digest:
//
//	v1 files=... job=... environment=... variables=... inputs=... origin=...
//
// Runs with the same key would train the same. origin is empty for this repository's own
// code, and is different for that of each pull request from a fork: what such a run
// says is never the answer to anybody else. It is "" where something has no version.
func (s Submission) Key(v Versions) string {
	if len(v.Without) > 0 {
		return ""
	}
	files, origin := "none", ""
	if s.Snapshot != nil {
		files = s.Snapshot.ID
	}
	if s.Git.Fork != "" {
		origin = short(s.Git.Fork, s.Git.PullRequest)
	}
	return fmt.Sprintf("v1 files=%s job=%s environment=%s variables=%s inputs=%s origin=%s", files, s.Job.Result(),
		short(v.Environment, v.Code), short(v.Variables), short(v.Inputs), origin)
}

// short is a digest of values that JSON can hold.
func short(values ...any) string {
	text, err := json.Marshal(values)
	if err != nil {
		panic(err) // texts, and maps of texts
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Unlike names the parts in which two keys differ, in the order of a key.
func Unlike(a, b string) (parts []string) {
	of := map[string]string{}
	for part := range strings.FieldsSeq(b) {
		name, value, _ := strings.Cut(part, "=")
		of[name] = value
	}
	for part := range strings.FieldsSeq(a) {
		name, value, _ := strings.Cut(part, "=")
		if other, ok := of[name]; !ok || other != value {
			parts = append(parts, name)
		}
	}
	return parts
}

// Content identifies the files of a tree by their paths and contents, as "sha256:" and 64
// hex digits.
func Content(ctx context.Context, tree *inside.Tree) (string, error) {
	files, err := tree.Files(ctx)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, f := range files {
		id, err := blobID(ctx, f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %s %q\n", id, f.Info.Mode().Perm()&0o111, f.Path)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// blobID is git's id of a file.
func blobID(ctx context.Context, f inside.File) (plumbing.Hash, error) {
	r, err := f.Open()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer r.Close()
	hash := object.NewHash(plumbing.BlobObject, f.Info.Size())
	n, err := io.Copy(hash, r)
	if err == nil && n != f.Info.Size() {
		err = fmt.Errorf("%s changed while it was read; run the command again", f.Path)
	}
	return object.Sum(hash), cmp.Or(err, ctx.Err())
}
