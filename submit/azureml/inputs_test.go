package azureml

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/local"
)

var _ local.Elsewhere = (*Target)(nil)

// machine submits jobs on this machine, whose data a workspace has. Its cache is its own.
type machine struct {
	t     *testing.T
	w     *azuremltest.Workspace
	cache string
	store *history.Store
}

func newMachine(t *testing.T, w *azuremltest.Workspace) *machine {
	cache, err := os.MkdirTemp("", "cache") // whose name a command line takes as it is
	require.NoError(t, err)
	m := &machine{t: t, w: w, cache: cache}
	t.Cleanup(func() { require.NoError(t, errors.Join(writable(cache), os.RemoveAll(cache))) })
	t.Setenv("XDG_CACHE_HOME", cache)
	m.store, err = history.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { m.store.Close() })
	return m
}

// submit submits a job with an input.
func (m *machine) submit(ctx context.Context, in job.Input) error {
	here := &local.Target{Store: m.store, Supervisor: []string{"true"},
		Workspace: func() (local.Elsewhere, error) { return target(m.t, m.w, m.t.TempDir()), nil }}
	_, err := here.Submit(ctx, submit.Submission{Job: &job.Job{Type: "command", Compute: job.Local, Command: "true",
		ExperimentName: "e", Dir: m.t.TempDir(), Inputs: map[string]job.Input{"rows": in}}})
	return err
}

// whole returns the files of data that are there to be used, by path; nil where none are.
func (m *machine) whole() map[string]string {
	lists, err := filepath.Glob(filepath.Join(m.cache, "aml-train/data/*/files.json"))
	require.NoError(m.t, err)
	if len(lists) == 0 {
		return nil
	}
	require.Len(m.t, lists, 1)
	top, err := filepath.Glob(filepath.Join(filepath.Dir(lists[0]), "data", "*"))
	require.NoError(m.t, err)
	require.Len(m.t, top, 1)
	out := map[string]string{}
	require.NoError(m.t, filepath.WalkDir(top[0], func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(top[0], name)
		text, err := os.ReadFile(name)
		info, ierr := d.Info()
		require.Equal(m.t, fs.FileMode(0o444), info.Mode())
		out[filepath.ToSlash(rel)] = string(text)
		return errors.Join(err, ierr)
	}))
	return out
}

// writable lets a folder be removed.
func writable(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(name, 0o755)
		}
		return err
	})
}

const rows = "azureml://datastores/workspaceblobstore/paths/rows"

// blobTree makes up names as stores have them, and what becomes of them in a folder.
func blobTree(r *rand.Rand) (blobs map[string]*blockblob.UploadBufferOptions, texts, want map[string]string) {
	parts := []string{"a", "A", "b.csv", "with blank", "%2e%2e", "a+b&c=d", "ü", "日本", "#1", "q?x", "~", "-rf", "'",
		`"`, "$(id)", "CON", "a:b", "...", ".hidden", "e\u0301", "x;y", "[0]", "*", "tail."}
	blobs, texts, want = map[string]*blockblob.UploadBufferOptions{}, map[string]string{}, map[string]string{}
	folders := map[string]bool{}
	for range 1 + r.IntN(12) {
		var names []string
		for range 1 + r.IntN(3) {
			names = append(names, parts[r.IntN(len(parts))])
		}
		name := strings.Join(names, "/")
		taken := folders[name]
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			_, file := texts[dir]
			taken = taken || file
		}
		if _, there := texts[name]; there || taken {
			continue
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			folders[dir] = true
		}
		text := strings.Repeat(name, []int{0, 1, 100, 2000}[r.IntN(4)])
		o := &blockblob.UploadBufferOptions{}
		switch r.IntN(8) {
		case 0: // packed, and stays so
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			io.WriteString(z, text)
			z.Close()
			text, o.HTTPHeaders = packed.String(), &blob.HTTPHeaders{BlobContentEncoding: to.Ptr("gzip")}
		case 1: // in blocks, of which the store knows no MD5
			o.BlockSize, o.Concurrency = 1000, 1
		}
		blobs[name], texts[name], want[name] = o, text, text
	}
	for dir := range folders { // that somebody made first
		switch r.IntN(5) {
		case 0:
			blobs[dir], texts[dir] = azuremltest.Marker(), ""
		case 1:
			blobs[dir+"/"], texts[dir+"/"] = nil, ""
		case 2:
			blobs[dir], texts[dir] = nil, "" // empty, and called as a folder
		case 3:
			name := dir + "/" + []string{".git/config", ".aml-train/x", "sub/.GIT"}[r.IntN(3)] // which never travels
			blobs[name], texts[name] = nil, "no"
		}
	}
	return blobs, texts, want
}

