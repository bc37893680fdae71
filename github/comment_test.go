package github

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
)

const (
	oldHead = "1111111111111111111111111111111111111111"
	newHead = "2222222222222222222222222222222222222222"
)

func gitHubDouble(t *testing.T) (*githubtest.GitHub, string) {
	g := &githubtest.GitHub{PullRequests: []githubtest.PullRequest{{Number: 7, Head: oldHead, Repo: "org/x",
		Base: newHead}}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return g, server.URL
}

// pushed is the workflow run of a push to pull request 7.
func pushed(api string, run int64, head string) *Workflow {
	return &Workflow{Repository: "org/x", API: api, Name: "train", Job: "train", RunID: run, Attempt: 1, PullRequest: 7,
		Head: head}
}

func comment(t *testing.T, w *Workflow, token, identity string) *Comment {
	c, err := NewComment(w, token, identity)
	require.NoError(t, err)
	return c
}

func write(t *testing.T, c *Comment, text string, ended bool) error {
	link, err := c.Write(t.Context(), func(int) string { return text + "\n\n**status**\n\nrest\n" }, ended)
	if err == nil {
		require.Contains(t, link, "https://github.com/org/x/pull/7#issuecomment-")
	}
	return err
}

// One comment is kept up to date over pushes, and shows the result before while a
// new run goes on.
func TestComment(t *testing.T) {
	for _, token := range []string{githubtest.Workflow, githubtest.Person} {
		g, api := gitHubDouble(t)
		who := map[string]githubtest.User{githubtest.Workflow: githubtest.Bot,
			githubtest.Person: {Login: "ada", Type: "User"}}[token]
		bodies := func() []string { return g.Bodies(7, who) }

		first := comment(t, pushed(api, 1, oldHead), token, "iris")
		require.NoError(t, write(t, first, "one runs", false))
		require.Len(t, bodies(), 1)
		require.NotContains(t, bodies()[0], "The result before")
		require.NoError(t, write(t, first, "one ended", true))
		require.Len(t, bodies(), 1)
		require.Contains(t, bodies()[0], "one ended")

		g.Push(7, newHead)
		second := comment(t, pushed(api, 2, newHead), token, "iris")
		for range 2 { // the progress is written again and again
			require.NoError(t, write(t, second, "two runs", false))
			require.Len(t, bodies(), 1)
			require.Regexp(t, `(?s)-->\ntwo runs.*<details><summary>The result before</summary>\n\none ended.*</details>`, bodies()[0])
			require.Equal(t, 1, strings.Count(bodies()[0], "<details>"))
		}
		// GitHub gives line ends back as they were written in a browser.
		g.Comments[0].Body = strings.ReplaceAll(g.Comments[0].Body, "\n", "\r\n")
		third := comment(t, pushed(api, 3, newHead), token, "iris")
		require.NoError(t, write(t, third, "three runs", false))
		require.Regexp(t, `(?s)-->\nthree runs.*The result before.*one ended`, bodies()[0])
		require.NoError(t, write(t, third, "three ended", true))
		require.NotContains(t, bodies()[0], "one ended")
	}
}

// Two jobs of one workflow have a comment each.
func TestCommentOfTwoJobs(t *testing.T) {
	g, api := gitHubDouble(t)
	for _, job := range []string{"iris", "digits"} {
		require.NoError(t, write(t, comment(t, pushed(api, 1, oldHead), githubtest.Workflow, job), job, true))
	}
	require.NoError(t, write(t, comment(t, pushed(api, 2, oldHead), githubtest.Workflow, "iris"), "iris again", true))
	require.Len(t, g.Bodies(7, githubtest.Bot), 2)
	require.Contains(t, g.Bodies(7, githubtest.Bot)[0], "iris again")
	require.Contains(t, g.Bodies(7, githubtest.Bot)[1], "digits")
}

// The newest push stays on top, whatever ends last.
func TestCommentSuperseded(t *testing.T) {
	g, api := gitHubDouble(t)
	older := comment(t, pushed(api, 1, oldHead), githubtest.Workflow, "iris")
	require.NoError(t, write(t, older, "old runs", false))
	g.Push(7, newHead)
	// Its own comment does not know yet, the pull request does.
	require.ErrorIs(t, write(t, older, "old ended", true), ErrSuperseded)
	require.Contains(t, g.Bodies(7, githubtest.Bot)[0], "old runs")
	require.NoError(t, write(t, comment(t, pushed(api, 2, newHead), githubtest.Workflow, "iris"), "new ended", true))
	// Neither a late end nor the start of an old run takes its place, also where
	// the event did not tell the commit.
	for _, c := range []*Comment{older, comment(t, pushed(api, 1, ""), githubtest.Workflow, "iris")} {
		require.ErrorIs(t, write(t, c, "old", true), ErrSuperseded)
		require.Contains(t, g.Bodies(7, githubtest.Bot)[0], "new ended")
	}
	// A run that was started again does.
	again := pushed(api, 2, newHead)
	again.Attempt = 2
	require.NoError(t, write(t, comment(t, again, githubtest.Workflow, "iris"), "again", true))
	require.Len(t, g.Bodies(7, githubtest.Bot), 1)
}

// What others wrote is theirs, even with our first line on it.
func TestCommentOfOthers(t *testing.T) {
	g, api := gitHubDouble(t)
	c := comment(t, pushed(api, 1, oldHead), githubtest.Workflow, "iris")
	eve := githubtest.User{Login: "eve", Type: "User"}
	forged := "<!-- aml-train " + c.key + " 9.1 ended -->\nforged"
	g.Write(7, eve, forged)
	for i := range 150 { // more than a page
		g.Write(7, eve, fmt.Sprint("talk ", i))
	}
	g.Write(7, githubtest.Bot, "a report quotes <!-- aml-train "+c.key+" 9.1 ended -->\n")
	require.NoError(t, write(t, c, "one", true))
	require.NoError(t, write(t, comment(t, pushed(api, 2, oldHead), githubtest.Workflow, "iris"), "two", true))
	require.Len(t, g.Bodies(7, githubtest.Bot), 2)
	require.Contains(t, g.Bodies(7, githubtest.Bot)[1], "two")
	require.Equal(t, forged, g.Bodies(7, eve)[0])
	require.Len(t, g.Bodies(7, eve), 151)
}

// What another bot wrote is not ours, with our first line on it neither: of the workflow's
// own token, and of an app's, which GraphQL tells from it.
func TestCommentOfOtherBots(t *testing.T) {
	for token, who := range map[string]githubtest.User{githubtest.Workflow: githubtest.Bot,
		githubtest.App: githubtest.AppBot} {
		for _, known := range []bool{true, false} {
			g, api := gitHubDouble(t)
			g.NoGraphQL = !known
			w := pushed(api, 1, oldHead)
			c := comment(t, w, token, "iris")
			forged := "<!-- aml-train " + c.key + " 9.1 ended -->\nforged"
			others := []githubtest.User{githubtest.Bot, githubtest.AppBot, {Login: "eve[bot]", Type: "Bot"},
				{Login: "github-actions", Type: "User"}}
			for _, other := range others {
				if other != who {
					g.Write(7, other, forged)
				}
			}
			err := write(t, c, "one", true)
			if token == githubtest.App && !known {
				// It is taken for the workflow's, whose comment has a newer run.
				require.ErrorIs(t, err, ErrSuperseded)
				continue
			}
			require.NoError(t, err)
			require.NoError(t, write(t, comment(t, w, token, "iris"), "two", true))
			require.Len(t, g.Bodies(7, who), 1)
			require.Contains(t, g.Bodies(7, who)[0], "two")
			for _, other := range others {
				if other != who {
					require.Equal(t, []string{forged}, g.Bodies(7, other))
				}
			}
		}
	}
}

// A comment that somebody deleted is made again, and of two that were made at the
// same moment one stays.
func TestCommentDeletedOrDoubled(t *testing.T) {
	g, api := gitHubDouble(t)
	c := comment(t, pushed(api, 1, oldHead), githubtest.Workflow, "iris")
	require.NoError(t, write(t, c, "one", false))
	g.Comments = nil
	require.NoError(t, write(t, c, "two", false))
	require.Len(t, g.Bodies(7, githubtest.Bot), 1)
	g.Write(7, githubtest.Bot, "<!-- aml-train "+c.key+" 1.1 running -->\ndouble")
	require.NoError(t, write(t, comment(t, pushed(api, 2, oldHead), githubtest.Workflow, "iris"), "three", false))
	require.Len(t, g.Bodies(7, githubtest.Bot), 1)
	require.Contains(t, g.Bodies(7, githubtest.Bot)[0], "three")
}

func TestCommentFits(t *testing.T) {
	g, api := gitHubDouble(t)
	for run := range int64(4) {
		c := comment(t, pushed(api, run, oldHead), githubtest.Workflow, "iris")
		_, err := c.Write(t.Context(), func(limit int) string { return strings.Repeat("é", limit/2) }, run%2 == 0)
		require.NoError(t, err)
		require.LessOrEqual(t, len(g.Bodies(7, githubtest.Bot)[0]), CommentLimit)
	}
	// Of a result that has no room, the heading and the status are kept.
	folded := fold("### heading\n\n**status**\n\n"+strings.Repeat("x", 5000), 1000)
	require.Contains(t, folded, "### heading\n\n**status**\n\n</details>")
	require.NotContains(t, folded, "xx")
	require.Empty(t, fold("### heading\n\nstatus", 10))
}

func TestCommentNotAllowed(t *testing.T) {
	for token, want := range map[string]string{githubtest.Fork: "pull-requests: write",
		"ghs_expired": "does not take the token (401)"} {
		g, api := gitHubDouble(t)
		err := write(t, comment(t, pushed(api, 1, oldHead), token, "iris"), "one", true)
		var refused *NotAllowedError
		require.ErrorAs(t, err, &refused)
		require.ErrorContains(t, err, want)
		require.Empty(t, g.Bodies(7, githubtest.Bot))
	}
	_, err := NewComment(pushed("no address", 1, oldHead), githubtest.Workflow, "iris")
	require.ErrorContains(t, err, "GITHUB_API_URL")
}

// Every request of a comment fails once, in each way that GitHub has; one comment
// is there at the end.
func TestCommentFaults(t *testing.T) {
	faults := map[string]func(w http.ResponseWriter){
		"cut":      func(w http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"unwell":   func(w http.ResponseWriter) { w.Header().Set("Retry-After", "0"); w.WriteHeader(502) },
		"too many": func(w http.ResponseWriter) { w.Header().Set("Retry-After", "0"); w.WriteHeader(429) },
		"rate limit": func(w http.ResponseWriter) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Unix()))
			w.WriteHeader(403)
			fmt.Fprint(w, `{"message": "API rate limit exceeded"}`)
		},
		"secondary": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(403)
			fmt.Fprint(w, `{"message": "You have exceeded a secondary rate limit", "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`)
		},
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
					fault(w)
					return true
				}
				c := comment(t, pushed(api, 1, oldHead), githubtest.Workflow, "iris")
				require.NoError(t, write(t, c, "one", false))
				require.NoError(t, write(t, c, "two", true))
				require.Len(t, g.Bodies(7, githubtest.Bot), 1)
				require.Contains(t, g.Bodies(7, githubtest.Bot)[0], "two")
				if asked.Load() < n {
					require.Greater(t, n, int32(6))
					return
				}
			}
		})
	}
	// An answer that was lost: the comment is there, and is not made twice.
	g, api := gitHubDouble(t)
	var lost atomic.Bool
	g.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || lost.Swap(true) {
			return false
		}
		g.Obey(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	require.NoError(t, write(t, comment(t, pushed(api, 1, oldHead), githubtest.Workflow, "iris"), "one", true))
	require.Len(t, g.Bodies(7, githubtest.Bot), 1)
}

