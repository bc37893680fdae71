package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/org/aml-train/cli"
	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// The program on PATH, for the tests and their scripts, is this binary.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"aml-train": main})
}

// TestScripts runs testdata/script: each file is a manual page that is true.
// Those in testdata/script/mlflow need the real MLflow.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, params(t, "testdata/script", ""))
}

func TestScriptsWithMLflow(t *testing.T) {
	t.Parallel()
	p := params(t, "testdata/script/mlflow", testenv.Python(t))
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Values[trackingKey{}] = new(*trackingServer)
		return setup(e)
	}
	p.Cmds["mlflowserver"], p.Cmds["calls"], p.Cmds["loses"] = mlflowServer, calls, loses
	testscript.Run(t, p)
}

// TestScriptsWithLayouts train repositories as they are laid out in practice, with the
// real tools.
func TestScriptsWithLayouts(t *testing.T) {
	t.Parallel()
	venv := testenv.Layouts(t)
	testenv.Program(t, "git-lfs")
	p := params(t, "testdata/script/layouts", "")
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("LAYOUTS", venv)
		e.Setenv("PATH", filepath.Join(venv, "bin")+string(os.PathListSeparator)+e.Getenv("PATH"))
		return setup(e)
	}
	testscript.Run(t, p)
}

// TestScriptsWithMPI start ranks with a real mpirun.
func TestScriptsWithMPI(t *testing.T) {
	t.Parallel()
	testenv.Program(t, "mpirun")
	testscript.Run(t, params(t, "testdata/script/mpi", ""))
}

// venv DIR makes a virtual environment that has the tools of $LAYOUTS as well.
func virtualEnv(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(ts.Exec(filepath.Join(ts.Getenv("LAYOUTS"), "bin", "python"), "-m", "venv", "--without-pip", dir))
	for _, from := range []string{dir, ts.Getenv("LAYOUTS")} {
		found, err := filepath.Glob(filepath.Join(from, "lib", "python3*", "site-packages"))
		ts.Check(err)
		if len(found) != 1 {
			ts.Fatalf("%s has no packages", from)
		}
		if from == dir {
			dir = found[0]
		} else {
			ts.Check(os.WriteFile(filepath.Join(dir, "zz_tools.pth"), []byte(found[0]+"\n"), 0o644))
		}
	}
}

// TestScriptsWithHookManagers share the pre-push hook with the real git-lfs,
// lefthook, husky and pre-commit.
func TestScriptsWithHookManagers(t *testing.T) {
	t.Parallel()
	modules, python := testenv.Node(t), testenv.Python(t)
	testenv.Program(t, "git-lfs")
	p := params(t, "testdata/script/managers", python)
	setup := p.Setup
	env := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("PATH", strings.Join([]string{e.Getenv("PATH"), filepath.Join(modules, ".bin"), filepath.Dir(python)},
			string(os.PathListSeparator)))
		// what was built once, and by make build, need not be built again wherever the clone lies
		for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOPROXY"} {
			e.Setenv(name, env(name))
		}
		e.Setenv("GOFLAGS", env("GOFLAGS")+" -trimpath")
		e.Setenv("CGO_ENABLED", "0")
		return setup(e)
	}
	testscript.Run(t, p)
}

// TestScriptsWithAzure submit to an Azure Machine Learning workspace: Microsoft's own
// fake of the control plane, Azurite, and jobs that run for real.
func TestScriptsWithAzure(t *testing.T) { withAzure(t, "testdata/script/azure") }

// TestScriptsWithAzureAndDocker have data of a workspace in a container.
func TestScriptsWithAzureAndDocker(t *testing.T) {
	testenv.Docker(t)
	withAzure(t, "testdata/script/azure_docker")
}

func withAzure(t *testing.T, dir string) {
	p := params(t, dir, "")
	azurite := testenv.Azurite(t)
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("AZURITE", azurite)
		e.Values[azure{}] = &cell{}
		e.Setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential") // nobody is asked for an identity of the machine
		return setup(e)
	}
	testscript.Run(t, p)
}

