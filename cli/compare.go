package cli

import (
	"fmt"
	"math"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/secret"
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
			_, run, err := a.findRun(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, base, err := a.findRun(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			run, base = secret.Of(&a.secrets, run), secret.Of(&a.secrets, base)
			if a.json {
				return a.printJSON(comparison(run, base))
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintf(w, "\t%s\t%s\tCHANGE\n", run.Info.RunID, base.Info.RunID)
			for _, name := range metricNames(run, base) {
				now, ok := run.Metric(name)
				before, had := base.Metric(name)
				cells := [3]string{}
				if ok {
					cells[0] = report.Number(now)
				}
				if had {
					cells[1] = report.Number(before)
				}
				if ok && had {
					cells[2] = report.Change(now, before)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", report.Line(name), cells[0], cells[1], cells[2])
			}
			for _, d := range history.Differing(run, base) {
				fmt.Fprintf(w, "%s\t%s\t%s\t\n", report.Line(d.Name), report.Line(d.This), report.Line(d.Base))
			}
			return w.Flush()
		},
	}
}

type comparedMetric struct {
	Run    any `json:"run"`  // a number; NaN and the infinities as strings; null where the run has none
	Base   any `json:"base"` // the same
	Change any `json:"change"`
}

func comparison(run, base *history.Run) any {
	metrics := map[string]comparedMetric{}
	for _, name := range metricNames(run, base) {
		var m comparedMetric
		now, ok := run.Metric(name)
		before, had := base.Metric(name)
		if ok {
			m.Run = history.Float(now)
		}
		if had {
			m.Base = history.Float(before)
		}
		if change := now - before; ok && had && !math.IsNaN(change) && !math.IsInf(change, 0) {
			m.Change = change
		}
		metrics[name] = m
	}
	type values struct {
		Run  string `json:"run"`
		Base string `json:"base"`
	}
	parameters := map[string]values{}
	for _, d := range history.Differing(run, base) {
		parameters[d.Name] = values{d.This, d.Base}
	}
	return map[string]any{"run": run.Info.RunID, "base": base.Info.RunID, "metrics": metrics, "parameters": parameters}
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
