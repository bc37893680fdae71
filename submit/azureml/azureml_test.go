package azureml

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/pipeline"
	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// TestMain trusts the certificate that the tests' servers have, and has what is tried again
// tried at once: a hundred requests fail here, each in several ways.
func TestMain(m *testing.M) {
	pipeline.Delay = time.Millisecond
	file := filepath.Join(os.TempDir(), fmt.Sprintf("aml-train-test-%d.pem", os.Getpid()))
	if err := os.WriteFile(file, testenv.Certificate(), 0o644); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	code := m.Run()
	os.Remove(file)
	os.Exit(code)
}

// faulty stands before Azurite: it counts what arrives there, and asks fault first.
type faulty struct {
	proxy *httputil.ReverseProxy
	fault func(http.ResponseWriter, *http.Request, http.Handler) bool

	mu   sync.Mutex
	puts map[string]int // by path, uploads that Azurite has confirmed
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.fault != nil && f.fault(w, r, http.HandlerFunc(f.forward)) {
		return
	}
	f.forward(w, r)
}

func (f *faulty) forward(w http.ResponseWriter, r *http.Request) {
	recorder := &recorded{ResponseWriter: w}
	f.proxy.ServeHTTP(recorder, r)
	if r.Method == http.MethodPut && recorder.status == http.StatusCreated && strings.Contains(r.URL.Path, "/code/") {
		f.mu.Lock()
		f.puts[r.URL.Path]++
		f.mu.Unlock()
	}
}

type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// double is a workspace whose jobs do not run, behind faults.
func double(t *testing.T, azurite string, fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool) (
	*azuremltest.Workspace, *faulty) {
	target, err := url.Parse(azurite)
	require.NoError(t, err)
	f := &faulty{proxy: httputil.NewSingleHostReverseProxy(target), puts: map[string]int{}, fault: nil}
	f.proxy.Transport = testenv.AzuriteTransport()
	server := testenv.TLSServer(f)
	t.Cleanup(server.Close)
	w, err := azuremltest.New(server.URL, t.TempDir(), []string{"true"})
	require.NoError(t, err)
	t.Cleanup(w.Close)
	f.fault = fault
	if fault != nil {
		w.Fault = fault
	}
	return w, f
}

func target(t *testing.T, w *azuremltest.Workspace, home string) *Target {
	return &Target{Workspace: Workspace{azuremltest.Subscription, azuremltest.Group, azuremltest.Name},
		SignIn: SignIn{Creds: w.Creds()}, Home: home, Poll: 20 * time.Millisecond}
}

// ours tells the client's requests from those of the workspace itself.
func ours(r *http.Request) bool { return strings.Contains(r.UserAgent(), "aml-train") }

// submission is a job with three files, and data of its own.
func submission(t *testing.T) submit.Submission {
	dir := t.TempDir()
	for name, text := range map[string]string{"src/train.py": "print(1)", "src/lib/a.py": "a = 1",
		"src/lib/b.py": "b = 2", "x.csv": "1,2",
		"job.yml": "command: python train.py ${{inputs.data}}\ncode: src\ncompute: cpu-cluster\nexperiment_name: " +
			"keys\ninputs: {data: {type: uri_file, path: x.csv}}\nenvironment: {image: python}\n"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	j, err := job.Load(t.Context(), filepath.Join(dir, "job.yml"), job.Options{})
	require.NoError(t, err)
	s, err := snapshot.Take(t.Context(), filepath.Join(dir, "src"), snapshot.Options{})
	require.NoError(t, err)
	return submit.Submission{Job: j, Snapshot: s, Git: gitmeta.Info{Commit: strings.Repeat("3", 40), Branch: "main"}}
}

// Every request of a submission fails once, in every way, and the process is killed at
// each and started again. At the end there is one job, its snapshot is whole, and what
// had arrived was not sent again.
func TestEveryRequestFailsOnce(t *testing.T) {
	azurite := testenv.Azurite(t)
	cut := func() { panic(http.ErrAbortHandler) }
	answer := func(status int) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(status)
		}
	}
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"cut before": func(http.ResponseWriter, *http.Request, http.Handler) { cut() },
		"cut after": func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			cut()
		},
		"too many": answer(http.StatusTooManyRequests),
		"broken":   answer(http.StatusInternalServerError),
		"unwell":   answer(http.StatusServiceUnavailable),
		"slowly": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			<-time.After(50 * time.Millisecond)
			next.ServeHTTP(w, r)
		},
		"killed":    nil,
		"cut, kill": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := submission(t)
			last := 0
			for n := range testenv.Each(1) {
				asked, mu := 0, sync.Mutex{}
				ctx, kill := context.WithCancel(t.Context())
				var w *azuremltest.Workspace
				fault := func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
					if !ours(r) {
						return false
					}
					mu.Lock()
					asked++
					mine := asked == n
					mu.Unlock()
					if !mine {
						return false
					}
					switch name {
					case "killed":
						kill()
						cut()
					case "cut, kill": // the service has done it, and nobody hears of it
						next.ServeHTTP(httptest.NewRecorder(), r)
						kill()
						cut()
					}
					fail(rw, r, next)
					return true
				}
				w, f := double(t, azurite, fault)
				home := t.TempDir()
				run, err := target(t, w, home).Submit(ctx, s)
				if ctx.Err() != nil && err != nil {
					run, err = target(t, w, home).Submit(t.Context(), s) // a new process
				}
				kill()
				require.NoError(t, err, "request %d", n)
				require.Equal(t, []string{run.Info.RunID}, w.Jobs(), "request %d", n)
				require.Equal(t, []string{s.Snapshot.ID}, w.Snapshots())
				require.Equal(t, []string{"lib/a.py", "lib/b.py", "train.py"}, w.Files(s.Snapshot.ID))
				most := 1
				if strings.HasPrefix(name, "cut") {
					most = 2
				}
				f.mu.Lock()
				for path, count := range f.puts {
					require.LessOrEqual(t, count, most, "request %d: %s", n, path)
				}
				f.mu.Unlock()
				if asked < n {
					last = n
					break
				}
			}
			require.Greater(t, last, 15)
		})
	}
}

