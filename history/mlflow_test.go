//go:build unix

package history

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// TestClientWithMLflow is TestClient with MLflow's own server, on a history that
// this package made.
func TestClientWithMLflow(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	require.NoError(t, s.Close())
	exercise(t, &Client{Base: startMLflow(t, s.Home), HTTP: http.DefaultClient}, "a")
}

// A record is a run in MLflow's own server, once, at whichever request its answer is lost.
func TestPublishWithMLflow(t *testing.T) {
	rec, zip := theRecord(t)
	base, made := startMLflow(t, t.TempDir()), 0
	publishFaults(t, rec, zip, func() (*Client, string) {
		made++
		return &Client{Base: base}, fmt.Sprint("shared ", made)
	}, &faulty{after: true})
}

// startMLflow starts MLflow's own server on the history in a folder, and returns its address.
func startMLflow(t *testing.T, home string) string {
	python := testenv.Python(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	cmd := exec.Command(python, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///"+
		filepath.Join(home, "history.db"),
		"--artifacts-destination", t.TempDir(), "--host", "127.0.0.1", "--port", port, "--workers", "1")
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true")
	cmd.Dir = t.TempDir()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if res, err := http.Get("http://" + addr + "/health"); err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("MLflow's server does not answer: %s", text)
		}
	}
	return "http://" + addr
}
