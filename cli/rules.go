package cli

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
)

// rules are the conditions under which a run may be merged.
type rules struct {
	required []string // by --require
	asked    bool     // by --strict
	strict   bool

	list   []placedRule
	prices map[string]float64 // of compute targets, in USD for an hour of one node
	note   string             // what a reader has to know of where they come from

	atMost int // runs that a verdict is taken for that are added until it is decided, see settings.InForce
}

// placedRule is a rule and where it stands; File is "" where it came from the command line.
type placedRule struct {
	judge.Rule
	File string
	Line int
}

func (a *app) addRules(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringArrayVar(&a.rules.required, "require", nil,
		"a rule that the run has to keep, such as 'accuracy >= 0.9' or 'loss not worse' (repeatable)")
	s.BoolVar(&a.rules.asked, "strict", false, "a rule that cannot be judged is broken")
}

// readRules reads the rules that are in force, and where runs are kept, before anything is
// trained.
func (a *app) readRules(ctx context.Context, w *github.Workflow, token string) error {
	own, err := a.readSettings(".", nil)
	if err != nil {
		return err
	}
	in, err := settings.Commits{Git: &a.git, Workflow: w, Token: token}.InForce(ctx, own)
	if err != nil {
		return err
	}
	return a.judgeBy(in)
}

// judgeBy judges by what is in force, and by what the command line says.
func (a *app) judgeBy(in settings.InForce) error {
	a.historyAt, a.rules.prices, a.rules.note, a.rules.atMost = in.History, in.Prices, in.Note, in.AtMost
	a.rules.list = nil
	for _, r := range in.Rules {
		parsed, err := judge.ParseRule(r.Text)
		if err != nil {
			return err // which reading the settings has found
		}
		a.rules.list = append(a.rules.list, placedRule{parsed, settings.File, r.Line})
	}
	a.rules.strict = a.rules.asked || in.Strict
	for _, text := range a.rules.required {
		parsed, err := judge.ParseRule(text)
		if err != nil {
			return usage("--require %w", err)
		}
		a.rules.list = append(a.rules.list, placedRule{Rule: parsed})
	}
	return nil
}

// rulesHere are those of a command that only looks at a run: in a step of a workflow they are
// the same as where the run was started.
func (a *app) rulesHere(ctx context.Context) error {
	w, err := github.ReadWorkflow(a.getenv)
	if err != nil {
		return usageError{err}
	}
	token := ""
	if w != nil {
		token = w.Token
		a.mask(token)
	}
	return a.readRules(ctx, w, token)
}

// judged judges a run that has completed by the rules, beside what it is compared with.
func (s session) judged(ctx context.Context, run *history.Run, base history.Baseline) (*report.Judgement, error) {
	if run.Status() != history.Completed {
		return nil, nil
	}
	q := judge.Question{Strict: s.rules.strict, Seeded: base.Seeded}
	for _, r := range s.rules.list {
		q.Rules = append(q.Rules, r.Rule)
		if _, own := run.Metric(r.Metric); own && !slices.Contains(q.Metrics, r.Metric) {
			q.Metrics = append(q.Metrics, r.Metric)
		}
	}
	if len(q.Metrics) == 0 {
		for _, name := range s.keyMetrics(run) {
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
	if q.Most = max(s.atMost, added(base.This)); s.rules.atMost > 0 { // how many is not for a change to say
		q.Most = min(q.Most, s.rules.atMost)
	}
	if q.Most > 0 {
		slices.SortStableFunc(base.This, started)
	}
	if q.This, err = s.values(ctx, base.This); err != nil {
		return nil, err
	}
	if q.Base, err = s.values(ctx, base.Repeats); err != nil {
		return nil, err
	}
	out := &report.Judgement{Runs: len(q.This), BaseRuns: len(q.Base), Most: q.Most, Note: s.rules.note}
	out.Findings, out.Outcomes = judge.Judge(q)
	for _, r := range s.rules.list {
		out.Places = append(out.Places, report.RulePlace{File: r.File, Line: r.Line})
	}
	return out, nil
}

// values are what is judged of runs: the whole series only of metrics of which a rule
// asks for another value than the last.
func (s session) values(ctx context.Context, runs []*history.Run) ([]judge.Run, error) {
	var out []judge.Run
	for _, r := range runs {
		v := judge.Run{Metrics: map[string][]float64{}, Duration: math.NaN(), Cost: math.NaN()}
		if !r.Started().IsZero() && !r.Ended().IsZero() {
			v.Duration = r.Ended().Sub(r.Started()).Seconds()
		}
		var err error
		if v.Cost, err = s.cost(ctx, r); err != nil {
			return nil, err
		}
		for _, m := range r.Data.Metrics {
			v.Metrics[m.Key] = []float64{float64(m.Value)}
		}
		for _, rule := range s.rules.list {
			if _, has := v.Metrics[rule.Metric]; !has || rule.Point.Of == "last" {
				continue
			}
			series, err := s.History.Series(ctx, r.Info.RunID, rule.Metric)
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

// rulesBroken is the error of a command whose run breaks a rule. Everything about it has
// been said.
type rulesBroken struct{ rules []string }

func (e *rulesBroken) Error() string { return "broken: " + strings.Join(e.rules, ", ") }

// broken is that error, or nil.
func broken(j *report.Judgement) error {
	var e rulesBroken
	for _, o := range j.Broken() {
		e.rules = append(e.rules, o.Rule.Text)
	}
	if len(e.rules) == 0 {
		return nil
	}
	return &e
}

// ruleJSON is what became of a rule, for machines; passed is null where it could not be
// judged.
type ruleJSON struct {
	Rule    string `json:"rule"`
	Passed  *bool  `json:"passed"`
	Value   any    `json:"value"` // a number; NaN and the infinities as strings; null where there is none
	Limit   any    `json:"limit"` // the same
	Message string `json:"message"`
}

func rulesJSON(j *report.Judgement) (out []ruleJSON) {
	if j == nil {
		return nil
	}
	for _, o := range j.Outcomes {
		r := ruleJSON{Rule: o.Rule.Text, Message: o.Message}
		if !o.Neutral {
			r.Passed = &o.Passed
		}
		if !math.IsNaN(o.Value) {
			r.Value = history.Float(o.Value)
		}
		if !math.IsNaN(o.Limit) {
			r.Limit = history.Float(o.Limit)
		}
		out = append(out, r)
	}
	return out
}
