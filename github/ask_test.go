package github

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// commented is the workflow run that a comment starts, of pull request 7.
func commented(t *testing.T, g *githubtest.GitHub, api, action string, id int64) *Workflow {
	w := &Workflow{Event: "issue_comment", Repository: "org/x", Server: "https://github.com", API: api, Name: "train",
		Job: "train", RunID: 41, Attempt: 1, SHA: newHead, Ref: "refs/heads/main"}
	require.NoError(t, w.readEvent(g.Event(action, id)))
	return w
}

// asks has somebody write a comment, and reads what it asks for after something has happened.
func asks(t *testing.T, g *githubtest.GitHub, api, who, body string, meanwhile func(id int64)) (
	*Ask, *Workflow, error,
) {
	id := g.Write(7, githubtest.User{Login: who, Type: "User"}, body)
	w := commented(t, g, api, "created", id)
	if meanwhile != nil {
		g.Tick()
		meanwhile(id)
	}
	a, err := ReadAsk(t.Context(), w, githubtest.Workflow, func(err error) { t.Error(err) })
	return a, w, err
}

func ofFork(t *testing.T) (*githubtest.GitHub, string) {
	g, api := gitHubDouble(t)
	g.Fork(7, "eve/x")
	g.Permit("mia", githubtest.Collaborator{Role: "write"})
	return g, api
}

// TestAsk: who may ask, for what, and what becomes of it.
func TestAsk(t *testing.T) {
	yes := "/train " + oldHead
	for name, c := range map[string]struct {
		who, body string
		meanwhile func(g *githubtest.GitHub, id int64)
		err       string // a part of it; "" for none
		refused   bool   // nobody is answered
		reaction  string
	}{
		"approved":            {"mia", yes, nil, "", false, "eyes"},
		"asked":               {"mia", "/train a=1", nil, "", false, "eyes"},
		"by who maintains":    {"max", yes, nil, "", false, "eyes"},
		"by an administrator": {"ann", yes, nil, "", false, "eyes"},
		"by who triages":      {"tim", yes, nil, `tim asked for it, who may not push to org/x.*says "read"`, true, "-1"},
		"by a reader":         {"eve", yes, nil, `eve asked for it, who may not push`, true, "-1"},
		"by who was banned":   {"bob", yes, nil, `GitHub says "none"`, true, "-1"},
		"by a program":        {"bot", yes, nil, `bot is no person`, true, "-1"},
		"by who is gone": {"mia", yes, func(g *githubtest.GitHub, _ int64) {
			g.Permit("mia", githubtest.Collaborator{Role: "write", Gone: true})
		}, "knows no user mia any more", true, "-1"},
		"by who has another's name now": {"mia", yes, func(g *githubtest.GitHub, _ int64) {
			g.Permit("mia", githubtest.Collaborator{Role: "admin", ID: 99})
		}, "mia is not who wrote the comment", true, "-1"},
		"by who may no more": {"mia", yes, func(g *githubtest.GitHub, _ int64) {
			g.Permit("mia", githubtest.Collaborator{Role: "read"})
		}, "may not push", true, "-1"},
		"edited": {"mia", yes, func(g *githubtest.GitHub, id int64) { g.Edit(id, yes+" a=2") },
			"the comment was edited", false, "eyes"},
		"edited, and back": {"mia", yes, func(g *githubtest.GitHub, id int64) { g.Edit(id, "x"); g.Edit(id, yes) },
			"the comment was edited", false, "eyes"},
		"pushed": {"mia", yes, func(g *githubtest.GitHub, _ int64) { g.Push(7, newHead) },
			`asks for the commit ` + oldHead[:7] + `, and the head of the pull request is ` + newHead[:7],
			false, "eyes"},
		"pushed, and back": {"mia", yes, func(g *githubtest.GitHub, _ int64) { g.Push(7, newHead); g.Push(7, oldHead) },
			"", false, "eyes"},
		"closed": {"mia", yes, func(g *githubtest.GitHub, _ int64) {
			g.Change(func(p *githubtest.PullRequest) { p.Closed = true })
		}, "the pull request is closed", false, "eyes"},
		"another commit":        {"mia", "/train " + newHead, nil, "a push voids", false, "eyes"},
		"a part of it":          {"mia", "/train " + oldHead[:12], nil, "name the whole commit", false, "eyes"},
		"nothing":               {"eve", "nice", nil, ErrNoCommand.Error(), false, ""},
		"by the workflow's own": {githubtest.Bot.Login, yes, nil, "is no person", true, "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			g, api := ofFork(t)
			for who, p := range map[string]githubtest.Collaborator{"max": {Role: "maintain"}, "ann": {Role: "admin"},
				"tim": {Role: "triage"}, "bob": {Role: "none"}, "bot": {Role: "write", Bot: true},
				githubtest.Bot.Login: {Role: "write", Bot: true}} {
				g.Permit(who, p)
			}
			a, w, err := asks(t, g, api, c.who, c.body, func(id int64) {
				if c.meanwhile != nil {
					c.meanwhile(g, id)
				}
			})
			reaction := ""
			for _, r := range g.Reactions {
				require.Equal(t, githubtest.Bot.Login, r.Login)
				reaction += r.Content
			}
			require.Equal(t, c.reaction, reaction)
			if c.err != "" {
				require.Regexp(t, c.err, fmt.Sprint(err))
				var refused *RefusedError
				require.Equal(t, c.refused, errors.As(err, &refused))
				return
			}
			require.NoError(t, err)
			require.Equal(t, oldHead, a.Head)
			require.Equal(t, c.body == yes, a.Approves())
			require.True(t, w.Foreign())
			require.Equal(t, oldHead, w.Head)
			require.NoError(t, a.Holds(t.Context()))
		})
	}
}

