//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

const onComment = `name: train on a comment
on:
  issue_comment:
    types: [created]
jobs:
  train:
    if: github.event.issue.pull_request && contains(github.event.comment.body, '/train')
    runs-on: ubuntu-latest
    steps:
      - id: train
        uses: ./action
        with:
          job: examples/iris/job.yml
          environment: docker:aml-train-test/python
      - run: |
          echo "outputs: ${{ steps.train.outputs.run }} ${{ steps.train.outputs.status }} ${{ steps.train.outputs.snapshot }}"
`

// TestCommentInAct has a fork's commit train by comments, as the runner would start the action
// for them: what is checked out is main, and the commit's objects lie beside it.
func TestCommentInAct(t *testing.T) {
	testenv.Docker(t)
	testenv.Program(t, "act")
	dir := checkout(t, onComment)
	main := must(t, dir, "git", "rev-parse", "HEAD")
	must(t, dir, "git", "checkout", "-q", "-b", "theirs")
	script := filepath.Join(dir, "examples/iris/train.py")
	text, err := os.ReadFile(script)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(script, append(text, "print('trained', 'theirs')\n"...), 0o644))
	head := commit(t, dir)
	must(t, dir, "git", "checkout", "-q", "main")
	gh, api := serveGitHub(t, head)
	gh.Change(func(p *githubtest.PullRequest) { p.Repo, p.HeadRef, p.Base = "eve/x", "theirs", main })
	gh.Branch("main", []string{main})
	gh.Foreign(head)
	gh.Permit("mia", githubtest.Collaborator{Role: "write"})
	comments := func(run int, who, body string) (string, error) {
		id := gh.Write(7, githubtest.User{Login: who, Type: "User"}, body)
		event := filepath.Join(t.TempDir(), "event.json")
		require.NoError(t, os.WriteFile(event, gh.Event("created", id), 0o644))
		return act(t, dir, api, run, "issue_comment", "-e", event)
	}

	log, err := comments(41, "eve", "/train "+head)
	require.Error(t, err)
	require.Contains(t, log, "eve asked for it, who may not push to org/x")
	require.Empty(t, gh.Bodies(7, githubtest.Bot))

	log, err = comments(42, "mia", "/train")
	require.NoError(t, err, log)
	bodies := gh.Bodies(7, githubtest.Bot)
	require.Len(t, bodies, 1)
	require.Contains(t, bodies[0], "\n/train "+head+"\n")
	require.Contains(t, bodies[0], "- M `examples/iris/train.py`\n")
	require.NotContains(t, log, "trained theirs")

	line := bodies[0][strings.Index(bodies[0], "/train "):]
	log, err = comments(43, "mia", "Fine.\r\n\r\n"+line[:strings.IndexByte(line, '\n')])
	require.NoError(t, err, log)
	require.Contains(t, log, "trained theirs")
	require.Regexp(t, `outputs: iris-`+head[:7]+`-1 Completed [0-9a-f]{40}`, log)
	bodies = gh.Bodies(7, githubtest.Bot)
	require.Len(t, bodies, 2)
	require.Regexp(t, `^<!-- aml-train [0-9a-f]{16} 43\.1 ended -->\n### ✅ iris · accuracy 0\.\d+`, bodies[1])
	require.Contains(t, bodies[1], "commit "+head[:7])
	require.Empty(t, trainingContainers(t))

	gh.Push(7, main)
	log, err = comments(44, "mia", "/train "+head)
	require.Error(t, err)
	require.Contains(t, log, "a push voids what was asked for before it")
	require.Contains(t, log, "exit with `FAILURE`: 2")
	require.Contains(t, gh.Bodies(7, githubtest.Bot)[2], "nothing was submitted")
}
