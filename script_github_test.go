package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// The commands of scripts that concern GitHub: a workflow and what its steps have, the pull
// request, and what is served beside it.

// workflow EVENT PAYLOAD makes what follows the steps of a workflow of the
// repository org/x, with a GitHub of its own that has pull request 7. PAYLOAD is
// the event's; $HEAD in it stands for the commit that is checked out,
// $BASE for the first one, $MAIN for that of the branch main. Called again,
// it is the next workflow run.
func workflow(ts *testscript.TestScript, neg bool, args []string) {
	head := strings.TrimSpace(output(ts, "git", "rev-parse", "HEAD"))
	base := strings.Fields(output(ts, "git", "rev-list", "--max-parents=0", "HEAD"))[0]
	home := ts.Getenv("HOME")
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	if ts.Getenv("GITHUB_API_URL") == "" {
		gh.PullRequests = []githubtest.PullRequest{{Number: 7, Head: head, Repo: "org/x", Base: base}}
		server := httptest.NewServer(gh)
		ts.Defer(server.Close)
		ts.Setenv("GITHUB_API_URL", server.URL)
	}
	run, _ := strconv.Atoi(ts.Getenv("GITHUB_RUN_ID"))
	event := filepath.Join(home, fmt.Sprintf("event-%d.json", run))
	payload := strings.NewReplacer("$HEAD", head, "$BASE", base).Replace(args[1])
	if strings.Contains(payload, "$MAIN") {
		payload = strings.ReplaceAll(payload, "$MAIN", strings.TrimSpace(output(ts, "git", "rev-parse", "main")))
	}
	ts.Check(os.WriteFile(event, []byte(payload), 0o644))
	for name, value := range map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": args[0], "GITHUB_EVENT_PATH": event,
		"GITHUB_REPOSITORY": "org/x",
		"GITHUB_WORKFLOW":   "train", "GITHUB_JOB": "train",
		"GITHUB_RUN_ID": strconv.Itoa(max(run, 40) + 1),
		"GITHUB_ACTOR":  "ada", "GITHUB_SHA": head, "GITHUB_REF": "refs/pull/7/merge",
		"GITHUB_WORKSPACE": ts.Getenv("WORK"),
		"GITHUB_OUTPUT":    filepath.Join(home, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(home, "summary"),
		"OUTPUT": filepath.Join(home, "output"), "SUMMARY": filepath.Join(home, "summary"), "HEAD": head, "BASE": base,
	} {
		ts.Setenv(name, value)
	}
	if gh.Git == "" {
		ts.Setenv("GITHUB_SERVER_URL", "https://github.com")
	}
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		ts.Check(os.WriteFile(ts.Getenv(name), nil, 0o644))
	}
}

// gitHub is under which a script has its GitHub.
type gitHub struct{}

// comments FILE writes what the workflow's own user has said on pull request 7.
func comments(ts *testscript.TestScript, neg bool, args []string) {
	bodies := ts.Value(gitHub{}).(*githubtest.GitHub).Bodies(7, githubtest.Bot)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(bodies, "\n=====\n")), 0o644))
}

