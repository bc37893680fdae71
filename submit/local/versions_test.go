package local

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

const (
	someDigest  = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	otherDigest = "sha256:1123456789012345678901234567890123456789012345678901234567890123"
)

// fakeEngine answers as a Docker Engine does (docs.docker.com, "Docker Engine API") that has
// an image of a registry, one that was built here, and a registry that has a third.
func fakeEngine(t *testing.T) {
	dir, err := os.MkdirTemp("", "engine") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
			switch path {
			case "images/here:1/json":
				fmt.Fprintf(w, `{"Id": %q, "RepoDigests": ["other@%s", "here@%s"]}`, "sha256:ff", otherDigest, someDigest)
			case "images/built:1/json":
				fmt.Fprintf(w, `{"Id": %q}`, otherDigest)
			case "distribution/docker.io/library/there:1/json":
				fmt.Fprintf(w, `{"Descriptor": {"digest": %q}}`, someDigest)
			default:
				if strings.HasSuffix(r.URL.Path, "_ping") {
					w.Header().Set("Api-Version", "1.47")
					return
				}
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"message": "no such image"}`)
			}
		})}}
	server.Start()
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "s"))
}

// An image is known by its digest, wherever it lies; one that has to be fetched is fetched
// by it.
func TestImageVersions(t *testing.T) {
	fakeEngine(t)
	digestOf := func(e job.Environment) (string, submit.Versions) {
		v, err := (&Target{}).Versions(t.Context(), submit.Submission{Job: &job.Job{Environment: &e, Dir: t.TempDir()}})
		require.NoError(t, err)
		return v.Environment, v
	}
	pinned, v := digestOf(job.Environment{Image: "here@" + someDigest})
	require.Empty(t, v.Without)
	for name, at := range map[string]string{"here:1": "", "there:1": "docker.io/library/there@" + someDigest} {
		got, v := digestOf(job.Environment{Image: name})
		require.Equal(t, pinned, got, name)
		require.Empty(t, v.Without)
		require.Equal(t, at, v.Image)
	}
	built, v := digestOf(job.Environment{Image: "built:1"})
	require.Empty(t, v.Without)
	require.Contains(t, built, otherDigest)
	for want, e := range map[string]job.Environment{
		"nor does its registry say": {Image: "nowhere:1"},
		"built of context":          {Build: &job.Build{Path: "context"}},
		"here:1, on which the job has its packages": {Image: "here:1",
			Conda: map[string]any{"dependencies": []any{"numpy==1"}}},
		"conda_file names no single version of numpy, pip": {Image: "here@" + someDigest,
			Conda: map[string]any{"dependencies": []any{"numpy", "pip"}}},
	} {
		if strings.HasPrefix(want, "conda_file") {
			want = strings.TrimPrefix(want, "conda_file ")
		}
		_, v := digestOf(e)
		require.Len(t, v.Without, 1, want)
		require.Contains(t, v.Without[0], want)
	}
}

// What decides what a run on this machine does is what it gets of this machine.
func TestVariablesThatCount(t *testing.T) {
	of := func(environ ...string) string {
		return strings.Join(variablesOf(environ, []string{"TERM", "A_TOKEN"}), " ")
	}
	require.Equal(t, "A_TOKEN LANG=C MODE=fast TERM=x",
		of("MODE=fast", "LANG=C", "SHLVL=2", "GITHUB_SHA=a", "SSH_TTY=b", "TERM=x", "A_TOKEN=secret", "a b=c", "_=d",
			"PWD=e"))
	require.Empty(t, of("RUNNER_TEMP=/x", "HOME=/y", "GIT_DIR=/z", "PATH=/bin"))
}

// A package that is installed as it lies is part of the snapshot where it lies in that, with
// what a build has put beside its files.
func TestBuiltIn(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("pkg/__init__.py", "")
	write(".gitignore", "_version.py\n.venv\n")
	write(".venv/lib/x.py", "1")
	require.NoError(t, exec.Command("git", "init", "-q", dir).Run())
	s, err := snapshot.Take(t.Context(), dir, snapshot.Options{Git: &git.Finder{}})
	require.NoError(t, err)
	defer s.Close()
	none, err := builtIn(s.Dir, s)
	require.NoError(t, err)
	require.Empty(t, none)
	seen := map[string]bool{none: true}
	for _, text := range []string{"1", "2"} {
		write("pkg/_version.py", text)
		got, err := builtIn(s.Dir, s)
		require.NoError(t, err)
		require.False(t, seen[got])
		seen[got] = true
	}
	_, err = builtIn(filepath.Dir(s.Dir), s)
	require.ErrorContains(t, err, "have no version")
	_, err = builtIn(s.Dir, nil)
	require.ErrorContains(t, err, "have no version")
}

// An interpreter says what it has: another version of a package, or another file in it, is
// another environment.
func TestAskPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	require.NoError(t, err)
	venv := filepath.Join(t.TempDir(), "venv")
	out, err := exec.Command(python, "-m", "venv", "--without-pip", venv).CombinedOutput()
	require.NoError(t, err, string(out))
	found, err := filepath.Glob(filepath.Join(venv, "lib/python3*/site-packages"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	install := func(name, version, record, url string) {
		at := filepath.Join(found[0], name+"-1.dist-info")
		require.NoError(t, os.MkdirAll(at, 0o755))
		for file, text := range map[string]string{"METADATA": "Metadata-Version: 2.1\nName: " + name + "\nVersion: " +
			version + "\n", "RECORD": record, "direct_url.json": url} {
			if text != "" {
				require.NoError(t, os.WriteFile(filepath.Join(at, file), []byte(text), 0o644))
			}
		}
	}
	ask := func() string {
		v, err := askPython(t.Context(), pythonOf(venv), nil)
		require.NoError(t, err)
		require.NotEmpty(t, v.Python)
		require.NotEmpty(t, v.Platform)
		return fmt.Sprint(v)
	}
	seen := map[string]bool{ask(): true}
	require.True(t, seen[ask()], "the same is the same")
	folder := t.TempDir()
	for _, change := range []func(){
		func() { install("one", "1.0", "", "") },
		func() { install("one", "1.1", "", "") },
		func() { install("one", "1.1", "one.py,sha256=a,1\n", "") },
		func() { install("one", "1.1", "one.py,sha256=b,1\n", "") },
		func() { install("two", "1.0", "", `{"url": "file://`+folder+`", "dir_info": {"editable": true}}`) },
		func() {
			require.NoError(t, os.WriteFile(filepath.Join(found[0], "x.pth"), []byte(t.TempDir()+"\n"), 0o644))
		},
	} {
		change()
		got := ask()
		require.False(t, seen[got], got)
		seen[got] = true
	}
	v, err := askPython(t.Context(), pythonOf(venv), nil)
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks(folder)
	require.NoError(t, err)
	require.Equal(t, "two", v.Folders[real])
	require.Len(t, v.Folders, 2)
}

// What was named by its version is fetched as that version, or not at all.
func TestFetchVersion(t *testing.T) {
	tag := `"1"`
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		fmt.Fprint(w, "data")
	}))
	defer server.Close()
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, fetch(t.Context(), server.Client(), server.URL, `"1"`, root, "x"))
	tag = `"2"`
	require.ErrorIs(t, fetch(t.Context(), server.Client(), server.URL, `"1"`, root, "y"), otherVersion{})
	require.NoFileExists(t, filepath.Join(root.Name(), "y"))
}
