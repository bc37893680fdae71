package mistake_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/mistake"
)

// A mistake stays one, and keeps its text and its cause, whatever is wrapped around it or joined
// to it; an error that is none does not become one by the way.
func TestIs(t *testing.T) {
	cause := errors.New("no such script")
	for text, err := range map[string]error{
		"no such script":                 mistake.Of(cause),
		"--script: cause":                mistake.Errorf("--script: %w", errors.New("cause")),
		"job: no such script":            fmt.Errorf("job: %w", mistake.Of(cause)),
		"a\nno such script":              errors.Join(errors.New("a"), mistake.Of(cause)),
		(&home.UntrustedError{}).Error(): &home.UntrustedError{},
	} {
		require.True(t, mistake.Is(err), text)
		require.EqualError(t, err, text)
	}
	require.ErrorIs(t, fmt.Errorf("job: %w", mistake.Of(cause)), cause)
	require.ErrorIs(t, mistake.Errorf("job: %w", cause), cause)
	require.NoError(t, mistake.Of(nil))
	require.False(t, mistake.Is(nil))
	require.False(t, mistake.Is(cause))
	require.False(t, mistake.Is(errors.Join(cause, errors.New("b"))))
}