// statuses FILE writes the commit statuses that there were, the newest last: commit, state,
// context, link and description. With - in place of FILE, no token has a right to them.
func statuses(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	if gh.NoStatuses = args[0] == "-"; gh.NoStatuses {
		return
	}
	var b strings.Builder
	for _, s := range gh.Statuses {
		fmt.Fprintln(&b, s.Commit, s.State, s.Context, *s.TargetURL, *s.Description)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

// pending COMMIT CONTEXT LINK AGE is a pending status that somebody has set.
func pending(ts *testscript.TestScript, neg bool, args []string) {
	age, err := time.ParseDuration(args[3])
	ts.Check(err)
	ts.Value(gitHub{}).(*githubtest.GitHub).SetStatus(args[0], args[1], "pending", "trains", args[2], age)
}

// forged COMMIT CONTEXT FILE WORKSPACE [HOST] is a pending status that names the run in a file,
// by a page at that host.
func forged(ts *testscript.TestScript, neg bool, args []string) {
	host := "ml.azure.com"
	if len(args) > 4 {
		host = args[4]
	}
	link := "https://" + host + "/runs/" + strings.TrimSpace(ts.ReadFile(args[2])) + args[3]
	ts.Value(gitHub{}).(*githubtest.GitHub).SetStatus(args[0], args[1], "pending", "trains", link, time.Minute)
}

// locked locks the conversation of pull request 7.
func locked(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(gitHub{}).(*githubtest.GitHub).PullRequests[0].Locked = true
}

// push COMMIT moves the head of pull request 7.
func push(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(gitHub{}).(*githubtest.GitHub).Push(7, args[0])
}

// retarget REVISION makes that the tip of the branch that pull request 7 is to be merged into.
func retarget(ts *testscript.TestScript, neg bool, args []string) {
	commit := strings.TrimSpace(output(ts, "git", "rev-parse", args[0]))
	ts.Value(gitHub{}).(*githubtest.GitHub).PullRequests[0].Base = commit
}

// fork REPOSITORY makes the head of pull request 7 another repository's.
func fork(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(gitHub{}).(*githubtest.GitHub).Fork(7, args[0])
}

// contents COMMIT [NAME FILE] is what GitHub knows to lie at the root of a commit: nothing,
// or under a name what is in a file here. base is the commit that pull request 7 is based on.
func contents(ts *testscript.TestScript, neg bool, args []string) {
	files := map[string]string{}
	if len(args) == 3 {
		files[args[1]] = ts.ReadFile(args[2])
	}
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	commit := args[0]
	if commit == "base" {
		commit = gh.PullRequests[0].Base
	}
	gh.Files = map[string]map[string]string{commit: files}
}

// runner BRANCH [fork|unreadable|unwritable] makes what follows a step of an action in the workflow run that
// workflow has begun, for a head of that branch, of a fork perhaps, on a machine of its own:
// no other run is known there. Its token may not read artifacts where they are unreadable, nor
// write to the repository where that is unwritable.
func runner(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	id, err := strconv.ParseInt(ts.Getenv("GITHUB_RUN_ID"), 10, 64)
	ts.Check(err)
	gh.Runner = githubtest.Runner{ID: id, Commit: ts.Getenv("HEAD"), Branch: args[0],
		Fork: slices.Contains(args, "fork")}
	gh.NoArtifacts = slices.Contains(args, "unreadable")
	gh.NoContents = slices.Contains(args, "unwritable")
	ts.Setenv("ACTIONS_RESULTS_URL", ts.Getenv("GITHUB_API_URL")+"/")
	ts.Setenv("ACTIONS_RUNTIME_TOKEN", githubtest.RuntimeToken)
	ts.Setenv("HEAD", "") // it is another one in each run
	ts.Check(os.RemoveAll(ts.MkAbs(".aml-train")))
	gh.Seen = func(r *http.Request, _ []byte) {
		gh.Asked = append(gh.Asked, r.Method+" "+r.URL.Path)
	}
	gh.Asked = nil
}

// artifacts N REQUESTS looks how many artifacts there are, and how many requests have read
// them since the runner began.
func artifacts(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	read := 0
	for _, r := range gh.Asked {
		if strings.HasPrefix(r, "GET ") && (strings.Contains(r, "/artifacts") || strings.Contains(r, "/blob/")) {
			read++
		}
	}
	if n := len(gh.Artifacts); strconv.Itoa(n) != args[0] || strconv.Itoa(read) != args[1] {
		ts.Fatalf("%d artifacts, and %d requests that read them:\n%s", n, read, strings.Join(gh.Asked, "\n"))
	}
}

// expired PREFIX has GitHub not keep the artifacts any more whose names begin so.
func expired(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	for i := range gh.Artifacts {
		if strings.HasPrefix(gh.Artifacts[i].Name, args[0]) {
			gh.Artifacts[i].Expired = true
		}
	}
}

// gitserver gives the workflow's GitHub a real repository, which can be pushed to.
func gitServer(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	ts.Check(gh.MakeGit(filepath.Join(ts.Getenv("HOME"), "x.git")))
	server := testenv.TLSServer(gh)
	ts.Defer(server.Close)
	trust(ts, server)
	ts.Setenv("GITHUB_SERVER_URL", server.URL)
}

// trust has programs that are started from here trust a server's certificate.
func trust(ts *testscript.TestScript, server *httptest.Server) {
	file := filepath.Join(ts.Getenv("HOME"), "certificate.pem")
	ts.Check(os.WriteFile(file, testenv.Certificate(), 0o644))
	ts.Setenv("SSL_CERT_FILE", file)
}

// onref N REQUESTS looks how many records are on the ref of the real repository, and how many
// requests have read them since the runner began.
func onRef(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	read, written := 0, false
	for _, r := range gh.Asked {
		written = written || strings.Contains(r, "/org/x.git/")
		if strings.HasPrefix(r, "GET /repos/org/x/git/") && !written {
			read++
		}
	}
	records, _ := exec.Command("git", "-C", gh.Git, "ls-tree", "--name-only", "refs/aml-train/history").Output()
	if n := strings.Count(string(records), "\n"); strconv.Itoa(n) != args[0] || strconv.Itoa(read) != args[1] {
		ts.Fatalf("%d records, and %d requests that read them:\n%s", n, read, strings.Join(gh.Asked, "\n"))
	}
}

// secretless TEXT looks whether a text is in none of the files of the artifacts, and whether
// there is one that was masked.
func secretless(ts *testscript.TestScript, neg bool, args []string) {
	masked := false
	for _, a := range ts.Value(gitHub{}).(*githubtest.GitHub).Artifacts {
		z, err := zip.NewReader(bytes.NewReader(a.Zip), int64(len(a.Zip)))
		ts.Check(err)
		for _, f := range z.File {
			r, err := f.Open()
			ts.Check(err)
			text, err := io.ReadAll(r)
			ts.Check(err)
			if bytes.Contains(text, []byte(args[0])) {
				ts.Fatalf("%s of the artifact %s has it", f.Name, a.Name)
			}
			masked = masked || bytes.Contains(text, []byte("***"))
		}
	}
	if !masked {
		ts.Fatalf("nothing was masked")
	}
}

// branch NAME REVISION is what GitHub knows as a branch of org/x.
func branch(ts *testscript.TestScript, neg bool, args []string) {
	commits := strings.Fields(output(ts, "git", "rev-list", args[1]))
	ts.Value(gitHub{}).(*githubtest.GitHub).Branch(args[0], commits)
}

// foreign REVISION is a commit that GitHub knows of a fork.
func foreign(ts *testscript.TestScript, neg bool, args []string) {
	commit := strings.TrimSpace(output(ts, "git", "rev-parse", args[0]))
	ts.Value(gitHub{}).(*githubtest.GitHub).Foreign(commit)
}

// merge REVISION is the commit by which GitHub merges pull request 7.
func merge(ts *testscript.TestScript, neg bool, args []string) {
	commit := strings.TrimSpace(output(ts, "git", "rev-parse", args[0]))
	ts.Value(gitHub{}).(*githubtest.GitHub).Merge(7, commit)
}
