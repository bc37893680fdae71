package github

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

func statusesOf(t *testing.T, api, token string) *Statuses {
	s, err := NewStatuses(pushed(api, 1, oldHead), token)
	require.NoError(t, err)
	return s
}

var (
	trains = Status{Commit: oldHead, Context: "aml-train/iris", State: Pending, Description: "trains",
		URL: "https://ml.azure.com/runs/iris-1"}
	better = Status{Commit: oldHead, Context: "aml-train/iris", State: Success, Description: "accuracy 0.9",
		URL: "https://ml.azure.com/runs/iris-1"}
)

// A status is ended once, whoever tries, and no other run's.
func TestStatusComplete(t *testing.T) {
	g, api := gitHubDouble(t)
	s := statusesOf(t, api, githubtest.Workflow)
	done, err := s.Complete(t.Context(), trains, better)
	require.NoError(t, err)
	require.False(t, done, "there is none")
	require.NoError(t, s.Set(t.Context(), trains))
	other := trains
	other.URL += "0"
	done, err = s.Complete(t.Context(), other, better)
	require.NoError(t, err)
	require.False(t, done, "it is another run's")
	for _, want := range []bool{true, false, false} {
		done, err = s.Complete(t.Context(), trains, better)
		require.NoError(t, err)
		require.Equal(t, want, done)
	}
	require.Len(t, g.History(oldHead, trains.Context), 2)
	last, err := s.Of(t.Context(), oldHead, trains.Context)
	require.NoError(t, err)
	require.Equal(t, Success, last.State)
	last, err = s.Of(t.Context(), oldHead, "aml-train/other")
	require.NoError(t, err)
	require.Nil(t, last)
}

// Every request of a status' life fails once, in each way that GitHub has, before and after it
// was obeyed; each state is there once at the end.
func TestStatusFaults(t *testing.T) {
	obey := func(g *githubtest.GitHub, r *http.Request) { g.Obey(httptest.NewRecorder(), r) }
	faults := map[string]func(*githubtest.GitHub, http.ResponseWriter, *http.Request){
		"cut": func(*githubtest.GitHub, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"lost": func(g *githubtest.GitHub, _ http.ResponseWriter, r *http.Request) {
			obey(g, r)
			panic(http.ErrAbortHandler)
		},
		"unwell":   func(_ *githubtest.GitHub, w http.ResponseWriter, _ *http.Request) { again0(w, 502) },
		"timeout":  func(g *githubtest.GitHub, w http.ResponseWriter, r *http.Request) { obey(g, r); again0(w, 504) },
		"too many": func(_ *githubtest.GitHub, w http.ResponseWriter, _ *http.Request) { again0(w, 429) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := int32(1); ; n++ {
				g, api := gitHubDouble(t)
				var asked atomic.Int32
				g.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if asked.Add(1) != n {
						return false
					}
					fault(g, w, r)
					return true
				}
				s := statusesOf(t, api, githubtest.Workflow)
				require.NoError(t, s.Set(t.Context(), trains))
				list, all, err := s.Pending(t.Context())
				require.NoError(t, err)
				require.True(t, all)
				require.Len(t, list, 1)
				done, err := s.Complete(t.Context(), list[0], better)
				require.NoError(t, err)
				require.True(t, done)
				history := g.History(oldHead, trains.Context)
				require.Len(t, history, 2, "request %d", n)
				require.Equal(t, Success, history[1].State)
				if asked.Load() < n {
					require.Greater(t, n, int32(4))
					return
				}
			}
		})
	}
}

func again0(w http.ResponseWriter, status int) {
	w.Header().Set("Retry-After", "0")
	w.WriteHeader(status)
}

