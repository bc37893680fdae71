package history

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// What TagFilter writes, a server reads as the same tag and value.
func TestTagFilter(t *testing.T) {
	said := 0
	for i := range testenv.Cases(5000) {
		r := rand.New(rand.NewPCG(uint64(testenv.Seed()), uint64(i)))
		text := func(least int) string {
			var b strings.Builder
			for range least + r.IntN(6) {
				b.WriteRune([]rune("aä.-/ '\"`%_=\\")[r.IntN(13)])
			}
			return b.String()
		}
		key, value := text(1), text(0)
		filter, ok := TagFilter(key, value)
		if !ok {
			require.True(t, strings.ContainsAny(key+value, "`\"\\"), "%q %q", key, value)
			continue
		}
		said++
		got, err := parseFilter(filter)
		require.NoError(t, err, filter)
		require.Equal(t, []condition{{entity: "tag", key: key, op: "=", value: value}}, got, filter)
	}
	require.Positive(t, said)
}
