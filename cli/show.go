package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/registry"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/submit/local"
)

func (a *app) show() *cobra.Command {
	var p places
	cmd := &cobra.Command{
		Use:   "show [RUN]",
		Short: "A run's status, error, metrics, outputs and log files",
		Long: "Show a run: status, error and what to do about it, metrics, outputs and log " +
			"files.\nWithout RUN, the newest one. A unique beginning of its id is enough.",
		Example:           "  aml-train show iris-3f2a91c-1",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(p.check(true), a.checkBaseline(cmd.Context())); err != nil {
				return err
			}
			s, run, err := a.findRun(cmd.Context(), firstArg(args))
			if err != nil {
				return err
			}
			err = a.without(a.rulesHere(cmd.Context()), "the run is judged by no rules of the settings")
			if err != nil {
				return err
			}
			if a.json && (len(a.assess.Terms.Rules) == 0 || run.Status() != history.Completed) {
				return s.printRun(cmd.Context(), run, nil)
			}
			r, err := a.assess.Collect(cmd.Context(), s.Session, run)
			if err != nil {
				return err
			}
			if a.json {
				return s.printRun(cmd.Context(), run, r.Judgement)
			}
			if p.markdown != "" {
				return a.writeMarkdown(cmd.Context(), r, p.markdown)
			}
			width, color := terminal(a.out, a.getenv)
			fmt.Fprint(a.out, r.Terminal(width, color))
			a.told(run)
			s.details(cmd.Context(), run)
			return nil
		},
	}
	p.addMarkdown(cmd)
	a.addBaseline(cmd)
	a.addRules(cmd)
	return cmd
}

// told notes that the report of a run was read, and with it where the run's leftovers lie.
func (a *app) told(run *history.Run) {
	if a.store != nil && run.Status().Terminal() {
		a.local("").Told(run.Info.RunID)
	}
}

// untold tells of what earlier runs left that nobody was told of: the next run removes it.
func (a *app) untold(target *local.Target, but string) {
	for run, dir := range target.Untold() {
		if run != but {
			a.say("What run %s wrote outside ./outputs and ./logs lies in %s until the next run", run, dir)
			target.Told(run)
		}
	}
}

// details prints what ran, below a report.
func (s session) details(ctx context.Context, run *history.Run) {
	fmt.Fprintln(s.out)
	run = secret.Of(&s.secrets, run)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(s.out, "  %-11s %s\n", name, report.Line(value))
		}
	}
	commit := run.Tag(gitmeta.PropCommit)
	if commit != "" && run.Tag(gitmeta.PropDirty) == "True" {
		commit += " with uncommitted changes"
	}
	line("experiment", s.experimentName(ctx, run))
	line("command", oneLine(run.Tag(history.TagCommand)))
	line("commit", commit)
	line("branch", run.Tag(gitmeta.PropBranch))
	line("snapshot", run.Tag(history.TagSnapshot))
	line("attempts", run.Tag(history.TagAttempts))
	line("started", run.Started().Format(time.DateTime))
	for _, p := range run.Data.Params[:min(len(run.Data.Params), 20)] {
		line("parameter", p.Key+" = "+p.Value)
	}
	if url := s.History.URL(run); strings.HasPrefix(url, "file:") {
		line("files", inside.Relative(s.store.ArtifactDir(run)))
	} else {
		line("page", url)
	}
}

func (s session) experimentName(ctx context.Context, run *history.Run) string {
	return s.History.ExperimentName(ctx, run)
}

// runJSON is the stable form of a run for machines.
type runJSON struct {
	Run        string             `json:"run"`
	Name       string             `json:"name"`
	Experiment string             `json:"experiment"`
	Status     string             `json:"status"`
	Target     string             `json:"target"`
	URL        string             `json:"url"`
	Snapshot   string             `json:"snapshot"`
	Job        string             `json:"job"`
	Metrics    map[string]any     `json:"metrics"` // NaN and the infinities as strings: JSON has no such numbers
	Outputs    []outputJSON       `json:"outputs"`
	Error      string             `json:"error"`
	Started    *time.Time         `json:"started"`
	Ended      *time.Time         `json:"ended"`
	Children   []runJSON          `json:"children,omitempty"` // with --children
	Trials     []trialJSON        `json:"trials,omitempty"`   // of a sweep, the best first
	Best       string             `json:"best,omitempty"`     // of a sweep: the run of its best trial
	Rules      []ruleJSON         `json:"rules,omitempty"`    // of a run that has completed
	Cost       *float64           `json:"cost,omitempty"`     // in USD, where the price of the target is known
	Reused     bool               `json:"reused,omitempty"`   // it was not trained for what was asked
	Promoted   *registry.Promoted `json:"promoted,omitempty"` // what it has become, on a merge
}

