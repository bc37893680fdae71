package local

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/submit"
)

// A server of data may lead to another one with a certificate, and to no other.
func TestFetch(t *testing.T) {
	plain := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metadata") }))
	defer plain.Close()
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"/plain": plain.URL, "/again": server.URL + "/again", "/on": server.URL + "/data",
			"/file": "file:///etc/passwd"}[r.URL.Path]
		if to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		fmt.Fprint(w, "data")
	}))
	defer server.Close()
	client := *submit.Secure
	client.Transport = server.Client().Transport
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for path, want := range map[string]string{"/data": "", "/on": "", "/plain": "an address without https",
		"/file": "an address without https", "/again": "leads on and on"} {
		err := fetch(t.Context(), &client, server.URL+path, "", root, "x")
		if want != "" {
			require.ErrorContains(t, err, want, path)
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
