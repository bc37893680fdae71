package job

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a file is called and holds stays on its line, and out of the terminal's control.
func TestPrintable(t *testing.T) {
	p := Problem{File: "a\n::error::b.yml", Line: 1, Column: 3, Message: "has \x1b[31m\u202e\r",
		source: "x\x1b: \x07\ty"}
	require.Equal(t, 2, strings.Count(p.String(), "\n"), "the line and the caret")
	require.NotContains(t, p.String(), "\n::error")
	for _, r := range "\x1b\x07\r\u202e" {
		require.NotContains(t, p.String(), string(r))
	}
	require.Contains(t, p.String(), "\ty")
}
