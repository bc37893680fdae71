package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

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
	name := numbered(recordName("run", what.series), what.repeat)
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
	number := slices.IndexFunc(h.flow.a.series, func(r *history.Run) bool { return r.Info.RunID == run.Info.RunID }) + 1
	if number == 0 {
		number = len(h.flow.a.series) + 1 // it is reported, and the last
	}
	names := []string{numbered(recordName("run", run.Tag(history.TagSeries)), number)}
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

// numbered is the name of a repeat; the first has no number.
func numbered(name string, repeat int) string {
	if repeat > 1 {
		return fmt.Sprintf("%s-%d", name, repeat)
	}
	return name
}

func (h artifactHome) needs() string { return `the job needs the permission "actions: read"` }
