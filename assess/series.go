package assess

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/train"
)

// More decides how many repeats are to be made next, and says why (judge.More): made is how many
// there are, last the last of them, and most how many there may be.
func (a *Assessor) More(ctx context.Context, at train.Session, last *history.Run, made, most int) (int, error) {
	a.Add(last)
	a.most = most
	as := a.For(last)
	base, err := a.Base(ctx, at, as)
	if err != nil {
		return 0, err
	}
	judged, err := a.Judge(ctx, at, last, base)
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
		a.Say("%d of at most %d runs: %s; %d more", made, most, what, more)
	}
	return more, nil
}

// Add notes a run that others of this command repeat.
func (a *Assessor) Add(run *history.Run) {
	if run.Status() == history.Completed && !holds(a.series, run) {
		a.series = append(a.series, run)
	}
}

// Number is that of a run among those of this command that repeat one another, from 1 on. One
// that is not noted yet is reported, and the last.
func (a *Assessor) Number(run *history.Run) int {
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
