package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/snapshot"
)

// pushFrom is a push from a repository that has opted in, which says what it does.
func pushFrom(t *testing.T, s Settings) (*Push, *[]string) {
	dir := t.TempDir()
	for _, args := range [][]string{{"init", "-q", dir}, {"-C", dir, "config", Key, "true"}} {
		out, err := exec.Command("git", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	repo, err := git.Find(dir)
	require.NoError(t, err)
	logs, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	said := &[]string{}
	return &Push{
		Repo: repo,
		Commit: func(_ context.Context, rev string) (*snapshot.Snapshot, error) {
			return &snapshot.Snapshot{Commit: rev}, nil
		},
		Read: func(*snapshot.Snapshot) (Settings, string, error) { return s, "", nil },
		Logs: func() (*os.Root, error) { return logs, nil },
		Say:  func(format string, args ...any) { *said = append(*said, fmt.Sprintf(format, args...)) },
	}, said
}

func update(commit, branch string) Update {
	return Update{"HEAD", strings.Repeat(commit, 40), "refs/heads/" + branch, z40}
}

// What is submitted in a push, and what is said of the rest.
func TestRun(t *testing.T) {
	p, said := pushFrom(t, Settings{Branches: []string{"main", "x/*"}})
	var submitted []string
	p.Submit = func(commit, branch string, log *os.File) (func() error, error) {
		submitted = append(submitted, commit[:1]+" "+branch)
		return nil, nil
	}
	require.NoError(t, p.Run(t.Context(), []Update{
		update("a", "other"), update("a", "main"), update("a", "x/y"), update("b", "x/y"),
		{"(delete)", z40, "refs/heads/main", a40}, {"v1", a40, "refs/tags/v1", z40},
	}))
	require.Equal(t, []string{"a main", "b x/y"}, submitted)
	require.Equal(t, []string{
		"aml-train: other aaaaaaa is not trained: hook.branches names main, x/*, and not this branch",
		"aml-train: training main aaaaaaa; aml-train hook status and aml-train watch follow it",
		"aml-train: x/y aaaaaaa is the commit of main, and trained with it",
		"aml-train: training x/y bbbbbbb; aml-train hook status and aml-train watch follow it",
	}, *said)
}

// A submission that fails stops the push where it has to be, and its log has the reason.
// The next branch at the commit is tried again.
func TestRequired(t *testing.T) {
	p, said := pushFrom(t, Settings{Required: true})
	tries := 0
	p.Submit = func(commit, branch string, log *os.File) (func() error, error) {
		tries++
		fmt.Fprintf(log, "preparing\njob.yml:1:1: no\n  | x\n  | ^\n%sjob.yml:1:1: no\n", Refused)
		return func() error { return errors.New("exit status 2") }, nil
	}
	require.ErrorIs(t, p.Run(t.Context(), []Update{update("a", "main"), update("a", "x")}), ErrRequired)
	require.Equal(t, 2, tries)
	require.Equal(t, []string{
		"aml-train: main aaaaaaa is not trained: job.yml:1:1: no",
		"aml-train: x aaaaaaa is not trained: job.yml:1:1: no",
	}, *said)
}

// An interrupt ends the waiting, not the submission, and is nobody's refusal.
func TestInterrupted(t *testing.T) {
	p, said := pushFrom(t, Settings{Required: true})
	ctx, interrupt := context.WithCancel(t.Context())
	ends := make(chan struct{})
	defer close(ends)
	p.Submit = func(commit, branch string, log *os.File) (func() error, error) {
		interrupt()
		return func() error { <-ends; return nil }, nil
	}
	err := p.Run(ctx, []Update{update("a", "main"), update("b", "x")})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrRequired)
	require.Equal(t, []string{
		"aml-train: interrupted; the submission of main aaaaaaa goes on, and aml-train hook status shows it",
	}, *said)
}

// Every submission has a log of its own, whatever the branch is called.
func TestLogs(t *testing.T) {
	logs, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer logs.Close()
	names := []string{"main", "main", "a/b", "a-b", `"$(x)"`, "a b", strings.Repeat("é", 120),
		strings.Repeat("long/", 50)}
	for i, branch := range names {
		log, err := newLog(logs, Training{Commit: a40, Branch: branch})
		require.NoError(t, err, branch)
		fmt.Fprintf(log, "first\nhttps://x/%d\nrun-%d\n", i, i)
		log.Close()
	}
	list := Logs(logs)
	require.Len(t, list, len(names))
	seen := map[string]bool{}
	for _, log := range list {
		at, commit, _, ok := log.Of()
		require.True(t, ok)
		require.NotZero(t, at)
		require.Equal(t, a40[:7], commit)
		require.Equal(t, "https://x/"+strings.TrimPrefix(log.Line(), "run-"), log.Link())
		seen[log.Line()] = true
	}
	require.Len(t, seen, len(names))
	for range logsKept {
		log, err := newLog(logs, Training{Commit: a40, Branch: "new"})
		require.NoError(t, err)
		log.Close()
	}
	dropLogs(logs)
	require.Len(t, Logs(logs), logsKept-1)
}
