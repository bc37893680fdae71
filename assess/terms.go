package assess

import (
	"context"
	"math"
	"slices"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/train"
)

// Terms are the conditions under which a run may be merged.
type Terms struct {
	Rules  []Rule
	Strict bool               // a rule that cannot be judged is broken
	Prices map[string]float64 // of compute targets, in USD for an hour of one node
	Note   string             // what a reader has to know of where they come from; "" for nothing
	AtMost int                // runs that a verdict is taken for that are added, see settings.InForce
}

// Rule is a rule and where it stands; File is "" where it came from the command line.
type Rule struct {
	judge.Rule
	File string
	Line int
}

// NewTerms are the settings that are in force, and rules that were asked for besides. One of
// those that is none is a mistake.
func NewTerms(in settings.InForce, required []string, strict bool) (Terms, error) {
	t := Terms{Strict: strict || in.Strict, Prices: in.Prices, Note: in.Note, AtMost: in.AtMost}
	for _, r := range in.Rules {
		parsed, err := judge.ParseRule(r.Text)
		if err != nil {
			return t, err // which reading the settings has found
		}
		t.Rules = append(t.Rules, Rule{parsed, settings.File, r.Line})
	}
	for _, text := range required {
		parsed, err := judge.ParseRule(text)
		if err != nil {
			return t, mistake.Errorf("--require %w", err)
		}
		if parsed.Metric == judge.Cost && in.Unread != nil {
			return t, mistake.Errorf("--require %s: the prices of the branch that this is to be merged into cannot be "+
				"read, and those of the change are not for it to say: %w; give the step a token that may read the "+
				"repository (permissions: contents: read), or check out with fetch-depth: 0", text, in.Unread)
		}
		t.Rules = append(t.Rules, Rule{Rule: parsed})
	}
	return t, nil
}

// Judge judges a run that has completed by the rules, beside what it is compared with.
func (a *Assessor) Judge(
	ctx context.Context, at train.Session, run *history.Run, base history.Baseline,
) (*report.Judgement, error) {
	if run.Status() != history.Completed {
		return nil, nil
	}
	q := judge.Question{Strict: a.Terms.Strict, Seeded: base.Seeded}
	for _, r := range a.Terms.Rules {
		q.Rules = append(q.Rules, r.Rule)
		if _, own := run.Metric(r.Metric); own && !slices.Contains(q.Metrics, r.Metric) {
			q.Metrics = append(q.Metrics, r.Metric)
		}
	}
	if len(q.Metrics) == 0 {
		for _, name := range a.KeyMetrics(run) {
			if _, own := run.Metric(name); own {
				q.Metrics = append(q.Metrics, name)
			}
		}
	}
	if len(q.Metrics) == 0 {
		for _, m := range run.Data.Metrics {
			q.Metrics = append(q.Metrics, m.Key)
		}
	}
	var err error
	if q.Most = max(a.most, added(base.This)); a.Terms.AtMost > 0 { // how many is not for a change to say
		q.Most = min(q.Most, a.Terms.AtMost)
	}
	if q.Most > 0 {
		slices.SortStableFunc(base.This, started)
	}
	if q.This, err = a.values(ctx, at, base.This); err != nil {
		return nil, err
	}
	if q.Base, err = a.values(ctx, at, base.Repeats); err != nil {
		return nil, err
	}
	out := &report.Judgement{Runs: len(q.This), BaseRuns: len(q.Base), Most: q.Most, Note: a.Terms.Note}
	out.Findings, out.Outcomes = judge.Judge(q)
	for _, r := range a.Terms.Rules {
		out.Places = append(out.Places, report.RulePlace{File: r.File, Line: r.Line})
	}
	return out, nil
}

// values are what is judged of runs: the whole series only of metrics of which a rule
// asks for another value than the last.
func (a *Assessor) values(ctx context.Context, at train.Session, runs []*history.Run) ([]judge.Run, error) {
	var out []judge.Run
	for _, r := range runs {
		v := judge.Run{Metrics: map[string][]float64{}, Duration: math.NaN(), Cost: math.NaN()}
		if !r.Started().IsZero() && !r.Ended().IsZero() {
			v.Duration = r.Ended().Sub(r.Started()).Seconds()
		}
		var err error
		if v.Cost, err = a.Cost(ctx, at, r); err != nil {
			return nil, err
		}
		for _, m := range r.Data.Metrics {
			v.Metrics[m.Key] = []float64{float64(m.Value)}
		}
		for _, rule := range a.Terms.Rules {
			if _, has := v.Metrics[rule.Metric]; !has || rule.Point.Of == "last" {
				continue
			}
			series, err := at.History.Series(ctx, r.Info.RunID, rule.Metric)
			if err != nil {
				return nil, err
			}
			if len(series) > 0 {
				v.Metrics[rule.Metric] = series
			}
		}
		out = append(out, v)
	}
	return out, nil
}
