package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
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
			return usageError{err}
		}
	}
	o := f.offered(p, r)
	if err := f.changed(ctx, p, &o); err != nil {
		return usageError{err}
	}
	if err := f.holds(ctx); err != nil {
		return err
	}
	o = secret.Of(&f.a.secrets, o)
	f.step.Output("snapshot", o.Snapshot)
	f.step.Output("report", o.Markdown(github.CommentLimit))
	if f.flags.summary {
		f.step.Summarise(o.Markdown)
	}
	f.a.say("Nothing trains yet: %s in a comment has the commit train", o.Line)
	if f.prepareComment(); f.comment != nil {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		f.link, f.commented = f.comment.Write(ctx, o.Markdown, true)
	}
	f.uncommented()
	f.step.Output("comment-url", f.link)
	return nil
}

// offered is what there is to tell of a plan.
func (f *workflow) offered(p *train.Plan, r train.Request) report.Offer {
	ask, j := f.ask, p.Job
	o := report.Offer{Name: j.ExperimentName, Commit: ask.Head,
		Line:  github.Command{Commit: ask.Head, Inputs: ask.Inputs}.Line(),
		Whose: cmp.Or(f.HeadRepository, "a repository that is gone"), Source: p.Source,
		Command: j.Command, Environment: j.Trial().Environment.Text()}
	if j.DisplayName != "" {
		o.Name += " · " + j.DisplayName
	}
	if f.HeadRef != "" {
		o.Whose += ", branch " + report.Line(f.HeadRef)
	}
	if p.Snapshot != nil {
		o.Snapshot, o.Files, o.Bytes = p.Snapshot.ID, len(p.Snapshot.Files), p.Snapshot.Bytes
	}
	for _, name := range slices.Sorted(maps.Keys(j.Inputs)) {
		in := j.Inputs[name]
		o.Inputs = append(o.Inputs, name+"="+cmp.Or(in.Value, in.Path, in.Run))
	}
	o.Variables = slices.Sorted(maps.Keys(j.EnvironmentVariables))
	for name := range maps.Keys(r.Pass) {
		if !slices.Contains(o.Variables, name) {
			o.Variables = append(o.Variables, name)
		}
	}
	slices.Sort(o.Variables)
	o.Where = f.where(p)
	o.Cost = f.a.price(p)
	return o
}

// where says where a job would run, and what it could reach there.
func (f *workflow) where(p *train.Plan) string {
	switch {
	case p.Here && f.Foreign():
		return "on the workflow's runner, in a container of its own, without the workflow's secrets and files"
	case p.Here:
		return "on the workflow's runner"
	}
	in := "in the workspace"
	if t, err := f.a.workspace(); err == nil && t.Workspace.Name != "" {
		in = "in the workspace " + t.Workspace.Name
	}
	nodes := ""
	if n := nodesOf(p.Job); n > 1 {
		nodes = " on " + size.Count(n, "node")
	}
	return fmt.Sprintf("on %s%s %s, with whatever its compute and the job's data let it read and write",
		computeOf(p.Job), nodes, in)
}

// computeOf is the compute target by which prices are named.
func computeOf(j *job.Job) string {
	if j.Compute == "" {
		return "serverless"
	}
	return path.Base(strings.TrimPrefix(j.Compute, "azureml:"))
}

func nodesOf(j *job.Job) int {
	if r := j.Trial().Resources; r != nil {
		return max(r.InstanceCount, 1)
	}
	return 1
}

