package testenv

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// StartMLflow starts MLflow's own server, as a Python has it, on loopback: its database is
// history.db of a folder, and its artifacts lie there as well. With may add to its command.
// The caller ends it.
func StartMLflow(python, home string, with func(*exec.Cmd)) (address string, end func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	listens := l.Addr().(*net.TCPAddr)
	l.Close()
	cmd := exec.Command(python, "-m", "mlflow", "server", "--backend-store-uri",
		"sqlite:///"+filepath.Join(home, "history.db"), "--artifacts-destination", filepath.Join(home, "artifacts"),
		"--host", listens.IP.String(), "--port", fmt.Sprint(listens.Port), "--workers", "1")
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true",
		"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false") // processes that judge traces; no run needs them
	cmd.Dir = home
	with(cmd)
	log, err := os.Create(filepath.Join(home, "mlflow.log"))
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	kill := asGroup(cmd)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		kill()
		cmd.Wait()
	}
	address = "http://" + listens.String()
	for late := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if res, err := http.Get(address + "/health"); err == nil {
			res.Body.Close()
			return address, end, nil
		}
		if time.Now().After(late) {
			end()
			text, _ := os.ReadFile(log.Name())
			return "", nil, fmt.Errorf("MLflow's server does not answer: %s", text)
		}
	}
}
