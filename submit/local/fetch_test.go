package local

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/pipeline"
	"github.com/org/aml-train/submit"
)

// A server of data may lead to another one with a certificate, and to no other. A transfer that breaks
// is sent again, and one that never ends, or of another version, is an error.
func TestFetch(t *testing.T) {
	plain := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metadata") }))
	defer plain.Close()
	var server *httptest.Server
	tries := map[string]int{}
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"/plain": plain.URL, "/again": server.URL + "/again", "/on": server.URL + "/data",
			"/file": "file:///etc/passwd"}[r.URL.Path]
		if to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		switch tries[r.URL.Path]++; { // one request at a time
		case r.URL.Path == "/unwell" && tries[r.URL.Path] == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/gone":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/broken" && tries[r.URL.Path] < 3:
			w.Header().Set("Content-Length", "4")
			fmt.Fprint(w, "da")
		case r.URL.Path == "/never":
			w.Header().Set("Content-Length", "4")
			fmt.Fprint(w, "da")
		default:
			w.Header().Set("ETag", `"two"`)
			fmt.Fprint(w, "data")
		}
	}))
	defer server.Close()
	defer func(was time.Duration) { pipeline.Delay = was }(pipeline.Delay)
	pipeline.Delay = time.Millisecond
	client := *submit.Secure
	client.Transport = server.Client().Transport
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for path, want := range map[string]string{"/data": "", "/on": "", "/plain": "an address without https",
		"/file": "an address without https", "/again": "leads on and on", "/unwell": "", "/broken": "",
		"/gone": "404", "/never": "unexpected EOF", "/other": "it has changed since the run was submitted"} {
		etag := map[string]string{"/other": `"one"`}[path]
		err := fetch(t.Context(), &client, server.URL+path, etag, root, "x")
		if want != "" {
			require.ErrorContains(t, err, want, path)
			require.Equal(t, map[string]int{"/never": 3, "/gone": 1, "/other": 1}[path], tries[path], path)
			require.NoFileExists(t, filepath.Join(dir, "x"))
			continue
		}
		require.NoError(t, err, path)
		text, err := os.ReadFile(filepath.Join(dir, "x"))
		require.NoError(t, err)
		require.Equal(t, "data", string(text))
		require.NoError(t, os.Remove(filepath.Join(dir, "x")))
	}
}