type trialJSON struct {
	Run        string         `json:"run"`
	Status     string         `json:"status"`
	Parameters map[string]any `json:"parameters"`
	Objective  *history.Float `json:"objective"` // null where it has logged none
}

// sweepJSON adds the trials of a sweep.
func (r *runJSON) sweepJSON(sweep *history.Sweep) {
	if sweep == nil {
		return
	}
	for _, t := range sweep.Trials {
		j := trialJSON{Run: t.Run.Info.RunID, Status: string(t.Run.Status()), Parameters: t.Parameters}
		if !math.IsNaN(t.Value) {
			value := history.Float(t.Value)
			j.Objective = &value
		}
		r.Trials = append(r.Trials, j)
	}
	if sweep.Best != nil {
		r.Best = sweep.Best.Info.RunID
	}
}

type outputJSON struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	URL  string `json:"url"`
}

func (s session) runJSON(ctx context.Context, run *history.Run) (runJSON, error) {
	out := runJSON{
		Run: run.Info.RunID, Name: run.Info.RunName, Experiment: s.experimentName(ctx, run),
		Status: string(run.Status()),
		Target: run.Tag(history.TagTarget), URL: s.History.URL(run), Snapshot: run.Tag(history.TagSnapshot),
		Job:     run.Tag(history.TagJob),
		Metrics: map[string]any{}, Outputs: []outputJSON{}, Error: run.Tag(history.TagError),
		Started: moment(run.Started()), Ended: moment(run.Ended()), Reused: s.assess.Answers(run),
	}
	for _, m := range run.Data.Metrics {
		out.Metrics[m.Key] = m.Value
	}
	files, err := s.History.Artifacts(ctx, run)
	for _, f := range files {
		out.Outputs = append(out.Outputs, outputJSON{f.Path, int64(f.Size), s.History.FileURL(run, f.Path)})
	}
	return secret.Of(&s.secrets, out), err
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (s session) printRun(ctx context.Context, run *history.Run, judged *report.Judgement) error {
	out, err := s.runJSON(ctx, run)
	if err != nil {
		return err
	}
	if run.Tag(history.TagSweep) != "" {
		trials, err := assess.Children(ctx, s.History, run)
		if err != nil {
			return err
		}
		out.sweepJSON(secret.Of(&s.secrets, history.SweepOf(run, trials)))
	}
	if cost, err := s.assess.Cost(ctx, s.Session, run); err == nil && !math.IsNaN(cost) {
		out.Cost = &cost
	}
	out.Rules, out.Promoted = rulesJSON(judged), s.model
	return s.printJSON(out)
}

// report prints the report of a run that has ended, and returns the error that
// carries its exit code. Whatever cannot be delivered is said; the run is what it
// is.
func (s session) report(ctx context.Context, run *history.Run, f *teller) error {
	hurry := ctx.Err() != nil
	ctx = context.WithoutCancel(ctx)
	outputs := ""
	if !hurry {
		outputs = s.keep(ctx, run)
	}
	r, err := s.assess.Collect(ctx, s.Session, run)
	if err != nil {
		return err
	}
	if outputs != "" {
		r.FileURL = func(string) string { return outputs }
	}
	human := s.out
	if s.json || f.to.markdown == "-" || f.flow != nil {
		human = s.err
	}
	width, color := terminal(human, s.getenv)
	fmt.Fprint(human, "\n", r.Terminal(width, color))
	s.told(run)
	var undelivered error
	if f.to.markdown != "" {
		if err := s.writeMarkdown(ctx, r, f.to.markdown); err != nil {
			undelivered = fmt.Errorf("the report could not be written: %v", err)
		}
	}
	if f.to.download != "" {
		if err := s.downloadAll(ctx, run, f.to.download); err != nil {
			undelivered = errors.Join(undelivered, fmt.Errorf("--download-outputs %s: %w", f.to.download, err))
		} else if f.flow != nil {
			f.flow.step.Output("outputs-path", f.to.download)
		}
	}
	if !hurry {
		if s.model, err = f.promoted(ctx, s, r, run); err != nil {
			undelivered = errors.Join(undelivered, err)
		}
	}
	if f.flow != nil {
		f.flow.ended(ctx, s, r, f.to.download, hurry)
		f.flow.merged(s.model)
	}
	if s.json {
		if err := s.printRun(ctx, run, r.Judgement); err != nil {
			return err
		}
	}
	failed := broken(r.Judgement)
	if status := run.Status(); status != history.Completed {
		failed = &runEnded{status}
	}
	if failed != nil && undelivered != nil {
		s.say("aml-train: %v", undelivered)
	}
	return cmp.Or(failed, undelivered)
}
