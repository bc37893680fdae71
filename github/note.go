package github

import (
	"context"
	"strconv"
	"strings"

	gh "github.com/google/go-github/v88/github"
)

// Note is what a run that nobody waits for carries with it: where its end is to be told. It
// is noted with the run where its script cannot change it; a status only names the run.
type Note struct {
	Repository  string `json:"repository"` // OWNER/NAME
	Commit      string `json:"commit"`
	Context     string `json:"context"` // of the commit status
	PullRequest int    `json:"pull_request,omitempty"`
	Head        string `json:"head,omitempty"`    // of the pull request
	Base        string `json:"base,omitempty"`    // the branch that it was to be merged into then
	Comment     string `json:"comment,omitempty"` // the key of its comment; "" where none is wanted
	Run         int64  `json:"run,omitempty"`     // of the workflow
	Attempt     int64  `json:"attempt,omitempty"`
}

// Note returns the note of a run that this workflow submits: of a commit, a status context, and
// its comment, nil where none is wanted.
func (w *Workflow) Note(commit, context string, comment *Comment) Note {
	n := Note{Repository: w.Repository, Commit: commit, Context: context, PullRequest: w.PullRequest, Head: w.Head,
		Base: w.BaseRef, Run: w.RunID, Attempt: w.Attempt}
	if comment != nil {
		n.Comment = comment.key
	}
	if w.Asks() { // its commit was asked for, whatever is pushed
		n.Head = ""
	}
	return n
}

// Is tells whether a status of the repository is the one in which the note's run is to be told.
func (n Note) Is(repository string, status Status) bool {
	return strings.EqualFold(n.Repository, repository) && n.Commit == status.Commit && n.Context == status.Context
}

// Change returns a copy of w that is about the change of the note's run: its pull request, and the
// branch that it was to be merged into. ok is false where it was to be merged nowhere.
func (n Note) Change(w *Workflow) (of *Workflow, ok bool) {
	change := *w
	change.PullRequest, change.BaseRef, change.Base = n.PullRequest, n.Base, ""
	return &change, n.PullRequest != 0 || n.Base != ""
}

// Comment returns the comment that a note names, nil where none is wanted. The workflow's own
// user began it, whoever ends it.
func (s *Statuses) Comment(n Note) *Comment {
	if n.Comment == "" || n.PullRequest == 0 {
		return nil
	}
	return &Comment{client: s.client, owner: s.owner, repo: s.repo, number: n.PullRequest, key: n.Comment, run: n.Run,
		attempt: n.Attempt, head: n.Head, login: s.login, also: actions}
}

// CommentAbout looks for the comment on a pull request that tells of a run that goes on, by the
// run's link: of one that is gone nothing else is known. It returns nil where there is none.
func (s *Statuses) CommentAbout(ctx context.Context, number int, link string) (*Comment, error) {
	c := &Comment{client: s.client, owner: s.owner, repo: s.repo, number: number, login: s.login, also: actions}
	var about *Comment
	err := retry(ctx, func() error {
		about = nil
		if err := c.whoAmI(ctx); err != nil {
			return err
		}
		return c.each(ctx, func(comment *gh.IssueComment) {
			m := first.FindStringSubmatch(comment.GetBody())
			if m == nil || m[4] != "running" || !strings.Contains(comment.GetBody(), "]("+link+")") || about != nil {
				return
			}
			of := *c
			of.key, of.id = m[1], comment.GetID()
			of.run, _ = strconv.ParseInt(m[2], 10, 64)
			of.attempt, _ = strconv.ParseInt(m[3], 10, 64)
			if of.ours(comment) {
				about = &of
			}
		})
	})
	return about, refused(err, "read the comments of the pull request", "pull-requests: write")
}