// Pending statuses are found on pull requests, whether or not they got a newer push, and on
// branches, over all pages, and each once; those of others and those that have ended are not.
func TestPending(t *testing.T) {
	g, api := gitHubDouble(t)
	g.PullRequests, g.Branches = nil, map[string][]string{}
	commit := func(kind string, n int) string { return fmt.Sprintf("%040x", len(kind)*10000+n) }
	link := func(id string) string { return "https://ml.azure.com/runs/" + id }
	for n := range 120 {
		p := githubtest.PullRequest{Number: n + 1, Head: commit("pull", n), Repo: "org/x"}
		if n%3 == 0 {
			p.Past = []string{commit("before", n)}
			g.SetStatus(p.Past[0], "aml-train/iris", "pending", "trains", link("old"), time.Hour)
		}
		g.PullRequests = append(g.PullRequests, p)
		g.SetStatus(p.Head, "aml-train/iris", "pending", "trains", link("new"), time.Hour)
		g.SetStatus(p.Head, "ci/other", "pending", "trains", link("other"), time.Hour)
		g.Branches[fmt.Sprint("branch-", n)] = []string{p.Head}
	}
	g.SetStatus(commit("pull", 7), "aml-train/iris", "success", "ended", link("new"), 0)
	g.Branches["main"] = []string{commit("trunk", 1), commit("trunk", 2)}
	g.SetStatus(commit("trunk", 2), "aml-train/nightly", "pending", "trains", link("main"), time.Hour)
	asked := 0
	g.Seen = func(*http.Request, []byte) { asked++ }
	list, all, err := statusesOf(t, api, githubtest.Workflow).Pending(t.Context())
	require.NoError(t, err)
	require.True(t, all)
	require.Len(t, list, 119+40+1)
	require.Equal(t, 3, asked)
	seen := map[string]bool{}
	for _, s := range list {
		require.False(t, seen[s.Commit+s.Context])
		seen[s.Commit+s.Context] = true
		require.Equal(t, Pending, s.State)
		require.InDelta(t, time.Hour, time.Since(s.Created), float64(time.Minute))
		require.Equal(t, s.Context == "aml-train/nightly", s.PullRequest == 0)
	}

	// What nobody has touched for longer than runs last is not looked through.
	asked = 0
	for i := range g.PullRequests {
		g.PullRequests[i].Updated = time.Now().Add(-100 * 24 * time.Hour)
	}
	g.Branches = nil
	_, all, err = statusesOf(t, api, githubtest.Workflow).Pending(t.Context())
	require.NoError(t, err)
	require.True(t, all)
	require.Equal(t, 1, asked)

	// There is an end to looking, and it is said.
	g.Branches = map[string][]string{}
	for n := range 600 {
		g.Branches[fmt.Sprint(n)] = []string{commit("trunk", n)}
	}
	_, all, err = statusesOf(t, api, githubtest.Workflow).Pending(t.Context())
	require.NoError(t, err)
	require.False(t, all)
}

func TestStatusNotAllowed(t *testing.T) {
	g, api := gitHubDouble(t)
	g.NoStatuses = true
	s := statusesOf(t, api, githubtest.Workflow)
	var refused *NotAllowedError
	_, _, pending := s.Pending(t.Context())
	_, complete := s.Complete(t.Context(), trains, better)
	for _, err := range []error{s.Set(t.Context(), trains), pending, complete} {
		require.ErrorAs(t, err, &refused)
		require.ErrorContains(t, err, "statuses: write")
	}
	g.NoStatuses = false
	require.ErrorAs(t, statusesOf(t, api, githubtest.Fork).Set(t.Context(), trains), &refused)
	nowhere := trains
	nowhere.Commit = strings.Repeat("9", 40)
	require.ErrorIs(t, s.Set(t.Context(), nowhere), ErrNoCommit)
}

// Names and texts of any length fit what GitHub takes.
func TestStatusTexts(t *testing.T) {
	g, api := gitHubDouble(t)
	s := statusesOf(t, api, githubtest.Workflow)
	for _, text := range []string{strings.Repeat("ü", 300), "a\nb\x1b[31m", "", strings.Repeat("語", 141)} {
		status := trains
		status.Context, status.Description = StatusContext("e"+text, text), text
		for range 2 {
			require.NoError(t, s.Set(t.Context(), status))
		}
		last, err := s.Of(t.Context(), oldHead, status.Context)
		require.NoError(t, err)
		require.True(t, last.same(status))
		require.NotContains(t, last.Context+last.Description, "\n")
	}
	require.NotEqual(t, StatusContext("iris", ""), StatusContext("iris", "deep"))
	require.Equal(t, "iris/deep", JobOf(StatusContext("iris", "deep")))
	_ = g
}

