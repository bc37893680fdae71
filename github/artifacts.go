package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	gh "github.com/google/go-github/v88/github"

	"github.com/org/aml-train/internal/pipeline"
)

// Artifacts of workflows outlive the machine that ran them. One is written through the
// runner's results service (Twirp, github.actions.results.api.v1.ArtifactService, which the
// client of actions/upload-artifact 4 speaks: github.com/actions/toolkit, packages/artifact):
// an address to upload a zip to is asked for, and the artifact is finished with its size and
// hash. It is read through the REST API (docs.github.com, "REST API endpoints for GitHub
// Actions artifacts").

// CanWriteArtifacts tells whether the workflow's step may write artifacts: the runner gives that to
// steps of actions alone.
func (w *Workflow) CanWriteArtifacts() bool { return w.results != "" && w.runtime != "" }

// artifactWithin is how long the results service may take for an answer.
const artifactWithin = time.Minute

// WriteArtifact writes a zip as an artifact of the workflow's run, and returns its link, "" where it
// has none. The error of a name that the run has already is ErrArtifactExists.
func WriteArtifact(ctx context.Context, w *Workflow, name string, zip io.ReadSeeker) (link string, err error) {
	run, job, err := backend(w.runtime)
	if err != nil {
		return "", err
	}
	ids := map[string]any{"workflow_run_backend_id": run, "workflow_job_run_backend_id": job, "name": name}
	with := func(more map[string]any) map[string]any {
		for key, value := range ids {
			more[key] = value
		}
		return more
	}
	var created struct {
		OK        bool   `json:"ok"`
		URL       string `json:"signed_upload_url"`
		SignedURL string `json:"signedUploadUrl"` // as Protocol Buffers' JSON spells it otherwise
	}
	if err := w.twirp(ctx, "CreateArtifact", with(map[string]any{"version": 4}), &created); err != nil {
		return "", err
	}
	if created.URL == "" {
		created.URL = created.SignedURL
	}
	if !created.OK || created.URL == "" {
		return "", errors.New("the runner's results service makes no artifact")
	}
	size, sum, err := upload(ctx, created.URL, zip)
	if err != nil {
		return "", err
	}
	var done struct {
		OK  bool        `json:"ok"`
		ID  json.Number `json:"artifact_id"`
		IDs json.Number `json:"artifactId"`
	}
	more := map[string]any{"size": strconv.FormatInt(size, 10), "hash": "sha256:" + sum}
	if err := w.twirp(ctx, "FinalizeArtifact", with(more), &done); err != nil {
		return "", err
	}
	id := done.ID
	if id == "" {
		id = done.IDs
	}
	if _, err := id.Int64(); !done.OK || err != nil {
		return "", errors.New("the runner's results service did not take the artifact")
	}
	if w.Server == "" {
		return "", nil // where nobody has pages
	}
	return fmt.Sprintf("%s/%s/actions/runs/%d/artifacts/%s", w.Server, w.Repository, w.RunID, id), nil
}

// ErrArtifactExists is WriteArtifact's answer to a name that the workflow's run has already.
var ErrArtifactExists = errors.New("the workflow's run has an artifact of that name already")

// backend reads from the runner's token which run and job it is for: one of its scopes is
// Actions.Results:RUN:JOB. Nobody here can check its signature, nor has to.
func backend(token string) (run, job string, err error) {
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		var claims struct {
			Scopes string `json:"scp"`
		}
		text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
		if err == nil && json.Unmarshal(text, &claims) == nil {
			for scope := range strings.FieldsSeq(claims.Scopes) {
				if of := strings.Split(scope, ":"); len(of) == 3 && of[0] == "Actions.Results" {
					return of[1], of[2], nil
				}
			}
		}
	}
	return "", "", errors.New("ACTIONS_RUNTIME_TOKEN is none of a runner whose results can be written to")
}

