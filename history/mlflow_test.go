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

// TestWithMLflow is TestClient with MLflow's own server, on a history that this package made;
// and a record is a run there, once, at whichever request its answer is lost.
func TestWithMLflow(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	require.NoError(t, s.Close())
	base, end, err := testenv.StartMLflow(testenv.Python(t), s.Home, func(*exec.Cmd) {})
	require.NoError(t, err)
	t.Cleanup(end)
	exercise(t, &Client{Base: base, HTTP: http.DefaultClient}, "a")
	finalize(t, base, false)

	rec, zip := theRecord(t)
	made := 0
	publishFaults(t, rec, zip, func() (*Client, string) {
		made++
		return &Client{Base: base}, fmt.Sprint("shared ", made)
	}, faulttest.Fault{After: true})
}
