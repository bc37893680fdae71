package registry

import (
	"cmp"
	"context"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/promote"
)

// Promoted is what a run has become.
type Promoted struct {
	Model    string `json:"model"`
	Version  string `json:"version"`
	Alias    string `json:"alias"`    // that names this version now; "" for none
	URI      string `json:"uri"`      // such as models:/iris/3
	Registry string `json:"registry"` // where it is, for people
	Run      string `json:"run"`      // of a merge, another one may be the version already
	Made     bool   `json:"made"`     // false of a run that was a version already
	Wanted   string `json:"-"`        // the alias that was asked for
	Later    string `json:"-"`        // the version that has it, as it is of a later merge; "" where this one does
}

// Promote makes a run a version, or finds the one that it is. series tells the job that it is a run
// of; before, which of two merges came first: it is asked where a merge wants it. That
// no registry can have it is a mistake.
func Promote(
	ctx context.Context, o Options, wanted promote.Wanted, series string,
	before func(ctx context.Context, commit, other string) (bool, error),
) (*Promoted, error) {
	run := o.Run.Run
	to, err := Of(ctx, o)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	if wanted.Commit == "" {
		before = nil
	}
	done, err := promote.Run(ctx, to, promote.Promotion{Model: wanted.Model, Alias: wanted.Alias,
		Run: run.Info.RunID, Series: series, Identity: promote.Identity(run), Before: before,
		Commit: cmp.Or(wanted.Commit, run.Tag(history.TagCommit)),
		Version: func(ctx context.Context) (history.ModelVersion, error) {
			v, err := to.Version(ctx)
			if id := run.Tag(history.TagSnapshot); id != "" {
				v.Tags = append(v.Tags, history.KeyValue{Key: history.TagSnapshot, Value: id})
			}
			return v, err
		}})
	switch {
	case mistake.Is(err):
		return nil, err
	case err != nil:
		return nil, to.Told(err)
	}
	out := &Promoted{Model: wanted.Model, Version: done.Version.Version, Alias: wanted.Alias, Wanted: wanted.Alias,
		URI: to.URI(done.Version), Registry: to.Shown, Made: done.Made,
		Run: cmp.Or(done.Version.Tag(promote.TagRun), run.Info.RunID)}
	if done.Later != nil {
		out.Alias, out.Later = "", done.Later.Version
	}
	return out, nil
}
