package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/report"
)

func (a *app) compare() *cobra.Command {
	return &cobra.Command{
		Use:   "compare RUN BASE",
		Short: "The metrics of two runs side by side",
		Long: "Compare the metrics of a run with those of another, and show the parameters in\n" +
			"which they differ.",
		Example:           "  aml-train compare iris-3f2a91c-1 iris-9d0c1e2-1",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, run, err := a.findRun(ctx, args[0])
			if err != nil {
				return err
			}
			of, base, err := a.findRun(ctx, args[1])
			if err != nil {
				return err
			}
			with := history.Baseline{Run: base, Repeats: []*history.Run{base}, This: []*history.Run{run}}
			if s.History == of.History { // repeats of runs lie beside them
				if with, err = history.FindRepeats(ctx, s.History, run, with, true); err != nil {
					return err
				}
			}
			judged, err := s.judged(ctx, run, with)
			if err != nil {
				return err
			}
			r := secret.Of(&a.secrets, &report.Report{Run: run, Base: base, Judgement: judged})
			if a.json {
				return a.printJSON(comparison(r))
			}
			return a.compared(r)
		},
	}
}

// compared prints two runs side by side.
func (a *app) compared(r *report.Report) error {
	run, base := r.Run, r.Base
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\t%s\tCHANGE\t\n", run.Info.RunID, base.Info.RunID)
	for _, name := range metricNames(run, base) {
		now, ok := run.Metric(name)
		before, had := base.Metric(name)
		cells := [4]string{}
		if ok {
			cells[0] = report.Number(now)
		}
		if had {
			cells[1] = report.Number(before)
		}
		if ok && had {
			cells[2], cells[3] = report.Change(now, before), r.Verdict(name, now, before)
		}
		fmt.Fprintf(w, "%s\t%s\n", report.Line(name), strings.Join(cells[:], "\t"))
	}
	for _, d := range history.Differing(run, base) {
		fmt.Fprintf(w, "%s\t%s\t%s\t\t\n", report.Line(d.Name), report.Line(d.This), report.Line(d.Base))
	}
	return w.Flush()
}

// comparedMetric is a metric of two runs; a value is a number, NaN and the infinities as
// strings, and null where a run has none.
type comparedMetric struct {
	Name    string        `json:"name"`
	This    any           `json:"this"`
	Base    any           `json:"base"`
	Change  any           `json:"change"`
	Verdict judge.Verdict `json:"verdict"`
}

func comparison(r *report.Report) any {
	metrics := []comparedMetric{}
	for _, name := range metricNames(r.Run, r.Base) {
		m := comparedMetric{Name: name, Verdict: judge.None}
		now, ok := r.Run.Metric(name)
		before, had := r.Base.Metric(name)
		if ok {
			m.This = history.Float(now)
		}
		if had {
			m.Base = history.Float(before)
		}
		if change := now - before; ok && had && !math.IsNaN(change) && !math.IsInf(change, 0) {
			m.Change = change
		}
		if r.Judgement != nil {
			for _, f := range r.Judgement.Findings {
				if f.Name == name {
					m.Verdict = f.Verdict
				}
			}
		}
		metrics = append(metrics, m)
	}
	return map[string]any{"this": r.Run.Info.RunID, "base": r.Base.Info.RunID, "metrics": metrics}
}

func metricNames(runs ...*history.Run) (names []string) {
	for _, r := range runs {
		for _, m := range r.Data.Metrics {
			names = append(names, m.Key)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
