package settings

import (
	"cmp"
	"context"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/promote"
)

// Promotes says what becomes of the run of a merge: nil where the workflow's event is none, or
// nothing is promoted of it. The settings of the merge itself say so, since until it is merged no
// change decides, unless named is MODEL, MODEL@ALIAS or none. own reads those of the working
// directory.
func (c Commits) Promotes(ctx context.Context, named string, own func() (Settings, error)) (*promote.Wanted, error) {
	branch, commit := c.Workflow.Merge()
	if named == "none" || commit == "" {
		return nil, nil
	}
	in, unread, wrong := c.Of(ctx, commit)
	if wrong != nil {
		return nil, wrong
	}
	w := promote.Wanted{Settings: in.Promote, Commit: commit}
	if named != "" {
		var err error
		if w.Model, w.Alias, err = promote.Parse(named); err != nil {
			return nil, mistake.Errorf("--promote %w", err)
		}
	} else if unread != nil {
		if here, err := own(); err != nil || here.Promote.Model != "" {
			return nil, mistake.Errorf("what the merge %.7s has promoted cannot be read: %w; give the step a token "+
				"that may read the repository (permissions: contents: read)", commit, unread)
		}
	}
	if w.Model == "" || branch != cmp.Or(w.Branch, c.Workflow.DefaultBranch) {
		return nil, nil
	}
	if c.Workflow.Merged != "" {
		if err := c.checkedOut(commit); err != nil {
			return nil, err
		}
	}
	return &w, nil
}

// checkedOut looks whether the checkout is that of a merge: the pull request's own is another one.
func (c Commits) checkedOut(commit string) error {
	repo, err := c.Git.Find(".")
	if err != nil || repo == nil {
		return mistake.Errorf("the merge %.7s cannot be promoted: it is not checked out here", commit)
	}
	if _, head, err := repo.Head(); err != nil || head.String() != commit {
		return mistake.Errorf("the pull request was merged by %.7s, and the checkout is %.7s: give actions/checkout "+
			"the ref ${{ github.event.pull_request.merge_commit_sha }}", commit, head)
	}
	return nil
}
