package azureml

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// lockable is a job with code, data and a build context of its own, and a named output.
func lockable(t *testing.T) (s submit.Submission, change func() submit.Submission) {
	dir := t.TempDir()
	for name, text := range map[string]string{"src/train.py": "print(1)", "src/lib/a b#%.py": "a = 1", "x.csv": "1,2",
		"context/Dockerfile": "FROM python",
		"job.yml": "command: python train.py ${{inputs.data}} ${{outputs.model}}\ncode: src\ncompute: cpu-cluster\n" +
			"experiment_name: locked\ninputs: {data: {type: uri_file, path: x.csv}}\noutputs: {model: {type: " +
			"uri_folder}}\nenvironment: {build: {path: context}}\n"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	take := func() submit.Submission {
		j, err := job.Load(t.Context(), filepath.Join(dir, "job.yml"), job.Options{})
		require.NoError(t, err)
		s, err := snapshot.Take(t.Context(), filepath.Join(dir, "src"), snapshot.Options{})
		require.NoError(t, err)
		return submit.Submission{Job: j, Snapshot: s}
	}
	return take(), func() submit.Submission {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "src/train.py"), []byte("print(2)"), 0o644))
		return take()
	}
}

// However far a storage account is locked down, a job is submitted with everything that
// it needs, and what it made is found: with the datastore's secrets, else as who is signed
// in, else by way of the workspace.
func TestLockedStorage(t *testing.T) {
	azurite := testenv.Azurite(t)
	for _, kind := range []string{"key", "sas", "identity"} {
		for _, role := range []string{"contributor", "reader", "none"} {
			for bits := range 4 {
				lock := azuremltest.Storage{Credentials: kind, Role: role, Unlisted: bits&1 > 0, NoKeys: bits&2 > 0,
					Gen2: bits == 1 || bits == 2}
				t.Run(fmt.Sprintf("%+v", lock), func(t *testing.T) {
					t.Parallel()
					testLocked(t, azurite, lock)
				})
			}
		}
	}
}

func testLocked(t *testing.T, azurite string, lock azuremltest.Storage) {
	var mu sync.Mutex
	asked := map[string]int{}
	w, _ := double(t, azurite, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.HasSuffix(r.URL.Path, "/listSecrets"), strings.Contains(r.URL.Path, "/artifacts"):
			asked[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]++
		}
		return false
	})
	w.Storage = lock
	byKey := lock.Credentials != "identity" && !lock.Unlisted && !lock.NoKeys
	reads, writes := byKey || lock.Role != "none", byKey || lock.Role == "contributor"
	s, change := lockable(t)
	target := target(t, w, t.TempDir())
	run, err := target.Submit(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, []string{"lib/a b#%.py", "train.py"}, w.Files(s.Snapshot.ID))

	// Data and build context are where the job says.
	taken := w.Job(run.Info.RunID)
	address := *taken.Inputs["data"].(*armmachinelearning.URIFileJobInput).URI
	require.Equal(t, writes, strings.HasPrefix(address, "azureml://datastores/workspaceblobstore/paths/LocalUpload/"),
		address)
	file, err := w.Fetch(t.Context(), address, t.TempDir())
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "1,2", string(text))
	folder, err := w.Fetch(t.Context(), *w.Environment(*taken.EnvironmentID).Properties.Build.ContextURI, t.TempDir())
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(folder, "Dockerfile"))

	// Of one changed file, only that is sent, where the account may be written to.
	var said []string
	target.Say = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	_, err = target.Submit(t.Context(), change())
	require.NoError(t, err)
	if writes {
		require.Contains(t, said[0], "1 file sent, 8 B; 1 copied within the workspace")
	}

	// What a run made is listed and read.
	files := map[string]string{"outputs/a b#%.txt": "one", "outputs/deep/er.txt": "", "logs/x/y.txt": "three",
		"top.txt": "four", "system_logs/x.log": "no"}
	for name, text := range files {
		require.NoError(t, w.Keep(run.Info.RunID, name, text))
	}
	delete(files, "system_logs/x.log")
	require.NoError(t, w.Keep(run.Info.RunID, "named_outputs/model/weights/w.bin", "five"))
	if reads {
		files["named_outputs/model/weights/w.bin"] = "five"
	}
	past, err := target.History(t.Context())
	require.NoError(t, err)
	run, err = past.Run(t.Context(), run.Info.RunID)
	require.NoError(t, err)
	list, err := past.Artifacts(t.Context(), run)
	require.NoError(t, err)
	list = slices.DeleteFunc(list, func(f history.File) bool { return f.Path == history.ConsoleLog })
	require.Len(t, list, len(files))
	for _, f := range list {
		require.Contains(t, files, f.Path)
		require.EqualValues(t, len(files[f.Path]), f.Size, f.Path)
		r, err := past.OpenArtifact(t.Context(), run, f.Path)
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, files[f.Path], string(text))
		if s, ok := r.(io.Seeker); ok { // what a file has more than was known of it is read alone
			for at := range len(text) + 1 {
				_, err := s.Seek(int64(at), io.SeekStart)
				require.NoError(t, err)
				rest, err := io.ReadAll(r)
				require.NoError(t, err)
				require.Equal(t, string(text[at:]), string(rest))
				back, err := s.Seek(int64(-at), io.SeekEnd)
				require.NoError(t, err)
				require.EqualValues(t, len(text)-at, back)
			}
		}
		require.NoError(t, r.Close())
	}
	_, err = past.OpenArtifact(t.Context(), run, "outputs/none")
	require.Error(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.LessOrEqual(t, asked["listSecrets"], 2, "once a datastore")
	require.Equal(t, reads, asked["contentinfo"] == 0, "the run history is asked where the account lets nobody in")
	if lock.Credentials == "identity" {
		require.Zero(t, asked["listSecrets"])
	}
}

