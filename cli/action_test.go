package cli

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write action.yml anew")

// byHand are the flags of run that are of no use to the action: it has no Python, its report
// is an output, reuse: false says what no-reuse says, and evictions are rehearsed at a desk.
var byHand = []string{"help", "markdown", "python", "no-reuse", "preempt-after"}

// actionYAML writes the action's description from the flags of run and the table
// of outputs, which are the only places that say what there is. image is what it
// runs in.
func actionYAML(image string) string {
	var b strings.Builder
	b.WriteString(`# Written by go test ./cli -update: each input is the flag of aml-train run of the
# same name.
name: aml-train
description: Train a model from git, and tell the pull request what came out
branding:
  icon: trending-up
  color: blue
inputs:
`)
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	flags := (&app{}).run().Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(byHand, f.Name) {
			return
		}
		about, value := strings.ReplaceAll(f.Usage, "`", ""), f.DefValue // help calls a value by what is quoted
		if f.Value.Type() == "stringArray" {
			value = ""
			about = strings.NewReplacer("(repeatable; --env for short)", "a line", "(repeatable; --input for short)",
				"a line", "(repeatable; --tag for short)", "a line").Replace(about)
		}
		if f.Name == "github-token" {
			about, value = "the token that comments on the pull request", "${{ github.token }}"
		}
		if f.Value.Type() == "int" && value == "0" {
			value = ""
		}
		fmt.Fprintf(&b, "  %s:\n    description: %s\n", f.Name, quote(strings.TrimPrefix(about, "in a workflow, ")))
		if value != "" {
			fmt.Fprintf(&b, "    default: %s\n", quote(value))
		}
	})
	b.WriteString("outputs:\n")
	for _, name := range slices.Sorted(maps.Keys(actionOutputs)) {
		fmt.Fprintf(&b, "  %s:\n    description: %s\n", name, quote(actionOutputs[name]))
	}
	b.WriteString("runs:\n  using: docker\n  image: " + image + "\n")
	return b.String()
}

// The action's inputs are the flags of run, one by one, with their words.
func TestActionIsRun(t *testing.T) {
	const file = "../action.yml"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(actionYAML("Dockerfile")), 0o644))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, actionYAML("Dockerfile"), string(text), "run: go test ./cli -update")
	var action struct {
		Inputs map[string]struct{ Description, Default string }
	}
	require.NoError(t, yaml.Unmarshal(text, &action))
	// The runner takes an expression in a description for a mistake.
	require.Equal(t, 1, strings.Count(string(text), "${{"))
	// Every input reaches its flag, and takes what the flag takes.
	for name, in := range action.Inputs {
		value := in.Default
		if value == "" {
			value = "1"
		}
		args := actionArguments((&app{}).run(), func(key string) string {
			if key == "INPUT_"+strings.ToUpper(name) {
				return " " + value + "\n"
			}
			return ""
		})
		require.Equal(t, []string{"run", "--" + name + "=" + value}, args)
		run := (&app{}).run()
		require.NoError(t, run.ParseFlags(args[1:]))
		require.True(t, run.Flags().Changed(name))
	}
	// The list, so that none goes missing.
	for _, name := range strings.Fields(
		`job script arguments command source-directory compute-target environment environment-variables inputs
		experiment-name display-name tags max-run-duration-seconds distribution process-count node-count
		subscription-id resource-group workspace-name tenant-id client-id creds cloud
		wait cancel-with-workflow cancel-superseded github-token comment annotations summary download-outputs`) {
		require.Contains(t, action.Inputs, name)
	}
}

// Each line of an input is one value of a flag that may be given several times.
func TestActionLines(t *testing.T) {
	inputs := map[string]string{"INPUT_ENVIRONMENT-VARIABLES": "A=1\n\n  B=two words\n",
		"INPUT_ARGUMENTS": "--a 1\n--b 2", "INPUT_WAIT": "false"}
	args := actionArguments((&app{}).run(), func(key string) string { return inputs[key] })
	require.ElementsMatch(t, []string{"run", "--environment-variables=A=1", "--environment-variables=B=two words",
		"--arguments=--a 1\n--b 2", "--wait=false"}, args)
}
