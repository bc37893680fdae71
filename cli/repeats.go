package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/train"
)

// repeatsFlag is --repeats: a number, or decided, at most a number.
type repeatsFlag struct {
	text string
	plan *train.Repeats
}

// Set implements pflag.Value.
func (f *repeatsFlag) Set(text string) error {
	p := train.Repeats{}
	words := strings.Fields(strings.ReplaceAll(text, ",", " "))
	n := settings.UsuallyAtMost
	switch {
	case len(words) == 1 && words[0] == "decided":
	case len(words) == 1 || len(words) == 4 && words[0] == "decided" && words[1] == "at" && words[2] == "most":
		var err error
		if n, err = strconv.Atoi(words[len(words)-1]); err != nil || n < 1 || n > judge.MostAdded {
			return fmt.Errorf("%s is no number of runs from 1 to %d; write 3, or: decided, at most 6",
				words[len(words)-1], judge.MostAdded)
		}
	default:
		return fmt.Errorf("write a number of runs, such as 3, or: decided, at most 6")
	}
	if p.Seeds = n; words[0] == "decided" {
		p.Seeds, p.AtMost = 0, n
	}
	f.text, f.plan = text, &p
	return nil
}

func (f *repeatsFlag) String() string { return f.text }

// Type implements pflag.Value.
func (f *repeatsFlag) Type() string { return "runs" }

func (t *teller) Once() {
	t.say("repeats needs somebody who waits for the runs, to start one after the other: the job is trained once")
}

// Repeated tells of a run which another one stands for in the report.
func (t *teller) Repeated(ctx context.Context, at train.Session, run *history.Run) {
	text := strings.ToLower(string(run.Status()))
	if status := run.Status(); status != history.Completed {
		if reason := run.Tag(history.TagError); reason != "" {
			text += ": " + reason
		}
	} else {
		r := report.Report{Run: run, Key: t.at(at).keyMetrics(run)}
		if m, ok := r.Headline(); ok {
			text += ": " + m.Key + " " + report.Number(float64(m.Value))
		}
	}
	t.say("Run %s %s", run.Info.RunID, oneLine(text))
	t.repeated(run)
	if t.shown != nil {
		t.lost(t.shown, run.Info.RunID)
		t.shown = nil
	}
	t.at(at).told(run)
	t.at(at).keep(ctx, run)
}

// more says how many repeats the verdict wants besides those made, and why.
func (a *app) more(ctx context.Context, at train.Session, last *history.Run, made, most int) (int, error) {
	s := session{a, at}
	a.repeated(last)
	a.atMost = most
	as := s.asked(last)
	base, err := s.base(ctx, as)
	if err != nil {
		return 0, err
	}
	judged, err := s.judged(ctx, last, base)
	if err != nil || judged == nil {
		return 0, err
	}
	more := judge.More(judged.Findings, made, judged.BaseRuns, most)
	what := "the verdict is open"
	if least := min(judge.LeastRuns, most); made+more < least && ofBase(as) {
		more, what = least-made, "what comes next is compared with runs of this branch"
	} else if base.Run == nil || judged.BaseRuns < judge.LeastRuns {
		what = "more of them do not decide anything without a base, but are one for what comes next"
	}
	if more > 0 {
		a.say("%d of at most %d runs: %s; %d more", made, most, what, more)
	}
	return more, nil
}

// repeated notes a run that others of this command repeat.
func (a *app) repeated(run *history.Run) {
	if run.Status() == history.Completed && !holds(a.series, run) {
		a.series = append(a.series, run)
	}
}

// number is that of a run among those of this command that repeat one another, from 1 on. One
// that is not noted yet is reported, and the last.
func (a *app) number(run *history.Run) int {
	for i, r := range a.series {
		if r.Info.RunID == run.Info.RunID {
			return i + 1
		}
	}
	return len(a.series) + 1
}

func holds(list []*history.Run, run *history.Run) bool {
	return slices.ContainsFunc(list, func(r *history.Run) bool { return r.Info.RunID == run.Info.RunID })
}

// ofBase tells whether a run is of the branch that others are compared with.
func ofBase(run *history.Run) bool {
	base := run.Tag(history.TagBaseBranch)
	return base != "" && run.Tag(history.TagBranch) == base && run.Tag(history.TagPullRequest) == ""
}

// added is how many runs there may be at most where they are added until the verdict is
// decided; 0 where they are not.
func added(runs []*history.Run) (most int) {
	for _, r := range runs {
		most = max(most, history.AtMost(r.Tag(history.TagRepeats)))
	}
	return most
}

// started orders runs as they started.
func started(a, b *history.Run) int {
	return cmp.Or(cmp.Compare(a.Info.StartTime, b.Info.StartTime), strings.Compare(a.Info.RunID, b.Info.RunID))
}