// price says what a job would cost, as far as anybody can tell before.
func (a *app) price(p *train.Plan) string {
	j, target := p.Job, computeOf(p.Job)
	price, known := a.inForce.Prices[target]
	nodes, beside, runs := nodesOf(j), 1, max(p.Repeats.Seeds, p.Repeats.AtMost, 1)
	of := size.Count(nodes, "node")
	if j.Sweep != nil {
		trials := j.Sweep.Limits.MaxTotalTrials
		beside = cmp.Or(j.Sweep.Limits.MaxConcurrentTrials, trials, 1)
		of += ", " + size.Count(trials, "trial")
	}
	if runs > 1 {
		of += ", " + size.Count(runs, "run")
	}
	money := func(d time.Duration) string { // of so long in each run, with all trials that are beside each other
		if !known {
			return ""
		}
		return fmt.Sprintf(" (%.2f USD)", d.Hours()*float64(nodes*beside*runs)*price)
	}
	text := fmt.Sprintf("%.2f USD for an hour of one node of %s", price, target)
	if !known {
		text = "nobody knows how much: prices in .aml-train.yaml says nothing of " + target
	}
	text += "; " + of + ", "
	if most := j.MaxDuration(); most > 0 {
		text += "for at most " + report.Duration(most) + money(most)
	} else {
		text += "without a limit of time"
	}
	if last := p.Last; last != nil && !last.Started().IsZero() && !last.Ended().IsZero() {
		beside = 1
		took := last.Ended().Sub(last.Started())
		text += fmt.Sprintf("; %s took %s", last.Info.RunID, report.Duration(took))
		if j.Sweep == nil {
			text += money(took)
		}
	}
	return text
}

// mostAncestors is how many commits are looked through for where a commit left its base.
const mostAncestors = 20_000

// changed says what the commit changes since it left what it is to be merged into.
func (f *workflow) changed(ctx context.Context, p *train.Plan, o *report.Offer) error {
	repo, err := f.a.git.Find(".")
	if err != nil || repo == nil {
		return err
	}
	theirs, err := repo.Ancestors(plumbing.NewHash(f.ask.Head), mostAncestors)
	if err != nil {
		return nil // a shallow clone
	}
	var base plumbing.Hash
	for _, tip := range []string{f.Base, f.SHA} {
		ours, err := repo.Ancestors(plumbing.NewHash(tip), mostAncestors)
		if err != nil {
			continue
		}
		for id, n := range ours {
			if away, shared := theirs[id]; shared && (base.IsZero() || away < theirs[base] ||
				away == theirs[base] && n < ours[base]) {
				base = id
			}
		}
		if !base.IsZero() {
			break
		}
	}
	if base.IsZero() {
		return nil
	}
	was, err := snapshot.Commit(ctx, &f.a.git, repo.Root, base.String())
	if err != nil {
		return nil // it may have had no files
	}
	defer was.Close()
	o.Base = cmp.Or(f.BaseRef, f.DefaultBranch) + " " + base.String()[:7]
	travels := map[string]bool{}
	if p.Snapshot != nil {
		for i := range p.Snapshot.Files {
			travels[path.Join(p.Source, p.Snapshot.Files[i].Path)] = true
		}
	}
	notes := notable(p.Job, repo.Root)
	for _, c := range snapshot.Diff(was, p.Commit) {
		in := p.Snapshot != nil && (p.Source == "" || strings.HasPrefix(c.Path(), p.Source+"/"))
		o.Changes = append(o.Changes, report.FileChange{Status: c.Status(), Path: c.Path(),
			Travels: travels[c.Path()] || in && c.New == nil, Note: notes[c.Path()]})
	}
	return nil
}

// notable are the files, by their paths in the repository, that say how a job runs.
func notable(j *job.Job, root string) map[string]string {
	notes := map[string]string{}
	add := func(file, what string) {
		if file == "" {
			return
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(j.Dir, filepath.FromSlash(file))
		}
		if rel, err := filepath.Rel(root, file); err == nil {
			notes[filepath.ToSlash(rel)] = what
		}
	}
	if j.File != "" {
		if abs, err := filepath.Abs(j.File); err == nil {
			add(abs, "the job file")
		}
	}
	if e := j.Trial().Environment; e != nil {
		add(e.CondaFile, "the environment")
		add(e.Requirements, "the environment")
		if e.Build != nil && !job.IsRemote(e.Build.Path) {
			add(path.Join(e.Build.Path, cmp.Or(e.Build.DockerfilePath, "Dockerfile")), "the environment")
		}
	}
	return notes
}
