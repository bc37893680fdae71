package github

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
)

// What is trained of a fork is known as such, whatever its branch is called; the default
// branch that a workflow of a fork's event checks out is the repository's own.
func TestFork(t *testing.T) {
	of := func(event, repository, commit string) gitmeta.Info {
		w := &Workflow{Event: event, Repository: "org/x", SHA: "aaaa", Ref: "refs/heads/main", RunID: 1,
			Head: "bbbb", HeadRef: "main", HeadRepository: repository, ofHead: true, DefaultBranch: "main"}
		info := gitmeta.Info{Commit: commit}
		w.Apply(&info)
		return info
	}
	require.Equal(t, "ada/x", of("workflow_run", "ada/x", "bbbb").Fork)
	require.Equal(t, "unknown", of("workflow_run", "", "bbbb").Fork)
	require.Equal(t, "ada/x", of("pull_request", "ada/x", "aaaa").Fork)
	require.Empty(t, of("workflow_run", "ada/x", "aaaa").Fork)
	require.Empty(t, of("workflow_run", "org/x", "bbbb").Fork)
	require.Empty(t, of("pull_request", "org/x", "aaaa").Fork)
	require.Equal(t, "main", of("pull_request", "org/x", "aaaa").BaseBranch)
}
