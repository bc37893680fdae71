package github

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/git"
)

func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a",
		"GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

func TestWorkflow(t *testing.T) {
	root := t.TempDir()
	sh(t, root, "git init -q -b main . && echo 1 > f && git add . && git commit -q -m 1")
	head := sh(t, root, "git rev-parse HEAD")
	pushed := strings.Repeat("1", 40)
	env := func(pairs ...string) func(string) string {
		m := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_SHA": head, "GITHUB_RUN_ID": "42",
			"GITHUB_SERVER_URL": "https://github.com",
			"GITHUB_REPOSITORY": "org/x", "GITHUB_ACTOR": "ada", "GITHUB_REF": "refs/heads/main"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return func(name string) string { return m[name] }
	}
	sh(t, root, "git checkout -q --detach")
	elsewhere := strings.Repeat("2", 40)
	from := func(repository string) string {
		return `{"number": 7, "pull_request": {"number": 7, "head": {"sha": "` + pushed +
			`", "ref": "deeper", "repo": ` + repository + `}}}`
	}
	ours, fork, gone := `{"full_name": "org/x"}`, `{"full_name": "eve/x"}`, `null`
	for _, c := range []struct {
		name, event, payload, sha, ref string
		commit, branch, pull           string
		privileged, foreign            bool
	}{
		{"push", "push", `{}`, head, "refs/heads/main", head, "main", "", true, false},
		{"tag", "push", `{}`, head, "refs/tags/v1", head, "", "", true, false},
		{"by hand", "workflow_dispatch", `{"inputs": {}}`, head, "refs/heads/try", head, "try", "", true, false},
		{"every night", "schedule", `{"schedule": "0 3 * * *"}`, head, "refs/heads/main", head, "main", "", true,
			false},
		// The merge commit is checked out, which nobody wrote.
		{"pull request", "pull_request", from(ours), head, "refs/pull/7/merge", pushed, "deeper", "7", false, false},
		{"of a fork", "pull_request", from(fork), head, "refs/pull/7/merge", pushed, "deeper", "7", false, true},
		{"another repository is checked out", "pull_request", from(ours), elsewhere, "refs/pull/7/merge", head, "",
			"7", false, false},
		// The base is checked out, unless the workflow asks for something else.
		{"target", "pull_request_target", from(ours), head, "refs/heads/main", head, "main", "7", true, false},
		{"target of a fork", "pull_request_target", from(fork), head, "refs/heads/main", head, "main", "7", true, true},
		{"target of a deleted fork", "pull_request_target", from(gone), head, "refs/heads/main", head, "main", "7",
			true, true},
		{"comment", "issue_comment",
			`{"issue": {"number": 8, "pull_request": {"url": "x"}}, "comment": {"body": "/train"}}`, head,
			"refs/heads/main", head, "main", "8", true, true},
		{"comment of an issue", "issue_comment", `{"issue": {"number": 8}}`, head, "refs/heads/main", head, "main", "",
			true, false},
		{"after a workflow", "workflow_run", `{"workflow_run": {"head_sha": "` + head +
			`", "head_branch": "deeper", "head_repository": ` + ours + `, "pull_requests": [{"number": 9}]}}`,
			elsewhere, "refs/heads/main", head, "deeper", "9", true, false},
		{"after a fork's workflow", "workflow_run", `{"workflow_run": {"head_sha": "` + pushed +
			`", "head_branch": "main", "head_repository": ` + fork + `, "pull_requests": []}}`, head,
			"refs/heads/main", head, "main", "", true, true},
		{"merge queue", "merge_group", `{"merge_group": {"head_sha": "` + head +
			`", "head_ref": "refs/heads/gh-readonly-queue/main/pr-104-` + pushed + `"}}`, head,
			"refs/heads/gh-readonly-queue/main/pr-104-" + pushed, head, "gh-readonly-queue/main/pr-104-" + pushed,
			"104", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "event.json")
			require.NoError(t, os.WriteFile(file, []byte(c.payload), 0o644))
			env := env("GITHUB_EVENT_NAME", c.event, "GITHUB_EVENT_PATH", file, "GITHUB_SHA", c.sha, "GITHUB_REF",
				c.ref, "GITHUB_RUN_ATTEMPT", "2", "GITHUB_TRIGGERING_ACTOR", "bob")
			repo, err := git.Find(root)
			require.NoError(t, err)
			w, err := ReadWorkflow(env)
			require.NoError(t, err)
			info, err := gitmeta.Of(repo, w, env)
			require.NoError(t, err)
			require.Equal(t, c.commit, info.Commit)
			require.Equal(t, c.branch, info.Branch)
			require.Equal(t, c.pull, info.PullRequest)
			require.Equal(t, "bob", info.Actor)
			require.Equal(t, "https://github.com/org/x/actions/runs/42/attempts/2", info.BuildURL)
			if c.sha != elsewhere {
				require.Equal(t, "https://github.com/org/x", info.Repository)
			}
			require.Equal(t, c.privileged, w.Privileged())
			require.Equal(t, c.foreign, w.Foreign())
		})
	}
	t.Run("event is no JSON", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "event.json")
		require.NoError(t, os.WriteFile(bad, []byte("{"), 0o644))
		_, err := ReadWorkflow(env("GITHUB_EVENT_PATH", bad))
		require.ErrorContains(t, err, "is not a webhook payload")
	})
}