// TestAskDeleted: a comment that is not there asks for nothing, nor can one react to it.
func TestAskDeleted(t *testing.T) {
	g, api := ofFork(t)
	id := g.Write(7, githubtest.User{Login: "mia", Type: "User"}, "/train "+oldHead)
	w := commented(t, g, api, "created", id)
	g.Delete(id)
	warned := 0
	_, err := ReadAsk(t.Context(), w, githubtest.Workflow, func(error) { warned++ })
	require.ErrorContains(t, err, "was deleted")
	require.Equal(t, 1, warned)
}

// TestAskFirstDigits: a commit that begins as the approved one does is not it.
func TestAskFirstDigits(t *testing.T) {
	g, api := ofFork(t)
	evil := oldHead[:39] + "0"
	require.NotEqual(t, oldHead, evil)
	_, _, err := asks(t, g, api, "mia", "/train "+oldHead, func(int64) { g.Push(7, evil) })
	require.ErrorContains(t, err, "a push voids")
}

// TestAskEvents: only new comments ask, of a pull request, and only that which the event names.
func TestAskEvents(t *testing.T) {
	g, api := ofFork(t)
	g.PullRequests = append(g.PullRequests, githubtest.PullRequest{Number: 8, Head: oldHead, Repo: "eve/x"})
	id := g.Write(7, githubtest.User{Login: "mia", Type: "User"}, "/train "+oldHead)
	read := func(w *Workflow) error {
		_, err := ReadAsk(t.Context(), w, githubtest.Workflow, func(err error) { t.Error(err) })
		return err
	}
	for _, action := range []string{"edited", "deleted", ""} {
		require.ErrorIs(t, read(commented(t, g, api, action, id)), ErrNotNew, action)
	}
	require.Empty(t, g.Reactions)
	w := commented(t, g, api, "created", id)
	w.PullRequest = 8 // the comment is of another one
	require.ErrorContains(t, read(w), "is not the one that the event tells of")
	w = commented(t, g, api, "created", id)
	w.Said.User++
	require.ErrorContains(t, read(w), "mia is not who wrote the comment")
	w = commented(t, g, api, "created", id)
	require.NoError(t, w.readEvent(bytes.Replace(g.Event("created", id), []byte(`"comment":{`),
		[]byte(`"comment":{"performed_via_github_app":{"slug":"helper"},`), 1)))
	require.ErrorContains(t, read(w), "the program helper wrote the comment for mia")
	w = commented(t, g, api, "created", id)
	_, err := ReadAsk(t.Context(), w, "", func(error) {})
	require.ErrorContains(t, err, "pass GITHUB_TOKEN")

	// Where GitHub does not answer, nothing trains; a reaction that it does not take is said.
	for _, path := range []string{"permission", "comments/", "pulls/"} {
		g.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, path) {
				return false
			}
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		require.ErrorContains(t, read(commented(t, g, api, "created", id)), "403", path)
	}
	g.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == http.MethodPost
	}
	said := ""
	a, err := ReadAsk(t.Context(), commented(t, g, api, "created", id), githubtest.Workflow,
		func(err error) { said = err.Error() })
	require.NoError(t, err)
	require.True(t, a.Approves())
	require.Contains(t, said, `the token may not react to the comment (403`)
	require.Contains(t, said, "pull-requests: write")
}

