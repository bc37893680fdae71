package yamlfile

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// What 1 MiB of YAML may take: the lexer 300 bytes for each of the text, the parser a
// fixed amount more for what the limits leave.
const (
	perByte = 600
	fixed   = 64 << 20
)

func allocated(text string) int64 {
	return testenv.Allocated(func() { Parse([]byte(text)) })
}

var pieces = []string{"[", "{", "]", "}", "- ", "? ", ": ", "a: ", "k", "!t ", "!!int ", "&a ", "*a ", "%Y ", "|\n", ">\n", "'", `"`, "#", "\n", "\n ", "\n  ", ", ", "<<: ", "---\n", "...\n", "\t", "x", "1", "\r", "é", "@", "`"}

// Whatever is written, often, the memory is in proportion.
func TestMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(uint64(testenv.Seed()), 1))
	try := func(text string) {
		got := allocated(text)
		require.LessOrEqual(t, got, int64(fixed+perByte*len(text)), "%d bytes of %.60q", len(text), text)
	}
	for _, p := range pieces {
		try(strings.Repeat(p, 100_000/len(p)))
		try("a:\n" + strings.Repeat("  "+p+"b\n", 100_000/(len(p)+4)))
	}
	for range testenv.Cases(200) {
		unit := ""
		for range 1 + r.IntN(5) {
			unit += pieces[r.IntN(len(pieces))]
		}
		start := pieces[r.IntN(len(pieces))]
		try(start + strings.Repeat(unit, 50_000/len(unit)))
	}
	deep := ""
	for i := range 1400 {
		deep += strings.Repeat(" ", i) + "a:\n"
	}
	try(deep)
}

func TestLimits(t *testing.T) {
	for text, want := range map[string]string{
		strings.Repeat("[", 100_000):             "1:51: the file is nested too deeply; 50 levels",
		strings.Repeat("- ", 1000):               "nested too deeply",
		"a: [" + strings.Repeat("*a, ", 1000):    "too many tags, anchors and aliases",
		strings.Repeat("!a ", 60_000):            "too many tags",
		strings.Repeat("k: v\n", 3000):           "2001:2: the file has too many keys; 2000",
		"a:\n" + strings.Repeat("- b\n", 60_000): "4000:1: the file has too many lines",
		"a: [" + strings.Repeat("b, ", 60_000):   "too many values",
		strings.Repeat("---\n", 100):             "too many documents",
	} {
		_, err := Parse([]byte(text))
		require.ErrorAs(t, err, new(*LimitError))
		require.ErrorContains(t, err, want)
	}
	_, err := Parse([]byte("a: [" + strings.Repeat("[], ", 10) + "]"))
	require.NoError(t, err)
}

func FuzzParse(f *testing.F) {
	for _, p := range pieces {
		f.Add(strings.Repeat(p, 40))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := allocated(text); got > int64(fixed+perByte*len(text)) {
			t.Fatalf("%d bytes for %d", got, len(text))
		}
	})
}
