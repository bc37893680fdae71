package github

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/version"
)

// Records can lie on a ref of the repository itself. It is no branch, so that no clone fetches
// it and no workflow starts for it. Its commit has no parents: what is dropped from its tree is
// forgotten. It is read with GitHub's API and written with git's own protocol, which moves a
// ref only from the commit that the writer has seen, whether or not the new one follows it;
// GitHub's API does that for commits that follow alone.

// HistoryRef is the ref of a repository on which records of runs can be kept.
const HistoryRef = "refs/aml-train/history"

// How much of records the ref has at most; the newest stay.
const (
	refAge     = 90 * 24 * time.Hour // as artifacts have it
	refAhead   = 24 * time.Hour      // that a run may end after GitHub's time: a runner's clock is wrong
	refRecords = 1000
	refBytes   = 200 << 20
)

// RefRecord is a record on the ref. All but its content stands in its file's name.
type RefRecord struct {
	Ended       time.Time // to the millisecond
	Commit      string
	Branch      string
	Series, Key string // what it is looked for by, 16 hex digits each

	id   plumbing.Hash
	size int64
}

// refName is the name of a record: when its run ended, its commit, series and key, and its
// branch as in a URL.
var refName = lazyregexp.New(`^(\d{13})-([0-9a-f]{40})-([0-9a-f]{16})-([0-9a-f]{16})-(.*)$`)

func (r RefRecord) name() string {
	return fmt.Sprintf("%013d-%s-%s-%s-%s", r.Ended.UnixMilli(), r.Commit, r.Series, r.Key, url.PathEscape(r.Branch))
}

// refRecord reads such a name; ok is false for any other.
func refRecord(name string) (r RefRecord, ok bool) {
	m := refName.FindStringSubmatch(name)
	if m == nil {
		return r, false
	}
	ms, err := strconv.ParseInt(m[1], 10, 64)
	r = RefRecord{Ended: time.UnixMilli(ms), Commit: m[2], Series: m[3], Key: m[4]}
	if err == nil {
		r.Branch, err = url.PathUnescape(m[5])
	}
	return r, err == nil && r.name() == name
}

// ListRef lists the records on the ref, the newest first, with two requests.
func ListRef(ctx context.Context, w *Workflow, token string) ([]RefRecord, error) {
	api, err := client(w, token)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	ref, _, err := api.Git.GetRef(ctx, owner, repo, HistoryRef)
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, records, err := refTree(ctx, w, token, ref.GetObject().GetSHA())
	return records, err
}

// refTree reads what a commit of the ref has: all of its tree, and the records, the newest
// first.
func refTree(
	ctx context.Context, w *Workflow, token, commit string,
) (all []object.TreeEntry, records []RefRecord, err error) {
	api, err := client(w, token)
	if err != nil {
		return nil, nil, err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	tree, _, err := api.Git.GetTree(ctx, owner, repo, commit, false)
	if err == nil && tree.GetTruncated() {
		err = fmt.Errorf("%s holds more than GitHub lists; git push origin --delete %[1]s begins it anew", HistoryRef)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range tree.Entries {
		id := plumbing.NewHash(e.GetSHA())
		mode, err := filemode.New(e.GetMode())
		if err != nil || id.IsZero() || strings.ContainsAny(e.GetPath(), "/\x00") || e.GetPath() == "" {
			return nil, nil, fmt.Errorf("%s has an entry %q that is none of a tree", HistoryRef, e.GetPath())
		}
		all = append(all, object.TreeEntry{Name: e.GetPath(), Mode: mode, Hash: id})
		if r, ok := refRecord(e.GetPath()); ok && e.GetType() == "blob" {
			r.id, r.size = id, int64(e.GetSize())
			records = append(records, r)
		}
	}
	slices.SortStableFunc(records, func(a, b RefRecord) int { return b.Ended.Compare(a.Ended) })
	return all, records, nil
}

// ReadRef reads a record of at most that many bytes, with one request.
func ReadRef(ctx context.Context, w *Workflow, token string, r RefRecord, most int64) ([]byte, error) {
	if r.size > most {
		return nil, fmt.Errorf("the record has %d bytes, more than %d", r.size, most)
	}
	api, err := client(w, token)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	blob, _, err := api.Git.GetBlob(ctx, owner, repo, r.id.String())
	if err != nil {
		return nil, err
	}
	if blob.GetEncoding() != "base64" {
		return nil, fmt.Errorf("GitHub answers with a blob in %q", blob.GetEncoding())
	}
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(blob.GetContent(), "\n", ""))
	if err == nil && plumbing.ComputeHash(plumbing.BlobObject, text) != r.id {
		err = errors.New("GitHub answers with another blob")
	}
	return text, err
}

// How often a record is written anew: where others were first, each time one of them has
// got further; where the repository does not take it, or does not answer, no more than that.
const (
	refTries   = 50
	refRefused = 3
)

// WriteRef adds a record to the ref, with three requests, and drops those that are too old or
// too many. Whatever others add meanwhile stays.
func WriteRef(ctx context.Context, w *Workflow, token string, r RefRecord, text []byte) error {
	r.id, r.size = plumbing.ComputeHash(plumbing.BlobObject, text), int64(len(text))
	var last plumbing.Hash
	failed := 0
	for try := range refTries {
		old, now, err := refTip(ctx, w, token)
		if err == nil {
			if old != last { // somebody else got further
				last, failed = old, 0
			}
			var done bool
			if done, err = writeRef(ctx, w, token, old, now, r, text); done {
				return nil
			}
		}
		var no *refusedPush
		if failed++; failed >= refRefused || errors.As(err, &no) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(rand.N(time.Duration(min(try, 5)+1) * 50 * time.Millisecond)):
		}
	}
	return fmt.Errorf("%s is moved by others all the time", HistoryRef)
}