// Interrupted while the workspace accepts the job: the answer is waited for, so that there
// is a run to be canceled. Where it does not come, nobody is told that there is none.
func TestInterruptedWhileAccepting(t *testing.T) {
	azurite := testenv.Azurite(t)
	patience := acceptPatience
	defer func() { acceptPatience = patience }()
	for _, answers := range []bool{true, false} {
		ctx, interrupt := context.WithCancel(t.Context())
		gone := make(chan bool)
		w, _ := double(t, azurite, func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
			if !strings.Contains(r.URL.Path, "/jobs/") || r.Method != http.MethodPut && ctx.Err() == nil {
				return false
			}
			interrupt()
			if !answers && ours(r) {
				select {
				case <-gone:
				case <-r.Context().Done():
				}
				panic(http.ErrAbortHandler)
			}
			<-time.After(50 * time.Millisecond) // it would be gone by now
			next.ServeHTTP(rw, r)
			return true
		})
		if !answers {
			acceptPatience = 50 * time.Millisecond
			time.AfterFunc(time.Second, func() { close(gone) })
		}
		run, err := target(t, w, t.TempDir()).Submit(ctx, submission(t))
		require.Error(t, ctx.Err())
		if answers {
			require.NoError(t, err)
			require.Equal(t, []string{run.Info.RunID}, w.Jobs())
		} else {
			require.ErrorContains(t, err, "interrupted while the workspace was accepting the job keys-")
		}
	}
}

// Killed when the job was taken and the answer not yet there: whoever starts the same
// submission again gets that job.
func TestKilledAfterSubmission(t *testing.T) {
	taken, gone := make(chan bool), make(chan bool)
	var once sync.Once
	w, _ := double(t, testenv.Azurite(t), func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/jobs/") {
			return false
		}
		next.ServeHTTP(httptest.NewRecorder(), r)
		once.Do(func() { close(taken) }) // the request may be tried again
		<-gone
		panic(http.ErrAbortHandler)
	})
	s, home := submission(t), t.TempDir()
	killed, kill := context.WithCancel(t.Context())
	done := make(chan bool)
	go func() {
		defer close(done)
		target(t, w, home).Submit(killed, s)
	}()
	<-taken
	run, err := target(t, w, home).Submit(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, []string{run.Info.RunID}, w.Jobs())
	kill()
	close(gone)
	<-done
}

// A second submission of the same job and files is another run, unless it is the same
// step of a workflow.
func TestNames(t *testing.T) {
	azurite := testenv.Azurite(t)
	s := submission(t)
	w, _ := double(t, azurite, nil)
	home := t.TempDir()
	for range 2 {
		_, err := target(t, w, home).Submit(t.Context(), s)
		require.NoError(t, err)
	}
	require.Len(t, w.Jobs(), 2)
	// started again by hand, it trains again
	for _, attempt := range []string{"41.1 train", "41.1 train", "41.2 train"} {
		step := target(t, w, t.TempDir())
		step.Attempt = attempt
		_, err := step.Submit(t.Context(), s)
		require.NoError(t, err)
	}
	require.Len(t, w.Jobs(), 4)
	s.Job.Name = w.Jobs()[0]
	s.Job.Command = "something else"
	_, err := target(t, w, home).Submit(t.Context(), s)
	require.ErrorContains(t, err, "the workspace has a job "+s.Job.Name+" already, and it is another one")
}

