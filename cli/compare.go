package cli

import (
	"fmt"
	"math"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/report"
)

func (a *app) compare() *cobra.Command {
	return &cobra.Command{
		Use:   "compare THIS BASE",
		Short: "The metrics of two runs, commits or branches side by side",
		Long: `Compare the metrics of a run with those of another one, say whether they differ
by more than chance makes, and show the parameters in which the two differ.

THIS and BASE are runs, commits or branches. Of a commit or a branch, the newest
completed run is taken, of the same job on both sides. Runs of the same files that
differ in their seed alone are repeats: then means are compared.`,
		Example: "  aml-train compare iris-3f2a91c-1 iris-9d0c1e2-1\n  aml-train compare deeper main\n" +
			"  aml-train compare HEAD HEAD~1",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			at, run, with, err := a.finder().Pair(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			judged, err := a.assess.Judge(ctx, at, run, with)
			if err != nil {
				return err
			}
			r := secret.Of(&a.secrets, &report.Report{Run: run, Base: with.Run, BaseName: report.Label(with.Run),
				Judgement: judged, Repeats: with.This, BaseRepeats: with.Repeats, BaseNote: with.Note})
			if a.json {
				return a.printJSON(comparison(r))
			}
			return a.compared(r)
		},
	}
}

// compared prints two runs side by side.
func (a *app) compared(r *report.Report) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\t%s\tCHANGE\t\n", r.Run.Info.RunID, r.Base.Info.RunID)
	for _, m := range r.Compared() {
		change, verdict := "", ""
		if m.Both() {
			change, verdict = report.Change(m.This.Mean, m.Base.Mean), r.Verdict(m.Name, m.This.Mean, m.Base.Mean)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", report.Line(m.Name), m.This, m.Base, change, verdict)
	}
	for _, d := range r.Differing() {
		fmt.Fprintf(w, "%s\t%s\t%s\t\t\n", report.Line(d.Name), report.Line(d.This), report.Line(d.Base))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if sides := r.Sides(80); sides != "" {
		fmt.Fprint(a.out, "\n", sides)
	}
	return nil
}

// comparedMetric is a metric of two runs, or its means over those that repeat them; a value
// is a number, NaN and the infinities as strings, and null where a run has none.
type comparedMetric struct {
	Name    string        `json:"name"`
	This    any           `json:"this"`
	Base    any           `json:"base"`
	Change  any           `json:"change"`
	Verdict judge.Verdict `json:"verdict"`
}

// comparisonJSON is what compare prints for machines.
type comparisonJSON struct {
	This     string           `json:"this"`
	Base     string           `json:"base"`
	ThisRuns []string         `json:"this_runs"` // those that repeat it, it among them
	BaseRuns []string         `json:"base_runs"`
	Metrics  []comparedMetric `json:"metrics"`
}

func comparison(r *report.Report) comparisonJSON {
	out := comparisonJSON{This: r.Run.Info.RunID, Base: r.Base.Info.RunID, ThisRuns: ids(r.Run, r.Repeats),
		BaseRuns: ids(r.Base, r.BaseRepeats), Metrics: []comparedMetric{}}
	for _, c := range r.Compared() {
		m := comparedMetric{Name: c.Name, Verdict: judge.None}
		if c.This.Runs > 0 {
			m.This = history.Float(c.This.Mean)
		}
		if c.Base.Runs > 0 {
			m.Base = history.Float(c.Base.Mean)
		}
		if change := c.This.Mean - c.Base.Mean; c.Both() && !math.IsNaN(change) && !math.IsInf(change, 0) {
			m.Change = change
		}
		if r.Judgement != nil {
			for _, f := range r.Judgement.Findings {
				if f.Name == c.Name {
					m.Verdict = f.Verdict
				}
			}
		}
		out.Metrics = append(out.Metrics, m)
	}
	return out
}

// ids are those of the runs that repeat one.
func ids(run *history.Run, repeats []*history.Run) []string {
	if len(repeats) == 0 {
		return []string{run.Info.RunID}
	}
	out := make([]string, len(repeats))
	for i, r := range repeats {
		out[i] = r.Info.RunID
	}
	return out
}
