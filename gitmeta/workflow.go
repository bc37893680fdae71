package gitmeta

import (
	"strconv"
	"strings"

	"github.com/org/aml-train/github"
)

// apply adds to info what the workflow knows. On a pull request the commit that
// is checked out is a merge that nobody wrote: the one that people know stands
// for it. A checkout of anything else, of another repository say, keeps its own
// commit and branch.
func apply(w *github.Workflow, info *Info) {
	if w.SHA == "" && w.RunID == 0 {
		return
	}
	if w.RunID > 0 {
		info.Build = strconv.FormatInt(w.RunID, 10)
	}
	info.BuildURL, info.Actor = w.RunURL(), w.Actor
	if w.PullRequest > 0 {
		info.PullRequest = strconv.Itoa(w.PullRequest)
	}
	switch {
	case w.Head != "" && info.Commit == w.Head:
		override(&info.Branch, w.HeadRef)
	case info.Commit != "" && info.Commit != w.SHA:
		return
	case w.Event == "pull_request" && w.Head != "":
		info.Commit, info.Branch = w.Head, w.HeadRef
	default:
		override(&info.Commit, w.SHA)
		if branch, ok := strings.CutPrefix(w.Ref, "refs/heads/"); ok && info.Branch == "" {
			info.Branch = branch
		}
	}
	if info.Repository == "" && w.Server != "" && w.Repository != "" {
		info.Repository = w.Server + "/" + w.Repository
	}
}