// An unchanged snapshot costs at most three requests for code and storage, and no
// upload.
func TestUnchangedIsNotSent(t *testing.T) {
	azurite := testenv.Azurite(t)
	s := submission(t)
	s.Job.Inputs, s.Job.Command = nil, "python train.py"
	var mu sync.Mutex
	var list []string
	w, f := double(t, azurite, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if ours(r) && (strings.Contains(r.URL.Path, "/codes/") || strings.Contains(r.URL.Path, "/datastores/") ||
			strings.HasPrefix(r.URL.Path, "/devstore")) {
			mu.Lock()
			list = append(list, r.Method+" "+r.URL.Path)
			mu.Unlock()
		}
		return false
	})
	home := t.TempDir()
	_, err := target(t, w, home).Submit(t.Context(), s)
	require.NoError(t, err)
	list = nil
	puts := len(f.puts)
	_, err = target(t, w, home).Submit(t.Context(), s)
	require.NoError(t, err)
	require.LessOrEqual(t, len(list), 3, list)
	require.Len(t, f.puts, puts)
}

// Tokens live shorter than training.
func TestTokensExpire(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	w.Lifetime = time.Second
	asked := 0
	target := target(t, w, t.TempDir())
	target.SignIn = SignIn{Tenant: azuremltest.Tenant, Client: azuremltest.Client, Cloud: w.Creds(),
		IDToken: func(context.Context) (string, error) {
			asked++
			return fmt.Sprint("workflow-token-for-", asked), nil
		}}
	run, err := target.Submit(t.Context(), submission(t))
	require.NoError(t, err)
	first := asked
	for end := time.Now().Add(time.Minute); asked == first && time.Now().Before(end); {
		records, err := target.History(t.Context())
		require.NoError(t, err)
		_, err = records.Run(t.Context(), run.Info.RunID)
		require.NoError(t, err)
	}
	require.Greater(t, asked, first, "a new token of the workflow at each refresh")
}

// The logs of several processes are told apart.
func TestProcesses(t *testing.T) {
	logs := map[string]string{"user_logs/std_log_process_10.txt": "", "user_logs/std_log_process_0.txt": "",
		"user_logs/std_log_process_9.txt": "", "system_logs/x.log": "", "logs/azureml/x.log": ""}
	require.Equal(t, []string{"user_logs/std_log_process_0.txt", "user_logs/std_log_process_9.txt",
		"user_logs/std_log_process_10.txt"}, streamable(logs))
	require.Equal(t, []string{"azureml-logs/55_setup.txt", "azureml-logs/70_driver_log.txt"},
		streamable(map[string]string{"azureml-logs/70_driver_log.txt": "", "azureml-logs/55_setup.txt": ""}))
	require.Empty(t, streamable(nil))
	var out strings.Builder
	w := &watching{out: &out, many: true, logs: map[string]*tailed{"user_logs/std_log_process_0.txt": {},
		"user_logs/std_log_process_1.txt": {}}}
	for _, part := range []struct{ name, text string }{{"user_logs/std_log_process_0.txt", "epoch 1\nepo"},
		{"user_logs/std_log_process_1.txt", "epoch 1\n"}, {"user_logs/std_log_process_0.txt", "ch 2\nlast"}} {
		require.NoError(t, w.print(part.name, w.logs[part.name], []byte(part.text)))
	}
	w.end()
	require.Equal(t, "process_0 | epoch 1\nprocess_1 | epoch 1\nprocess_0 | epoch 2\nprocess_0 | last\n", out.String())
	endless := &tailed{}
	for range 1000 { // a line without an end is not kept
		require.NoError(t, w.print("user_logs/std_log_process_0.txt", endless, bytes.Repeat([]byte("\r"), 1000)))
		require.LessOrEqual(t, len(endless.line), longLine)
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[int]string{1: "PT1M", 60: "PT1M", 61: "PT1M1S", 3600: "PT1H", 86400: "P1D",
		90061: "P1DT1H1M1S", 7 * 86400: "P7D"} {
		require.Equal(t, want, duration(seconds))
	}
}

func TestReference(t *testing.T) {
	w := Workspace{"s", "g", "w"}
	root := "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
	for ref, want := range map[string]string{
		"azureml:data:1": root + "/data/data/versions/1", "azureml:data": "azureml:data", "": "",
		"azureml://registries/azureml/data/x/versions/1": "azureml://registries/azureml/data/x/versions/1",
		"azureml://datastores/d/paths/p":                 "azureml://datastores/d/paths/p",
		"https://example.com/x":                          "https://example.com/x",
		"azureml:/subscriptions/s/x":                     "/subscriptions/s/x",
	} {
		require.Equal(t, want, reference(ref, "data", w), ref)
	}
}

// What an earlier upload left behind is read with care.
func FuzzManifest(f *testing.F) {
	f.Add("3333333333333333333333333333333333333333 a/b.py\n")
	f.Add("x ../../etc/passwd\n")
	f.Fuzz(func(t *testing.T, text string) {
		paths, err := readManifest(strings.NewReader(text))
		if err != nil {
			return
		}
		for oid, p := range paths {
			if len(oid) != 40 || strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../") {
				t.Fatalf("%q %q", oid, p)
			}
		}
	})
}

