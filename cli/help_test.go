package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A command's own flags come first in its help, then those of a workflow, then Azure's; each
// is there once, and the text around them is cobra's.
func TestHelpOrder(t *testing.T) {
	root := (&app{getenv: func(string) string { return "" }}).root()
	for _, name := range []string{"run", "submit", "show", "runs"} {
		cmd, _, err := root.Find([]string{name})
		require.NoError(t, err)
		text := cmd.UsageString()
		last := 0
		for _, heading := range []string{"Usage:", "Examples:", "Flags:", "In a workflow:", "Azure Machine Learning:",
			"Global Flags:"} {
			if heading == "In a workflow:" && !strings.Contains(text, heading) {
				require.NotEqual(t, "run", name)
				continue
			}
			at := strings.Index(text, "\n"+heading+"\n")
			if heading == "Usage:" {
				at = strings.Index(text, heading)
			}
			require.GreaterOrEqual(t, at, last, "%s in the help of %s:\n%s", heading, name, text)
			last = at
		}
		require.Equal(t, 1, strings.Count(text, "--workspace-name "), name)
	}
	cmd, _, err := root.Find([]string{"run"})
	require.NoError(t, err)
	text := cmd.UsageString()
	require.Less(t, strings.Index(text, "--script "), strings.Index(text, "\nIn a workflow:"))
	require.Less(t, strings.Index(text, "\nIn a workflow:"), strings.Index(text, "--github-token "))
	require.Less(t, strings.Index(text, "\nAzure Machine Learning:"), strings.Index(text, "--client-id "))
}

// Every command that help lists stands under a heading, and each name that other programs use
// leads to one that is there.
func TestHelpGroups(t *testing.T) {
	root := (&app{getenv: func(string) string { return "" }}).root()
	known := map[string]bool{"aml-train --version": true}
	for _, c := range root.Commands() {
		known[c.Name()] = true
		if c.IsAvailableCommand() {
			require.NotEmpty(t, c.GroupID, "%s is under no heading", c.Name())
		}
	}
	for other, name := range otherNames {
		require.False(t, known[other], "%s is a command", other)
		require.True(t, known[name], "%s leads to %s, which is none", other, name)
	}
	text := root.UsageString()
	last := 0
	for _, words := range []string{"\nTrain:\n  run ", "\nA run:\n  show ", "\nThe run history:\n  runs ",
		"\nOn a push, and on GitHub:\n  hook "} {
		at := strings.Index(text, words)
		require.Greater(t, at, last, "%q in:\n%s", words, text)
		last = at
	}
}

// Help calls values by what they are, not by the type that holds them, and names no default
// that is one of a type.
func TestHelpValues(t *testing.T) {
	root := (&app{getenv: func(string) string { return "" }}).root()
	for _, c := range root.Commands() {
		for _, word := range []string{"stringArray", "durationSlice", "(default [])"} {
			require.NotContains(t, c.UsageString(), word, c.Name())
		}
	}
}

// TestOtherFlags holds that each flag which is suggested is there, and the name that it is suggested
// for is none.
func TestOtherFlags(t *testing.T) {
	root := (&app{}).root()
	for other, flag := range otherFlags {
		found := false
		for _, cmd := range root.Commands() {
			if cmd.Flags().Lookup(flag) != nil {
				found = true
				require.Nil(t, cmd.Flags().Lookup(other), "%s --%s", cmd.Name(), other)
			}
		}
		require.True(t, found, "no command has --%s", flag)
	}
}
