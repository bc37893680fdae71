package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/org/aml-train/internal/testing/githubtest"
)

// comment WHO BODY [ACTION] is a comment on pull request 7, and makes what follows the steps of
// the workflow that this starts on the branch main. \n in BODY is a new line, $TIP the head of
// the pull request. With an ACTION the event is of that kind, about the comment as it is.
func commentAs(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	if ts.Getenv("GITHUB_API_URL") == "" {
		workflow(ts, false, []string{"issue_comment", "{}"})
	}
	body := strings.NewReplacer(`\n`, "\n", "$TIP", gh.PullRequests[0].Head).Replace(args[1])
	id := gh.Write(7, githubtest.User{Login: args[0], Type: "User"}, body)
	action := "created"
	if len(args) > 2 {
		action = args[2]
	}
	ts.Setenv("GITHUB_REF", "refs/heads/main")
	workflow(ts, false, []string{"issue_comment", string(gh.Event(action, id))})
	ts.Setenv("GITHUB_REF", "refs/heads/main")
}

// pull REVISION REPOSITORY [draft|closed] makes that the head of pull request 7, into main.
func pull(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	if ts.Getenv("GITHUB_API_URL") == "" {
		workflow(ts, false, []string{"issue_comment", "{}"})
	}
	head := strings.TrimSpace(output(ts, "git", "rev-parse", args[0]+"^{commit}"))
	base := strings.TrimSpace(output(ts, "git", "rev-parse", "main"))
	gh.Change(func(p *githubtest.PullRequest) {
		p.Head, p.Repo, p.HeadRef, p.Base = head, args[1], args[0], base
		p.Draft, p.Closed = slices.Contains(args, "draft"), slices.Contains(args, "closed")
	})
	ts.Setenv("TIP", head)
}

// edit BODY edits the last comment of a person.
func editComment(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	for i := len(gh.Comments) - 1; i >= 0; i-- {
		if gh.Comments[i].User.Type == "User" {
			gh.Tick()
			gh.Edit(gh.Comments[i].ID, args[0])
			return
		}
	}
	ts.Fatalf("nobody has commented")
}

// permit WHO ROLE says what somebody may do in the repository.
func permit(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(gitHub{}).(*githubtest.GitHub).Permit(args[0], githubtest.Collaborator{Role: args[1]})
}

// reactions FILE writes who has reacted to comments, and how, the newest last.
func reactions(ts *testscript.TestScript, neg bool, args []string) {
	var b strings.Builder
	for _, r := range ts.Value(gitHub{}).(*githubtest.GitHub).Reactions {
		fmt.Fprintln(&b, r.Login, r.Content)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}
