package local

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/job"
)

// packed is the context that is built for a job, by path, and its name.
func packed(t *testing.T, dir string, e *job.Environment) (map[string]string, string) {
	t.Helper()
	to, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer to.Close()
	b, err := writeContext(t.Context(), &job.Job{Dir: dir, Environment: e}, to)
	require.NoError(t, err)
	f, err := to.Open(contextFile)
	require.NoError(t, err)
	defer f.Close()
	files := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, b.Image
		}
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		files[h.Name] = string(text)
	}
}

// TestContext packs a build context as docker build sends it, and names it by what is in it.
func TestContext(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("c/Dockerfile", "FROM x")
	write("c/.dockerignore", "**/*.log\nsecret\n!secret/public\nDockerfile\n")
	write("c/a.txt", "a")
	write("c/sub/b.log", "b")
	write("c/secret/key", "k")
	write("c/secret/public", "p")
	e := &job.Environment{Build: &job.Build{Path: "c", DockerfilePath: "Dockerfile"}}
	files, first := packed(t, dir, e)
	require.Equal(t, map[string]string{
		"Dockerfile": "FROM x", ".dockerignore": "**/*.log\nsecret\n!secret/public\nDockerfile\n", "a.txt": "a",
		"secret/public": "p",
	}, files)
	require.True(t, strings.HasPrefix(first, builtImages))

	write("c/secret/key", "another")
	_, again := packed(t, dir, e)
	require.Equal(t, first, again, "what is left out changes nothing")
	write("c/a.txt", "b")
	_, other := packed(t, dir, e)
	require.NotEqual(t, first, other)

	// The ignore file of a Dockerfile comes before the common one.
	write("c/Other", "FROM y")
	write("c/Other.dockerignore", "a.txt")
	files, _ = packed(t, dir, &job.Environment{Build: &job.Build{Path: "c", DockerfilePath: "Other"}})
	require.Contains(t, files, "secret/key")
	require.NotContains(t, files, "a.txt")
}

// TestCondaContext names an image with a conda file by both.
func TestCondaContext(t *testing.T) {
	conda := func(version string) any {
		return map[string]any{"dependencies": []any{"python=" + version}}
	}
	dir := t.TempDir()
	files, first := packed(t, dir, &job.Environment{Image: "x", Conda: conda("3.11")})
	require.Contains(t, files["Dockerfile"], "FROM x\n")
	require.YAMLEq(t, "dependencies: [python=3.11]", files["environment.yml"])
	for range 20 {
		_, again := packed(t, dir, &job.Environment{Image: "x", Conda: conda("3.11")})
		require.Equal(t, first, again)
	}
	_, other := packed(t, dir, &job.Environment{Image: "x", Conda: conda("3.12")})
	require.NotEqual(t, first, other)
	_, other = packed(t, dir, &job.Environment{Image: "y", Conda: conda("3.11")})
	require.NotEqual(t, first, other)
	to, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer to.Close()
	_, err = writeContext(t.Context(), &job.Job{Dir: dir,
		Environment: &job.Environment{Image: "x\nRUN evil", Conda: conda("3")}}, to)
	require.ErrorContains(t, err, "no name of an image")
}
