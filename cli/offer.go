package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/offer"
	"github.com/org/aml-train/train"
)

// offer answers a comment that names no commit: what would train, where, and for how much, and
// the line that has it train.
func (f *workflow) offer(ctx context.Context, t *train.Trainer, r train.Request) error {
	p, err := t.Plan(ctx, r)
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Snapshot != nil {
		if err := p.Snapshot.Sizes(ctx); err != nil {
			return mistake.Of(err)
		}
	}
	asked := offer.Asked{Workflow: f.Workflow, Ask: f.ask, Pass: slices.Collect(maps.Keys(r.Pass)), Git: &f.a.git,
		Prices: f.a.inForce.Prices}
	if t, err := f.a.workspace(); err == nil {
		asked.Workspace = t.Workspace.Name
	}
	o, err := offer.Of(ctx, p, asked)
	if err != nil {
		return mistake.Of(err)
	}
	if err := f.holds(ctx); err != nil {
		return err
	}
	o = secret.Of(&f.a.secrets, o)
	f.step.Output("snapshot", o.Snapshot)
	f.a.say("Nothing trains yet: %s in a comment has the commit train", o.Line)
	f.to.Comment()
	f.to.Tell(ctx, o.Markdown, true, false)
	return nil
}
