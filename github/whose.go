package github

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	gh "github.com/google/go-github/v88/github"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
)

// Whose a commit is: GitHub answers for a fork's commit through the repository that it
// was forked from as well (docs.github.com, "Understanding connections between
// repositories"), so that it has one says nothing. A branch of the repository does.

// PullRequestHead asks GitHub for the commits of a pull request, its head and the merge
// of that into the base, and for the repository of its head, which some events do not
// tell.
func PullRequestHead(ctx context.Context, w *Workflow, token string) (head, merge, repository string, err error) {
	api, err := client(w, token)
	if err != nil {
		return "", "", "", err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	pr, _, err := api.PullRequests.Get(ctx, owner, repo, w.PullRequest)
	if err != nil {
		return "", "", "", err
	}
	return pr.GetHead().GetSHA(), pr.GetMergeCommitSHA(), pr.GetHead().GetRepo().GetFullName(), nil
}

// OnBranch asks GitHub whether a commit is the tip of one of the repository's branches,
// or on the default one. It makes two requests at most.
func OnBranch(ctx context.Context, w *Workflow, token, commit string) (bool, error) {
	api, err := client(w, token)
	if err != nil {
		return false, err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	branches, _, err := api.Repositories.ListBranchesHeadCommit(ctx, owner, repo, commit)
	if err != nil {
		return false, err
	}
	tip := func(b *gh.BranchCommit) bool { return b.GetCommit().GetSHA() == commit }
	if slices.ContainsFunc(branches, tip) {
		return true, nil
	}
	return Within(ctx, w, token, cmp.Or(w.DefaultBranch, "HEAD"), commit)
}

// NotFound tells GitHub's answer that something is not there, or not for this token to see.
func NotFound(err error) bool {
	var refused *gh.ErrorResponse
	return errors.As(err, &refused) && refused.Response.StatusCode == http.StatusNotFound
}

// Before tells which of two merges came first: whether a commit is an ancestor of other, or the same.
// The clone says so where it has all of it, else GitHub. A commit that is on no branch any more came
// before nothing.
func Before(ctx context.Context, clones *git.Finder, w *Workflow, token, commit, other string) (bool, error) {
	if repo, err := clones.Find("."); err == nil && repo != nil && !repo.Shallow() {
		if found := gitmeta.Ancestors(repo, other); found != nil {
			_, is := found[commit]
			return is, nil
		}
	}
	if token == "" {
		return false, mistake.Errorf("without a token GitHub cannot be asked which of the merges %.7s and %.7s is the "+
			"later one; pass GITHUB_TOKEN: ${{ github.token }} in the step's env, or check out with fetch-depth: 0",
			commit, other)
	}
	is, err := Within(ctx, w, token, other, commit)
	if NotFound(err) {
		return false, nil
	}
	return is, err
}

// Within asks GitHub whether a commit is base, a branch or a commit, or an ancestor of it.
func Within(ctx context.Context, w *Workflow, token, base, commit string) (bool, error) {
	api, err := client(w, token)
	if err != nil {
		return false, err
	}
	owner, repo, _ := strings.Cut(w.Repository, "/")
	c, _, err := api.Repositories.CompareCommits(ctx, owner, repo, base, commit, &gh.ListOptions{PerPage: 1})
	if err != nil {
		return false, err
	}
	return c.GetStatus() == "identical" || c.GetStatus() == "behind", nil
}
