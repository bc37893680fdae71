package github

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	gh "github.com/google/go-github/v88/github"

	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/lazyregexp"
)

// Comment is the one comment that a job has on a pull request. It is made when the
// job first runs, found again by a hidden first line, and kept up to date: the
// newest push is on top, whatever the order in which runs end. Comments of others
// are never touched.
//
// GitHub's REST API: docs.github.com, "REST API endpoints for issue comments".
type Comment struct {
	client      *gh.Client
	owner, repo string
	number      int
	key         string
	run         int64 // the workflow run
	attempt     int64
	head        string // the commit that this run is of; "" where nobody knows

	id    int64   // of the comment, once it is known
	login *string // whose comments are our own; "" until somebody asks
	also  string  // and another one's, who began them; "" for nobody's
}

// CommentLimit is the most characters that GitHub takes in a comment
// (docs.github.com, "Issues": body is too long, maximum is 65536 characters).
const CommentLimit = 65536

// ErrSuperseded says that the pull request has a newer push, whose result stays on
// top.
var ErrSuperseded = errors.New("the pull request got a newer push; its run has the comment")

// NotAllowedError says that the token may not do what was asked, such as comment or set a status,
// and which permission lets it.
type NotAllowedError struct{ Reason string }

func (e *NotAllowedError) Error() string { return e.Reason }

// NewComment returns the comment of a job on the pull request that a workflow is
// about. identity tells the jobs of one workflow apart, as far as its name and the
// id of the workflow's job do not.
func NewComment(w *Workflow, token, identity string) (*Comment, error) {
	api, err := client(w, token)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{w.Name, w.Job, identity}, "\x00")))
	c := &Comment{client: api, number: w.PullRequest, key: fmt.Sprintf("%x", sum[:8]), run: w.RunID,
		attempt: w.Attempt, head: w.Head, login: new(string)}
	c.owner, c.repo, _ = strings.Cut(w.Repository, "/")
	return c, nil
}

func client(w *Workflow, token string) (*gh.Client, error) {
	base := strings.TrimSuffix(w.API, "/") + "/"
	if base == "/" {
		base = "https://api.github.com/"
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" {
		return nil, fmt.Errorf("GITHUB_API_URL is %q, which is no address", w.API)
	}
	// The client waits by itself for no rate limit: how long there is to wait is
	// known here.
	return gh.NewClient(gh.WithURLs(&base, nil), gh.WithAuthToken(token), gh.WithTimeout(30*time.Second),
		gh.WithUserAgent("aml-train"), gh.WithTransport(debuglog.Transport(http.DefaultTransport)),
		gh.WithDisableRateLimitCheck())
}

// first is the hidden line that a comment of ours starts with: the key, the
// workflow run and its attempt, and whether the run has ended.
var first = lazyregexp.New(`^<!-- aml-train ([0-9a-f]{16}) (\d+)\.(\d+) (running|ended) -->\r?\n`)

// earlier stands before an earlier result, within a comment.
const earlier = "<!-- aml-train earlier -->\n"

// Write puts text on the pull request. render is given the most bytes that there
// is room for. While the run goes on, the result of an earlier push is kept below,
// so that a new push never hides what was known.
//
// It waits as long as GitHub asks for, within ctx. The error is ErrSuperseded, a
// *NotAllowedError, or what GitHub said.
func (c *Comment) Write(ctx context.Context, render func(limit int) string, ended bool) (link string, err error) {
	err = retry(ctx, func() error {
		link, err = c.write(ctx, render, ended)
		return err
	})
	return link, refused(err, "comment on the pull request", "pull-requests: write")
}

func (c *Comment) write(ctx context.Context, render func(limit int) string, ended bool) (string, error) {
	old, err := c.find(ctx)
	if err != nil {
		return "", err
	}
	previous := ""
	if old != nil {
		m := first.FindStringSubmatch(old.GetBody())
		run, _ := strconv.ParseInt(m[2], 10, 64)
		attempt, _ := strconv.ParseInt(m[3], 10, 64)
		if run > c.run || run == c.run && attempt > c.attempt {
			return old.GetHTMLURL(), ErrSuperseded
		}
		previous = result(old.GetBody()[len(m[0]):], m[4] == "ended")
	}
	if c.head != "" {
		pr, _, err := c.client.PullRequests.Get(ctx, c.owner, c.repo, c.number)
		if err != nil {
			return "", err
		}
		if pr.GetHead().GetSHA() != c.head {
			return old.GetHTMLURL(), ErrSuperseded
		}
	}
	state := "running"
	if ended {
		state, previous = "ended", ""
	}
	body := fmt.Sprintf("<!-- aml-train %s %d.%d %s -->\n", c.key, c.run, c.attempt, state)
	body += render(CommentLimit - len(body))
	if folded := fold(previous, CommentLimit-len(body)); folded != "" {
		body += folded
	}
	comment := &gh.IssueComment{Body: &body}
	if old == nil {
		comment, _, err = c.client.Issues.CreateComment(ctx, c.owner, c.repo, c.number, comment)
	} else if !c.says(old.GetBody(), body) {
		comment, _, err = c.client.Issues.EditComment(ctx, c.owner, c.repo, old.GetID(), comment)
	} else {
		comment = old
	}
	if err != nil {
		return "", err
	}
	c.id = comment.GetID()
	return comment.GetHTMLURL(), nil
}

// says tells whether a comment says to its readers already what another text would. The line
// that they do not see may then name an earlier run of the workflow: that the commit is
// still the newest, the pull request itself has said.
func (c *Comment) says(old, body string) bool {
	if old == body {
		return true
	}
	was, is := first.FindStringSubmatch(old), first.FindStringSubmatch(body)
	plain := strings.NewReplacer("\r\n", "\n")
	return c.head != "" && was[4] == "ended" && is[4] == "ended" &&
		plain.Replace(old[len(was[0]):]) == plain.Replace(body[len(is[0]):])
}

