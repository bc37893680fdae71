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

// runFilter says which runs are listed.
type runFilter struct {
	experiment, commit, branch, status string
	tags                               []string // NAME=VALUE
	limit                              int
	archived, children                 bool
}

// listed is a run in a list: where it is, and the runs that its script made.
type listed struct {
	*history.Run
	in       session
	children []*history.Run
}

func (a *app) runs() *cobra.Command {
	var f runFilter
	cmd := &cobra.Command{
		Use:     "runs",
		Short:   "The run history, newest first",
		Long:    "List the run history, newest first.",
		Example: "  aml-train runs --experiment iris --status Completed\n  aml-train runs --commit 3f2a91c --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.limit < 1 {
				return usage("--limit is %d; it has to be positive", f.limit)
			}
			runs, err := a.list(cmd.Context(), f)
			switch {
			case err != nil:
				return err
			case a.json:
				return a.printRuns(cmd.Context(), runs)
			case len(runs) > 0:
				return a.table(runs)
			case f.experiment+f.commit+f.branch+f.status+strings.Join(f.tags, "") == "":
				a.say("No runs yet; aml-train run makes the first one.")
			default:
				a.say("No runs match.")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&f.experiment, "experiment", "", "of this experiment")
	cmd.Flags().StringVar(&f.commit, "commit", "", "of this commit, or the beginning of its id")
	cmd.Flags().StringVar(&f.branch, "branch", "", "of this branch")
	cmd.Flags().StringArrayVar(&f.tags, "tag", nil, "with this tag, NAME=VALUE (repeatable)")
	cmd.Flags().StringVar(&f.status, "status", "", "in this status, such as Completed, Failed, Running")
	cmd.Flags().IntVar(&f.limit, "limit", 30, "how many")
	cmd.Flags().BoolVar(&f.archived, "archived", false, "those that were archived")
	cmd.Flags().BoolVar(&f.children, "children", false, "below each, the runs that its script made")
	cmd.RegisterFlagCompletionFunc("status",
		func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return statusNames(), cobra.ShellCompDirectiveNoFileComp
		})
	return cmd
}

// list returns the newest runs of both targets, as far as they are there.
func (a *app) list(ctx context.Context, f runFilter) ([]listed, error) {
	store, err := a.openStore(ctx, false)
	if err != nil {
		return nil, err
	}
	cloud, err := a.workspace()
	if err != nil {
		return nil, err
	}
	var targets []submit.Target
	if store != nil {
		targets = append(targets, a.local(""))
	}
	if len(cloud.Missing()) == 0 {
		targets = append(targets, cloud)
	}
	var all []listed
	for _, t := range targets {
		var runs []*history.Run
		s, err := a.session(ctx, t)
		if err == nil {
			runs, err = s.listRuns(ctx, f)
		}
		var mistake usageError
		switch {
		case errors.As(err, &mistake) && len(targets) > 1: // the other one may have the experiment
		case err != nil && (len(targets) == 1 || t != submit.Target(cloud)):
			return nil, err
		case err != nil:
			a.say("aml-train: the workspace's runs are not among these: %v", err)
		}
		for _, r := range runs {
			all = append(all, listed{Run: r, in: s})
		}
	}
	slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(b.Info.StartTime, a.Info.StartTime) })
	all = all[:min(f.limit, len(all))]
	for i := range all {
		if r := &all[i]; f.children {
			if r.children, err = r.in.children(ctx, r.Run); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// printRuns prints the runs for machines.
func (a *app) printRuns(ctx context.Context, runs []listed) error {
	out := []runJSON{}
	for _, r := range runs {
		j, err := r.in.runJSON(ctx, r.Run)
		if err != nil {
			return err
		}
		for _, child := range r.children {
			c, err := r.in.runJSON(ctx, child)
			if err != nil {
				return err
			}
			j.Children = append(j.Children, c)
		}
		out = append(out, j)
	}
	return a.printJSON(out)
}

func statusNames() []string {
	var names []string
	for _, s := range history.Statuses {
		names = append(names, string(s))
	}
	return names
}

func (s session) listRuns(ctx context.Context, f runFilter) ([]*history.Run, error) {
	q := history.Query{Submitted: true, MaxResults: min(f.limit, 1000)}
	if f.archived {
		q.View = "DELETED_ONLY"
	}
	if f.status != "" { // most of a page may be left out
		q.MaxResults = 1000
	}
	if f.experiment != "" {
		id, err := s.experimentID(ctx, f.experiment)
		if err != nil {
			return nil, err
		}
		q.ExperimentIDs = []string{id}
	}
	if f.commit != "" {
		if strings.ContainsAny(f.commit, "'\"%`") {
			return nil, usage("--commit %q is no commit's id", f.commit)
		}
		q.Commit = f.commit
	}
	q.Tags = map[string]string{}
	if f.branch != "" {
		q.Tags[history.TagBranch] = f.branch
	}
	for _, tag := range f.tags {
		name, value, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return nil, usage("--tag %q has to be NAME=VALUE", tag)
		}
		q.Tags[name] = value
	}
	want := history.Status("")
	if f.status != "" {
		for _, known := range history.Statuses {
			if strings.EqualFold(string(known), f.status) {
				want = known
			}
		}
		if want == "" {
			return nil, usage("--status %q: it can be %s%s", f.status, strings.Join(statusNames(), ", "),
				didYouMean(f.status, statusNames()))
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
				if out = append(out, r); len(out) == f.limit {
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
func (a *app) table(runs []listed) error {
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
		if why := r.Tag(history.TagError); why != "" {
			result = why
		}
		commit := r.Tag(gitmeta.PropCommit)
		commit = commit[:min(7, len(commit))]
		if commit != "" && r.Tag(gitmeta.PropDirty) == "True" {
			commit += "+"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, r.Status(), r.Started().Format(time.DateTime), took,
			report.Shorten(report.Line(result), 60), commit)
	}
	for _, l := range runs {
		r := secret.Of(&a.secrets, l.Run)
		name := report.Line(r.Info.RunID)
		if display := report.Line(displayName(r)); display != "" {
			name += " (" + display + ")"
		}
		row(r, name)
		for _, c := range secret.Of(&a.secrets, l.children) {
			row(c, "  "+report.Line(cmp.Or(c.Info.RunName, c.Info.RunID)))
		}
	}
	return w.Flush()
}
