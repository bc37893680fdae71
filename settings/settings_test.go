package settings

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/job"
)

// TestInForce: a change is judged, and its runs are kept, by the settings of what it is to be
// merged into. Where those cannot be read it is judged by nothing of its own, and keeps nothing.
func TestInForce(t *testing.T) {
	const base, own = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	const other = "this change has other rules in .aml-train.yaml; those of its base are in force until it is merged"
	outside := func(*github.Workflow) *github.Workflow { return nil }
	change := func(w *github.Workflow) *github.Workflow { w.PullRequest, w.Base = 7, base; return w }
	push := func(w *github.Workflow) *github.Workflow { w.SHA = own; return w }
	for name, c := range map[string]struct {
		here, there string // the checkout's, and those of the commit that GitHub is asked for; "-" for none to read
		of          func(*github.Workflow) *github.Workflow
		rules       []string
		history     string
		note, err   string
		atMost      int
	}{
		"outside a workflow": {"rules: [a > 1]\nhistory: ref", "", outside, []string{"a > 1"}, "ref", "", "", 0},
		"an easier rule":     {"rules: [a > 1]", "rules: [a > 2]", change, []string{"a > 2"}, "", other, "", 6},
		"no rule any more":   {"", "rules: [a > 2]", change, []string{"a > 2"}, "", other, "", 6},
		"less strict": {"rules: [a > 2]", "rules: [a > 2]\nstrict: true", change, []string{"a > 2"}, "", other, "",
			6},
		"another price": {"rules: [cost < 1 USD]\nprices: {gpu: 0.1}", "rules: [cost < 1 USD]\nprices: {gpu: 9}",
			change, []string{"cost < 1 USD"}, "", other, "", 6},
		"runs sent elsewhere": {"history: https://eve.example", "history: https://ours.example", change, nil,
			"https://ours.example", "", "", 6},
		"more runs": {"repeats: {until: decided, at most: 90}", "repeats: {until: decided, at most: 9}", change, nil,
			"", "", "", 9},
		"a base that is wrong": {"", "rulse: [a]", change, nil, "", "", "rulse", 0},
		"a base that cannot be read": {"rules: [a > 1]", "-", change, nil, "", "",
			"give the step a token that may read", 0},
		"and no rule": {"history: https://eve.example", "-", change, nil, "",
			"whether the branch that this is to be merged into has rules could not be read: ", "", 6},
		"on a push, another checkout": {"history: https://eve.example", "history: ref", push, nil, "ref", "", "", 0},
		"on a push, nothing to read":  {"history: https://eve.example", "-", push, nil, "", "", "", 0},
		"and more runs": {"repeats: {until: decided, at most: 90}", "-", change, nil, "",
			"whether the branch that this is to be merged into has rules could not be read: ", "", 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			require.NoError(t, os.WriteFile(File, []byte(c.here), 0o644))
			g := &githubtest.GitHub{}
			if c.there != "-" {
				g.Files = map[string]map[string]string{base: {File: c.there}, own: {File: c.there}}
			}
			server := httptest.NewServer(g)
			defer server.Close()
			commits := Commits{Git: &git.Finder{}, Token: githubtest.Workflow,
				Workflow: c.of(&github.Workflow{API: server.URL, Server: server.URL, Repository: "org/x"})}
			here, err := Read(commits.Git, ".", nil)
			require.NoError(t, err)
			in, err := commits.InForce(t.Context(), here)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.ElementsMatch(t, c.rules, texts(in.Rules))
			require.Equal(t, c.history, in.History)
			require.Equal(t, c.atMost, in.AtMost)
			if c.note == other || c.note == "" {
				require.Equal(t, c.note, in.Note)
			} else {
				require.Contains(t, in.Note, c.note)
			}
		})
	}
}

// TestInForceWhereBusy: a change that takes the rules away, or has settings of any kind, is judged by its
// own only where GitHub says that the base is not for its token to see, and then without what makes
// a verdict or a price easier. Who has GitHub asked too often is judged by nothing, and not let through.
func TestInForceWhereBusy(t *testing.T) {
	owns := []string{"", "prices: {gpu: 0.01}", "repeats: {until: decided, at most: 100}",
		"history: https://eve.example\nprices: {gpu: 0}\nrepeats: {until: decided, at most: 7}", "rules: [a > 0]"}
	for status, open := range map[int]bool{401: true, 403: true, 404: true, 429: false, 403 + tooOften: false,
		403 + tooMany: false, 500: false, 502: false, 503: false} {
		for _, baseTold := range []bool{true, false} {
			for _, text := range owns {
				about := fmt.Sprintf("%d, %v, %s", status, baseTold, text)
				page := "https://docs.github.com/rest"
				if status/tooOften == tooMany/tooOften { // by which go-github tells
					page += "/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
				}
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if w.Header().Set("Content-Type", "application/json"); status/tooOften == 1 {
						w.Header().Set("X-RateLimit-Remaining", "0")
						w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
					} else if status/tooOften == 0 && !open {
						w.Header().Set("Retry-After", "3600")
					}
					w.WriteHeader(status % tooOften)
					fmt.Fprintf(w, `{"message": "no", "documentation_url": %q}`, page)
				}))
				w := &github.Workflow{API: server.URL, Server: server.URL, Repository: "org/x", PullRequest: 7}
				if baseTold {
					w.Base = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
				}
				own, err := parse([]byte(text), File, ".")
				require.NoError(t, err)
				t.Chdir(t.TempDir())
				of := Commits{Git: &git.Finder{}, Token: githubtest.Workflow, Workflow: w}
				in, err := of.InForce(t.Context(), own)
				server.Close()
				if !open || len(own.Rules) > 0 {
					require.ErrorContains(t, err, "cannot be read", about)
					continue
				}
				require.NoError(t, err, about)
				require.Error(t, in.Unread, about)
				require.Equal(t, UsuallyAtMost, in.AtMost, about)
				require.Empty(t, in.History, about)
				require.NotEmpty(t, in.Note, about)
			}
		}
	}
}

// Of what GitHub answers with 403: that a limit is reached.
const tooOften, tooMany = 1000, 2000 // the primary limit, and a secondary one

// FuzzParse: whatever stands in the file, it is read or its problems are told, each in the file.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "job: job.yml\nrules: ['a > 1']\nrepeats: {seeds: 3}", "history: https://u:p@x",
		"prices: {gpu: .inf}", "repeats: {until: decided, at most: 101}", "hook: {wait: sometimes}", "- a",
		"a: &x [*x]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse([]byte(text), File, ".")
		if err != nil {
			var problems job.Problems
			require.ErrorAs(t, err, &problems)
			require.NotEmpty(t, problems)
			for _, p := range problems {
				require.Equal(t, File, p.File)
				require.NotEmpty(t, p.Message)
			}
			return
		}
		require.Empty(t, checkHistory(s.History))
		require.LessOrEqual(t, s.Repeats.Plan().AtMost, 100)
	})
}
