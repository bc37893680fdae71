// Package github answers: how does it reach the pull request?
//
// It reads what GitHub Actions says of the workflow that this program is a step of (Workflow),
// decides whose code may run there (Gate), and tells the runner what came out (Step, Log, Output).
// What is said of a run is brought to all of them at once (Delivery). Through GitHub's API it keeps
// the one comment that a job has on the pull request (Comment), sets commit statuses (Statuses), and
// reads and writes what outlives a runner: artifacts, and a ref of the repository (HistoryRef).
// Nothing else reads GITHUB_* or calls GitHub.
package github

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

// Workflow is what GitHub Actions says of the run that this program is part of
// (docs.github.com: "Variables reference", "Events that trigger workflows",
// "Webhook events and payloads").
type Workflow struct {
	Event      string   // what started it, such as pull_request
	Repository string   // OWNER/NAME
	Server     string   // https://github.com, or that of a GitHub Enterprise Server
	API        string   // https://api.github.com, or https://HOST/api/v3
	Name       string   // of the workflow
	Job        string   // its id within the workflow
	RunID      int64    // grows with every run of the repository
	Attempt    int64    // from 1
	Step       string   // its id within the job
	Actor      string   // who started it, or started it again
	Workspace  string   // the folder that the steps share
	Token      string   // GITHUB_TOKEN, where a step passes it on
	Secrets    []string // that the runner itself hands to a step
	Output     string   // the file for the step's outputs
	Summary    string   // the file for the step's part of the job summary

	results, runtime string // the runner's results service, and the token for it

	CanIdentify bool // it may ask for a token that says who it is (permissions: id-token: write)

	SHA string // the commit that the workflow was started for; of a pull request, a merge that nobody wrote
	Ref string // refs/heads/BRANCH, refs/tags/TAG or refs/pull/NUMBER/merge

	// Of the pull request, or of what started the workflow run that this one follows:
	PullRequest    int    // its number; 0 for none
	Head           string // the commit that was pushed; "" where the event does not tell
	HeadRef        string // its branch
	HeadRepository string // OWNER/NAME; "" where the event does not tell
	BaseRef        string // the branch that it is to be merged into; "" where the event does not tell
	Base           string // the commit at the tip of that branch; "" where the event does not tell

	Merged string // the commit that the pull request was merged by, of the event that it was; "" of any other

	DefaultBranch string // of the repository; "" where the event does not tell
	Private       bool   // not everybody may read the repository, and fork it

	Said Said // the comment that an event is about

	ofHead bool // the event is about a head, whether or not it tells whose
}

// InWorkflow tells whether this program is a step of a workflow.
func InWorkflow(getenv func(string) string) bool { return getenv("GITHUB_ACTIONS") == "true" }

// Debugging tells whether somebody ran the workflow again with debug logging
// (docs.github.com, "Variables reference", RUNNER_DEBUG).
func Debugging(getenv func(string) string) bool { return getenv("RUNNER_DEBUG") == "1" }

// Workspace is the folder that the steps of a workflow share, "" outside one.
func Workspace(getenv func(string) string) string {
	if !InWorkflow(getenv) {
		return ""
	}
	return getenv("GITHUB_WORKSPACE")
}

// maxEvent is the most, in bytes, that GitHub sends as an event (docs.github.com, "Webhook
// events and payloads": payloads are capped at 25 MB).
const maxEvent = 25 << 20

