package clip

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// At every limit, what is left is the text, or a beginning of it and dots, within the limit, and as
// long as whole characters allow.
func TestClip(t *testing.T) {
	for _, text := range []string{"", "abc", "plain text", "größer", "日本語のテキスト", "a😀b😀c😀d"} {
		for most := 3; most <= len(text)+1; most++ {
			for _, c := range []struct {
				got   string
				size  func(string) int
				slack int
			}{{Bytes(text, most), func(s string) int { return len(s) }, utf8.UTFMax - 1},
				{Runes(text, most), utf8.RuneCountInString, 0}} {
				require.True(t, utf8.ValidString(c.got), "%q to %d", text, most)
				if c.size(text) <= most {
					require.Equal(t, text, c.got)
					continue
				}
				beginning, clipped := strings.CutSuffix(c.got, "...")
				require.True(t, clipped && strings.HasPrefix(text, beginning), "%q to %d: %q", text, most, c.got)
				require.LessOrEqual(t, c.size(c.got), most, "%q", c.got)
				require.GreaterOrEqual(t, c.size(c.got), most-c.slack, "%q", c.got)
			}
		}
	}
}
