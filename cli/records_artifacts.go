package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
)

// artifactHome keeps each record as artifacts of the workflow that made it: under its series,
// to be compared with, and under its key, to be reused. GitHub says whose workflow wrote one,
// and for which commit and branch.
type artifactHome struct{ flow *workflow }

// recordName is under which a record is kept.
func recordName(of, what string) string { return "aml-train-" + of + "-" + shortHash(what) }

// shortHash is a digest of a text, 16 hex digits.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func (h artifactHome) list(ctx context.Context, what sought) (out []kept, err error) {
	name := recordName("run", what.series)
	if what.key != "" {
		name = recordName("key", what.key)
	}
	list, err := github.Kept(ctx, h.flow.Workflow, h.flow.flags.token, name)
	for _, a := range list {
		out = append(out, kept{a.Commit, a.Branch, a})
	}
	return out, err
}

func (h artifactHome) read(ctx context.Context, k kept) (*history.Record, error) {
	a := k.of.(github.Artifact)
	text, err := github.Fetch(ctx, h.flow.Workflow, h.flow.flags.token, a, history.MaxRecord)
	if err != nil {
		return nil, err
	}
	rec, err := history.ReadRecord(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, fmt.Errorf("the artifact %d is no record of a run: %w", a.ID, err)
	}
	return rec, nil
}

func (h artifactHome) keep(ctx context.Context, rec *history.Record, zip []byte) (err error) {
	run := &rec.Run
	names := []string{recordName("run", run.Tag(history.TagSeries))}
	if key := run.Tag(history.TagKey); key != "" {
		names = append(names, recordName("key", key))
	}
	for _, name := range names {
		if err == nil {
			_, err = github.Keep(ctx, h.flow.Workflow, name, bytes.NewReader(zip))
		}
	}
	if errors.Is(err, github.ErrArtifactExists) {
		err = fmt.Errorf("%w; give each job of a matrix a display-name", err)
	}
	return err
}

func (h artifactHome) needs() string { return `the job needs the permission "actions: read"` }
