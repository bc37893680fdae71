package gitmeta

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// workflow is what GitHub Actions says of the run that this program is part of
// (docs.github.com: "Variables reference", "Webhook events and payloads"). The
// zero value is "not in a workflow". No other file reads GITHUB_*.
type workflow struct {
	sha              string // the commit that the workflow was started for
	headSHA, headRef string // of the pull request: what people pushed
	branch           string
	repository       string
	runID, runURL    string
	actor            string
	pullRequest      int
}

func readWorkflow(getenv func(string) string) (workflow, error) {
	var w workflow
	if getenv("GITHUB_ACTIONS") != "true" {
		return w, nil
	}
	w.sha, w.runID, w.actor = getenv("GITHUB_SHA"), getenv("GITHUB_RUN_ID"), getenv("GITHUB_ACTOR")
	if t := getenv("GITHUB_TRIGGERING_ACTOR"); t != "" {
		w.actor = t
	}
	if server, name := getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY"); server != "" && name != "" {
		w.repository = server + "/" + name
		if w.runID != "" {
			w.runURL = w.repository + "/actions/runs/" + w.runID
			if attempt := getenv("GITHUB_RUN_ATTEMPT"); attempt != "" && attempt != "1" {
				w.runURL += "/attempts/" + attempt
			}
		}
	}
	w.branch, _ = strings.CutPrefix(getenv("GITHUB_REF"), "refs/heads/")
	if strings.HasPrefix(w.branch, "refs/") {
		w.branch = ""
	}
	w.headRef = getenv("GITHUB_HEAD_REF")
	path := getenv("GITHUB_EVENT_PATH")
	if path == "" {
		return w, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return w, fmt.Errorf("GITHUB_EVENT_PATH: %w", err)
	}
	var event struct {
		PullRequest *struct {
			Number int `json:"number"`
			Head   struct {
				SHA string `json:"sha"`
				Ref string `json:"ref"`
			} `json:"head"`
		} `json:"pull_request"`
	}
	if err := json.Unmarshal(text, &event); err != nil {
		return w, fmt.Errorf("GITHUB_EVENT_PATH: %s is not a webhook payload: %w", path, err)
	}
	if pr := event.PullRequest; pr != nil {
		w.pullRequest, w.headSHA = pr.Number, pr.Head.SHA
		if pr.Head.Ref != "" {
			w.headRef = pr.Head.Ref
		}
	}
	return w, nil
}

// apply adds to info what the workflow knows. On a pull request the commit that
// is checked out is a merge that nobody wrote: the one that people know stands
// for it. A checkout of anything else, of another repository say, keeps its own
// commit and branch.
func (w workflow) apply(info *Info) {
	if w.sha == "" && w.runID == "" {
		return
	}
	info.Build, info.BuildURL, info.Actor = w.runID, w.runURL, w.actor
	if w.pullRequest > 0 {
		info.PullRequest = strconv.Itoa(w.pullRequest)
	}
	if info.Commit != w.sha && (w.headSHA == "" || info.Commit != w.headSHA) && info.Commit != "" {
		return
	}
	if w.headSHA != "" {
		info.Commit, info.Branch = w.headSHA, w.headRef
	} else {
		override(&info.Commit, w.sha)
		if info.Branch == "" {
			info.Branch = w.branch
		}
	}
	if info.Repository == "" {
		info.Repository = w.repository
	}
}
