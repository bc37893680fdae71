// Package assess answers: what is there to say of a run?
//
// An Assessor finds what a run is compared with (base.go), judges it by the rules that are in
// force (terms.go), and gathers all that into its report, with what it has cost (cost.go) and
// what to do where it failed (diagnosis.go). It knows of what else this command has trained:
// runs that repeat one another (series.go), and those that answer for others (reuse.go).
package assess

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"sync"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/records"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/train"
)

// Assessor gathers what there is to say of runs. It may be asked from several goroutines; Terms and
// what Reused and Add note are set before.
type Assessor struct {
	Git     *git.Finder
	Secrets *secret.Redactor
	Say     func(format string, args ...any)

	Baseline string           // what runs are compared with: a name, None, or "" for the usual
	Terms    Terms            // what they are judged by
	Records  *records.Records // of runs that were trained on other machines; may be nil

	// Names are what Baseline may stand for, what it most likely means first.
	Names func(ctx context.Context, name string) []Name

	// Metrics are the names of those that a report begins with where a job names none.
	Metrics func() []string

	// Directory is where a run on this machine works.
	Directory func(*history.Run) string

	reused     map[string]*train.Reused // by the id of the run
	series     []*history.Run           // that this command has trained, each with another seed
	most       int                      // of them until the verdict is decided; 0 where that is not asked
	candidates sync.Map                 // by the id of a run, the history.Baselines for it
	completed  sync.Map                 // by its id, a run that others are compared with
}

// Collect gathers the report of a run: compared with its base, judged by the terms, and with a
// diagnosis where it failed. No secret is in it.
func (a *Assessor) Collect(ctx context.Context, at train.Session, run *history.Run) (*report.Report, error) {
	base, err := a.Base(ctx, at, a.For(run))
	if err != nil {
		return nil, err
	}
	for i, r := range base.This { // it took what it took
		if r.Info.RunID == run.Info.RunID {
			base.This[i] = run
		}
	}
	r, err := report.Collect(ctx, at.History, run, base)
	if err != nil {
		return nil, err
	}
	if r.Children, err = Children(ctx, at.History, run); err != nil {
		return nil, err
	}
	r.Sweep = history.SweepOf(run, r.Children)
	r.Name, r.Key = Heading(ctx, at.History, run), a.KeyMetrics(run)
	if r.Judgement, err = a.Judge(ctx, at, run, base); err != nil {
		return nil, err
	}
	r.Reused = a.reuse(run)
	of := base.This
	if len(of) == 0 {
		of = []*history.Run{run}
	}
	if cost, err := a.costs(ctx, at, of); err == nil && !math.IsNaN(cost) {
		r.Cost = &cost
	}
	r.URL = run.Tag(history.TagBuild)
	if url := report.PublicLink(at.History.URL(run)); url != "" {
		links := map[string]string{}
		for _, f := range r.Files {
			links[a.Secrets.String(f.Path)] = a.Secrets.String(at.History.FileURL(run, f.Path))
		}
		r.URL = url
		r.FileURL = func(path string) string { return links[path] }
	}
	// Before any text is made of it.
	r = secret.Of(a.Secrets, r)
	about, done := a.diagnosis(ctx, run)
	defer done()
	r.Diagnosis = report.Diagnose(r.Run, r.Log, about)
	for i := range r.Log { // paths as people know them
		if about.Work == "" {
			break
		}
		r.Log[i] = strings.ReplaceAll(r.Log[i], filepath.FromSlash(about.Work+"/"), "")
	}
	return r, nil
}

// Heading is what the report of a run is headed by: its experiment, and its own name where it has
// one.
func Heading(ctx context.Context, h submit.History, run *history.Run) string {
	name := h.ExperimentName(ctx, run)
	if own := run.DisplayName(); own != "" && own != name {
		name += " · " + own
	}
	return name
}

// KeyMetrics are the names of the metrics that a report begins with: those that the job
// names, else the settings here.
func (a *Assessor) KeyMetrics(run *history.Run) []string {
	if names := run.Tag(history.TagReport); names != "" {
		return strings.Split(names, "\n")
	}
	if sweep := history.SweepOf(run, nil); sweep != nil {
		return []string{sweep.PrimaryMetric}
	}
	return a.Metrics()
}

// Children are the runs that a run's script made, of a sweep its trials: the newest 1,000.
func Children(ctx context.Context, h submit.History, run *history.Run) ([]*history.Run, error) {
	list, _, err := h.SearchRuns(ctx, history.Query{Owner: run.Info.RunID, MaxResults: 1000})
	return list, err
}