// writeRef moves the ref from old to a commit that has the record as well; done tells that it
// is there.
func writeRef(
	ctx context.Context, w *Workflow, token string, old plumbing.Hash, now time.Time, r RefRecord, text []byte,
) (done bool, err error) {
	var all []object.TreeEntry
	var records []RefRecord
	if !old.IsZero() {
		if all, records, err = refTree(ctx, w, token, old.String()); err != nil {
			return false, err
		}
	}
	if slices.ContainsFunc(all, func(e object.TreeEntry) bool { return e.Name == r.name() && e.Hash == r.id }) {
		return true, nil // the answer to an earlier try was lost
	}
	drop := outdated(records, r, now)
	all = slices.DeleteFunc(all, func(e object.TreeEntry) bool { return drop[e.Name] || e.Name == r.name() })
	all = append(all, object.TreeEntry{Name: r.name(), Mode: filemode.Regular, Hash: r.id})
	commit, file, err := pack(text, all, now)
	if err == nil {
		err = pushRef(ctx, w, token, old, commit, file)
	}
	return err == nil, err
}

// outdated are the names of the records that make room for another one. One that ends long after now
// would be the newest for as long, and others would make room for it.
func outdated(records []RefRecord, r RefRecord, now time.Time) map[string]bool {
	drop := map[string]bool{}
	count, bytes := 1, r.size
	for _, other := range records {
		if other.Ended.Sub(now) > refAhead {
			drop[other.name()] = true
			continue
		}
		count, bytes = count+1, bytes+other.size
		if now.Sub(other.Ended) > refAge || count > refRecords || bytes > refBytes {
			drop[other.name()] = true
		}
	}
	return drop
}

// MayNotWrite tells the error of a token that may not write to the repository.
func MayNotWrite(err error) bool {
	var no *refusedPush
	return errors.As(err, &no)
}

// refusedPush is the error of a push that is not taken, however often it is tried.
type refusedPush struct{ reason string }

func (e *refusedPush) Error() string { return e.reason }

// gitAddress is where the repository speaks git's protocol.
func (w *Workflow) gitAddress(service string) string {
	return strings.TrimSuffix(cmp.Or(w.Server, "https://github.com"), "/") + "/" + w.Repository + ".git/" + service
}

// askGit sends a request of git's protocol (git-scm.com, gitprotocol-http).
func (w *Workflow) askGit(
	ctx context.Context, method, service, token string, body []byte, most int64,
) (answer []byte, when time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, artifactWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.gitAddress(service), bytes.NewReader(body))
	if err != nil {
		return nil, when, err
	}
	req.SetBasicAuth("x-access-token", token) // docs.github.com, "Authenticating as a GitHub App installation"
	req.Header.Set("User-Agent", "git/aml-train-"+version.String())
	if body != nil {
		req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		req.Header.Set("Accept", "application/x-git-receive-pack-result")
	}
	res, err := (&http.Client{Transport: debuglog.Transport(http.DefaultTransport)}).Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, when, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden ||
		res.StatusCode == http.StatusNotFound:
		err = &refusedPush{fmt.Sprintf("%s may not be written: GitHub answered %s (the job needs the permission "+
			"\"contents: write\")", HistoryRef, res.Status)}
	case res.StatusCode != http.StatusOK:
		err = fmt.Errorf("git: the server answered %s", res.Status)
	case int64(len(answer)) > most:
		err = fmt.Errorf("git: the answer has more than %d bytes", most)
	}
	if when, _ = http.ParseTime(res.Header.Get("Date")); when.IsZero() {
		when = time.Now()
	}
	return answer, when, err
}

// refTip asks for the commit of the ref, zero where there is none, and what time it is there.
func refTip(ctx context.Context, w *Workflow, token string) (tip plumbing.Hash, now time.Time, err error) {
	const most = 256 << 20 // a repository may have a million pull requests, each with a ref
	text, now, err := w.askGit(ctx, http.MethodGet, "info/refs?service=git-receive-pack", token, nil, most)
	if err != nil {
		return tip, now, err
	}
	lines := pktline.NewScanner(bytes.NewReader(text))
	if !lines.Scan() || !bytes.HasPrefix(lines.Bytes(), []byte("# service=git-receive-pack")) {
		return tip, now, errors.New("git: the server does not speak the protocol")
	}
	for lines.Scan() {
		line, _, _ := strings.Cut(string(lines.Bytes()), "\x00")
		if id, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); name == HistoryRef {
			tip = plumbing.NewHash(id)
		}
	}
	return tip, now, lines.Err()
}

// pushRef moves the ref from one commit to another one, of which the pack has what is new.
func pushRef(ctx context.Context, w *Workflow, token string, from, to plumbing.Hash, pack []byte) error {
	var body bytes.Buffer
	lines := pktline.NewEncoder(&body)
	err := errors.Join(lines.Encodef("%s %s %s\x00 report-status agent=git/aml-train", from, to, HistoryRef),
		lines.Flush())
	if err != nil {
		return err
	}
	body.Write(pack)
	text, _, err := w.askGit(ctx, http.MethodPost, "git-receive-pack", token, body.Bytes(), 1<<20)
	if err != nil {
		return err
	}
	report := pktline.NewScanner(bytes.NewReader(text))
	for report.Scan() {
		switch line := strings.TrimSpace(string(report.Bytes())); {
		case line == "ok "+HistoryRef:
			return nil
		case strings.HasPrefix(line, "unpack ") && line != "unpack ok", strings.HasPrefix(line, "ng "):
			return fmt.Errorf("git: the server did not take it: %.300q", line)
		}
	}
	return errors.Join(errors.New("git: the server does not say that it took it"), report.Err())
}