// Whatever blobs lie in a folder, a run has those files that they are: under their names, with
// the bytes that are stored, and without what only marks a folder.
func TestRandomBlobs(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	for n := range testenv.Cases(60) {
		seed := uint64(testenv.Seed() + n)
		blobs, texts, want := blobTree(rand.New(rand.NewPCG(seed, 7)))
		folder := fmt.Sprintf("tree%d/rows", seed)
		for name, o := range blobs {
			require.NoError(t, w.PutBlob("workspaceblobstore", folder+"/"+name, texts[name], o), "AML_TRAIN_SEED=%d",
				seed)
		}
		require.NoError(t, w.Put("workspaceblobstore", folder+"s/other", "of a folder beside it"))
		m := newMachine(t, w)
		address := "azureml://datastores/workspaceblobstore/paths/" + folder
		require.NoError(t, m.submit(t.Context(), job.Input{Type: job.URIFolder, Path: address}), "AML_TRAIN_SEED=%d",
			seed)
		require.Equal(t, want, m.whole(), "AML_TRAIN_SEED=%d", seed)
		for name := range want { // and one of them by itself
			m := newMachine(t, w)
			require.NoError(t, m.submit(t.Context(), job.Input{Type: job.URIFile, Path: address + "/" + name}))
			require.Equal(t, map[string]string{".": want[name]}, m.whole(), "AML_TRAIN_SEED=%d: %q", seed, name)
			break
		}
	}
}

// manyFiles are data of several sizes.
func manyFiles(t *testing.T, w *azuremltest.Workspace) map[string]string {
	files := map[string]string{}
	for n := range 5 {
		name := fmt.Sprintf("part%d/rows.csv", n)
		files[name] = strings.Repeat(fmt.Sprintf("row of %d\n", n), n*n*n*160)
		require.NoError(t, w.Put("workspaceblobstore", "rows/"+name, files[name]))
	}
	return files
}

// Every request of a loading fails, in every way; the process is interrupted at each. Then the
// data are whole, or nothing of them is used and no run is made; and the next command has
// them whole.
func TestEveryRequestOfALoading(t *testing.T) {
	azurite := testenv.Azurite(t)
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"cut": func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"cut in the middle": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			maps.Copy(w.Header(), answer.Header())
			w.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
			w.WriteHeader(answer.Code)
			w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"refused": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("x-ms-error-code", "AuthenticationFailed")
			w.WriteHeader(http.StatusForbidden)
		},
		"gone":        func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(404) },
		"broken":      func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(500) },
		"interrupted": nil,
	} {
		for _, stays := range []bool{false, true} { // from that request on, as a SAS that has expired
			t.Run(fmt.Sprintf("%s, stays %v", name, stays), func(t *testing.T) {
				testLoading(t, azurite, stays, rows, fail)
			})
		}
		t.Run(name+", of a registry", func(t *testing.T) {
			testLoading(t, azurite, false, "azureml://registries/meadow/data/rows/labels/latest", fail)
		})
	}
}

func testLoading(t *testing.T, azurite string, stays bool, address string,
	fail func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	var at, asked atomic.Int64
	var interrupt atomic.Value
	w, _ := double(t, azurite, func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !ours(r) {
			return false
		}
		if n := asked.Add(1); n < at.Load() || n > at.Load() && !stays {
			return false
		}
		if fail == nil {
			interrupt.Load().(context.CancelFunc)()
			panic(http.ErrAbortHandler)
		}
		fail(rw, r, next)
		return true
	})
	files := manyFiles(t, w)
	w.Storage.Credentials = "sas"
	w.Share("data", "rows", "1", "rows")
	refused, last := 0, int64(0)
	step := 1
	if stays {
		step = 3
	}
	for number := range testenv.Each(step) {
		at.Store(int64(number))
		m := newMachine(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		interrupt.Store(cancel)
		asked.Store(0)
		err := m.submit(ctx, job.Input{Type: job.URIFolder, Path: address})
		cancel()
		n := asked.Load()
		runs, _, serr := m.store.SearchRuns(t.Context(), history.Query{MaxResults: 10})
		require.NoError(t, serr)
		if err != nil {
			refused++
			require.Empty(t, m.whole(), "request %d", at.Load())
			require.Empty(t, runs, "request %d", at.Load())
			require.NotContains(t, err.Error(), "sig=")
			require.NotContains(t, err.Error(), azuremltest.Secret)
			if fail == nil {
				require.ErrorIs(t, err, context.Canceled)
			}
		} else {
			require.Equal(t, files, m.whole(), "request %d", at.Load())
			require.Len(t, runs, 1)
		}
		before := at.Swap(1 << 40)
		require.NoError(t, m.submit(t.Context(), job.Input{Type: job.URIFolder, Path: address}))
		require.Equal(t, files, m.whole(), "request %d", before)
		if at.Store(before); n < before {
			last = before
			break
		}
	}
	require.Greater(t, last, int64(12))
	t.Logf("%d requests, %d loadings were refused", last, refused)
	if stays {
		require.Greater(t, refused, 2)
	}
}

