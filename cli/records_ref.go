package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
)

// refHome keeps records on a ref of the repository. All on it are believed: who may not write
// to the repository cannot write there.
type refHome struct {
	flow *workflow
	all  []github.RefRecord // once they are listed
	had  bool
}

func (h *refHome) list(ctx context.Context, what sought) (out []kept, err error) {
	if !h.had {
		if h.all, err = github.OnRef(ctx, h.flow.Workflow, h.flow.flags.token); err != nil {
			return nil, err
		}
		h.had = true
	}
	for _, r := range h.all {
		if what.series != "" && r.Series == what.series || what.key != "" && r.Key == shortHash(what.key) {
			out = append(out, kept{r.Commit, r.Branch, r})
		}
	}
	return out, nil
}

func (h *refHome) read(ctx context.Context, k kept) (*history.Record, error) {
	text, err := github.ReadRef(ctx, h.flow.Workflow, h.flow.flags.token, k.of.(github.RefRecord), history.MaxRecord)
	if err != nil {
		return nil, err
	}
	rec, err := history.ReadRecord(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, fmt.Errorf("what %s has of commit %.7s is no record of a run: %w", github.HistoryRef, k.commit, err)
	}
	return rec, nil
}

// keep writes nothing of a fork's: its token only reads.
func (h *refHome) keep(ctx context.Context, rec *history.Record, zip []byte) error {
	if h.flow.Foreign() {
		return nil
	}
	run := &rec.Run
	return github.WriteRef(ctx, h.flow.Workflow, h.flow.flags.token, github.RefRecord{Ended: run.Ended(),
		Commit: run.Tag(history.TagCommit), Branch: run.Tag(history.TagBranch), Series: run.Tag(history.TagSeries),
		Key: shortHash(run.Tag(history.TagKey))}, zip)
}

func (h *refHome) needs() string { return `the job needs the permission "contents: read"` }
