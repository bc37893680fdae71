package local

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A script hears of no variable that binds git to the real repository, as git itself
// lists them. Those that only configure it stay.
func TestOfRepository(t *testing.T) {
	out, err := exec.Command("git", "rev-parse", "--local-env-vars").Output()
	require.NoError(t, err)
	names := strings.Fields(string(out))
	require.Contains(t, names, "GIT_DIR")
	for _, name := range names {
		configures := name == "GIT_CONFIG_PARAMETERS" || name == "GIT_CONFIG_COUNT"
		require.Equal(t, !configures, belongsToRepository(name+"=x"), name)
	}
}
