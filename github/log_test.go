package github

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// obeyed tells whether the runner takes a line of a step's output for a command, as it
// looks at lines (actions/runner, ActionCommand.cs: TryParseV2 and TryParse).
func obeyed(output string) bool {
	for _, line := range regexp.MustCompile("\r\n|\n|\r").Split(strings.ToValidUTF8(output, "\ufffd"), -1) {
		if strings.HasPrefix(strings.TrimLeftFunc(line, unicode.IsSpace), "::") || strings.Contains(line, "##[") {
			return true
		}
	}
	return false
}

// TestNoCommands writes what looks like commands in pieces of every size: the runner
// obeys none, and a person reads what was written.
func TestNoCommands(t *testing.T) {
	parts := []string{"::", ":", "##[", "#", "[", "error]x", "set-output name=a::b", "\n", "\r", "\r\n", " ", "\t",
		"\u3000", "\u2028", "\v", "\xe3\x80", "\xff", "x", "a::b", "\ufeff", "::stop-commands::"}
	for seed := range testenv.Cases(20000) {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		var text strings.Builder
		for range r.IntN(14) {
			text.WriteString(parts[r.IntN(len(parts))])
		}
		var out strings.Builder
		w := NewOutput(&out, new(bool))
		for rest := text.String(); rest != ""; {
			n := 1 + r.IntN(min(len(rest), 6))
			_, err := io.WriteString(w, rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, w.Flush())
		require.False(t, obeyed(out.String()), "seed %d: %q becomes %q", seed, text.String(), out.String())
		require.Equal(t, text.String(), strings.ReplaceAll(out.String(), apart, ""))
	}
}

func TestNoCommandsInJSON(t *testing.T) {
	text, err := json.Marshal(map[string]string{"error": "##[error]no\n::add-mask::x"})
	require.NoError(t, err)
	var out strings.Builder
	yes := true
	_, err = NewOutput(&out, &yes).Write(text)
	require.NoError(t, err)
	require.False(t, obeyed(out.String()))
	var back map[string]string
	require.NoError(t, json.Unmarshal([]byte(out.String()), &back))
	require.Equal(t, "##[error]no\n::add-mask::x", back["error"])
}
