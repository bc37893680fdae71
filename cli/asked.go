package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/local"
)

// A comment on a pull request asks for the training of one commit (issue_comment): the checkout is
// the default branch, which says what is done, and the commit's files are read from its objects.

// errAllowFork is the mistake of an input, or flag, that there is no more.
var errAllowFork = errors.New("allow-fork is gone: it let whatever a fork's pull request had at that moment read " +
	"every secret of the workflow. Somebody who may push asks for one commit now, by the comment /train COMMIT on " +
	"the pull request, in a workflow on issue_comment (docs/train-comment.md); let the job name an environment with " +
	"reviewers where a second person is to agree. pull_request trains without secrets as before")

// asked reads what the comment asks for, and has the commit that it is about train. ok is false
// where nothing is asked for, or may be.
func (f *workflow) asked(ctx context.Context, of *jobFlags) (ok bool, err error) {
	if of.commit != "" {
		return false, mistake.Errorf("--commit %s: which commit trains is for the comment to say, /train COMMIT",
			of.commit)
	}
	ask, err := github.ReadAsk(ctx, f.Workflow, f.flags.token, func(err error) { f.a.say("aml-train: %v", err) })
	var refused *github.RefusedError
	switch {
	case errors.Is(err, github.ErrNoCommand), errors.Is(err, github.ErrNotNew):
		f.a.say("Nothing to do: %v", err)
		return false, nil
	case errors.As(err, &refused): // nobody is answered who may not ask
		return false, mistake.Of(err)
	case err == nil:
		err = f.askedFor(ctx, ask, of)
	}
	if err != nil {
		err = askFault(err)
		f.refused(ctx, of.name(), err)
	}
	return err == nil, err
}

// askFault is an error of GitHub where it is not one of the comment.
func askFault(err error) error {
	var ask *github.AskError
	var command *github.CommandError
	var refused *github.RefusedError
	var denied *github.NotAllowedError
	if errors.As(err, &ask) || errors.As(err, &command) || errors.As(err, &refused) || errors.As(err, &denied) {
		return mistake.Of(err)
	}
	return err
}

// askedFor has the commit train that somebody who may asks for.
func (f *workflow) askedFor(ctx context.Context, ask *github.Ask, of *jobFlags) error {
	// What lies here says which workspace code is sent to, and by which rules it is judged.
	if err := f.admitFolder(ctx, "."); err != nil {
		return fmt.Errorf("what is checked out says what is done, so let it be the default branch and nothing else: %w",
			err)
	}
	repo, err := f.a.git.Find(".")
	if err != nil || repo == nil {
		return mistake.Errorf("there is no git repository here; check it out with git")
	}
	objects := repo.Objects()
	defer objects.Close()
	if _, _, err := objects.CommitTree(plumbing.NewHash(ask.Head)); err != nil {
		return mistake.Errorf("the commit %s is not in the checkout; have a step before fetch it, and leave it at "+
			"that: git fetch origin refs/pull/%d/head", ask.Head, f.PullRequest)
	}
	f.ask, of.commit, of.Asked = ask, ask.Head, ask.Inputs
	f.gate.Approve(ask.Head)
	return nil
}

// holds is the last look before something is submitted.
func (f *workflow) holds(ctx context.Context) error {
	return askFault(f.ask.Holds(ctx))
}

// fenced is this machine for a stranger's code, which trains in a container: outside one it
// could read what other steps and this program were given.
type fenced struct{ submit.Target }

// Check refuses what would run on the machine itself.
func (t fenced) Check(ctx context.Context, j *job.Job) error {
	if err := t.Target.Check(ctx, j); err != nil || local.InContainer(j.Trial()) {
		return err
	}
	return mistake.Errorf("the commit is another repository's, and would train on "+
		"this runner with the environment %s, where it could read the workflow's secrets; have it train in a "+
		"container, with environment: docker:IMAGE in the workflow's step or environment: {image: IMAGE} in the job "+
		"file, or in a workspace", j.Trial().Environment.Text())
}
