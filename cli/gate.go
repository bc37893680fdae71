package cli

import (
	"cmp"
	"context"
	"errors"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
)

// refused is the error of what the gate does not let through: nothing was submitted.
func refused(err error) error {
	if err != nil {
		return mistake.Of(err)
	}
	return nil
}

// admitHere asks the gate about the commit that the working directory has, before
// anything in it is read; where there is no repository, what the job names has to be in
// one.
func (f *workflow) admitHere(ctx context.Context, commit *snapshot.Snapshot) error {
	if f == nil {
		return nil
	}
	if commit != nil {
		return refused(f.gate.Commit(ctx, commit.Commit))
	}
	if repo, err := f.a.git.Find("."); err == nil && repo == nil {
		return nil
	}
	return f.admitFolder(ctx, ".")
}

// admitJob asks about the commits of the job file and of the code: a step may have
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
	if f.gate.Open() {
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
	if err == nil { // a HEAD whose commit is not here proves nothing of the files
		objects := repo.Objects()
		_, _, err = objects.CommitTree(commit)
		objects.Close()
	}
	if err != nil {
		return refused(f.gate.Unknown(dir, err))
	}
	return refused(f.gate.Commit(ctx, commit.String()))
}
