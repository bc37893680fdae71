package assess

import (
	"cmp"
	"context"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/train"
)

// Reused notes a run that answers for what was asked for.
func (a *Assessor) Reused(found train.Reused) {
	if a.reused == nil {
		a.reused = map[string]*train.Reused{}
	}
	a.reused[found.Run.Info.RunID] = &found
}

// Answers tells whether a run stands for one that was asked for and that was not trained.
func (a *Assessor) Answers(run *history.Run) bool {
	return a.reused[run.Info.RunID] != nil
}

// For returns a run as the one that was asked for: itself, or where it answers for another commit
// (Reused), a copy that is of that commit and branch, and starts now.
func (a *Assessor) For(run *history.Run) *history.Run {
	if !a.Answers(run) {
		return run
	}
	tags := map[string]string{history.TagPullRequest: "", history.TagFork: "", history.TagBaseBranch: "",
		gitmeta.PropBranch: "", history.TagBranch: "", history.TagBuild: ""}
	maps.Copy(tags, a.reused[run.Info.RunID].Tags)
	out := run.With(tags)
	out.Info.StartTime = history.Int(time.Now().UnixMilli())
	return out
}

// reuse says of which code a run stands for, nil where it was trained for it.
func (a *Assessor) reuse(run *history.Run) *report.Reuse {
	if !a.Answers(run) {
		return nil
	}
	tags := a.reused[run.Info.RunID].Tags
	return &report.Reuse{Commit: tags[gitmeta.PropCommit], Dirty: tags[gitmeta.PropDirty] == "True"}
}

// mostStoodFor is how many commits are looked at for one whose files a run of another has
// trained; mostTaken how many of them where the files that travel have to be found first.
const (
	mostStoodFor = 200
	mostTaken    = 25
)

// stoodFor returns, by the id of a snapshot of one of the runs, the nearest of the commits of
// which it is one. Of line ends that a working tree has otherwise than git, it is not known.
func (a *Assessor) stoodFor(ctx context.Context, repo *git.Repository, away map[string]int, source string,
	runs []*history.Run) map[string]string {
	of := map[string]string{}
	if source = path.Clean(source); source == "." {
		source = ""
	}
	commits := slices.SortedFunc(maps.Keys(away), func(a, b string) int {
		return cmp.Or(cmp.Compare(away[a], away[b]), cmp.Compare(a, b))
	})
	commits = commits[:min(len(commits), mostStoodFor)]
	objects := repo.Objects()
	defer objects.Close()
	tree := func(commit string) string {
		tree, _, err := objects.CommitTree(plumbing.NewHash(commit))
		if err == nil {
			tree, err = objects.Subtree(tree, source)
		}
		if err != nil {
			return ""
		}
		return tree.String()
	}
	snapshots := map[string]bool{}
	for _, r := range runs {
		snapshots[r.Tag(history.TagSnapshot)] = true
	}
	var trees, first []string // different ones, each with the nearest commit that has it
	for _, commit := range commits {
		id := tree(commit)
		if id == "" || slices.Contains(trees, id) {
			continue
		}
		trees, first = append(trees, id), append(first, commit)
		if snapshots[id] && of[id] == "" {
			of[id] = commit
		}
	}
	for i, commit := range first[:min(len(first), mostTaken)] {
		id := a.snapshotOf(ctx, filepath.Join(repo.Root, filepath.FromSlash(source)), commit)
		if id == trees[i] && i == 0 {
			break // all files travel as git has them, and it has been so for a while
		}
		if snapshots[id] && of[id] == "" {
			of[id] = commit
		}
	}
	return of
}

// snapshotOf is the id of what would travel of a commit, less what an .amlignore names and with
// LFS's files; "" where that is not known.
func (a *Assessor) snapshotOf(ctx context.Context, dir, commit string) string {
	s, err := snapshot.TakeCommit(ctx, dir, commit, snapshot.Options{MaxBytes: -1, Git: a.Git})
	if err != nil {
		return ""
	}
	defer s.Close()
	return s.ID
}