// services are those of the runner that a step's end depends on.
func services() *policy.ClientOptions {
	return pipeline.Options(pipeline.Retries(5, artifactWithin), nil)
}

// twirp calls a method of the results service.
func (w *Workflow) twirp(ctx context.Context, method string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, artifactWithin)
	defer cancel()
	address, err := url.JoinPath(w.results, "twirp/github.actions.results.api.v1.ArtifactService", method)
	if err != nil {
		return err
	}
	req, err := runtime.NewRequest(ctx, http.MethodPost, address)
	if err != nil {
		return err
	}
	if err := runtime.MarshalAsJSON(req, body); err != nil {
		return err
	}
	req.Raw().Header.Set("Authorization", "Bearer "+w.runtime)
	runtime.SkipBodyDownload(req) // it has a limit
	res, err := pipeline.New(services()).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		refused := &serviceError{code: res.StatusCode}
		json.Unmarshal(text, refused)
		return refused
	}
	return json.Unmarshal(text, answer)
}

// serviceError is an answer of the results service that says no.
type serviceError struct {
	code    int
	Code    string `json:"code"`
	Message string `json:"msg"`
}

func (e *serviceError) Error() string {
	return fmt.Sprintf("the runner's results service answered %d %s %s", e.code, e.Code, e.Message)
}

func (e *serviceError) Unwrap() error {
	if e.code == http.StatusConflict {
		return ErrArtifactExists
	}
	return nil
}

// blockBytes is how much of an artifact is sent at once.
const blockBytes = 8 << 20

