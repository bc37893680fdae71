package github

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	gh "github.com/google/go-github/v88/github"
)

// ReadFile asks GitHub for a file at the root of the repository, as it is in a commit
// (docs.github.com, "REST API endpoints for repository contents"). The error is
// fs.ErrNotExist only where GitHub shows the commit's files and it is not among them: to
// a token without the right to see them it says that nothing is there.
func ReadFile(ctx context.Context, w *Workflow, token, commit, name string) ([]byte, error) {
	api, err := client(w, token)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	at := &gh.RepositoryContentGetOptions{Ref: commit}
	var file *gh.RepositoryContent
	err = briefly(ctx, func() error {
		file, _, _, err = api.Repositories.GetContents(ctx, owner, repo, name, at)
		return err
	})
	if NotFound(err) {
		if _, _, err := api.Git.GetTree(ctx, owner, repo, commit, false); err != nil {
			return nil, err
		}
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	if file == nil || file.GetType() != "file" {
		return nil, fmt.Errorf("%s of %.7s is not a file", name, commit)
	}
	text, err := file.GetContent()
	return []byte(text), err
}

// BaseOf asks GitHub for the commit at the tip of the branch that the workflow's change is to be
// merged into: of the one that it names, as who opened a pull request can have it merged
// elsewhere for a while; where it names none, or that is not there any more, of the one that
// the pull request names now.
func BaseOf(ctx context.Context, w *Workflow, token string) (string, error) {
	api, err := client(w, token)
	if err != nil {
		return "", err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	if w.BaseRef != "" {
		var ref *gh.Reference
		err = briefly(ctx, func() error {
			ref, _, err = api.Git.GetRef(ctx, owner, repo, "refs/heads/"+w.BaseRef)
			return err
		})
		if !NotFound(err) || w.PullRequest == 0 {
			return ref.GetObject().GetSHA(), err
		}
	}
	var pr *gh.PullRequest
	err = briefly(ctx, func() error {
		pr, _, err = api.PullRequests.Get(ctx, owner, repo, w.PullRequest)
		return err
	})
	if err == nil && pr.GetBase().GetSHA() == "" {
		err = errors.New("GitHub does not tell the base of the pull request")
	}
	return pr.GetBase().GetSHA(), err
}