// A large file whose transfer breaks again and again is gone on with where it stood, also by
// the next command; one that has changed meanwhile begins anew.
func TestLoadingGoesOn(t *testing.T) {
	var mu sync.Mutex
	breaks, served := true, 0
	w, _ := double(t, testenv.Azurite(t), func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !ours(r) || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/rows/large.bin") {
			return false
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		mu.Lock()
		send := answer.Body.Len()
		if breaks {
			send /= 3
		}
		served += send
		mu.Unlock()
		maps.Copy(rw.Header(), answer.Header())
		rw.WriteHeader(answer.Code)
		rw.Write(answer.Body.Bytes()[:send])
		http.NewResponseController(rw).Flush()
		if send < answer.Body.Len() {
			panic(http.ErrAbortHandler)
		}
		return true
	})
	large := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(large)
	require.NoError(t, w.Put("workspaceblobstore", "rows/large.bin", string(large)))
	w.Storage.Credentials = "sas"
	m := newMachine(t, w)
	in := job.Input{Type: job.URIFile, Path: rows + "/large.bin"}
	err := m.submit(t.Context(), in)
	require.NotContains(t, err.Error(), "sig=")
	require.ErrorContains(t, err, `inputs.rows: `+rows+`/large.bin: the file "large.bin": `)
	require.ErrorContains(t, err, "; run the command again, which goes on with what has come")
	require.Nil(t, m.whole())
	require.Greater(t, served, len(large)/3)
	breaks = false
	require.NoError(t, m.submit(t.Context(), in))
	require.Equal(t, map[string]string{".": string(large)}, m.whole())
	require.Less(t, served, len(large)*5/4, "what had come comes once")

	breaks = true
	m = newMachine(t, w)
	require.Error(t, m.submit(t.Context(), in))
	breaks = false
	slices.Reverse(large)
	require.NoError(t, w.Put("workspaceblobstore", "rows/large.bin", string(large)))
	require.NoError(t, m.submit(t.Context(), in))
	require.Equal(t, map[string]string{".": string(large)}, m.whole())
}

// A file that is not what its store says of it is not used, however often it is loaded; nor is
// one that changes while it is.
func TestLoadingIsChecked(t *testing.T) {
	bent, changed := true, false
	var w *azuremltest.Workspace
	w, _ = double(t, testenv.Azurite(t), func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !ours(r) || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/rows/a.csv") {
			return false
		}
		if changed {
			changed = w.Put("workspaceblobstore", "rows/a.csv", "other rows") != nil
		}
		if !bent {
			return false
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		maps.Copy(rw.Header(), answer.Header())
		rw.Write(bytes.Replace(answer.Body.Bytes(), []byte("rows"), []byte("rowz"), 1))
		return true
	})
	require.NoError(t, w.Put("workspaceblobstore", "rows/a.csv", "rows"))
	m := newMachine(t, w)
	in := job.Input{Type: job.URIFolder, Path: rows}
	require.ErrorContains(t, m.submit(t.Context(), in), `the file "a.csv": what arrived is not what the storage`)
	require.Nil(t, m.whole())
	bent, changed = false, true
	require.ErrorContains(t, m.submit(t.Context(), in), `the file "a.csv": Azure answers 412`)
	require.Nil(t, m.whole())
	require.NoError(t, m.submit(t.Context(), in))
	require.Equal(t, map[string]string{"a.csv": "other rows"}, m.whole())
}

// However far a storage account is locked down, its data are loaded with what lets in.
func TestLockedData(t *testing.T) {
	azurite := testenv.Azurite(t)
	for _, lock := range []azuremltest.Storage{{}, {Credentials: "sas"}, {Credentials: "identity"}, {NoKeys: true},
		{Unlisted: true, Role: "reader"}, {Gen2: true}, {Gen2: true, NoKeys: true, Role: "reader"},
		{Role: "none", Unlisted: true}, {Firewall: true}} {
		t.Run(fmt.Sprintf("%+v", lock), func(t *testing.T) {
			w, _ := double(t, azurite, nil)
			require.NoError(t, w.Put("workspaceblobstore", "flowers/a.csv", "rows"))
			w.Storage = lock
			m := newMachine(t, w)
			err := m.submit(t.Context(), job.Input{Type: job.URIFolder, Path: "azureml:flowers@latest"})
			if lock.Firewall || lock.Role == "none" {
				require.ErrorContains(t, err, "cannot be reached")
				require.Nil(t, m.whole())
				return
			}
			require.NoError(t, err)
			require.Equal(t, map[string]string{"a.csv": "rows"}, m.whole())
		})
	}
}

