package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	gh "github.com/google/go-github/v88/github"

	"github.com/org/aml-train/report"
)

// States of a commit status (docs.github.com, "REST API endpoints for commit statuses").
const (
	Pending = "pending"
	Success = "success"
	Failure = "failure" // what was checked is not good
	Error   = "error"   // it could not be checked
)

// Status is what a commit says of one context: statuses of a context follow each other, and
// the last one counts.
type Status struct {
	Commit      string
	Context     string
	State       string
	Description string
	URL         string
	Created     time.Time // when GitHub took it

	PullRequest int // by which it was found; 0 for none
}

// longestDescription is the most characters that GitHub takes of a status' description
// (cli/cli and others are refused more: "description is too long (maximum is 140 characters)").
const longestDescription = 140

// longestContext keeps a context within what GitHub takes, 255 characters, and what people
// read.
const longestContext = 100

// contextOfOurs begins the contexts of this program.
const contextOfOurs = "aml-train/"

// StatusContext is the context of a job's status: its experiment, and the name that people gave
// it, which tells the jobs of a matrix apart.
func StatusContext(experiment, name string) string {
	context := contextOfOurs + experiment
	if name != "" {
		context += "/" + name
	}
	return report.Shorten(report.Line(context), longestContext)
}

// JobOf is the job that a context names, as StatusContext made it.
func JobOf(context string) string { return strings.TrimPrefix(context, contextOfOurs) }

// Statuses are the commit statuses of a repository.
type Statuses struct {
	client      *gh.Client
	owner, repo string
	login       *string // of the token
}

// NewStatuses returns the commit statuses of the workflow's repository.
func NewStatuses(w *Workflow, token string) (*Statuses, error) {
	api, err := client(w, token)
	if err != nil {
		return nil, err
	}
	s := &Statuses{client: api, login: new(string)}
	s.owner, s.repo, _ = strings.Cut(w.Repository, "/")
	return s, nil
}

// Set adds a status. It waits as long as GitHub asks for, within ctx, and adds no second one
// where an answer was lost. The error is a *NotAllowedError, or what GitHub said.
func (s *Statuses) Set(ctx context.Context, status Status) error {
	sent := false
	err := retry(ctx, func() error {
		if sent { // it may be there
			last, err := s.last(ctx, status.Commit, status.Context)
			if err != nil || last != nil && last.same(status) {
				return err
			}
		}
		sent = true
		return s.add(ctx, status)
	})
	return s.refused(err)
}

// Complete adds a status that ends a pending one, unless that has been ended, or followed by
// another run's: then done is false. Otherwise it is as Set.
func (s *Statuses) Complete(ctx context.Context, pending, with Status) (done bool, err error) {
	err = retry(ctx, func() error {
		last, err := s.last(ctx, pending.Commit, pending.Context)
		if err != nil {
			return err
		}
		if last == nil || last.State != Pending || last.URL != pending.URL {
			done = done && last != nil && last.same(with)
			return nil
		}
		done = true // unless the answer tells otherwise
		return s.add(ctx, with)
	})
	return done && err == nil, s.refused(err)
}

// Of returns the last status of a commit's context, nil where it has none.
func (s *Statuses) Of(ctx context.Context, commit, context string) (last *Status, err error) {
	err = retry(ctx, func() error {
		last, err = s.last(ctx, commit, context)
		return err
	})
	return last, s.refused(err)
}

func (s *Statuses) add(ctx context.Context, status Status) error {
	description := report.Shorten(report.Line(status.Description), longestDescription)
	body := gh.RepoStatus{State: &status.State, Context: &status.Context, Description: &description}
	if status.URL != "" {
		body.TargetURL = &status.URL
	}
	_, _, err := s.client.Repositories.CreateStatus(ctx, s.owner, s.repo, status.Commit, body)
	return err
}

func (s *Statuses) last(ctx context.Context, commit, context string) (*Status, error) {
	o := &gh.ListOptions{PerPage: 100}
	for {
		page, res, err := s.client.Repositories.GetCombinedStatus(ctx, s.owner, s.repo, commit, o)
		if err != nil {
			return nil, err
		}
		for _, is := range page.Statuses {
			if is.GetContext() == context {
				return &Status{Commit: commit, Context: context, State: is.GetState(),
					Description: is.GetDescription(), URL: is.GetTargetURL(), Created: is.GetCreatedAt().Time}, nil
			}
		}
		if res.NextPage == 0 {
			return nil, nil
		}
		o.Page = res.NextPage
	}
}

// same tells whether a status says what another one would.
func (s *Status) same(other Status) bool {
	return s.State == other.State && s.URL == other.URL &&
		s.Description == report.Shorten(report.Line(other.Description), longestDescription)
}

// ErrNoCommit says that the repository has no such commit (any more).
var ErrNoCommit = errors.New("the repository does not have the commit")

// refused is the error of a request about statuses.
func (s *Statuses) refused(err error) error {
	var answer *gh.ErrorResponse
	if errors.As(err, &answer) && answer.Response.StatusCode == http.StatusUnprocessableEntity {
		return fmt.Errorf("%s/%s: %w (422: %s)", s.owner, s.repo, ErrNoCommit, answer.Message)
	}
	return refused(err, "set commit statuses", "statuses: write")
}
