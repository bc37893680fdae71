// Package testenv answers: are the real programs that a test needs on this machine?
//
// With CI=true one that is missing fails the test. Elsewhere the test is skipped,
// and make test names the part at its end. With -short (make test-fast) no test starts
// one.
package testenv

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// Python returns the interpreter of the virtual environment with MLflow and
// scikit-learn that make test sets up.
func Python(t testing.TB) string {
	t.Helper()
	slow(t)
	venv := os.Getenv("AML_TRAIN_TEST_VENV")
	python := filepath.Join(venv, "bin", "python")
	if venv != "" && has(python, "mlflow", "sklearn") {
		return python
	}
	missing(t, "MLflow and scikit-learn (make test installs them)")
	return ""
}

// has tells whether a Python has those modules, which it does not load: MLflow takes seconds.
func has(python string, modules ...string) bool {
	find := "import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
	return exec.Command(python, append([]string{"-c", find}, modules...)...).Run() == nil
}

// MLflowSignIn tells whether MLflow's own server can have one sign in, with that interpreter.
// Where it cannot, the test that needs it is named.
func MLflowSignIn(t testing.TB, python string) bool {
	if has(python, "flask_wtf") || everything() {
		return true
	}
	note(t, "MLflow's sign-in (Flask-WTF; make test installs it)")
	return false
}

// CMark returns an interpreter that has cmark-gfm, by which GitHub shows Markdown.
func CMark(t testing.TB) string {
	t.Helper()
	slow(t)
	python := filepath.Join(os.Getenv("AML_TRAIN_TEST_VENV"), "bin", "python")
	if has(python, "cmarkgfm") {
		return python
	}
	missing(t, "cmark-gfm (cmarkgfm; make test installs it)")
	return ""
}

// Layouts returns the virtual environment with the tools that training repositories are
// laid out with (build backends, uv, Hydra, DVC, papermill), which make test sets up.
func Layouts(t testing.TB) string {
	t.Helper()
	slow(t)
	venv := os.Getenv("AML_TRAIN_TEST_LAYOUTS")
	if _, err := os.Stat(filepath.Join(venv, "ready")); venv == "" || err != nil {
		missing(t, "uv, hatchling, Hydra, DVC and papermill (make test installs them)")
	}
	return venv
}

// Program returns the path of a program.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name)
	}
	return path
}

// Cases is how many cases a test generates: the usual number where CI=true, a quarter of it
// elsewhere, a tenth with -short, and what AML_TRAIN_CASES says where that is set (make
// differential).
func Cases(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("AML_TRAIN_CASES")); err == nil {
		return n
	}
	switch {
	case testing.Short():
		return max(usual/10, 1)
	case !everything():
		return max(usual/4, 1)
	}
	return usual
}

// everything tells whether nothing is left out: it takes longer, and what is missing is a fault.
func everything() bool { return os.Getenv("CI") == "true" }

// Each yields every step-th number from 1, for a test of what fails at each of a program's requests,
// which ends it itself. Where CI is not true it is every third at least, from one of the first
// three on that is another one each time.
func Each(step int) iter.Seq[int] {
	first := 1
	if !everything() {
		first, step = 1+rand.IntN(3), max(step, 3)
	}
	return func(yield func(int) bool) {
		for n := first; yield(n); n += step {
		}
	}
}

// Large skips a test with -short that takes long because of how much it handles.
func Large(t testing.TB, what string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("left out with -short: %s", what)
	}
}

// Seed is the first case that a test generates: 0, or what AML_TRAIN_SEED says. A
// failing case names its own.
func Seed() int {
	n, err := strconv.Atoi(os.Getenv("AML_TRAIN_SEED"))
	if err != nil {
		return 0
	}
	return n
}

// Allocated returns how many bytes f allocates, what is freed again included. Nothing
// else may run meanwhile.
func Allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// Root tells whether the test may mount a file system. Where it may not, the part
// of the test that needs it is named.
func Root(t testing.TB) bool {
	if os.Geteuid() == 0 || everything() {
		return true
	}
	note(t, "the right to mount a file system (root)")
	return false
}