// result is what is known of the last run that ended, from a comment's text
// without its first line.
func result(text string, ended bool) string {
	top, below, found := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), earlier)
	if ended {
		return top
	}
	if !found {
		return ""
	}
	_, below, _ = strings.Cut(below, "</summary>\n\n")
	return strings.TrimSuffix(strings.TrimSpace(below), "</details>")
}

// fold puts an earlier result behind a line to click on, in at most limit bytes:
// in whole, else its heading and status, else not at all.
func fold(text string, limit int) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	for range 2 {
		folded := "\n" + earlier + "<details><summary>The result before</summary>\n\n" + text + "\n\n</details>\n"
		if len(folded) <= limit {
			return folded
		}
		parts := strings.SplitN(text, "\n\n", 3)
		text = strings.Join(parts[:min(len(parts), 2)], "\n\n")
	}
	return ""
}

// find returns this job's comment, nil where there is none. Of several, which two
// runs can have made at the same moment, the first stays.
func (c *Comment) find(ctx context.Context) (*gh.IssueComment, error) {
	if c.id != 0 {
		comment, res, err := c.client.Issues.GetComment(ctx, c.owner, c.repo, c.id)
		switch {
		case err == nil && c.ours(comment):
			return comment, nil
		case err != nil && (res == nil || res.StatusCode != http.StatusNotFound):
			return nil, err
		}
		c.id = 0 // somebody deleted it, or wrote something else into it
	} else if err := c.whoAmI(ctx); err != nil {
		return nil, err
	}
	var found *gh.IssueComment
	err := c.each(ctx, func(comment *gh.IssueComment) {
		switch {
		case !c.ours(comment):
		case found == nil:
			found = comment
		default:
			c.client.Issues.DeleteComment(ctx, c.owner, c.repo, comment.GetID())
		}
	})
	return found, err
}

// each hands over every comment of the pull request, the oldest first.
func (c *Comment) each(ctx context.Context, see func(*gh.IssueComment)) error {
	o := &gh.IssueListCommentsOptions{ListOptions: gh.ListOptions{PerPage: 100}}
	for {
		page, res, err := c.client.Issues.ListComments(ctx, c.owner, c.repo, c.number, o)
		if err != nil {
			return err
		}
		for _, comment := range page {
			see(comment)
		}
		if res.NextPage == 0 {
			return nil
		}
		o.Page = res.NextPage
	}
}

// ours tells whether we wrote a comment, for this job: anybody can write our first
// line.
func (c *Comment) ours(comment *gh.IssueComment) bool {
	m := first.FindStringSubmatch(comment.GetBody())
	if m == nil || m[1] != c.key {
		return false
	}
	login := comment.GetUser().GetLogin()
	return login == *c.login || c.also != "" && login == c.also
}

// graphQL is GraphQL's address beside that of the REST API: https://api.github.com/graphql,
// and https://HOST/api/graphql on a GitHub Enterprise Server.
func graphQL(rest string) string {
	base := strings.TrimSuffix(rest, "/")
	return strings.TrimSuffix(base, "/v3") + "/graphql"
}

// actions is who a workflow's own token writes as.
const actions = "github-actions[bot]"

// whoAmI finds out whose token it is. The REST API does not tell an app; GraphQL's
// viewer does. Where that is not to be had, the token is taken for the workflow's own:
// no other bot may pass for us with a copy of our first line.
func (c *Comment) whoAmI(ctx context.Context) error {
	if *c.login != "" {
		return nil
	}
	user, res, err := c.client.Users.Get(ctx, "")
	switch {
	case err == nil:
		*c.login = user.GetLogin()
		return nil
	case res == nil || res.StatusCode != http.StatusForbidden || rateLimited(err):
		return err
	}
	*c.login = actions
	req, err := c.client.NewRequest(ctx, http.MethodPost, graphQL(c.client.BaseURL()),
		map[string]string{"query": "query { viewer { login } }"})
	if err != nil {
		return nil
	}
	var answer struct {
		Data struct {
			Viewer struct {
				Login string `json:"login"`
			} `json:"viewer"`
		} `json:"data"`
	}
	switch res, err := c.client.Do(req, &answer); {
	case err != nil && (res == nil || res.StatusCode >= 500 || rateLimited(err)):
		*c.login = "" // asked again the next time
		return err
	case err == nil && answer.Data.Viewer.Login != "":
		*c.login = strings.TrimSuffix(answer.Data.Viewer.Login, "[bot]") + "[bot]"
	}
	return nil
}

func rateLimited(err error) bool {
	var rate *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	return errors.As(err, &rate) || errors.As(err, &abuse)
}

// refused turns GitHub's ways of saying that a token may not do what it was used for into one,
// and those of a network.
func refused(err error, do, permission string) error {
	var unreached *url.Error
	if errors.As(err, &unreached) {
		return fmt.Errorf("GitHub could not be reached: %w", unreached.Err)
	}
	var answer *gh.ErrorResponse
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Response.StatusCode {
	case http.StatusUnauthorized:
		return &NotAllowedError{"GitHub does not take the token (401); pass github-token, or leave it out for the " +
			"workflow's own"}
	case http.StatusForbidden, http.StatusNotFound:
		return &NotAllowedError{fmt.Sprintf("the token may not %s (%d: %s); give the job the permission \"%s\". "+
			"On a pull request of a fork or of Dependabot it is read-only whatever the job says",
			do, answer.Response.StatusCode, answer.Message, permission)}
	}
	return err
}
