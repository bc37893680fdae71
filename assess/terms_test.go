package assess

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/settings"
)

// TestNewTermsUnread: where nobody could read the prices of what a change is to be merged into, no rule
// about the cost is judged, as the change's own could be any; other rules are.
func TestNewTermsUnread(t *testing.T) {
	own := settings.Settings{Prices: map[string]float64{"gpu": 0}}
	for rule, refused := range map[string]bool{"cost <= 5 USD": true, "cost <= baseline * 1.2": true,
		"duration <= 5m": false, "accuracy >= 0.9": false} {
		for _, unread := range []error{nil, errors.New("GitHub answers 404")} {
			terms, err := NewTerms(settings.InForce{Settings: own, Unread: unread}, []string{rule}, false)
			if unread != nil && refused {
				require.ErrorIs(t, err, unread, rule)
				require.True(t, mistake.Is(err), rule)
				continue
			}
			require.NoError(t, err, rule)
			require.Len(t, terms.Rules, 1)
		}
	}
}
