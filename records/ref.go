package records

import (
	"bytes"
	"context"
	"fmt"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
)

// ref keeps records on a ref of the repository. All on it are believed: who may not write
// to the repository cannot write there.
type ref struct {
	workflow *github.Workflow
	token    string
	all      []github.RefRecord // once they are listed
	had      bool
}

func (r *ref) list(ctx context.Context, q query) (out []entry, err error) {
	if !r.had {
		if r.all, err = github.ListRef(ctx, r.workflow, r.token); err != nil {
			return nil, err
		}
		r.had = true
	}
	for _, on := range r.all {
		if q.series != "" && on.Series == q.series || q.key != "" && on.Key == shortHash(q.key) {
			out = append(out, entry{on.Commit, on.Branch, on})
		}
	}
	return out, nil
}

func (r *ref) read(ctx context.Context, k entry) (*history.Record, error) {
	text, err := github.ReadRef(ctx, r.workflow, r.token, k.of.(github.RefRecord), history.MaxRecord)
	if err != nil {
		return nil, err
	}
	rec, err := history.ReadRecord(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, fmt.Errorf("what %s has of commit %.7s is no record of a run: %w", github.HistoryRef, k.commit, err)
	}
	return rec, nil
}

// keep writes nothing of a fork's: its token only reads. Nor need that of a change's job do more: what
// is installed for a change is nobody's who has been asked whether it may write to the repository.
func (r *ref) keep(ctx context.Context, rec *history.Record, zip []byte, _ int) error {
	if r.workflow.Foreign() {
		return nil
	}
	run := &rec.Run
	err := github.WriteRef(ctx, r.workflow, r.token, github.RefRecord{Ended: run.Ended(),
		Commit: run.Tag(history.TagCommit), Branch: run.Tag(history.TagBranch), Series: run.Tag(history.TagSeries),
		Key: shortHash(run.Tag(history.TagKey))}, zip)
	if r.workflow.PullRequest != 0 && github.MayNotWrite(err) {
		return nil
	}
	return err
}

func (r *ref) needs() string { return `the job needs the permission "contents: read"` }
