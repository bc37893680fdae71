package azureml

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/hexid"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Submit implements submit.Target. The job's name is decided before anything is sent,
// so that a submission that is cut off and started again makes one job.
func (t *Target) Submit(ctx context.Context, s submit.Submission) (*history.Run, error) {
	if err := t.Check(ctx, s.Job); err != nil {
		return nil, err
	}
	c, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	name, done, err := t.jobName(s)
	if err != nil {
		return nil, err
	}
	records := &records{t: t, c: c}
	if run, err := records.submitted(ctx, name, s); err != nil {
		return nil, err
	} else if run != nil {
		return run, done()
	}
	p, sent, err := t.prepare(ctx, c, s)
	if err != nil {
		return nil, err
	}
	if n := s.Snapshot; n != nil && (sent.Files > 0 || sent.Copied > 0) {
		t.say("Snapshot %s: %s sent, %s; %d copied within the workspace",
			n.ID[:7], size.Count(sent.Files, "file"), size.Format(sent.Bytes), sent.Copied)
	}
	tags, properties := tagsOf(s, sent)
	b, version := body(withCheckpoints(s.Job, name), p, t.Workspace, tags, properties)
	accepting, stop := outlive(ctx, acceptPatience)
	defer stop()
	made, err := c.put(accepting, name, b, version)
	if err != nil {
		// An answer can be lost, and what is there already be refused: look.
		background, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if run, gerr := records.submitted(background, name, s); gerr == nil && run != nil {
			return run, done()
		}
		if accepting.Err() != nil {
			return nil, fmt.Errorf("interrupted while the workspace was accepting the job %s, and it has not said "+
				"whether it did; aml-train show %s tells, and submitting the same again makes no second "+
				"one", name, name)
		}
		if code := status(err); code >= 400 && code < 500 && code != http.StatusTooManyRequests &&
			code != http.StatusUnauthorized && code != http.StatusForbidden {
			return nil, &submit.Refusal{Reason: fmt.Sprintf("the workspace refuses the job: %v", short(err))}
		}
		return nil, fmt.Errorf("the job %s could not be submitted: %w", name, short(err))
	}
	run, err := runOf(made, accepted(made), nil)
	if err != nil {
		return nil, fmt.Errorf("the job %s was submitted, and the answer cannot be read: %w; aml-train show %s", name,
			err, name)
	}
	return run, done()
}

// acceptPatience is how long an interrupted submission waits for the answer to a job that
// is on its way: whether there is a run to be canceled or told of has to be known. A
// workflow that is canceled ends this program after ten seconds.
var acceptPatience = 4 * time.Second

// outlive returns a context that ends that long after the one it is of.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return longer, func() { stop(); cancel() }
}

// put sends the job, and returns what the workspace made of it. Sent again, it is the
// same job: its name was decided before.
func (c *connection) put(ctx context.Context, name string, b object, version string) (made armmachinelearning.JobBase,
	err error) {
	req, err := runtime.NewRequest(ctx, http.MethodPut, c.arm.Endpoint()+c.path+"/jobs/"+url.PathEscape(name))
	if err != nil {
		return made, err
	}
	req.Raw().URL.RawQuery = url.Values{"api-version": {version}}.Encode()
	if identity, ok := b["properties"].(object)["identity"].(object); ok && identity["identityType"] == "UserIdentity" {
		// The job runs as who submits it (azure-ai-ml, _set_headers_with_user_aml_token).
		t, err := c.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.env.ml}})
		if err != nil {
			return made, err
		}
		req.Raw().Header.Set("x-azureml-token", t.Token)
	}
	if err := setJSON(req, b); err != nil {
		return made, err
	}
	return made, answerOf(c.arm.Pipeline(), req, &made)
}

// prepare brings everything that the job needs into the workspace, at the same time
// where one does not need the other. Nothing is uploaded for a compute target that
// does not exist.
func (t *Target) prepare(ctx context.Context, c *connection, s submit.Submission) (assetIDs, Sent, error) {
	var p assetIDs
	var sent Sent
	var err error
	if p.compute, err = t.compute(ctx, c, s.Job.Compute); err != nil {
		return p, sent, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		p.environment, err = t.environment(ctx, c, s)
		return err
	})
	if s.Snapshot != nil {
		g.Go(func() (err error) {
			p.code, sent, err = t.code(ctx, c, s.Snapshot)
			return err
		})
	}
	g.Go(func() (err error) {
		p.data, err = t.data(ctx, c, s)
		return err
	})
	if err = g.Wait(); err == nil && job.IsRemote(s.Job.Code) {
		p.code = reference(s.Job.Code, "codes", t.Workspace)
	}
	return p, sent, err
}

