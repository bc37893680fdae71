package history

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// found is a history of which every search finds all that completed before.
type found []*Run

func (f found) SearchRuns(_ context.Context, q Query) (out []*Run, _ string, _ error) {
	for _, r := range f {
		if id := q.Tags[TagSnapshot]; id == "" || r.Tag(TagSnapshot) == id {
			out = append(out, r)
		}
	}
	return out, "", nil
}

// lap is a completed run of a snapshot and a commit, with a seed; pr is its pull request.
func lap(n int, snapshot, commit, seed, pr string, more ...KeyValue) *Run {
	r := &Run{Info: RunInfo{RunID: fmt.Sprint("run-", n), ExperimentID: "1", StartTime: Int(100 + n)}}
	for key, value := range map[string]string{TagSeries: "job", TagStatus: string(Completed), TagBranch: "main",
		TagBaseBranch: "main", TagSnapshot: snapshot, TagCommit: commit, TagPullRequest: pr} {
		if value != "" {
			r.Data.Tags = append(r.Data.Tags, KeyValue{key, value})
		}
	}
	r.Data.Tags = append(r.Data.Tags, more...)
	r.Data.Params = []KeyValue{{"seed", seed}, {"epochs", "1"}}
	return r
}

func runIDs(runs []*Run) (out []string) {
	for _, r := range runs {
		out = append(out, r.Info.RunID)
	}
	return out
}

// TestRepeatsOfOneCommit: on the branch that others are compared with, the nearest commit with a
// run is a run's own. What repeats it with another seed is no base of it.
func TestRepeatsOfOneCommit(t *testing.T) {
	runs := found{lap(1, "s1", "a", "1", ""), lap(2, "s1", "a", "2", ""), lap(3, "s2", "b", "1", ""),
		lap(4, "s2", "b", "2", "")}
	run := lap(5, "s2", "b", "3", "")
	list, err := FindBaselines(t.Context(), runs, run)
	require.NoError(t, err)
	base := list.Nearest(map[string]int{"b": 0, "a": 1})
	require.Equal(t, "run-2", base.Run.Info.RunID)
	base, err = FindRepeats(t.Context(), runs, run, base, false, nil)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"run-1", "run-2"}, runIDs(base.Repeats))
	require.ElementsMatch(t, []string{"run-3", "run-4", "run-5"}, runIDs(base.This))
	require.True(t, base.Seeded)

	// The same commit once more, with a seed that there was, is compared with what was.
	again := lap(6, "s2", "b", "1", "")
	list, err = FindBaselines(t.Context(), runs, again)
	require.NoError(t, err)
	require.Equal(t, "run-3", list.Nearest(map[string]int{"b": 0, "a": 1}).Run.Info.RunID)

	// A commit that leaves the files alone repeats nothing of the one before.
	same := lap(7, "s2", "c", "3", "")
	list, err = FindBaselines(t.Context(), runs, same)
	require.NoError(t, err)
	base = list.Nearest(map[string]int{"c": 0, "b": 1, "a": 2})
	base, err = FindRepeats(t.Context(), append(runs, lap(8, "s2", "c", "4", "")), same, base, true, nil)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"run-3", "run-4"}, runIDs(base.Repeats))
	require.ElementsMatch(t, []string{"run-7", "run-8"}, runIDs(base.This))
}

// TestRepeatsOfPullRequests: what a pull request trained repeats what was merged; what a fork's
// did repeats nothing.
func TestRepeatsOfPullRequests(t *testing.T) {
	fork := KeyValue{TagFork, "eve/x"}
	runs := found{lap(1, "s1", "p", "1", "7"), lap(2, "s1", "p", "2", "7"), lap(3, "s1", "p", "3", "9", fork),
		lap(4, "s2", "q", "4", "8")}
	run := lap(5, "s2", "q", "5", "8")
	list, err := FindBaselines(t.Context(), runs, run)
	require.NoError(t, err)
	base := list.StandIns(map[string]string{"s1": "m"}).Nearest(map[string]int{"q": 0, "m": 1})
	require.Equal(t, "run-1", base.Run.Info.RunID)
	base, err = FindRepeats(t.Context(), runs, run, base, false, nil)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"run-1", "run-2"}, runIDs(base.Repeats))
	require.ElementsMatch(t, []string{"run-4", "run-5"}, runIDs(base.This))
}

func TestAtMost(t *testing.T) {
	require.Equal(t, 6, AtMost(RepeatsDecided(6)))
	require.Zero(t, AtMost("3"))
	require.Zero(t, AtMost("decided x"))
	require.Zero(t, AtMost(""))
}