// There is an end to waiting, and the error says for what.
func TestCommentWaitsNoLonger(t *testing.T) {
	g, api := gitHubDouble(t)
	g.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := comment(t, pushed(api, 1, oldHead), githubtest.Workflow, "iris").Write(ctx,
		func(int) string { return "x" }, true)
	require.ErrorContains(t, err, "GitHub asks to come back in 1h0m0s, which is too late")
}

func TestPullRequestHead(t *testing.T) {
	g, api := gitHubDouble(t)
	g.PullRequests[0].Merge = newHead
	head, merge, repository, err := PullRequestHead(t.Context(), pushed(api+"/api/v3", 1, ""), githubtest.Workflow)
	require.NoError(t, err)
	require.Equal(t, oldHead, head)
	require.Equal(t, newHead, merge)
	require.Equal(t, "org/x", repository)
}

// A comment is not touched where it says already what it would say: not while a run goes on,
// not at its end, and not by a later run of the workflow for the same commit.
func TestCommentIsQuiet(t *testing.T) {
	g, api := gitHubDouble(t)
	var written atomic.Int32
	g.Seen = func(r *http.Request, _ []byte) {
		if r.Method == http.MethodPatch || r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/comments") {
			written.Add(1)
		}
	}
	c := comment(t, pushed(api, 1, oldHead), githubtest.Workflow, "iris")
	for _, step := range []struct {
		text   string
		ended  bool
		writes int32
	}{{"runs", false, 1}, {"runs", false, 1}, {"still runs", false, 2}, {"ended", true, 3}, {"ended", true, 3}} {
		require.NoError(t, write(t, c, step.text, step.ended))
		require.Equal(t, step.writes, written.Load(), step.text)
	}
	again := comment(t, pushed(api, 2, oldHead), githubtest.Workflow, "iris")
	require.NoError(t, write(t, again, "ended", true))
	require.Equal(t, int32(3), written.Load())
	require.NoError(t, write(t, again, "ended otherwise", true))
	require.Equal(t, int32(4), written.Load())
	require.Contains(t, g.Bodies(7, githubtest.Bot)[0], " 2.1 ended -->\nended otherwise")
	// One that goes on is another thing than one that has ended, whatever it says.
	require.NoError(t, write(t, again, "ended otherwise", false))
	require.Equal(t, int32(5), written.Load())
}

func TestUnreached(t *testing.T) {
	_, err := http.Get("http://127.0.0.1:0/graphql")
	require.Error(t, err)
	err = refused(err, "read commit statuses", "statuses: write")
	require.Regexp(t, `^GitHub could not be reached: dial tcp 127\.0\.0\.1:0: `, err)
	require.ErrorIs(t, refused(&url.Error{Err: context.Canceled}, "", ""), context.Canceled)
}