// TestWorkspaceDouble has Microsoft's own client submit to the workspace that the other
// tests submit to: what it takes from us, it takes from them.
func TestWorkspaceDouble(t *testing.T) {
	t.Parallel()
	python := testenv.Python(t)
	w, err := azuremltest.New(testenv.Azurite(t), t.TempDir(), []string{"true"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"azure.pem": string(testenv.Certificate()), "src/train.py": "print(1)\n",
		"job.yml": "command: python train.py\ncode: src\ncompute: azureml:cpu-cluster\nenvironment: azureml:ours:3\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755),
			os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	certificate := filepath.Join(dir, "azure.pem")
	cmd := exec.Command(python, "testdata/azure/peer.py", filepath.Join(dir, "job.yml"), "2")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+certificate, "REQUESTS_CA_BUNDLE="+certificate,
		"AZURE_CREDENTIALS="+w.Creds())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if jobs, snapshots := w.Jobs(), w.Snapshots(); len(jobs) != 2 || len(snapshots) != 1 {
		t.Fatalf("jobs %v, snapshots %v", jobs, snapshots)
	}
}

// TestScriptsWithDocker are those that need a Docker Engine. No other test has runs
// in containers while they go on: they look at all there are.
func TestScriptsWithDocker(t *testing.T) {
	testenv.Docker(t)
	testscript.Run(t, params(t, "testdata/script/docker", ""))
}

// TestScriptsWithImages have the Docker Engine build what a job trains in.
func TestScriptsWithImages(t *testing.T) {
	testenv.Docker(t)
	testscript.Run(t, params(t, "testdata/script/docker_build", ""))
}

func params(t *testing.T, dir, python string) testscript.Params {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return testscript.Params{
		Dir:                dir,
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Values[gitHub{}] = &githubtest.GitHub{}
			home := e.WorkDir + "-home" // beside it: what a script commits is the script's
			if err := os.MkdirAll(home, 0o755); err != nil {
				return err
			}
			for name, value := range map[string]string{
				"HOME": home, "XDG_CONFIG_HOME": "", "GIT_CONFIG_NOSYSTEM": "1", "NO_COLOR": "1", "GITHUB_ACTIONS": "",
				"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com", "GIT_COMMITTER_NAME": "Ada",
				"GIT_COMMITTER_EMAIL": "ada@example.com",
				"GIT_AUTHOR_DATE":     "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
				"ROOT": root, "MLFLOW_PYTHON": python, "AML_TRAIN_SEED": os.Getenv("AML_TRAIN_SEED"),
				"AML_TRAIN_CASES": os.Getenv("AML_TRAIN_CASES"), "TMPDIR": e.Getenv("WORK"),
				"PYTHONDONTWRITEBYTECODE": "1",
			} {
				e.Setenv(name, value)
			}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return testenv.Root(t), nil
			}
			if name == "signin" {
				return testenv.MLflowSignIn(t, python), nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"smalldisk":    smallDisk,
			"eventually":   eventually,
			"readonce":     readOnce,
			"repo":         repo,
			"venv":         virtualEnv,
			"gitstate":     gitState,
			"gitcommands":  gitCommands,
			"https":        https,
			"killall9":     killall9,
			"replaceword":  replaceWord,
			"workflow":     workflow,
			"comments":     comments,
			"push":         push,
			"retarget":     retarget,
			"pending":      pending,
			"forged":       forged,
			"locked":       locked,
			"statuses":     statuses,
			"fork":         fork,
			"contents":     contents,
			"runner":       runner,
			"artifacts":    artifacts,
			"expired":      expired,
			"gitserver":    gitServer,
			"onref":        onRef,
			"secretless":   secretless,
			"branch":       branch,
			"foreign":      foreign,
			"merge":        merge,
			"comment":      commentAs,
			"edit":         editComment,
			"permit":       permit,
			"pull":         pull,
			"reactions":    reactions,
			"nocontainer":  noContainer,
			"runs":         runs,
			"workspace":    workspace,
			"requests":     requests,
			"blob":         blob,
			"asset":        asset,
			"snapshots":    snapshots,
			"models":       models,
			"oidc":         oidc,
			"samesnapshot": sameSnapshot,
		},
	}
}

// eventually REGEXP COMMAND... repeats a command until what it prints matches.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: eventually REGEXP COMMAND...")
	}
	re := regexp.MustCompile(`(?m)` + args[0])
	var out []byte
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		cmd := exec.Command("/bin/sh", append([]string{"-c", `exec "$@"`, "sh", args[1]}, args[2:]...)...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = environ(ts)
		out, _ = cmd.CombinedOutput()
		if re.Match(out) {
			return
		}
	}
	ts.Fatalf("%v never printed %s; the last time:\n%s", args[1:], args[0], out)
}