var notSlug = lazyregexp.New(`[^a-z0-9]+`)

// jobName decides the job's name: what it is, and a few digits of what this
// submission is. In a workflow that is the workflow run, its attempt and step;
// elsewhere it is remembered until done is called, so that the submission can be
// taken up again by whoever makes the same one.
func (t *Target) jobName(s submit.Submission) (name string, done func() error, err error) {
	done = func() error { return nil }
	if s.Job.Name != "" {
		return s.Job.Name, done, nil
	}
	slug := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(s.Job.ExperimentName), "-"), "-")
	slug = strings.Trim(slug[:min(len(slug), 40)], "-")
	if c := s.Git.ShortCommit(); c != "" {
		slug += "-" + c
	}
	if slug == "" || slug[0] < 'a' || slug[0] > 'z' {
		slug = "run-" + slug // a name starts with a letter
	}
	id := ""
	if s.Snapshot != nil {
		id = s.Snapshot.ID
	}
	same := sha256.Sum256([]byte(strings.Join([]string{t.path(), s.Job.Digest(), s.Job.DisplayName, id, t.Attempt},
		"\x00")))
	key := hex.EncodeToString(same[:])
	if t.Attempt != "" {
		return slug + "-" + key[:8], done, nil
	}
	h, err := home.Make(t.Home)
	if err != nil {
		return "", nil, err
	}
	files, err := home.Folder(h.Root, "pending", true)
	h.Close()
	if err != nil {
		return "", nil, err
	}
	file := key[:32]
	done = func() error {
		defer files.Close()
		if err := files.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	type pending struct{ Name string }
	var p pending
	text, err := limited.ReadBelow(files, file, limited.Config)
	if info, serr := files.Lstat(file); err == nil && serr == nil && time.Since(info.ModTime()) < time.Hour &&
		json.Unmarshal(text, &p) == nil && history.ValidID(p.Name) {
		return p.Name, done, nil
	}
	p.Name = slug + "-" + hexid.New(8)
	if text, err = json.Marshal(p); err == nil {
		err = files.WriteFile(file, text, 0o600)
	}
	return p.Name, done, err
}

// Cancel implements submit.Target.
func (t *Target) Cancel(ctx context.Context, id string) error {
	c, err := t.connect(ctx)
	if err != nil {
		return err
	}
	r := &records{t: t, c: c}
	d, err := r.state(ctx, id)
	if err != nil {
		return err
	}
	if d.Status.Terminal() {
		return fmt.Errorf("run %s: %w: %s", id, history.ErrEnded, d.Status)
	}
	_, err = c.clients.NewJobsClient().BeginCancel(ctx, c.group, c.name, id, nil)
	if err != nil {
		return fmt.Errorf("run %s cannot be canceled: %w", id, short(err))
	}
	return nil
}

// Archive hides a run from lists, or brings it back, in the run history: the control
// plane shows it as the job's isArchived, and takes no job back that it has described
// itself (azure-ai-ml, _archive_or_restore).
func (t *Target) Archive(ctx context.Context, id string, archived bool) error {
	c, err := t.connect(ctx)
	if err != nil {
		return err
	}
	j, err := (&records{t: t, c: c}).job(ctx, id)
	if err != nil {
		return err
	}
	command, err := commandOf(j)
	if err != nil {
		return err
	}
	at := "/history/v1.0" + c.path + "/experiments/" + url.PathEscape(deref(command.ExperimentName)) + "/runs/" +
		url.PathEscape(id)
	if err := c.ask(ctx, http.MethodPatch, at, object{"hidden": archived}, nil); err != nil {
		return fmt.Errorf("run %s: %w", id, short(err))
	}
	return nil
}

// History implements submit.Target.
func (t *Target) History(ctx context.Context) (submit.History, error) {
	c, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &records{t: t, c: c}, nil
}

func (t *Target) poll() time.Duration { return cmp.Or(t.Poll, 2*time.Second) }