// What cannot be reached is named, and no signature of an address.
func TestShort(t *testing.T) {
	err := short(&url.Error{Op: "Put", URL: "https://x.blob.core.windows.net/c/b?sig=secret", Err: io.ErrUnexpectedEOF})
	require.EqualError(t, err, "PUT https://x.blob.core.windows.net/c/b: unexpected EOF")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// "azureml:NAME@latest" names the newest version of data and of models.
func TestLabels(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	target := target(t, w, t.TempDir())
	c, err := target.connect(t.Context())
	require.NoError(t, err)
	s := submission(t)
	s.Job.Inputs = map[string]job.Input{"data": {Type: job.URIFolder, Path: "azureml:flowers@latest"},
		"model": {Type: job.MLflowModel, Path: "azureml:classifier@latest"}}
	got, err := target.data(t.Context(), c, s)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"data": target.path() + "/data/flowers/versions/4", "model": target.path() +
		"/models/classifier/versions/2"}, got)
	s.Job.Inputs = map[string]job.Input{"data": {Type: job.URIFolder, Path: "azureml:weeds@latest"}}
	_, err = target.data(t.Context(), c, s)
	require.ErrorContains(t, err, "the workspace has no data asset weeds")
	s.Job.Inputs = map[string]job.Input{"data": {Type: job.URIFolder, Path: "azureml:flowers@first"}}
	require.ErrorContains(t, target.Check(t.Context(), s.Job), "the only label is latest")
}

// Of a long log, a report fetches the end.
func TestLogEnd(t *testing.T) {
	text := strings.Repeat("line\n", 1000)
	sent := 0
	server := testenv.TLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			return
		}
		from := 0
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		sent += len(text) - from
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		io.WriteString(w, text[from:])
	}))
	defer server.Close()
	log := &remoteLog{ctx: t.Context(),
		c: &connection{signed: runtime.NewPipeline("test", "v1.0.0", runtime.PipelineOptions{},
			&policy.ClientOptions{Transport: server.Client()})}, address: server.URL}
	end, err := log.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	require.EqualValues(t, len(text), end)
	_, err = log.Seek(-10, io.SeekEnd)
	require.NoError(t, err)
	got, err := io.ReadAll(log)
	require.NoError(t, err)
	require.Equal(t, "line\nline\n", string(got))
	require.NoError(t, log.Close())
	require.Equal(t, 10, sent)
}

// The workspace's own config.json is found above, and nobody else's is taken for it.
func TestFindConfig(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	put("a/b/config.json", `{"subscription_id": "wrong"}`)
	put("a/config.json", "no JSON")
	put(".azureml/config.json", `{"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}`)
	w, err := FindConfig(filepath.Join(dir, "a/b"), filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Equal(t, Workspace{"s", "g", "w"}, w)
	w, err = FindConfig(t.TempDir(), dir)
	require.NoError(t, err)
	require.Equal(t, []string{"resource-group", "subscription-id", "workspace-name"},
		slices.Sorted(slices.Values(w.Missing())))

	// A link of the repository to another workspace's, and what does not end, are passed over.
	require.NoError(t, os.Symlink("../../.azureml/config.json", filepath.Join(dir, "a/b/.azureml")))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(dir, "a/.azureml")))
	require.NoError(t, os.Remove(filepath.Join(dir, "a/config.json")))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(dir, "a/config.json")))
	w, err = FindConfig(filepath.Join(dir, "a/b"), filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Equal(t, "w", w.Name)
	if os.Geteuid() == 0 { // of somebody else's, above, nothing counts
		require.NoError(t, os.Chown(filepath.Join(dir, ".azureml/config.json"), 12345, 12345))
		w, err = FindConfig(filepath.Join(dir, "a/b"), filepath.Join(dir, "a"))
		require.NoError(t, err)
		require.Empty(t, w.Name)
	}
}