// The event is a file like any other: a regular one, of the size that GitHub sends at
// most.
func TestEventFile(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "event.json")
	require.NoError(t, os.WriteFile(huge, nil, 0o644))
	require.NoError(t, os.Truncate(huge, maxEvent+1))
	for _, path := range []string{huge, dir, os.DevNull, filepath.Join(dir, "none")} {
		env := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": path}
		_, err := ReadWorkflow(func(name string) string { return env[name] })
		require.ErrorContains(t, err, "GITHUB_EVENT_PATH", path)
		require.NotContains(t, err.Error(), "webhook payload", path) // refused before it was read
	}
}

// A commit is proved by the event alone only if who started it could write to a branch,
// or GitHub says that the pull request is the repository's own.
func TestStarted(t *testing.T) {
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	request := Workflow{Event: "pull_request_target", Repository: "org/x", SHA: a, Ref: "refs/pull/7/merge", Head: b,
		HeadRepository: "Org/X", PullRequest: 7}
	for _, c := range []struct {
		name   string
		w      Workflow
		commit string
		want   bool
	}{
		{"branch", Workflow{Event: "push", SHA: a, Ref: "refs/heads/main"}, a, true},
		{"tag", Workflow{Event: "push", SHA: a, Ref: "refs/tags/v1"}, a, true},
		{"queue", Workflow{Event: "merge_group", SHA: a, Ref: "refs/heads/gh-readonly-queue/main/pr-1-b"}, a, true},
		{"another commit", Workflow{Event: "push", SHA: a, Ref: "refs/heads/main"}, b, false},
		{"no commit", Workflow{Event: "push", Ref: "refs/heads/main"}, "", false},
		{"no reference", Workflow{Event: "push", SHA: a}, a, false},
		{"pull reference", Workflow{Event: "push", SHA: a, Ref: "refs/pull/7/head"}, a, false},
		{"remote reference", Workflow{Event: "push", SHA: a, Ref: "refs/remotes/origin/main"}, a, false},
		{"deployment", Workflow{Event: "deployment", SHA: a, Ref: "refs/heads/main"}, a, false},
		{"its status", Workflow{Event: "deployment_status", SHA: a, Ref: "refs/heads/main"}, a, false},
		{"own merge", request, a, true},
		{"own head", request, b, true},
		{"merge of another", with(request, func(w *Workflow) { w.Ref = "refs/pull/8/merge" }), a, false},
		{"head of a fork", with(request, func(w *Workflow) { w.HeadRepository = "eve/x" }), b, false},
		{"head of a deleted fork", with(request, func(w *Workflow) { w.HeadRepository = "" }), b, false},
		{"merge of a fork", with(request, func(w *Workflow) { w.HeadRepository = "eve/x" }), a, false},
		{"head of a workflow run", with(request, func(w *Workflow) { w.Event = "workflow_run" }), b, false},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, c.w.Started(c.commit)) })
	}
}

func with(w Workflow, change func(*Workflow)) Workflow {
	change(&w)
	return w
}
