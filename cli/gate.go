package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
)

// turnAway refuses to run a stranger's code where it could reach secrets: on an event
// that is about a head of another repository, whatever is checked out.
func (f *workflow) turnAway(ctx context.Context) error {
	if !f.Privileged() || f.flags.allowFork {
		return nil
	}
	if f.HeadRepository == "" && f.PullRequest > 0 && f.Foreign() && f.flags.token != "" {
		ctx, cancel := context.WithTimeout(ctx, gitHubTime)
		defer cancel()
		if head, merge, repository, err := report.PullRequestHead(ctx, f.Workflow, f.flags.token); err == nil {
			f.HeadRepository, f.head = repository, head
			f.admitted = []string{head, merge}
		}
	}
	if !f.Foreign() {
		return nil
	}
	return f.refuse("the code comes from %s, whose author", cmp.Or(f.HeadRepository, "a repository that is not known"))
}

// gitHubTime is how long GitHub may take to say whose a commit is.
const gitHubTime = 30 * time.Second

// refuse says why nothing trains: format ends with who could take the secrets along.
func (f *workflow) refuse(format string, args ...any) error {
	return usage("nothing was submitted: on %s the workflow has this repository's secrets and a token that may write, "+
		"and %s could take them along. Train on pull_request instead, which has neither, or say allow-fork: true, "+
		"on the command line --allow-fork, if somebody who may read every secret of this repository has read the code",
		cmp.Or(f.Event, "an event without a name"), fmt.Sprintf(format, args...))
}

// admitHere is admit for the commit that the working directory has, before anything in
// it is read; where there is no repository, what the job names has to be in one.
func (f *workflow) admitHere(ctx context.Context, commit *snapshot.Snapshot) error {
	if f == nil {
		return nil
	}
	if commit != nil {
		return f.admit(ctx, commit.Commit)
	}
	if repo, err := f.a.git.Find("."); err == nil && repo == nil {
		return nil
	}
	return f.admitFolder(ctx, ".")
}

// admitJob is admit for the commits of the job file and of the code: a step may have
// checked out another repository, or a pull request, into a folder of this one.
func (f *workflow) admitJob(ctx context.Context, j *job.Job) error {
	if f == nil {
		return nil
	}
	for _, dir := range []string{cmp.Or(j.Dir, "."), cmp.Or(j.SourceDirectory(), j.Dir, ".")} {
		if err := f.admitFolder(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

func (f *workflow) admitFolder(ctx context.Context, dir string) error {
	if !f.Privileged() || f.flags.allowFork {
		return nil
	}
	repo, err := f.a.git.Find(dir)
	if err == nil && repo == nil {
		err = errors.New("it is in no git repository; check it out with git")
	}
	var commit plumbing.Hash
	if err == nil {
		_, commit, err = repo.Head()
	}
	if err != nil {
		return f.refuse("nobody can tell which commit %s is of (%v), so its author", dir, err)
	}
	return f.admit(ctx, commit.String())
}

// admit refuses to train a commit with secrets unless it is the repository's own: the
// one that the event itself was started for, or one on its branches. References that are
// here prove nothing, since a step may have fetched anything under any name, so GitHub
// is asked, twice at most.
func (f *workflow) admit(ctx context.Context, commit string) error {
	if !f.Privileged() || f.flags.allowFork || f.Started(commit) || commit != "" && slices.Contains(f.admitted, commit) {
		return nil
	}
	if f.flags.token == "" {
		return f.refuse("without a token GitHub cannot be asked whose the commit %s is "+
			"(pass GITHUB_TOKEN: ${{ github.token }} in the step's env), and its author", commit)
	}
	ctx, cancel := context.WithTimeout(ctx, gitHubTime)
	defer cancel()
	ask := report.OnBranch
	if f.head != "" { // one request was made already
		ask = func(ctx context.Context, w *gitmeta.Workflow, token, commit string) (bool, error) {
			return report.Within(ctx, w, token, f.head, commit)
		}
	}
	own, err := ask(ctx, f.Workflow, f.flags.token, commit)
	if err != nil {
		return f.refuse("GitHub does not say whose the commit %s is (%v; the job needs the permission "+
			"\"contents: read\"), and its author", commit, err)
	}
	if !own {
		return f.refuse("the commit %s is neither the tip of a branch of %s nor on its default branch, so whoever wrote it",
			commit, f.Repository)
	}
	f.admitted = append(f.admitted, commit)
	return nil
}
