package cli

import (
	"cmp"
	"context"
	"errors"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
)

// ruleFlags are rules that the command line adds to those of the settings.
type ruleFlags struct {
	required []string // by --require
	strict   bool     // by --strict
}

func (a *app) addRules(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringArrayVar(&a.rules.required, "require", nil,
		"a `rule` that the run has to keep, such as 'accuracy >= 0.9' or 'loss not worse' (repeatable)")
	s.BoolVar(&a.rules.strict, "strict", false, "a rule that cannot be judged is broken")
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
func (a *app) judgeBy(in settings.InForce) (err error) {
	a.inForce = in.Settings
	a.assess.Terms, err = assess.NewTerms(in, a.rules.required, a.rules.strict)
	return err
}

// rulesHere are those of a command that only looks at a run: in a step of a workflow they are
// the same as where the run was started.
func (a *app) rulesHere(ctx context.Context) error {
	w, err := github.ReadWorkflow(a.getenv)
	if err != nil {
		return mistake.Of(err)
	}
	token := ""
	if w != nil {
		token = w.Token
		a.mask(token)
	}
	err = a.readRules(ctx, w, token)
	if broken := (*settings.Error)(nil); errors.As(err, &broken) { // the command may go on by its flags
		return cmp.Or(a.judgeBy(settings.InForce{}), err)
	}
	return err
}

// rulesBroken is the error of a command whose run breaks a rule. Everything about it has
// been said.
type rulesBroken struct{ rules []string }

func (e *rulesBroken) Error() string { return "broken: " + strings.Join(e.rules, ", ") }

// broken is that error, or nil.
func broken(j *report.Judgement) error {
	if rules := brokenRules(j); len(rules) > 0 {
		return &rulesBroken{rules}
	}
	return nil
}

func brokenRules(j *report.Judgement) (texts []string) {
	for _, o := range j.Broken() {
		texts = append(texts, o.Rule.Text)
	}
	return texts
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