// slow skips, with -short, a test that starts a server, a container or MLflow.
func slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out with -short: it starts real services")
	}
}

func missing(t testing.TB, what string) {
	t.Helper()
	if everything() {
		t.Fatalf("%s: missing on this machine", what)
	}
	note(t, what)
	t.Skipf("%s: missing on this machine", what)
}

func note(t testing.TB, what string) {
	if list := os.Getenv("AML_TRAIN_TEST_SKIPPED"); list != "" {
		if f, err := os.OpenFile(list, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			fmt.Fprintf(f, "%s: %s\n", t.Name(), what)
			f.Close()
		}
	}
}

// Docker needs a Docker Engine and the images that .ci/docker makes.
func Docker(t testing.TB) {
	t.Helper()
	slow(t)
	for _, image := range []string{Image, UserImage} {
		if exec.Command("docker", "image", "inspect", image).Run() != nil {
			missing(t, "a Docker Engine with the test images (.ci/docker starts and makes them)")
		}
	}
}

// Images with a Debian and its Python; the second runs as another user than root.
const (
	Image     = "aml-train-test/python"
	UserImage = "aml-train-test/user"
)

// AzureMLflow returns the interpreter of the virtual environment with azureml-mlflow, which
// make test sets up: it wants an older MLflow than the other one has.
func AzureMLflow(t testing.TB) string {
	t.Helper()
	slow(t)
	python := filepath.Join(os.Getenv("AML_TRAIN_TEST_AZUREML_MLFLOW"), "bin", "python")
	if os.Getenv("AML_TRAIN_TEST_AZUREML_MLFLOW") == "" ||
		exec.Command(python, "-c", "import azureml.mlflow").Run() != nil {
		missing(t, "azureml-mlflow (make test installs it)")
	}
	return python
}

// Node returns the folder with the npm packages that make test installs.
func Node(t testing.TB) string {
	t.Helper()
	slow(t)
	dir := os.Getenv("AML_TRAIN_TEST_NODE")
	if _, err := os.Stat(filepath.Join(dir, "ready")); dir == "" || err != nil {
		missing(t, "Prism, GitHub's API description and Mermaid (make test installs them)")
	}
	return filepath.Join(dir, "node_modules")
}

// GraphQL returns the folder with the npm packages, GitHub's GraphQL schema among them.
func GraphQL(t testing.TB) string {
	t.Helper()
	dir := Node(t)
	if _, err := os.Stat(filepath.Join(dir, "@octokit", "graphql-schema", "schema.json")); err != nil {
		missing(t, "GitHub's GraphQL schema (make test installs it)")
	}
	return dir
}

// Azurite starts Microsoft's emulator of blob storage, until the test ends, and
// returns the address of its blob service. It takes tokens, for which it needs TLS.
func Azurite(t testing.TB) string {
	t.Helper()
	program := filepath.Join(Node(t), ".bin", "azurite-blob")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir := t.TempDir()
	private, err := x509.MarshalPKCS8PrivateKey(own().PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"azurite.pem": Certificate(),
		"azurite.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "--blobHost", "127.0.0.1", "--blobPort", fmt.Sprint(port), "--inMemoryPersistence",
		"--skipApiVersionCheck", "--silent", "--disableTelemetry",
		"--oauth", "basic", "--cert", "azurite.pem", "--key", "azurite.key")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	client := &http.Client{Transport: AzuriteTransport()}
	address := fmt.Sprintf("https://127.0.0.1:%d", port)
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if res, err := client.Get(address); err == nil {
			res.Body.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatal("Azurite does not start")
		}
	}
}

// AzuriteTransport takes any certificate: Azurite is on loopback.
func AzuriteTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	transport.MaxIdleConnsPerHost = 128
	return transport
}