// world is a repository in which things happen by chance, between any two requests of the
// workflows that its comments start. It knows by itself what may train.
type world struct {
	t     *testing.T
	r     *rand.Rand
	g     *githubtest.GitHub
	api   string
	depth int // of what happens while something happens

	commits  []string         // by their numbers
	approved map[string]bool  // of commits that a new comment named in full, of whom could push before it was asked
	who      map[int64]string // wrote a comment
	names    map[int64]string // the commit that a comment names; "" for none
	role     map[string]string
	head     string
	open     bool
	log      []string

	looks []*look

	trained, refused int
}

// look is what there was at any time while a workflow looked for the last time.
type look struct {
	id   int64
	body string
	over bool

	intact, may bool // the comment, its author
}

// look notes what there is.
func (w *world) look() {
	for _, l := range w.looks {
		if l.over {
			continue
		}
		// An edit that leaves a comment as it was, in the second of its making, is none.
		c, there := w.g.Comment(l.id)
		l.intact = l.intact || there && c.Body == l.body && c.Updated.Equal(c.Created)
		l.may = l.may || mayPush(w.role[w.who[l.id]])
	}
}

var crowd = []string{"mia", "max", "eve", "tim"}

func (w *world) say(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func mayPush(role string) bool { return role == "write" || role == "maintain" || role == "admin" }

// happens has one thing happen.
func (w *world) happens() {
	defer w.look()
	if w.r.IntN(3) == 0 {
		w.g.Tick()
	}
	someone := crowd[w.r.IntN(len(crowd))]
	switch w.r.IntN(12) {
	case 0, 1, 2: // a push, perhaps of what was there before
		w.head = w.commits[w.r.IntN(len(w.commits))]
		w.g.Push(7, w.head)
		w.say("push %.9s", w.head)
	case 3:
		roles := []string{"none", "read", "triage", "write", "maintain", "admin"}
		w.role[someone] = roles[w.r.IntN(len(roles))]
		w.g.Permit(someone, githubtest.Collaborator{Role: w.role[someone]})
		for id, who := range w.who {
			w.approved[w.names[id]] = w.approved[w.names[id]] || who == someone && mayPush(w.role[who])
		}
		w.say("%s may %s", someone, w.role[someone])
	case 4, 5: // whoever it is edits whatever there is
		if id := w.some(); id != 0 {
			w.g.Edit(id, w.body())
			w.say("edit %d", id)
		}
	case 6:
		if id := w.some(); id != 0 {
			w.g.Delete(id)
			w.say("delete %d", id)
		}
	case 7:
		if w.r.IntN(4) == 0 {
			w.open = !w.open
			w.g.Change(func(p *githubtest.PullRequest) { p.Closed, p.Draft = !w.open, w.r.IntN(2) == 0 })
			w.say("open: %v", w.open)
		}
	default:
		if w.depth < 2 {
			w.comments(someone)
		}
	}
}

// some is a comment by chance, 0 where there is none.
func (w *world) some() int64 {
	if len(w.who) == 0 {
		return 0
	}
	return 1001 + int64(w.r.IntN(len(w.who)))
}

// body is what somebody may write.
func (w *world) body() string {
	commit := w.commits[w.r.IntN(len(w.commits))]
	return []string{"/train", "/train " + commit, "/train " + w.head, "/train " + w.head + " rate=0.1", "nice",
		"> /train " + w.head, "/train " + w.head[:12], "```\n/train " + w.head + "\n```"}[w.r.IntN(8)]
}

// comments has somebody comment, and the workflow that this starts run, or run again.
func (w *world) comments(who string) {
	body := w.body()
	id := w.g.Write(7, githubtest.User{Login: who, Type: "User"}, body)
	w.who[id] = who
	if commit, ok := strings.CutPrefix(body, "/train "); ok && len(commit) >= 40 {
		w.names[id] = commit[:40]
		w.approved[commit[:40]] = w.approved[commit[:40]] || mayPush(w.role[who])
	}
	w.say("%s writes %d: %q", who, id, body)
	event := w.g.Event("created", id)
	w.workflow(id, event)
	if w.r.IntN(8) == 0 { // somebody has it run again
		w.workflow(id, event)
	}
	if w.r.IntN(8) == 0 {
		w.workflow(id, w.g.Event("edited", id))
	}
}

// workflow runs what a comment starts, up to what is submitted.
func (w *world) workflow(id int64, event []byte) {
	w.depth++
	defer func() { w.depth-- }()
	flow := &Workflow{Event: "issue_comment", Repository: "org/x", API: w.api, RunID: 41, SHA: newHead,
		Ref: "refs/heads/main"}
	if err := flow.readEvent(event); err != nil {
		w.t.Error(err)
		return
	}
	a, err := ReadAsk(w.t.Context(), flow, githubtest.Workflow, func(error) {})
	if err != nil || !a.Approves() {
		w.refused++
		return
	}
	gate := &Gate{Workflow: flow, Token: githubtest.Workflow}
	gate.Approve(a.Commit)
	l := &look{id: id, body: flow.Said.Body}
	w.looks = append(w.looks, l)
	w.look()
	if a.Holds(w.t.Context()) != nil {
		w.refused++
		l.over = true
		return
	}
	l.over = true
	// Whatever a clone has may be what is submitted.
	for _, commit := range w.commits {
		if gate.Commit(w.t.Context(), commit) != nil {
			continue
		}
		w.trained++
		switch {
		case commit != w.names[id], !w.approved[commit]:
			w.t.Errorf("submits %s, which nobody approved", commit)
		case !l.intact, !l.may, !w.open, w.head != commit: // the pull request was looked at last
			w.t.Errorf("submits %s for comment %d, which nobody asks for any more: %+v", commit, id, *l)
		}
	}
}

// TestAskInterleaved: whatever is pushed, written, edited, deleted, permitted and closed between
// any two requests, only what somebody approved who may is submitted.
func TestAskInterleaved(t *testing.T) {
	w := &world{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for range w.r.IntN(3) {
			w.happens()
		}
		w.g.ServeHTTP(rw, r)
	}))
	defer server.Close()
	cases := testenv.Cases(10_000)
	trained, refused := 0, 0
	for i := testenv.Seed(); i < testenv.Seed()+cases && !t.Failed(); i++ {
		*w = world{t: t, r: rand.New(rand.NewPCG(uint64(i), 0)), api: server.URL, head: oldHead, open: true,
			approved: map[string]bool{}, who: map[int64]string{}, names: map[int64]string{},
			role: map[string]string{"mia": "write", "max": "maintain", "eve": "read", "tim": "triage"}}
		w.g = &githubtest.GitHub{PullRequests: []githubtest.PullRequest{{Number: 7, Head: oldHead, Repo: "eve/x"}}}
		for who, role := range w.role {
			w.g.Permit(who, githubtest.Collaborator{Role: role})
		}
		// Commits of which some begin alike.
		w.commits = []string{oldHead, newHead, oldHead[:12] + strings.Repeat("0", 28), oldHead[:39] + "f"}
		for range 2 + w.r.IntN(3) {
			w.comments(crowd[w.r.IntN(len(crowd))])
			w.happens()
		}
		if t.Failed() {
			t.Logf("AML_TRAIN_SEED=%d:\n%s", i, strings.Join(w.log, "\n"))
		}
		trained, refused = trained+w.trained, refused+w.refused
	}
	t.Logf("%d interleavings: %d submissions, each of an approved commit, and %d times none", cases, trained, refused)
	require.Greater(t, trained, cases/20)
	require.Greater(t, refused, cases)
}

// TestAnswer: each comment that asks is answered in one of its own, whatever is pushed.
func TestAnswer(t *testing.T) {
	g, api := ofFork(t)
	for range 2 {
		_, w, err := asks(t, g, api, "mia", "/train "+oldHead, nil)
		require.NoError(t, err)
		for _, text := range []string{"trains", "trained"} {
			c, err := w.Answer(githubtest.Workflow, "job.yml")
			require.NoError(t, err)
			require.NoError(t, write(t, c, text, text == "trained"))
			g.Push(7, newHead)
		}
		g.Push(7, oldHead)
	}
	bodies := g.Bodies(7, githubtest.Bot)
	require.Len(t, bodies, 2)
	for _, b := range bodies {
		require.Contains(t, b, "trained")
	}
}
