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

// Nothing that signs in at an address is shown of a file, nor in what is said of it; the caret
// stays where it was.
func TestMasked(t *testing.T) {
	for text, want := range map[string]string{
		"history: https://user:pass@host/x":              "history: https://*********@host/x",
		"history: http://t\u00f6ken@host":                "history: http://*****@host",
		`path: "https://a.b/c?sv=1&sig=a%2Fb", x`:        `path: "https://a.b/c?sv=*&sig=*****", x`,
		"is https://a/b?sig=abc, which":                  "is https://a/b?sig=***, which",
		"postgres://me:p@ss/word@db:5432/x":              "postgres://************@db:5432/x",
		"https://github.com/org/repo@main":               "https://github.com/org/repo@main",
		"wasbs://box@acc.blob.core.windows.net/a":        "wasbs://box@acc.blob.core.windows.net/a",
		"azureml://datastores/a/paths/b@c":               "azureml://datastores/a/paths/b@c",
		"command: echo a?b=c user:pass@host":             "command: echo a?b=c user:pass@host",
		"a: https://u:p@h/?k=v b: https://u:p@h/#?x=yes": "a: https://***@h/?k=* b: https://***@h/#?x=***",
	} {
		require.Equal(t, want, masked(text))
		p := newDocument("f", "a file").problem(1, 1, text)
		require.Equal(t, want, p.Message)
	}
}
