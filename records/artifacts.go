package records

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/lazyregexp"
)

// artifacts keeps each record as artifacts of the workflow that made it: under its series,
// to be compared with, and under its key, to be reused. GitHub says whose workflow wrote one,
// and for which commit and branch.
type artifacts struct {
	workflow *github.Workflow
	token    string
}

// recordName is under which a record is kept.
func recordName(of, what string) string { return "aml-train-" + of + "-" + shortHash(what) }

// recordNames are those that recordName makes, with a number.
var recordNames = lazyregexp.New(`(?i)^aml-train-(run|key)-[0-9a-f]{16}(-[0-9]+)?$`)

// shortHash is a digest of a text, 16 hex digits.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func (b artifacts) list(ctx context.Context, q query) (out []entry, err error) {
	name := numbered(recordName("run", q.series), q.repeat)
	if q.key != "" {
		name = recordName("key", q.key)
	}
	list, err := github.ListArtifacts(ctx, b.workflow, b.token, name)
	for _, a := range list {
		out = append(out, entry{a.Commit, a.Branch, a})
	}
	return out, err
}

func (b artifacts) read(ctx context.Context, k entry) (*history.Record, error) {
	a := k.of.(github.Artifact)
	text, err := github.ReadArtifact(ctx, b.workflow, b.token, a, history.MaxRecord)
	if err != nil {
		return nil, err
	}
	rec, err := history.ReadRecord(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, fmt.Errorf("the artifact %d is no record of a run: %w", a.ID, err)
	}
	return rec, nil
}

func (b artifacts) keep(ctx context.Context, rec *history.Record, zip []byte, repeat int) (err error) {
	if b.workflow.Asks() {
		return nil // GitHub says of it that it is of the default branch, so nobody would believe it
	}
	run := &rec.Run
	names := []string{numbered(recordName("run", run.Tag(history.TagSeries)), repeat)}
	if key := run.Tag(history.TagKey); key != "" {
		names = append(names, recordName("key", key))
	}
	for _, name := range names {
		if err == nil {
			_, err = github.WriteArtifact(ctx, b.workflow, name, bytes.NewReader(zip))
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

func (b artifacts) needs() string { return `the job needs the permission "actions: read"` }