// The comment of a run that is gone is found by its link, if it is ours and still tells of it.
func TestCommentAbout(t *testing.T) {
	g, api := gitHubDouble(t)
	const link = "https://ml.azure.com/runs/iris-1?wsid=/s"
	tells := "<!-- aml-train 0123456789abcdef 41.1 %s -->\n### ⏳ iris\n\nrun [`iris-1`](" + link + ")\n"
	g.Write(7, githubtest.User{Login: "eve", Type: "User"}, fmt.Sprintf(tells, "running"))
	g.Write(7, githubtest.Bot, fmt.Sprintf(tells, "ended"))
	for _, token := range []string{githubtest.Workflow, githubtest.Person} {
		s := statusesOf(t, api, token)
		about, err := s.CommentAbout(t.Context(), 7, link)
		require.NoError(t, err)
		require.Nil(t, about)
	}
	g.Write(7, githubtest.Bot, fmt.Sprintf(tells, "running"))
	for i, token := range []string{githubtest.Workflow, githubtest.Person} { // a person ends what a workflow began
		about, err := statusesOf(t, api, token).CommentAbout(t.Context(), 7, link)
		require.NoError(t, err)
		require.Equal(t, i == 1, about == nil)
		if about != nil {
			require.NoError(t, write(t, about, "gone", true))
		}
	}
	require.Contains(t, g.Bodies(7, githubtest.Bot)[1], "41.1 ended -->\ngone")
}

// Which repository a command outside a workflow is about.
func TestOutside(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/org/x.git":          "org/x https://github.com ",
		"git@github.com:org/x.git":              "org/x https://github.com ",
		"ssh://git@ssh.github.com:443/org/x":    "org/x https://github.com ",
		"https://git.example.com/org/x":         "org/x https://git.example.com https://git.example.com/api/v3",
		"https://github.com.a.org/org/x":        "org/x https://github.com.a.org https://github.com.a.org/api/v3",
		"https://team.ghe.com/org/x":            "org/x https://team.ghe.com https://api.team.ghe.com",
		"/srv/git/x":                            "",
		"https://dev.azure.com/org/team/_git/x": "",
		"":                                      "",
	} {
		w, err := Outside(func(string) string { return "" }, remote)
		if want == "" {
			require.ErrorContains(t, err, "GITHUB_REPOSITORY", remote)
			continue
		}
		require.NoError(t, err, remote)
		require.Equal(t, want, w.Repository+" "+w.Server+" "+w.API)
	}
	for remote, want := range map[string]string{"https://github.com/org/x": "ours", "git@team.ghe.com:org/x": "ours",
		"https://ghe.com.example.com/org/x": "theirs", "git@git.example.com:org/x": "theirs",
		"https://evil/github.com/x": "theirs"} {
		for _, ours := range []string{"GH_TOKEN", "GITHUB_TOKEN"} {
			env := map[string]string{ours: "ours", strings.Replace(ours, "_", "_ENTERPRISE_", 1): "theirs"}
			w, err := Outside(func(name string) string { return env[name] }, remote)
			require.NoError(t, err, remote)
			require.Equal(t, want, w.Token, remote)
		}
	}
	env := map[string]string{"GITHUB_REPOSITORY": "org/y", "GH_TOKEN": "a", "GITHUB_TOKEN": "b"}
	w, err := Outside(func(name string) string { return env[name] }, "")
	require.NoError(t, err)
	require.Equal(t, "org/y a", w.Repository+" "+w.Token)
}

// The query fits GitHub's own schema, and is the one that the double answers.
func TestSchema(t *testing.T) {
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	require.Equal(t, words(githubtest.StatusesQuery), words(pendingQuery))
	check := func(query string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", "--input-type=module", "-e", `
			const { validate } = await import(process.argv[1]);
			console.log(validate(process.argv[2]).map(e => e.message).join("\n"));
			process.exit(0)`, filepath.Join(testenv.GraphQL(t), "@octokit/graphql-schema/index.js"), query)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	require.Empty(t, check(pendingQuery))
	require.Contains(t, check(strings.Replace(pendingQuery, "targetUrl", "target_url", 1)), "target_url")
	require.Empty(t, check("query { viewer { login } }"))
}
