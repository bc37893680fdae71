package cli

import (
	"context"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/records"
)

// keepRecords has what this command trains outlive this machine, where the settings that are in
// force say so; flow is nil outside a workflow.
func (a *app) keepRecords(flow *workflow) {
	o := records.Options{History: a.inForce.History, Getenv: a.getenv, Git: &a.git, Code: a.codeOf, Secrets: &a.secrets,
		Mask: a.mask, Say: a.say,
		Store: func(ctx context.Context) (*history.Store, error) { return a.openStore(ctx, true) }}
	if flow != nil {
		o.Workflow, o.Token, o.Artifacts = flow.Workflow, flow.flags.token, flow.flags.artifacts
	}
	a.assess.Records = records.New(o)
}

// keep keeps a run that has ended; link is where its outputs are then.
func (s session) keep(ctx context.Context, run *history.Run) (link string) {
	return s.assess.Records.Keep(ctx, records.Ended{Run: run, For: s.assess.For(run),
		Repeat: s.assess.Number(run), Store: s.store, History: s.History})
}
