//go:build unix

package history

import (
	"fmt"
	"net/http"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/faulttest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestClientWithMLflow is TestClient with MLflow's own server, on a history that
// this package made.
func TestClientWithMLflow(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	require.NoError(t, s.Close())
	base := startMLflow(t, s.Home)
	exercise(t, &Client{Base: base, HTTP: http.DefaultClient}, "a")
	finalize(t, base, false)
}

// A record is a run in MLflow's own server, once, at whichever request its answer is lost.
func TestPublishWithMLflow(t *testing.T) {
	rec, zip := theRecord(t)
	base, made := startMLflow(t, t.TempDir()), 0
	publishFaults(t, rec, zip, func() (*Client, string) {
		made++
		return &Client{Base: base}, fmt.Sprint("shared ", made)
	}, faulttest.Fault{After: true})
}

// startMLflow starts MLflow's own server on the history in a folder, and returns its address.
func startMLflow(t *testing.T, home string) string {
	address, end, err := testenv.StartMLflow(testenv.Python(t), home, func(*exec.Cmd) {})
	require.NoError(t, err)
	t.Cleanup(end)
	return address
}
