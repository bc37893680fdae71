// Package offer answers: what would train, where, and for how much?
//
// A comment on a pull request can ask for training without naming a commit. What is told then is a
// report.Offer: whoever may say that the commit trains reads in it what that would run, what of the
// code changed, what it could reach, and what it would cost.
package offer

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

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/train"
)

// Asked is what a comment asks for, and where.
type Asked struct {
	Workflow  *github.Workflow
	Ask       *github.Ask
	Pass      []string           // the variables that the run would be given of this machine's
	Workspace string             // the name of the one in which it would run; "" where that is not known
	Prices    map[string]float64 // of compute targets, in USD for an hour of one node
	Git       *git.Finder        // of the clone that has the commit
}

// Of says what there is to tell of a plan, whose snapshot has its sizes (snapshot.Sizes).
func Of(ctx context.Context, p *train.Plan, asked Asked) (report.Offer, error) {
	o := asked.of(p)
	err := asked.changes(ctx, p, &o)
	return o, err
}

// of is Of without what the commit changes.
func (a Asked) of(p *train.Plan) report.Offer {
	w, ask, j := a.Workflow, a.Ask, p.Job
	o := report.Offer{Name: j.ExperimentName, Commit: ask.Head,
		Line:  github.Command{Commit: ask.Head, Inputs: ask.Inputs}.Line(),
		Whose: cmp.Or(w.HeadRepository, "a repository that is gone"), Source: p.Source,
		Command: j.Command, Environment: j.Trial().Environment.Text()}
	if j.DisplayName != "" {
		o.Name += " · " + j.DisplayName
	}
	if w.HeadRef != "" {
		o.Whose += ", branch " + report.Line(w.HeadRef)
	}
	if p.Snapshot != nil {
		o.Snapshot, o.Files, o.Bytes = p.Snapshot.ID, len(p.Snapshot.Files), p.Snapshot.Bytes
	}
	for _, name := range slices.Sorted(maps.Keys(j.Inputs)) {
		in := j.Inputs[name]
		o.Inputs = append(o.Inputs, name+"="+cmp.Or(in.Value, in.Path, in.Run))
	}
	o.Writes, o.Identity = writes(j), identity(j)
	o.Variables = slices.Sorted(maps.Keys(j.EnvironmentVariables))
	for _, name := range a.Pass {
		if !slices.Contains(o.Variables, name) {
			o.Variables = append(o.Variables, name)
		}
	}
	slices.Sort(o.Variables)
	o.Where = a.where(p)
	o.Cost = a.price(p)
	return o
}

// writes is where a job writes besides its run: the addresses of its outputs, and the assets as
// which they are registered.
func writes(j *job.Job) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(j.Outputs)) {
		out := j.Outputs[name]
		if out.Path != "" {
			list = append(list, name+"="+out.Path)
		}
		if out.Name != "" {
			list = append(list, name+"=azureml:"+out.Name+":"+cmp.Or(out.Version, "(next)"))
		}
	}
	return list
}

// identity is on whose behalf a job reads and writes, as far as it says so.
func identity(j *job.Job) string {
	i := j.Identity
	if i == nil {
		return ""
	}
	return strings.Join(strings.Fields(i.Type+" "+i.ClientID+" "+i.ObjectID+" "+i.ResourceID), " ")
}

// where says where a job would run, and what it could reach there.
func (a Asked) where(p *train.Plan) string {
	switch {
	case p.Here && a.Workflow.Foreign():
		return "on the workflow's runner, in a container of its own, without the workflow's secrets and files"
	case p.Here:
		return "on the workflow's runner"
	}
	in := "in the workspace"
	if a.Workspace != "" {
		in = "in the workspace " + a.Workspace
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
func (a Asked) price(p *train.Plan) string {
	j, target := p.Job, computeOf(p.Job)
	price, known := a.Prices[target]
	nodes, beside, runs := nodesOf(j), 1, max(p.Repeats.Seeds, p.Repeats.AtMost, 1)
	of := size.Count(nodes, "node")
	if j.Sweep != nil {
		trials := j.Sweep.Limits.MaxTotalTrials
		beside = max(min(cmp.Or(j.Sweep.Limits.MaxConcurrentTrials, trials), trials), 1)
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
		took := last.Ended().Sub(last.Started())
		text += fmt.Sprintf("; %s took %s", last.Info.RunID, report.Duration(took))
		if j.Sweep == nil {
			text += money(took)
		}
	}
	return text
}

// changes says what the commit changes since it left what it is to be merged into.
func (a Asked) changes(ctx context.Context, p *train.Plan, o *report.Offer) error {
	repo, err := a.Git.Find(".")
	if err != nil || repo == nil {
		return err
	}
	base := a.mergeBase(repo)
	if base == "" {
		return nil
	}
	was, err := snapshot.Commit(ctx, a.Git, repo.Root, base)
	if err != nil {
		return nil // it may have had no files
	}
	defer was.Close()
	o.Base = cmp.Or(a.Workflow.BaseRef, a.Workflow.DefaultBranch) + " " + base[:7]
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

// mergeBase is the commit at which the one that is asked for has left what it is to be merged
// into, or what the workflow is of; "" where the clone does not tell.
func (a Asked) mergeBase(repo *git.Repository) (base string) {
	theirs := gitmeta.Ancestors(repo, a.Ask.Head)
	for _, tip := range []string{a.Workflow.Base, a.Workflow.SHA} {
		ours := gitmeta.Ancestors(repo, tip)
		for id, n := range ours {
			if away, shared := theirs[id]; shared && (base == "" || cmp.Or(cmp.Compare(away, theirs[base]),
				cmp.Compare(n, ours[base]), cmp.Compare(id, base)) < 0) {
				base = id
			}
		}
		if base != "" {
			break
		}
	}
	return base
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
