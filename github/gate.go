package github

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Gate decides whose code may be trained by a workflow that may have secrets.
type Gate struct {
	Workflow *Workflow
	Token    string

	approved string   // the only commit that may train, where somebody has said so
	head     string   // of the repository's own pull request, where GitHub had to be asked
	admitted []string // commits that are known to be the repository's own
}

// RefusedError says why nothing is trained.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// gitHubTime is how long GitHub may take to say whose a commit is.
const gitHubTime = 30 * time.Second

// Open tells whether any code may be trained.
func (g *Gate) Open() bool { return !g.Workflow.Privileged() }

// Approve has the gate let through a commit of which somebody who may has said that it trains,
// and from now on no other.
func (g *Gate) Approve(commit string) { g.approved = commit }

// Event refuses a stranger's code where it could reach secrets: on an event that is about
// a head of another repository, whatever is checked out. The error is a *RefusedError.
func (g *Gate) Event(ctx context.Context) error {
	if g.Open() {
		return nil
	}
	w := g.Workflow
	if w.HeadRepository == "" && w.PullRequest > 0 && w.Foreign() && g.Token != "" {
		ctx, cancel := context.WithTimeout(ctx, gitHubTime)
		defer cancel()
		if head, merge, repository, err := PullRequestHead(ctx, w, g.Token); err == nil {
			w.HeadRepository, g.head = repository, head
			g.admitted = []string{head, merge}
		}
	}
	if !w.Foreign() {
		return nil
	}
	return g.refuse("the code comes from %s, whose author", cmp.Or(w.HeadRepository, "a repository that is not known"))
}

// Unknown refuses the code in a folder of which nobody can tell the commit.
func (g *Gate) Unknown(dir string, err error) error {
	return g.refuse("nobody can tell which commit %s is of (%v), so its author", dir, err)
}

// Commit refuses to train a commit with secrets unless it is the repository's own: the
// one that the event itself was started for, or one on its branches. References that are
// here prove nothing, since a step may have fetched anything under any name, so GitHub
// is asked, twice at most. The error is a *RefusedError.
func (g *Gate) Commit(ctx context.Context, commit string) error {
	if g.approved != "" {
		if commit != g.approved {
			return &RefusedError{fmt.Sprintf("nothing was submitted: the commit %s is not %s, which was asked for",
				commit, g.approved)}
		}
		return nil
	}
	if g.Open() || g.Workflow.Started(commit) || commit != "" && slices.Contains(g.admitted, commit) {
		return nil
	}
	if g.Token == "" {
		return g.refuse("without a token GitHub cannot be asked whose the commit %s is "+
			"(pass GITHUB_TOKEN: ${{ github.token }} in the step's env), and its author", commit)
	}
	ctx, cancel := context.WithTimeout(ctx, gitHubTime)
	defer cancel()
	ask := OnBranch
	if g.head != "" { // one request was made already
		ask = func(ctx context.Context, w *Workflow, token, commit string) (bool, error) {
			return Within(ctx, w, token, g.head, commit)
		}
	}
	own, err := ask(ctx, g.Workflow, g.Token, commit)
	if err != nil {
		return g.refuse("GitHub does not say whose the commit %s is (%v; the job needs the permission "+
			"\"contents: read\"), and its author", commit, err)
	}
	if !own {
		return g.refuse("the commit %s is neither the tip of a branch of %s nor on its default branch, so "+
			"whoever wrote it",
			commit, g.Workflow.Repository)
	}
	g.admitted = append(g.admitted, commit)
	return nil
}

// refuse says why nothing trains: format ends with who could take the secrets along.
func (g *Gate) refuse(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf("nothing was submitted: on %s the workflow has this repository's secrets and a "+
		"token that may write, and %s could take them along. Train on pull_request instead, which has neither, or "+
		"have somebody who may push to this repository read the code and ask for it by a comment on the pull "+
		"request, /train COMMIT (docs/train-comment.md)",
		cmp.Or(g.Workflow.Event, "an event without a name"), fmt.Sprintf(format, args...))}
}
