package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// TestInterpreter asks a version manager's script once for each version that it is told.
func TestInterpreter(t *testing.T) {
	python, err := filepath.EvalSymlinks(testenv.Program(t, "sh")) // any program
	require.NoError(t, err)
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Chdir(dir)
	asked := filepath.Join(home, "asked")
	shim := filepath.Join(home, "shims", "python")
	require.NoError(t, os.MkdirAll(filepath.Dir(shim), 0o755))
	require.NoError(t, os.WriteFile(shim, []byte("#!/bin/sh\necho asked >>"+asked+"\necho "+python+"\n"), 0o755))
	ask := func(want int) {
		t.Helper()
		found, err := interpreter(shim)
		require.NoError(t, err)
		require.Equal(t, python, found)
		text, err := os.ReadFile(asked)
		require.NoError(t, err)
		require.Equal(t, want, strings.Count(string(text), "asked"))
	}
	ask(1)
	ask(1)
	require.NoError(t, os.WriteFile(".python-version", []byte("3.12\n"), 0o644))
	ask(2)
	ask(2)
	require.NoError(t, os.WriteFile(filepath.Join(home, "version"), []byte("3.13\n"), 0o644))
	ask(3)
	t.Setenv("PYENV_VERSION", "3.11")
	ask(4)
	ask(4)
	found, err := interpreter(python)
	require.NoError(t, err)
	require.Equal(t, python, found)
	require.NoError(t, os.WriteFile(shim, []byte("#!/bin/sh\necho nothing\n"), 0o755))
	_, err = interpreter(shim)
	require.ErrorContains(t, err, `says that its interpreter is "nothing"`)
}
