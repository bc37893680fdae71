package github

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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
	request := Workflow{Event: "pull_request_target", Repository: "org/x", SHA: a, Ref: "refs/pull/7/merge", Head: b, HeadRepository: "Org/X", PullRequest: 7}
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
