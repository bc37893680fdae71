package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v88/github"
)

// Said is the comment that started a workflow, as the event tells it (docs.github.com, "Webhook
// events and payloads", issue_comment).
type Said struct {
	Action  string // created, edited or deleted
	ID      int64
	Body    string
	Created time.Time
	Updated time.Time
	App     string // the program that wrote it for them; "" for none
	Login   string // of who wrote it
	User    int64  // the number of that user, which no other one gets
}

// Asks tells whether the workflow was started by a comment on a pull request: then the comment
// says whether something trains, and what.
func (w *Workflow) Asks() bool { return w.Event == "issue_comment" && w.PullRequest > 0 }

// Ask is a comment by which somebody who may asks for the training of a pull request. Whatever
// can be known of it is asked of GitHub: the event is as old as the workflow has waited.
type Ask struct {
	Command
	Login string // who asks
	Head  string // the commit at the tip of the pull request

	w     *Workflow
	api   *gh.Client
	owner string
	repo  string
}

var (
	// ErrNoCommand says that no line of the comment asks for anything.
	ErrNoCommand = errors.New("no line of the comment asks for training")
	// ErrNotNew says that the event is not about a new comment.
	ErrNotNew = errors.New("a comment asks for training when it is written, not when it is edited or deleted")
)

// AskError says why nothing trains to somebody who may ask.
type AskError struct{ Reason string }

func (e *AskError) Error() string { return "nothing was submitted: " + e.Reason }

func cannot(format string, args ...any) error { return &AskError{fmt.Sprintf(format, args...)} }

// ReadAsk reads what the workflow's comment asks for, says by a reaction that it was seen, and
// has the workflow know of the pull request what GitHub says now. The error is ErrNoCommand or
// ErrNotNew where nothing is asked for; a *RefusedError where who wrote it may not ask; an
// *AskError or a *CommandError where they may; else what GitHub said. warn is told of a reaction
// that GitHub did not take.
func ReadAsk(ctx context.Context, w *Workflow, token string, warn func(error)) (*Ask, error) {
	if w.Said.Action != "created" {
		return nil, ErrNotNew
	}
	command, wrong := ParseCommand(w.Said.Body)
	if command == nil && wrong == nil {
		return nil, ErrNoCommand
	}
	if token == "" {
		return nil, refuseAsk("without a token GitHub cannot be asked what %s may do here (pass GITHUB_TOKEN: "+
			"${{ github.token }} in the step's env)", w.Said.Login)
	}
	api, err := client(w, token)
	if err != nil {
		return nil, err
	}
	a := &Ask{Login: w.Said.Login, w: w, api: api}
	a.owner, a.repo, _ = strings.Cut(w.Repository, "/")
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if err := a.permitted(ctx); err != nil {
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			a.react(ctx, "-1", warn)
		}
		return nil, err
	}
	a.react(ctx, "eyes", warn)
	if err := a.unchanged(ctx); err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, wrong
	}
	a.Command = *command
	pr, err := a.pullRequest(ctx)
	if err != nil {
		return nil, err
	}
	a.Head = pr.GetHead().GetSHA()
	w.Head, w.HeadRef, w.HeadRepository = a.Head, pr.GetHead().GetRef(), pr.GetHead().GetRepo().GetFullName()
	w.BaseRef, w.Base = pr.GetBase().GetRef(), pr.GetBase().GetSHA()
	return a, nil
}

// askTime is how long GitHub may take to say who asks for what.
const askTime = 2 * time.Minute

// Holds tells, right before something is submitted, whether the comment still asks for it: who
// wrote it may still, nobody has changed it or taken it back, and nothing was pushed. The errors
// are those of ReadAsk.
func (a *Ask) Holds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if err := a.permitted(ctx); err != nil {
		return err
	}
	if err := a.unchanged(ctx); err != nil {
		return err
	}
	_, err := a.pullRequest(ctx)
	return err
}

// Approves tells whether the comment names the commit that is to train.
func (a *Ask) Approves() bool { return a.Commit != "" && a.Commit == a.Head }

// mayAsk are the permissions with which somebody may ask: those of who may push to the
// repository. Of maintain GitHub tells as of write (docs.github.com, "REST API endpoints for
// collaborators").
var mayAsk = []string{"write", "maintain", "admin"}

