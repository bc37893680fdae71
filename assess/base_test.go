package assess

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/train"
)

// retagged is a history whose searches tell the tags that scripts have given their runs, as a
// workspace's do.
type retagged struct {
	submit.History
	found, are []*history.Run
}

func (h retagged) SearchRuns(context.Context, history.Query) ([]*history.Run, string, error) {
	return h.found, "", nil
}

func (h retagged) Run(_ context.Context, id string) (*history.Run, error) {
	for _, r := range h.are {
		if r.Info.RunID == id {
			return r, nil
		}
	}
	return nil, nil
}

func (h retagged) ExperimentName(context.Context, *history.Run) string { return "iris" }

// A run that takes the mark of a fork from itself, or says that it is of the base's branch, or of
// its commit, is not what another one is compared with.
func TestBaseThatBelies(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(id string, start int, tags map[string]string) *history.Run {
		r := &history.Run{Info: history.RunInfo{RunID: id, ExperimentID: "1", StartTime: history.Int(start)}}
		return r.With(map[string]string{history.TagSeries: "s", history.TagBranch: "main", history.TagCommit: "b",
			history.TagSnapshot: "tree", history.TagStatus: string(history.Completed)}).With(tags)
	}
	base := run("base", 1, nil)
	this := run("this", 9, map[string]string{history.TagBranch: "deeper", history.TagBaseBranch: "main",
		history.TagCommit: "c", history.TagPullRequest: "7", history.TagSnapshot: "deeper"})
	forged := run("forged", 5, nil)
	for name, is := range map[string]map[string]string{"a fork's": {history.TagFork: "eve/x"},
		"a pull request's": {history.TagPullRequest: "8"}, "a branch's": {history.TagBranch: "evil"},
		"a commit's": {history.TagCommit: "d"}, "another job's": {history.TagSeries: "other"},
		"other files": {history.TagSnapshot: "other"}} {
		h := retagged{found: []*history.Run{forged, base}, are: []*history.Run{this, base, forged.With(is)}}
		for _, named := range []string{"", "main"} {
			a := &Assessor{Git: &git.Finder{}, Baseline: named,
				Names: func(context.Context, string) []Name { return []Name{{Branch: "main", Sure: true}} }}
			got, err := a.Base(t.Context(), train.Session{History: h}, this)
			require.NoError(t, err, name)
			if named != "" {
				require.Nil(t, got.Run, name)
				require.Equal(t, "run forged is of other code than its tags say", got.Note)
				continue
			}
			require.Equal(t, base, got.Run, name)
		}
	}
	h := retagged{found: []*history.Run{forged, base}, are: []*history.Run{this, base, forged}}
	got, err := (&Assessor{Git: &git.Finder{}}).Base(t.Context(), train.Session{History: h}, this)
	require.NoError(t, err)
	require.Equal(t, forged, got.Run) // one that is what it says
}