// A file of a run whose transfer breaks for good is an error without the signature of its
// address.
func TestBrokenOutputTellsNoSecret(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !ours(r) || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/rows/model.bin") {
			return false
		}
		if r.Header.Get("x-ms-range") != "" { // the rest never comes
			panic(http.ErrAbortHandler)
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		maps.Copy(rw.Header(), answer.Header())
		rw.Write(answer.Body.Bytes()[:1<<19])
		http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	w.Storage.Credentials = "sas"
	require.NoError(t, w.Put("workspaceblobstore", "rows/model.bin", strings.Repeat("x", 1<<20)))
	c, err := target(t, w, t.TempDir()).connect(t.Context())
	require.NoError(t, err)
	store, err := c.store(t.Context(), "workspaceblobstore")
	require.NoError(t, err)
	r, err := store.read(t.Context(), "rows/model.bin")
	require.NoError(t, err)
	defer r.Close()
	_, err = io.ReadAll(r)
	require.ErrorContains(t, err, "model.bin")
	require.NotContains(t, err.Error(), "sig=")
}

// A folder with more files than anybody means to load is refused before one is.
func TestTooManyBlobs(t *testing.T) {
	most := mostBlobs
	defer func() { mostBlobs = most }()
	w, _ := double(t, testenv.Azurite(t), nil)
	files := manyFiles(t, w)
	m := newMachine(t, w)
	mostBlobs = len(files) - 1
	in := job.Input{Type: job.URIFolder, Path: rows}
	require.ErrorContains(t, m.submit(t.Context(), in), "there are more than 4 files below it; name a folder in it")
	require.Nil(t, m.whole())
	mostBlobs++
	require.NoError(t, m.submit(t.Context(), in))
	require.Equal(t, files, m.whole())
}

// A list that goes on without a file in it is given up.
func TestBlobsWithoutEnd(t *testing.T) {
	most := mostBlobs
	defer func() { mostBlobs = most }()
	mostBlobs = 7
	for name, item := range map[string]string{"nothing": "", "marks": "<Blob><Name>rows/x/</Name><Properties>" +
		"<Content-Length>0</Content-Length></Properties></Blob>"} {
		asked := 0
		w, _ := double(t, testenv.Azurite(t), func(rw http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if r.URL.Query().Get("comp") != "list" || r.URL.Query().Get("prefix") != "rows/" {
				return false
			}
			asked++
			rw.Header().Set("Content-Type", "application/xml")
			fmt.Fprintf(rw, `<?xml version="1.0"?><EnumerationResults><Blobs>%s</Blobs><NextMarker>%d</NextMarker>`+
				`</EnumerationResults>`, item, asked)
			return true
		})
		m := newMachine(t, w)
		err := m.submit(t.Context(), job.Input{Type: job.URIFolder, Path: rows})
		require.ErrorContains(t, err, "there are more than 7 files below it; name a folder in it", name)
		require.LessOrEqual(t, asked, 71)
		require.Greater(t, asked, 7)
	}
}

// Many commands at once load data once.
func TestLoadingTogether(t *testing.T) {
	var gets atomic.Int64
	w, _ := double(t, testenv.Azurite(t), func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if ours(r) && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/rows.csv") {
			gets.Add(1)
		}
		return false
	})
	files := manyFiles(t, w)
	m := newMachine(t, w)
	var wg sync.WaitGroup
	failed := make([]error, 6)
	for i := range failed {
		wg.Go(func() { failed[i] = m.submit(t.Context(), job.Input{Type: job.URIFolder, Path: rows}) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(failed...))
	require.Equal(t, files, m.whole())
	require.EqualValues(t, len(files)-1, gets.Load()) // of an empty one there is nothing to load
}

// An address in a storage account is one of the cloud's, or none that is asked.
func TestContainerURL(t *testing.T) {
	c := &connection{env: clouds["azurecloud"]}
	for address, want := range map[string][2]string{
		"https://acc.blob.core.windows.net/box/a/b c":    {"https://acc.blob.core.windows.net/box", "a/b c"},
		"wasbs://box@acc.blob.core.windows.net/a/":       {"https://acc.blob.core.windows.net/box", "a"},
		"abfss://box@acc.dfs.core.windows.net/a":         {"https://acc.blob.core.windows.net/box", "a"},
		"https://acc.blob.core.windows.net.evil.org/b/a": {},
		"https://evil.org/b/a":                           {},
		"http://acc.blob.core.windows.net/b/a":           {},
		"wasbs://acc.blob.core.windows.net/a":            {},
		"file:///etc/passwd":                             {},
	} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		where, at := c.containerURL(u)
		require.Equal(t, want, [2]string{where, at}, address)
	}
}