// ReadWorkflow returns nil outside a workflow.
func ReadWorkflow(getenv func(string) string) (*Workflow, error) {
	if !InWorkflow(getenv) {
		return nil, nil
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(getenv(name), 10, 64)
		return n
	}
	w := &Workflow{
		Event: getenv("GITHUB_EVENT_NAME"), Repository: getenv("GITHUB_REPOSITORY"),
		Server: getenv("GITHUB_SERVER_URL"), API: getenv("GITHUB_API_URL"),
		Name: getenv("GITHUB_WORKFLOW"), Job: getenv("GITHUB_JOB"), RunID: number("GITHUB_RUN_ID"),
		Attempt:   max(number("GITHUB_RUN_ATTEMPT"), 1),
		Actor:     cmp.Or(getenv("GITHUB_TRIGGERING_ACTOR"), getenv("GITHUB_ACTOR")),
		Workspace: getenv("GITHUB_WORKSPACE"),
		Token:     getenv("GITHUB_TOKEN"),
		Output:    getenv("GITHUB_OUTPUT"), Summary: getenv("GITHUB_STEP_SUMMARY"),
		Secrets: []string{getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN"), getenv("ACTIONS_RUNTIME_TOKEN")},
		Step:    getenv("GITHUB_ACTION"), CanIdentify: getenv("ACTIONS_ID_TOKEN_REQUEST_URL") != "",
		results: getenv("ACTIONS_RESULTS_URL"), runtime: getenv("ACTIONS_RUNTIME_TOKEN"),
		SHA: getenv("GITHUB_SHA"), Ref: getenv("GITHUB_REF"), HeadRef: getenv("GITHUB_HEAD_REF"),
		BaseRef: getenv("GITHUB_BASE_REF"),
	}
	path := getenv("GITHUB_EVENT_PATH")
	if path == "" {
		return w, nil
	}
	text, err := limited.Read(path, maxEvent)
	if err != nil {
		return nil, fmt.Errorf("GITHUB_EVENT_PATH: %w", err)
	}
	if err := w.readEvent(text); err != nil {
		return nil, fmt.Errorf("GITHUB_EVENT_PATH: %s is not a webhook payload: %w", path, err)
	}
	return w, nil
}

// queued is the branch of a merge queue's group, as GitHub names it.
var queued = lazyregexp.New(`^refs/heads/gh-readonly-queue/.+/pr-(\d+)-[0-9a-f]+$`)

// repository is one in a webhook's payload.
type repository struct {
	FullName string `json:"full_name"`
}

// pullRequest is one in a webhook's payload.
type pullRequest struct {
	Number int    `json:"number"`
	Merged bool   `json:"merged"`
	By     string `json:"merge_commit_sha"` // of one that is open, a merge that nobody wrote
	Head   struct {
		SHA  string      `json:"sha"`
		Ref  string      `json:"ref"`
		Repo *repository `json:"repo"` // null where the fork was deleted
	} `json:"head"`
	Base struct {
		SHA string `json:"sha"`
		Ref string `json:"ref"`
	} `json:"base"`
}

// event is what is read of a webhook's payload (docs.github.com, "Webhook events and
// payloads"); what is not of its kind is nil.
type event struct {
	PullRequest *pullRequest `json:"pull_request"`
	Issue       *struct {
		Number      int       `json:"number"`
		PullRequest *struct{} `json:"pull_request"` // there for the comment of a pull request only
	} `json:"issue"`
	Action  string `json:"action"`
	Comment struct {
		ID      int64     `json:"id"`
		Body    string    `json:"body"`
		Created time.Time `json:"created_at"`
		Updated time.Time `json:"updated_at"`
		App     *struct {
			Slug string `json:"slug"`
		} `json:"performed_via_github_app"`
		User struct {
			ID    int64  `json:"id"`
			Login string `json:"login"`
		} `json:"user"`
	} `json:"comment"`
	WorkflowRun *struct {
		HeadSHA        string        `json:"head_sha"`
		HeadBranch     string        `json:"head_branch"`
		HeadRepository *repository   `json:"head_repository"`
		PullRequests   []pullRequest `json:"pull_requests"` // empty for a fork's
	} `json:"workflow_run"`
	MergeGroup *struct {
		HeadRef string `json:"head_ref"`
		BaseRef string `json:"base_ref"`
		BaseSHA string `json:"base_sha"`
	} `json:"merge_group"`
	Repository struct {
		DefaultBranch string `json:"default_branch"`
		Private       bool   `json:"private"`
	} `json:"repository"`
}

// readEvent takes over what the payload of the workflow's event says.
func (w *Workflow) readEvent(text []byte) error {
	var event event
	if err := json.Unmarshal(text, &event); err != nil {
		return err
	}
	name := func(r *repository) string {
		if r == nil {
			return ""
		}
		return r.FullName
	}
	w.DefaultBranch, w.Private = event.Repository.DefaultBranch, event.Repository.Private
	w.ofHead = event.PullRequest != nil || event.WorkflowRun != nil || event.Issue != nil &&
		event.Issue.PullRequest != nil
	switch {
	case event.PullRequest != nil:
		pr := event.PullRequest
		w.PullRequest, w.Head, w.HeadRepository = pr.Number, pr.Head.SHA, name(pr.Head.Repo)
		w.HeadRef, w.BaseRef = cmp.Or(pr.Head.Ref, w.HeadRef), cmp.Or(pr.Base.Ref, w.BaseRef)
		w.Base = pr.Base.SHA
		if event.Action == "closed" && pr.Merged {
			w.Merged = pr.By
		}
	case event.Issue != nil && event.Issue.PullRequest != nil:
		w.PullRequest = event.Issue.Number
		c := event.Comment
		w.Said = Said{event.Action, c.ID, c.Body, c.Created, c.Updated, "", c.User.Login, c.User.ID}
		if c.App != nil {
			w.Said.App = cmp.Or(c.App.Slug, "without a name")
		}
	case event.WorkflowRun != nil:
		run := event.WorkflowRun
		w.Head, w.HeadRef, w.HeadRepository = run.HeadSHA, run.HeadBranch, name(run.HeadRepository)
		if len(run.PullRequests) > 0 {
			w.PullRequest, w.BaseRef = run.PullRequests[0].Number, run.PullRequests[0].Base.Ref
			w.Base = run.PullRequests[0].Base.SHA
		}
	case event.MergeGroup != nil:
		w.BaseRef, w.Base = strings.TrimPrefix(event.MergeGroup.BaseRef, "refs/heads/"), event.MergeGroup.BaseSHA
		if m := queued.FindStringSubmatch(event.MergeGroup.HeadRef); m != nil {
			w.PullRequest, _ = strconv.Atoi(m[1])
		}
	}
	return nil
}

// RunURL is the link of the workflow run, "" where it is not known.
func (w *Workflow) RunURL() string {
	if w.Server == "" || w.Repository == "" || w.RunID == 0 {
		return ""
	}
	link := fmt.Sprintf("%s/%s/actions/runs/%d", w.Server, w.Repository, w.RunID)
	if w.Attempt > 1 {
		link += fmt.Sprintf("/attempts/%d", w.Attempt)
	}
	return link
}

// HasRun tells whether a link is that of a workflow run of the repository.
func (w *Workflow) HasRun(link string) bool {
	number, ok := strings.CutPrefix(link, fmt.Sprintf("%s/%s/actions/runs/", w.Server, w.Repository))
	return ok && w.Server != "" && runNumber.MatchString(number)
}

var runNumber = lazyregexp.New(`^\d+(/attempts/\d+)?$`)

// Subject is what the workflow's token names as its subject, unless the repository
// or its environment has that changed (docs.github.com, "OpenID Connect reference",
// Example subject claims).
func (w *Workflow) Subject() string {
	if w.Event == "pull_request" {
		return "repo:" + w.Repository + ":pull_request"
	}
	return "repo:" + w.Repository + ":ref:" + w.Ref
}

// Privileged tells whether the workflow may have the repository's secrets, whatever its
// steps have checked out. On pull_request GitHub itself gives none to a fork's, nor to
// Dependabot's (docs.github.com, "Events that trigger workflows", pull_request).
func (w *Workflow) Privileged() bool { return w.Event != "pull_request" }

// Foreign tells whether the event is about the head of another repository, or of one
// that is not known.
func (w *Workflow) Foreign() bool {
	about := w.ofHead || w.Event == "pull_request_target" || w.Event == "workflow_run"
	return about && !w.ownHead()
}

func (w *Workflow) ownHead() bool {
	return w.HeadRepository != "" && strings.EqualFold(w.HeadRepository, w.Repository)
}

// Merge is the branch that the workflow's event has brought a commit to, and the commit: by a push
// to it, or by a pull request that was merged into it. Both are "" of any other event.
func (w *Workflow) Merge() (branch, commit string) {
	if w.Merged != "" {
		return w.BaseRef, w.Merged
	}
	if name, ok := strings.CutPrefix(w.Ref, "refs/heads/"); ok && w.Event == "push" {
		return name, w.SHA
	}
	return "", ""
}

// Started tells whether the event alone proves that a commit is the repository's own: it
// was started for that commit on a branch or tag, which only who may write can move, or
// for a pull request of the repository itself.
func (w *Workflow) Started(commit string) bool {
	if commit == "" {
		return false
	}
	// A deployment names what somebody typed: it may look like a branch and be a commit
	// of anybody's. The head of a workflow run is what that run was started for, by an
	// event that is not known here.
	if strings.HasPrefix(w.Event, "deployment") {
		return false
	}
	if w.Event != "workflow_run" && w.PullRequest > 0 && w.ownHead() {
		if commit == w.Head || commit == w.SHA && w.Ref == fmt.Sprintf("refs/pull/%d/merge", w.PullRequest) {
			return true
		}
	}
	return commit == w.SHA && (strings.HasPrefix(w.Ref, "refs/heads/") || strings.HasPrefix(w.Ref, "refs/tags/"))
}

// Apply adds to info what the workflow knows; a nil one knows nothing. On a pull request the commit that
// is checked out is a merge that nobody wrote: the one that people know stands
// for it. A checkout of anything else, of another repository say, keeps its own
// commit and branch.
func (w *Workflow) Apply(info *gitmeta.Info) {
	if w == nil || w.SHA == "" && w.RunID == 0 {
		return
	}
	if w.RunID > 0 {
		info.Build = strconv.FormatInt(w.RunID, 10)
	}
	info.BuildURL, info.Actor = w.RunURL(), w.Actor
	merged := w.Merged != "" && info.Commit == w.Merged // it is the branch's now, whoever wrote it
	if w.PullRequest > 0 && !merged {
		info.PullRequest = strconv.Itoa(w.PullRequest)
	}
	if w.Foreign() && !merged && (info.Commit == w.Head || w.Event == "pull_request") {
		info.Fork = cmp.Or(w.HeadRepository, "unknown")
	}
	switch {
	case merged:
		info.Branch = w.BaseRef
	case w.Head != "" && info.Commit == w.Head:
		info.Branch = cmp.Or(w.HeadRef, info.Branch)
	case info.Commit != "" && info.Commit != w.SHA:
		return
	case w.Event == "pull_request" && w.Head != "":
		info.Commit, info.Branch = w.Head, w.HeadRef
	default:
		info.Commit = cmp.Or(w.SHA, info.Commit)
		if branch, ok := strings.CutPrefix(w.Ref, "refs/heads/"); ok && info.Branch == "" {
			info.Branch = branch
		}
	}
	info.BaseBranch = cmp.Or(w.BaseRef, w.DefaultBranch, info.BaseBranch)
	if info.Repository == "" && w.Server != "" && w.Repository != "" {
		info.Repository = w.Server + "/" + w.Repository
	}
}
