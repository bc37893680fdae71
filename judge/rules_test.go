package judge_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/judge"
)

var update = flag.Bool("update", false, "write the golden file anew")

// question asks whether a run is better than the three of a base.
func question(rules ...judge.Rule) judge.Question {
	run := func(acc, loss, seconds float64) judge.Run {
		return judge.Run{Metrics: map[string][]float64{
			"accuracy": {acc - 0.1, acc + 0.01, acc}, "loss": {2, loss}, "odd": {1, 2}, "a < b": {1}, "duration": {5},
			"best": {acc}, "val/f1 not worse than": {1},
		}, Duration: seconds, Cost: math.NaN()}
	}
	diverged := run(0.9, math.NaN(), 100)
	diverged.Metrics["accuracy"] = []float64{0.9, 0.95, 0.91}
	return judge.Question{
		This: []judge.Run{diverged}, Rules: rules,
		Base: []judge.Run{run(0.90, 0.5, 60), run(0.91, 0.52, 62), run(0.89, 0.51, 61)},
	}
}

// TestRules reads rules and what becomes of them, or what is wrong with them, from
// testdata/rules.txt: a line with a rule, and a line with the answer.
func TestRules(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/rules.txt")
	require.NoError(t, err)
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			got.WriteString(line)
			continue
		}
		rule, isRule := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "| ")
		if !isRule {
			continue
		}
		fmt.Fprintf(&got, "| %s\n", rule)
		r, err := judge.ParseRule(rule)
		if err != nil {
			var wrong *judge.RuleError
			require.ErrorAs(t, err, &wrong)
			fmt.Fprintf(&got, "  %s^ %s\n", strings.Repeat(" ", wrong.Column-1), wrong.Message)
			continue
		}
		q := question(r)
		_, outcomes := judge.Judge(q)
		q.Strict = true
		_, strict := judge.Judge(q)
		state := "broken"
		switch o := outcomes[0]; {
		case o.Passed:
			state = "passed"
		case o.Neutral:
			state = "neutral"
			require.False(t, strict[0].Neutral)
		}
		require.Equal(t, outcomes[0].Passed, strict[0].Passed)
		fmt.Fprintf(&got, "  %s: %s\n", state, outcomes[0].Message)
	}
	if *update {
		require.NoError(t, os.WriteFile("testdata/rules.txt", []byte(got.String()), 0o644))
	}
	require.Equal(t, string(text), got.String())
}

func FuzzParseRule(f *testing.F) {
	text, err := os.ReadFile("testdata/rules.txt")
	require.NoError(f, err)
	for line := range strings.Lines(string(text)) {
		f.Add(strings.TrimPrefix(line, "| "))
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := judge.ParseRule(text)
		if err != nil {
			var wrong *judge.RuleError
			require.True(t, errors.As(err, &wrong))
			require.GreaterOrEqual(t, wrong.Column, 1)
			require.LessOrEqual(t, wrong.Column, utf8.RuneCountInString(text)+1)
			return
		}
		require.NotEmpty(t, r.Metric)
		again, err := judge.ParseRule(r.Text)
		require.NoError(t, err)
		require.Equal(t, r, again)
		_, outcomes := judge.Judge(question(r))
		require.Len(t, outcomes, 1)
		require.NotEmpty(t, outcomes[0].Message)
	})
}

// TestOneFamily shows that rules and table give a metric one verdict.
func TestOneFamily(t *testing.T) {
	t.Parallel()
	rule, err := judge.ParseRule("accuracy not worse")
	require.NoError(t, err)
	q := question(rule)
	q.Metrics = []string{"accuracy", "loss", "odd"}
	findings, outcomes := judge.Judge(q)
	require.Len(t, findings, 3)
	require.Equal(t, judge.Same, findings[0].Verdict)
	require.Equal(t, judge.Worse, findings[1].Verdict)
	require.Equal(t, judge.None, findings[2].Verdict)
	require.True(t, outcomes[0].Passed)
	q.Directions = map[string]judge.Direction{"odd": judge.LowerIsBetter}
	findings, _ = judge.Judge(q)
	require.Equal(t, judge.Same, findings[2].Verdict)
}