// upload sends a file to a signed address of a blob, block by block as the client of
// actions/upload-artifact does (blockblob's UploadStream sends a small one in one piece), and
// returns its size and SHA-256.
func upload(ctx context.Context, address string, file io.Reader) (size int64, sum string, err error) {
	blob, err := blockblob.NewClientWithNoCredential(address,
		&blockblob.ClientOptions{ClientOptions: *services()})
	if err != nil {
		return 0, "", errors.New("the runner's results service names no address to upload to")
	}
	hash, block := sha256.New(), make([]byte, blockBytes)
	var ids []string
	for {
		n, err := io.ReadFull(file, block)
		if n > 0 {
			hash.Write(block[:n])
			size += int64(n)
			id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%08d", len(ids)))
			ids = append(ids, id)
			if _, err := blob.StageBlock(ctx, id, streaming.NopCloser(bytes.NewReader(block[:n])), nil); err != nil {
				return 0, "", unsigned(err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return 0, "", err
		}
	}
	if _, err := blob.CommitBlockList(ctx, ids, nil); err != nil {
		return 0, "", unsigned(err)
	}
	return size, hex.EncodeToString(hash.Sum(nil)), nil
}

// unsigned is an error without the address in it, which is signed.
func unsigned(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return fmt.Errorf("the artifact cannot be uploaded: %w", at.Err)
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	if strings.Contains(first, "://") {
		first = "the storage refuses it"
	}
	return fmt.Errorf("the artifact cannot be uploaded: %s", first)
}

// Artifact is an artifact that a workflow of the repository wrote.
type Artifact struct {
	ID     int64
	Size   int64  // bytes
	Commit string // that its workflow was started for: of a pull request, its head
	Branch string
	Run    int64 // of the workflow
}

// ListArtifacts lists the newest artifacts of a name, at most a hundred, that workflows of this
// repository's own branches wrote. Those of workflows that a fork's pull request started, or
// of which GitHub does not say that, are not among them: they are written by whoever wrote the
// fork.
func ListArtifacts(ctx context.Context, w *Workflow, token, name string) (out []Artifact, err error) {
	list, err := ownArtifacts(ctx, w, token, name)
	for _, a := range list {
		if !a.GetExpired() && a.GetWorkflowRun().GetID() != w.RunID {
			out = append(out, artifact(a))
		}
	}
	return out, err
}

// ownArtifacts are those that ListArtifacts lists, with expired ones and this run's own.
func ownArtifacts(ctx context.Context, w *Workflow, token, name string) (own []*gh.Artifact, err error) {
	api, err := client(w, token)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	for page := 1; page > 0 && page <= artifactPages && len(own) == 0; { // forks may have filled the first ones
		list, res, err := api.Actions.ListArtifacts(ctx, owner, repo, &gh.ListArtifactsOptions{Name: &name,
			ListOptions: gh.ListOptions{PerPage: 100, Page: page}})
		if err != nil {
			return nil, err
		}
		for _, a := range list.Artifacts {
			run := a.GetWorkflowRun()
			if run.GetRepositoryID() != 0 && run.GetHeadRepositoryID() == run.GetRepositoryID() && a.GetName() == name {
				own = append(own, a)
			}
		}
		page = res.NextPage
	}
	return own, nil
}

// artifactPages is how many pages of artifacts of one name are read, of a hundred each.
const artifactPages = 20

func artifact(a *gh.Artifact) Artifact {
	run := a.GetWorkflowRun()
	return Artifact{a.GetID(), a.GetSizeInBytes(), run.GetHeadSHA(), run.GetHeadBranch(), run.GetID()}
}

// ReadArtifact reads an artifact of at most that many bytes, with two requests: GitHub answers
// with an address that needs no token.
func ReadArtifact(ctx context.Context, w *Workflow, token string, a Artifact, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, artifactWithin)
	defer cancel()
	var text bytes.Buffer
	err := CopyArtifact(ctx, w, token, a, most, &text)
	return text.Bytes(), err
}

// CopyArtifact is ReadArtifact of one that is too large for the memory: it is written to a file. What the
// file holds of one that could not be read in whole is worth nothing.
func CopyArtifact(ctx context.Context, w *Workflow, token string, a Artifact, most int64, to io.Writer) error {
	if a.Size > most {
		return fmt.Errorf("the artifact has %d bytes, more than %d", a.Size, most)
	}
	api, err := client(w, token)
	if err != nil {
		return err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	at, _, err := api.Actions.DownloadArtifact(ctx, owner, repo, a.ID, 0)
	if err != nil {
		return err
	}
	if at.Scheme != "https" && strings.HasPrefix(w.API, "https:") {
		return errors.New("GitHub names an address without https for the artifact")
	}
	req, err := runtime.NewRequest(ctx, http.MethodGet, at.String())
	if err != nil {
		return err
	}
	runtime.SkipBodyDownload(req)
	res, err := pipeline.New(services()).Do(req)
	if err != nil {
		return unsigned(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the artifact's storage answered %s", res.Status)
	}
	n, err := io.Copy(to, io.LimitReader(res.Body, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("the artifact has more than %d bytes", most)
	}
	return err
}

// ErrExpired is the error of an artifact that GitHub keeps no longer.
var ErrExpired = errors.New("GitHub does not keep it any more")

// ArtifactOf finds the artifact of a name that a workflow run of this repository's own branches
// wrote, by the run's link. The error of one that has expired is ErrExpired, that of one that is
// not there, or another repository's, fs.ErrNotExist.
func ArtifactOf(ctx context.Context, w *Workflow, token, name, run string) (a Artifact, err error) {
	rest, ok := strings.CutPrefix(run, fmt.Sprintf("%s/%s/actions/runs/", w.Server, w.Repository))
	number, _, _ := strings.Cut(rest, "/")
	id, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return a, fmt.Errorf("%q is no workflow run of %s: %w", run, w.Repository, fs.ErrNotExist)
	}
	list, err := ownArtifacts(ctx, w, token, name)
	for _, one := range list {
		switch {
		case one.GetWorkflowRun().GetID() != id:
		case one.GetExpired():
			return a, ErrExpired
		default:
			return artifact(one), nil
		}
	}
	if err == nil {
		err = fs.ErrNotExist
	}
	return a, err
}