// Behind a firewall nothing helps, and that is what is said.
func TestFirewall(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	w.Storage.Firewall = true
	s, _ := lockable(t)
	_, err := target(t, w, t.TempDir()).Submit(t.Context(), s)
	require.ErrorContains(t, err, "the datastore workspaceblobstore (storage account devstoreaccount1) cannot be "+
		"reached: with its key: Azure answers 403 AuthorizationFailure")
	require.ErrorContains(t, err, "its firewall")
}

// A named output is where the run's data say, or where the service puts what they do not
// know; a model's address comes from the model registry.
func TestNamedOutputs(t *testing.T) {
	azurite := testenv.Azurite(t)
	for _, where := range []string{"", "azureml", "dataset"} {
		for _, kind := range []string{job.URIFolder, job.URIFile, job.MLflowModel, job.CustomModel, "mltable"} {
			t.Run(where+" "+kind, func(t *testing.T) {
				t.Parallel()
				w, _ := double(t, azurite, nil)
				w.Outputs = where
				s := submission(t)
				s.Job.Outputs = map[string]job.Output{"made": {Type: kind}, "empty": {Type: kind}}
				target := target(t, w, t.TempDir())
				run, err := target.Submit(t.Context(), s)
				require.NoError(t, err)
				want := []string{"named_outputs/made/a.txt", "named_outputs/made/deep/b.txt"}
				if kind == job.URIFile {
					want = []string{"named_outputs/made"}
				}
				for _, name := range append(want, "named_outputs/made2/c.txt", "outputs/d.txt") {
					require.NoError(t, w.Keep(run.Info.RunID, name, name))
				}
				past, err := target.History(t.Context())
				require.NoError(t, err)
				run, err = past.Run(t.Context(), run.Info.RunID)
				require.NoError(t, err)
				list, err := past.Artifacts(t.Context(), run)
				require.NoError(t, err)
				var got []string
				for _, f := range list {
					if f.Path == history.ConsoleLog {
						continue
					}
					got = append(got, f.Path)
					r, err := past.OpenArtifact(t.Context(), run, f.Path)
					require.NoError(t, err)
					text, err := io.ReadAll(r)
					require.NoError(t, err)
					require.Equal(t, f.Path, string(text))
				}
				require.ElementsMatch(t, append(want, "outputs/d.txt"), got)
			})
		}
	}
}

// A run is hidden and shown again without sending its job back.
func TestArchive(t *testing.T) {
	var changed []string
	w, _ := double(t, testenv.Azurite(t), func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/jobs/") || r.Method == http.MethodPatch {
			changed = append(changed, r.Method)
		}
		return false
	})
	target := target(t, w, t.TempDir())
	run, err := target.Submit(t.Context(), submission(t))
	require.NoError(t, err)
	for _, hidden := range []bool{true, false} {
		require.NoError(t, target.Archive(t.Context(), run.Info.RunID, hidden))
		require.Equal(t, hidden, w.Archived(run.Info.RunID))
	}
	require.Equal(t, []string{"PUT", "PATCH", "PATCH"}, changed)
	require.ErrorIs(t, target.Archive(t.Context(), "nothing", true), ErrNoRun)
}

// A job that runs as who submits it brings that user's token for Azure ML.
func TestUserIdentity(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	s := submission(t)
	s.Job.Identity = &job.Identity{Type: "user_identity"}
	_, err := target(t, w, t.TempDir()).Submit(t.Context(), s)
	require.NoError(t, err)
}

// Every request of what is read or changed of a run fails once, and nobody notices.
func TestEveryReadFailsOnce(t *testing.T) {
	azurite := testenv.Azurite(t)
	for _, lock := range [][]string{{"key"}, {"unlisted", "none"}} {
		var mu sync.Mutex
		asked, fail := 0, 0
		w, _ := double(t, azurite, func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked != fail || !ours(r) {
				return false
			}
			if fail%2 == 0 {
				panic(http.ErrAbortHandler)
			}
			rw.Header().Set("Retry-After", "0")
			rw.WriteHeader(http.StatusServiceUnavailable)
			return true
		})
		require.NoError(t, w.Storage.Lock(lock...))
		s, _ := lockable(t)
		run, err := target(t, w, t.TempDir()).Submit(t.Context(), s)
		require.NoError(t, err)
		require.NoError(t, w.Keep(run.Info.RunID, "outputs/a.txt", "a"))
		for n := range testenv.Each(1) {
			mu.Lock()
			asked, fail = 0, n
			mu.Unlock()
			target := target(t, w, t.TempDir())
			past, err := target.History(t.Context())
			require.NoError(t, err, n)
			run, err := past.Run(t.Context(), run.Info.RunID)
			require.NoError(t, err, n)
			list, err := past.Artifacts(t.Context(), run)
			require.NoError(t, err, n)
			require.Contains(t, list, history.File{Path: "outputs/a.txt", Size: 1})
			r, err := past.OpenArtifact(t.Context(), run, "outputs/a.txt")
			require.NoError(t, err, n)
			text, err := io.ReadAll(r)
			require.NoError(t, err, n)
			require.Equal(t, "a", string(text))
			require.NoError(t, target.Archive(t.Context(), run.Info.RunID, n%2 == 0), n)
			_, _, err = past.SearchRuns(t.Context(), history.Query{Commit: "none", MaxResults: 1})
			require.NoError(t, err, n)
			mu.Lock()
			enough := asked < n
			mu.Unlock()
			if enough {
				require.Greater(t, n, 12)
				break
			}
		}
	}
}
