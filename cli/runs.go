package cli

import (
	"cmp"
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/submit"
)

// runFilter says which runs are listed.
type runFilter struct {
	experiment, commit, branch, status string
	sort                               string
	tags                               []string // NAME=VALUE
	limit                              int
	archived, children                 bool
}

// listed is a run in a list: where it is, the name of its experiment, and the runs that its
// script made.
type listed struct {
	*history.Run
	in         session
	experiment string
	children   []*history.Run
}

func (a *app) runs() *cobra.Command {
	var f runFilter
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "The run history, newest first",
		Long: `List the run history, newest first, or in the order of --sort: by a metric (metrics.NAME
where a field has its name), a parameter (params.NAME) or a field. Runs without it come last.`,
		Example: "  aml-train runs --experiment iris --status Completed\n" +
			"  aml-train runs --sort -accuracy --limit 5\n  aml-train runs --commit 3f2a91c --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.limit < 1 {
				return mistake.Errorf("--limit is %d; it has to be positive", f.limit)
			}
			runs, err := a.list(cmd.Context(), f)
			switch {
			case err != nil:
				return err
			case a.json:
				return a.printRuns(cmd.Context(), runs)
			case len(runs) > 0:
				width := 0 // a program reads it, or a pager that moves sideways
				if isTerminal(a.out) {
					width, _ = terminal(a.out, a.getenv)
				}
				return a.table(runs, width)
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
	cmd.Flags().StringArrayVar(&f.tags, "tag", nil, "with this tag, `NAME=VALUE` (repeatable)")
	cmd.Flags().StringVar(&f.status, "status", "", "in this status, such as Completed, Failed, Running")
	cmd.Flags().StringVar(&f.sort, "sort", "-started",
		"by a metric, or by run, status, started, took, experiment or name; -KEY is from the greatest to the least")
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
	order, err := readOrder(f.sort)
	if err != nil {
		return nil, err
	}
	store, err := a.openStore(ctx, false)
	if err != nil {
		return nil, err
	}
	var targets []submit.Target
	if store != nil {
		targets = append(targets, a.local(""))
	}
	cloud, wrong := a.workspace()
	if err := a.without(wrong, "runs of a workspace are not among these"); err != nil {
		return nil, err
	}
	if wrong == nil && len(cloud.Missing()) == 0 {
		targets = append(targets, cloud)
	}
	var all []listed
	for _, t := range targets {
		var runs []*history.Run
		s, err := a.session(ctx, t)
		if err == nil {
			runs, err = s.listRuns(ctx, f, order)
		}
		switch {
		case mistake.Is(err) && len(targets) > 1: // the other one may have the experiment
		case err != nil && (len(targets) == 1 || t != submit.Target(cloud)):
			return nil, err
		case err != nil:
			a.say("aml-train: the workspace's runs are not among these: %v", err)
		}
		names := map[string]string{} // of experiments, by their ids
		for _, r := range runs {
			id := r.Info.ExperimentID
			if names[id] == "" {
				names[id] = cmp.Or(f.experiment, s.experimentName(ctx, r))
			}
			all = append(all, listed{Run: r, in: s, experiment: names[id]})
		}
	}
	order.sort(all)
	all = all[:min(f.limit, len(all))]
	if note := order.unmet(all); note != "" {
		a.say("aml-train: --sort %s: %s", f.sort, note)
	}
	for i := range all {
		if r := &all[i]; f.children {
			if r.children, err = assess.Children(ctx, r.in.History, r.Run); err != nil {
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

// listRuns returns the runs of one place, the first of the order as far as that can order
// them.
func (s session) listRuns(ctx context.Context, f runFilter, order runOrder) ([]*history.Run, error) {
	q, want, err := s.runQuery(ctx, f)
	if err != nil {
		return nil, err
	}
	most := f.limit
	if by, ok := order.query(s.Target); ok {
		q.OrderBy = by
	} else { // the first of them may be the oldest
		q.MaxResults, most = 1000, mostSorted
	}
	var out []*history.Run
	for {
		runs, token, err := s.History.SearchRuns(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range runs {
			if want == "" || r.Status() == want {
				if out = append(out, r); len(out) == most {
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

// runQuery is the query of a filter, and the status that is looked at here.
func (s session) runQuery(ctx context.Context, f runFilter) (q history.Query, want history.Status, err error) {
	q = history.Query{Submitted: true, MaxResults: min(f.limit, 1000), Tags: map[string]string{}}
	if f.archived {
		q.View = "DELETED_ONLY"
	}
	if f.experiment != "" {
		id, err := s.experimentID(ctx, f.experiment)
		if err != nil {
			return q, "", err
		}
		q.ExperimentIDs = []string{id}
	}
	if f.commit != "" {
		if strings.ContainsAny(f.commit, "'\"%`") {
			return q, "", mistake.Errorf("--commit %q is no commit's id", f.commit)
		}
		q.Commit = f.commit
	}
	if f.branch != "" {
		q.Tags[history.TagBranch] = f.branch
	}
	for _, tag := range f.tags {
		name, value, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return q, "", mistake.Errorf("--tag %q has to be NAME=VALUE", tag)
		}
		q.Tags[name] = value
	}
	if f.status == "" {
		return q, "", nil
	}
	q.MaxResults = 1000 // most of a page may be left out
	for _, known := range history.Statuses {
		if strings.EqualFold(string(known), f.status) {
			return q, known, nil
		}
	}
	return q, "", mistake.Errorf("--status %q: it can be %s%s", f.status, strings.Join(statusNames(), ", "),
		suggest.DidYouMean(f.status, statusNames()))
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
	return "", mistake.Errorf("there is no experiment %q%s", name, suggest.DidYouMean(name, names))
}
