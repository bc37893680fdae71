package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// someRuns is a run history that gives out pages of three.
type someRuns []*Run

func (s someRuns) SearchRuns(_ context.Context, q Query) ([]*Run, string, error) {
	var fit []*Run
	for _, r := range s {
		if r.Tag(TagSeries) == q.Tags[TagSeries] && r.Info.ExperimentID == q.ExperimentIDs[0] &&
			(r.Status() == Completed || !q.Completed) &&
			(q.Tags[TagBranch] == "" || r.Tag(TagBranch) == q.Tags[TagBranch]) &&
			(q.Before == 0 || r.Info.StartTime < q.Before) {
			fit = append(fit, r)
		}
	}
	from, _ := strconv.Atoi(q.PageToken)
	to := min(from+3, len(fit))
	if to == len(fit) {
		return fit[from:], "", nil
	}
	return fit[from:to], fmt.Sprint(to), nil
}

// TestBaseline: in random histories, the run that another one is compared with is a
// completed one of the same job, and no other is nearer; where there is none, none would do.
func TestBaseline(t *testing.T) {
	found, none, standIns := 0, 0, 0
	for i := range testenv.Cases(20000) {
		r := rand.New(rand.NewPCG(uint64(testenv.Seed()), uint64(i)))
		pick := func(of ...string) string { return of[r.IntN(len(of))] }
		var runs someRuns
		for n := range 1 + r.IntN(12) {
			run := &Run{Info: RunInfo{RunID: fmt.Sprint("run-", n), ExperimentID: pick("1", "1", "2"),
				StartTime: Int(100 - n)}}
			for key, value := range map[string]string{
				TagSeries: pick("job", "job", "other"),
				TagStatus: string([]Status{Completed, Completed, Failed, Running}[r.IntN(4)]),
				TagBranch: pick("main", "topic", "side", ""), TagBaseBranch: pick("main", "main", ""),
				TagCommit: pick("a", "b", "c", "d", "e"), TagPullRequest: pick("", "", "7", "8"),
				TagFork: pick("", "", "", "ada/x"),
			} {
				if value != "" {
					run.Data.Tags = append(run.Data.Tags, KeyValue{key, value})
				}
			}
			run.Data.Params = []KeyValue{{"lr", pick("1", "2")}, {"depth", pick("1", "2")}}
			runs = append(runs, run)
		}
		run := runs[r.IntN(len(runs))]
		away := map[string]int{}
		for _, commit := range []string{"a", "b", "c", "d", "e"} {
			if r.IntN(2) == 0 && commit != run.Tag(TagCommit) {
				away[commit] = 1 + r.IntN(3)
			}
		}
		if len(away) > 0 {
			away[run.Tag(TagCommit)] = 0
		}
		list, err := FindBaselines(t.Context(), runs, run)
		require.NoError(t, err)
		got := list.Nearest(away)

		// What stands where in the order of preference, the lowest first.
		base := run.Tag(TagBaseBranch)
		isBase := run.Tag(TagBranch) == base && run.Tag(TagPullRequest) == "" && run.Tag(TagFork) == ""
		rank := func(c *Run) (rank [4]int, fits bool) {
			pr := c.Tag(TagPullRequest)
			onBase := base != "" && c.Tag(TagBranch) == base && pr == "" && c.Tag(TagFork) == ""
			n, known := away[c.Tag(TagCommit)]
			known = known || c.Tag(TagCommit) == run.Tag(TagCommit)
			if !known {
				n = 1000
			}
			fits = c != run && c.Status() == Completed && c.Tag(TagSeries) == run.Tag(TagSeries) &&
				c.Info.ExperimentID == run.Info.ExperimentID && c.Info.StartTime < run.Info.StartTime &&
				(pr == "" && c.Tag(TagFork) == "" || pr != "" && pr == run.Tag(TagPullRequest)) && (onBase || known)
			switch {
			case isBase && !known, !isBase && !onBase:
				rank[0] = 1
			}
			rank[1], rank[2], rank[3] = n, len(Differing(run, c)), -int(c.Info.StartTime)
			return rank, fits
		}
		var want *Run
		var least [4]int
		for _, c := range runs {
			if at, fits := rank(c); fits && (want == nil || slices.Compare(at[:], least[:]) < 0) {
				want, least = c, at
			}
		}
		require.Same(t, want, got.Run, "case %d", i)
		switch {
		case got.Run == nil:
			none++
			require.NotEmpty(t, got.Note)
		case got.Note != "":
			standIns++
			require.Contains(t, got.Note, base)
		default:
			found++
		}
	}
	require.Greater(t, min(found, none, standIns), testenv.Cases(20000)/200)
}
