package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/submit"
)

func (a *app) runs() *cobra.Command {
	var experiment, commit, status string
	var limit int
	var archived, children bool
	cmd := &cobra.Command{
		Use:     "runs",
		Short:   "The run history, newest first",
		Long:    "List the run history, newest first.",
		Example: "  aml-train runs --experiment iris --status Completed\n  aml-train runs --commit 3f2a91c --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			store, err := a.openStore(ctx, false)
			if err != nil {
				return err
			}
			if limit < 1 {
				return usage("--limit is %d; it has to be positive", limit)
			}
			cloud, err := a.workspace()
			if err != nil {
				return err
			}
			var targets []submit.Target
			if store != nil {
				targets = append(targets, a.local(""))
			}
			if len(cloud.Missing()) == 0 {
				targets = append(targets, cloud)
			}
			var runs []*history.Run
			of := map[*history.Run]session{}
			for _, t := range targets {
				var list []*history.Run
				s, err := a.session(ctx, t)
				if err == nil {
					list, err = s.listRuns(ctx, experiment, commit, status, limit, archived)
				}
				var mistake usageError
				switch {
				case errors.As(err, &mistake) && len(targets) > 1: // the other one may have the experiment
				case err != nil && (len(targets) == 1 || t != submit.Target(cloud)):
					return err
				case err != nil:
					a.say("aml-train: the workspace's runs are not among these: %v", err)
				}
				for _, r := range list {
					of[r] = s
				}
				runs = append(runs, list...)
			}
			slices.SortStableFunc(runs, func(a, b *history.Run) int { return int(b.Info.StartTime - a.Info.StartTime) })
			runs = runs[:min(limit, len(runs))]
			below := map[*history.Run][]*history.Run{}
			for _, r := range runs {
				if children {
					if below[r], err = of[r].children(ctx, r); err != nil {
						return err
					}
				}
			}
			if a.json {
				out := []runJSON{}
				for _, r := range runs {
					j, err := of[r].runJSON(ctx, r)
					if err != nil {
						return err
					}
					for _, child := range below[r] {
						c, err := of[r].runJSON(ctx, child)
						if err != nil {
							return err
						}
						j.Children = append(j.Children, c)
					}
					out = append(out, j)
				}
				return a.printJSON(out)
			}
			if len(runs) == 0 {
				if experiment+commit+status == "" {
					a.say("No runs yet; aml-train run makes the first one.")
				} else {
					a.say("No runs match.")
				}
				return nil
			}
			return a.table(runs, below)
		},
	}
	cmd.Flags().StringVar(&experiment, "experiment", "", "of this experiment")
	cmd.Flags().StringVar(&commit, "commit", "", "of this commit, or the beginning of its id")
	cmd.Flags().StringVar(&status, "status", "", "in this status, such as Completed, Failed, Running")
	cmd.Flags().IntVar(&limit, "limit", 30, "how many")
	cmd.Flags().BoolVar(&archived, "archived", false, "those that were archived")
	cmd.Flags().BoolVar(&children, "children", false, "below each, the runs that its script made")
	cmd.RegisterFlagCompletionFunc("status", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return statusNames(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func statusNames() []string {
	var names []string
	for _, s := range history.Statuses {
		names = append(names, string(s))
	}
	return names
}

func (s session) listRuns(ctx context.Context, experiment, commit, status string, limit int, archived bool) ([]*history.Run, error) {
	q := history.Query{Submitted: true, MaxResults: min(max(limit, 1), 1000)}
	if archived {
		q.View = "DELETED_ONLY"
	}
	if status != "" { // most of a page may be left out
		q.MaxResults = 1000
	}
	if experiment != "" {
		id, err := s.experimentID(ctx, experiment)
		if err != nil {
			return nil, err
		}
		q.ExperimentIDs = []string{id}
	}
	if commit != "" {
		if strings.ContainsAny(commit, "'\"%`") {
			return nil, usage("--commit %q is no commit's id", commit)
		}
		q.Commit = commit
	}
	want := history.Status("")
	if status != "" {
		for _, known := range history.Statuses {
			if strings.EqualFold(string(known), status) {
				want = known
			}
		}
		if want == "" {
			return nil, usage("--status %q: it can be %s%s", status, strings.Join(statusNames(), ", "), didYouMean(status, statusNames()))
		}
	}
	var out []*history.Run
	for {
		runs, token, err := s.History.SearchRuns(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range runs {
			if want == "" || r.Status() == want {
				if out = append(out, r); len(out) == limit {
					return out, nil
				}
			}
		}
		if token == "" {
			return out, nil
		}
		q.PageToken = token
	}
}

// experimentID returns the id of an experiment. Where there is none of that name, the
// newest are looked through for one like it.
func (s session) experimentID(ctx context.Context, name string) (string, error) {
	var names []string
	for _, q := range []history.Query{{Name: name}, {}} {
		list, _, err := s.History.SearchExperiments(ctx, q)
		if err != nil {
			return "", err
		}
		for _, e := range list {
			if e.Name == name {
				return e.ID, nil
			}
			names = append(names, e.Name)
		}
	}
	return "", usage("there is no experiment %q%s", name, didYouMean(name, names))
}

// table prints the runs, and below each those that its script made.
func (a *app) table(runs []*history.Run, below map[*history.Run][]*history.Run) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTATUS\tSTARTED\tTOOK\tRESULT\tCOMMIT")
	row := func(r *history.Run, name string) {
		took := report.Duration(time.Since(r.Started()))
		if !r.Ended().IsZero() {
			took = report.Duration(r.Ended().Sub(r.Started()))
		}
		result := ""
		if m, ok := (&report.Report{Run: r}).Headline(); ok {
			result = m.Key + " " + report.Number(float64(m.Value))
		}
		commit := r.Tag(gitmeta.PropCommit)
		commit = commit[:min(7, len(commit))]
		if commit != "" && r.Tag(gitmeta.PropDirty) == "True" {
			commit += "+"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, r.Status(), r.Started().Format(time.DateTime), took, report.Line(result), commit)
	}
	for _, known := range runs {
		r := secret.Of(&a.secrets, known)
		row(r, report.Line(r.Info.RunID))
		for _, c := range secret.Of(&a.secrets, below[known]) {
			row(c, "  "+report.Line(cmp.Or(c.Info.RunName, c.Info.RunID)))
		}
	}
	return w.Flush()
}
