package layout

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// TestWorkflowOfAnyName: whatever a folder and a branch are called, the workflow is YAML that names those,
// and nothing of a name is an expression, which GitHub would put a secret in the place of.
func TestWorkflowOfAnyName(t *testing.T) {
	parts := []string{"${{", "}}", "$", "{", "{{", "'", `"`, " ", "secrets.KEY", "github.token", "a", "-", ":", "#", "é",
		"\t", "!", "+", "*", "&x", "%", "%q", "@"}
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 2))
	name := func(without string) string {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		return strings.Map(func(c rune) rune {
			if strings.ContainsRune(without, c) {
				return -1
			}
			return c
		}, b.String()) + "x"
	}
	for range testenv.Cases(2000) {
		dir, branch := name("/"), name(" :*\t") // git refuses these in a branch
		var w struct {
			On struct {
				Push struct{ Branches []string }
			}
			Jobs map[string]struct {
				Steps []struct {
					Run     string
					Working string            `yaml:"working-directory"`
					Env     map[string]string `yaml:"env"`
				}
			}
		}
		text := Workflow(dir+"/job.yml", branch, []string{"requirements.txt"})
		require.NoError(t, yaml.Unmarshal([]byte(text), &w), text)
		require.Len(t, w.On.Push.Branches, 1)
		require.Equal(t, branch, matched(w.On.Push.Branches[0]))
		for job, j := range w.Jobs {
			require.Len(t, j.Steps, 5, job)
			require.Equal(t, dir, evaluated(t, j.Steps[2].Working))
			file := evaluated(t, j.Steps[4].Env["JOB"])
			require.Equal(t, dir+"/job.yml", strings.TrimPrefix(file, "./"))
			require.NotRegexp(t, "^-", file, "a flag")
			require.Equal(t, `aml-train run "$JOB"`, j.Steps[4].Run, "a shell reads no name")
		}
		require.Len(t, w.Jobs, 2)
	}
}

// evaluated is what GitHub makes of a text whose expressions are texts between quotes.
func evaluated(t *testing.T, text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		literal, ok := strings.CutPrefix(rest, " '${{' }}")
		require.True(t, ok, "another expression: %s", rest)
		b.WriteString("${{")
		text = literal
	}
}

// matched is the one branch that a pattern without wildcards matches, "" for one that has some.
func matched(pattern string) string {
	if strings.HasPrefix(pattern, "!") {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '\\':
			i++
			b.WriteByte(pattern[i])
		case '+', '*', '?', '[':
			return ""
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
