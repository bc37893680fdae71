package github

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// Whatever branches there are, a commit counts if it is a tip or on the default branch,
// which takes two requests at most.
func TestOnBranch(t *testing.T) {
	g, api := gitHubDouble(t)
	asked := 0
	g.Seen = func(*http.Request, []byte) { asked++ }
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 0))
	for range testenv.Cases(300) {
		commits := make([]string, 12)
		for i := range commits {
			commits[i] = fmt.Sprintf("%040x", r.Uint64())
		}
		fork := commits[11]
		side := r.IntN(10)
		g.Branches = map[string][]string{"main": commits[2:8], "side": append([]string{commits[0], commits[8]},
			commits[2+side%6:8]...)}
		g.Forks = []string{fork}
		w := pushed(api, 1, "")
		w.DefaultBranch = []string{"main", ""}[r.IntN(2)]
		i := r.IntN(len(commits))
		want := i == 0 || i >= 2 && i < 8
		asked = 0
		own, err := OnBranch(t.Context(), w, githubtest.Workflow, commits[i])
		require.LessOrEqual(t, asked, 2)
		require.Equal(t, want, own, "commit %d", i)
		if i == 1 || i == 9 || i == 10 {
			require.Error(t, err) // GitHub does not have it
		} else {
			require.NoError(t, err)
		}
		within, err := Within(t.Context(), w, githubtest.Workflow, commits[4], fork)
		require.NoError(t, err)
		require.False(t, within)
	}
}