// environ is the script's environment, as far as our programs look at it.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "WORK", "TMPDIR", "GIT_CONFIG_NOSYSTEM", "AML_TRAIN_HOME", "NO_COLOR",
		"SSL_CERT_FILE", "AZURE_CREDENTIALS"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// repo makes the current folder a git repository with everything in it committed
// on the branch main.
func repo(ts *testscript.TestScript, neg bool, args []string) {
	for _, line := range []string{"git init -q -b main", "git add -A", "git commit -q -m first"} {
		ts.Check(ts.Exec("git", strings.Fields(line)[1:]...))
	}
}

// smalldisk DIR SIZE mounts a file system of that size, until the script ends.
func smallDisk(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(ts.Exec("mount", "-t", "tmpfs", "-o", "size="+args[1], "tmpfs", dir))
	ts.Defer(func() { exec.Command("umount", "-l", dir).Run() })
}

// https serves the current folder over TLS, on loopback, until the script ends:
// $HTTPS is its address, and the certificate is one that programs started from
// here trust.
func https(ts *testscript.TestScript, neg bool, args []string) {
	server := testenv.TLSServer(http.FileServer(http.Dir(ts.MkAbs("."))))
	ts.Defer(server.Close)
	file := ts.MkAbs(".certificate.pem")
	ts.Check(os.WriteFile(file, testenv.Certificate(), 0o644))
	ts.Setenv("SSL_CERT_FILE", file)
	ts.Setenv("HTTPS", server.URL)
}

// nocontainer looks whether a container of a run was left behind.
func noContainer(ts *testscript.TestScript, neg bool, args []string) {
	list := output(ts, "docker", "ps", "-a", "--filter", "label=aml-train.run", "--format",
		`{{.Label "aml-train.home"}} {{.Label "aml-train.run"}} {{.Status}}`)
	for left := range strings.Lines(list) {
		if strings.HasPrefix(left, ts.Getenv("WORK")+"/") { // others run their own
			ts.Fatalf("left behind: %s", left)
		}
	}
}

// runs N looks whether there are N runs, of any status.
func runs(ts *testscript.TestScript, neg bool, args []string) {
	var list []json.RawMessage
	ts.Check(json.Unmarshal([]byte(amlTrain(ts, "runs", "--json")), &list))
	if strconv.Itoa(len(list)) != args[0] {
		ts.Fatalf("there are %d runs, not %s", len(list), args[0])
	}
}

// samesnapshot FILE looks whether the newest run's snapshot is the tree whose id is
// in the file.
func sameSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	var run struct{ Snapshot string }
	ts.Check(json.Unmarshal([]byte(amlTrain(ts, "show", "--json")), &run))
	if want := strings.TrimSpace(ts.ReadFile(args[0])); run.Snapshot != want {
		ts.Fatalf("the snapshot is %s, the tree %s", run.Snapshot, want)
	}
}

func amlTrain(ts *testscript.TestScript, args ...string) string {
	cmd := exec.Command("/bin/sh", append([]string{"-c", `exec aml-train "$@"`, "sh"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environ(ts)
	out, err := cmd.Output()
	ts.Check(err)
	return string(out)
}

func output(ts *testscript.TestScript, name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.Output()
	ts.Check(err)
	return string(out)
}

// replaceWord FILE OLD NEW replaces every OLD in a file.
func replaceWord(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(args[0])
	text, err := os.ReadFile(file)
	ts.Check(err)
	ts.Check(os.WriteFile(file, []byte(strings.ReplaceAll(string(text), args[1], args[2])), 0o644))
}

// TestHelp looks at every command's help: a sentence, and an example to copy.
func TestHelp(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = w
	for _, name := range strings.Fields("run submit watch cancel show runs download compare snapshot metadata " +
		"validate archive delete ui tensorboard hook history logs init settle promote") {
		fmt.Fprintln(w, "=====", name)
		if code := cli.Main([]string{name, "--help"}, nil); code != 0 {
			t.Errorf("%s --help exits with %d", name, code)
		}
	}
	os.Stdout = old
	w.Close()
	text, _ := io.ReadAll(r)
	for _, page := range strings.Split(string(text), "===== ")[1:] {
		if !strings.Contains(page, "Examples:\n  aml-train ") &&
			!strings.Contains(page, "Examples:\n  run=$(aml-train ") {
			t.Errorf("no example in the help of %s", page)
		}
	}
}