// permitted asks GitHub what the comment's author may do now.
func (a *Ask) permitted(ctx context.Context) error {
	said := a.w.Said
	if said.Login == "" || said.User == 0 {
		return refuseAsk("the event does not tell who wrote the comment")
	}
	if said.App != "" {
		return refuseAsk("the program %s wrote the comment for %s: a program writes what others have it write",
			said.App, said.Login)
	}
	var level *gh.RepositoryPermissionLevel
	err := briefly(ctx, func() (err error) {
		level, _, err = a.api.Repositories.GetPermissionLevel(ctx, a.owner, a.repo, said.Login)
		return err
	})
	switch {
	case NotFound(err):
		return refuseAsk("GitHub knows no user %s any more", said.Login)
	case err != nil:
		return refused(err, "ask what "+said.Login+" may do in the repository", "contents: read")
	case level.GetUser().GetID() != said.User: // the name can be another's by now
		return refuseAsk("%s is not who wrote the comment", said.Login)
	case level.GetUser().GetType() != "User":
		return refuseAsk("%s is no person: a program writes what others have it write", said.Login)
	case !slices.Contains(mayAsk, level.GetPermission()):
		return refuseAsk("%s asked for it, who may not push to %s: that needs the permission write, maintain or "+
			"admin, and GitHub says %q", said.Login, a.w.Repository, level.GetPermission())
	}
	return nil
}

func refuseAsk(format string, args ...any) error {
	return &RefusedError{"nothing was submitted: " + fmt.Sprintf(format, args...)}
}

// unchanged asks GitHub whether the comment is there as the event has it: whoever may edit it
// could put words into its author's mouth.
func (a *Ask) unchanged(ctx context.Context) error {
	said := a.w.Said
	var comment *gh.IssueComment
	err := briefly(ctx, func() (err error) {
		comment, _, err = a.api.Issues.GetComment(ctx, a.owner, a.repo, said.ID)
		return err
	})
	var answer *gh.ErrorResponse
	switch {
	case NotFound(err), errors.As(err, &answer) && answer.Response.StatusCode == http.StatusGone:
		return refuseAsk("the comment that asked for it was deleted")
	case err != nil:
		return refused(err, "read the comment", "pull-requests: write")
	case comment.GetUser().GetID() != said.User,
		!strings.HasSuffix(strings.ToLower(comment.GetIssueURL()),
			strings.ToLower(fmt.Sprintf("/%s/issues/%d", a.w.Repository, a.w.PullRequest))):
		return refuseAsk("the comment %d is not the one that the event tells of", said.ID)
	case comment.GetBody() != said.Body, !comment.GetUpdatedAt().Equal(gh.Timestamp{Time: said.Created}),
		!said.Updated.Equal(said.Created), !comment.GetCreatedAt().Equal(gh.Timestamp{Time: said.Created}):
		return cannot("the comment was edited, and then nobody knows who asks for what; write a new one")
	}
	return nil
}

// pullRequest asks GitHub for the pull request, and whether it is what the comment speaks of.
func (a *Ask) pullRequest(ctx context.Context) (*gh.PullRequest, error) {
	var pr *gh.PullRequest
	err := briefly(ctx, func() (err error) {
		pr, _, err = a.api.PullRequests.Get(ctx, a.owner, a.repo, a.w.PullRequest)
		return err
	})
	head := pr.GetHead().GetSHA()
	switch {
	case err != nil:
		return nil, refused(err, "read the pull request", "pull-requests: write")
	case pr.GetState() != "open":
		return nil, cannot("the pull request is %s", cmp.Or(pr.GetState(), "in no state that GitHub tells"))
	case !wholeCommit.MatchString(head):
		return nil, cannot("GitHub does not tell the head of the pull request")
	case a.Commit != "" && head != a.Commit:
		return nil, cannot("the comment asks for the commit %.7s, and the head of the pull request is %.7s now: a "+
			"push voids what was asked for before it. A new comment, %s, tells what would train", a.Commit, head, verb)
	case a.Head != "" && head != a.Head:
		return nil, cannot("something was pushed meanwhile: the head of the pull request was %.7s, and is %.7s", a.Head,
			head)
	}
	return pr, nil
}

// react says by a reaction that the comment was seen.
func (a *Ask) react(ctx context.Context, content string, warn func(error)) {
	err := briefly(ctx, func() error {
		_, _, err := a.api.Reactions.CreateIssueCommentReaction(ctx, a.owner, a.repo, a.w.Said.ID, content)
		return err
	})
	if err != nil {
		warn(refused(err, "react to the comment", "pull-requests: write"))
	}
}

// Answer is the comment that answers: each that asks has one of its own, in which a run's report
// stays whatever is pushed later, as it was asked for by its commit. identity is that of
// NewComment.
func (w *Workflow) Answer(token, identity string) (*Comment, error) {
	of := *w
	of.Head = ""
	return NewComment(&of, token, fmt.Sprintf("%s\x00%d", identity, w.Said.ID))
}
