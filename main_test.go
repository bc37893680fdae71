package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"aml-train": main})
}

// TestScripts runs testdata/script: each file is a manual page that is true.
// Those in testdata/script/mlflow need the real MLflow.
func TestScripts(t *testing.T) {
	testscript.Run(t, params(t, "testdata/script", ""))
}

func TestScriptsWithMLflow(t *testing.T) {
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
		// what was built once need not be built again
		for _, name := range []string{"GOMODCACHE", "GOCACHE", "GOPROXY", "GOFLAGS"} {
			e.Setenv(name, env(name))
		}
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
	python := testenv.Python(t)
	w, err := azuremltest.New(testenv.Azurite(t), t.TempDir(), []string{"true"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"azure.pem": string(w.Certificate()), "src/train.py": "print(1)\n",
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
	server := httptest.NewTLSServer(http.FileServer(http.Dir(ts.MkAbs("."))))
	ts.Defer(server.Close)
	file := ts.MkAbs(".certificate.pem")
	ts.Check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		0o644))
	ts.Setenv("SSL_CERT_FILE", file)
	ts.Setenv("HTTPS", server.URL)
}

// workflow EVENT PAYLOAD makes what follows the steps of a workflow of the
// repository org/x, with a GitHub of its own that has pull request 7. PAYLOAD is
// the event's; $HEAD in it stands for the commit that is checked out,
// $BASE for the first one, $MAIN for that of the branch main. Called again,
// it is the next workflow run.
func workflow(ts *testscript.TestScript, neg bool, args []string) {
	head := strings.TrimSpace(output(ts, "git", "rev-parse", "HEAD"))
	base := strings.Fields(output(ts, "git", "rev-list", "--max-parents=0", "HEAD"))[0]
	home := ts.Getenv("HOME")
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	if ts.Getenv("GITHUB_API_URL") == "" {
		gh.PullRequests = []githubtest.PullRequest{{Number: 7, Head: head, Repo: "org/x", Base: base}}
		server := httptest.NewServer(gh)
		ts.Defer(server.Close)
		ts.Setenv("GITHUB_API_URL", server.URL)
	}
	run, _ := strconv.Atoi(ts.Getenv("GITHUB_RUN_ID"))
	event := filepath.Join(home, fmt.Sprintf("event-%d.json", run))
	payload := strings.NewReplacer("$HEAD", head, "$BASE", base).Replace(args[1])
	if strings.Contains(payload, "$MAIN") {
		payload = strings.ReplaceAll(payload, "$MAIN", strings.TrimSpace(output(ts, "git", "rev-parse", "main")))
	}
	ts.Check(os.WriteFile(event, []byte(payload), 0o644))
	for name, value := range map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": args[0], "GITHUB_EVENT_PATH": event,
		"GITHUB_REPOSITORY": "org/x",
		"GITHUB_WORKFLOW":   "train", "GITHUB_JOB": "train",
		"GITHUB_RUN_ID": strconv.Itoa(max(run, 40) + 1),
		"GITHUB_ACTOR":  "ada", "GITHUB_SHA": head, "GITHUB_REF": "refs/pull/7/merge",
		"GITHUB_WORKSPACE": ts.Getenv("WORK"),
		"GITHUB_OUTPUT":    filepath.Join(home, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(home, "summary"),
		"OUTPUT": filepath.Join(home, "output"), "SUMMARY": filepath.Join(home, "summary"), "HEAD": head, "BASE": base,
	} {
		ts.Setenv(name, value)
	}
	if gh.Git == "" {
		ts.Setenv("GITHUB_SERVER_URL", "https://github.com")
	}
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		ts.Check(os.WriteFile(ts.Getenv(name), nil, 0o644))
	}
}

// gitHub is under which a script has its GitHub.
type gitHub struct{}

// comments FILE writes what the workflow's own user has said on pull request 7.
func comments(ts *testscript.TestScript, neg bool, args []string) {
	bodies := ts.Value(gitHub{}).(*githubtest.GitHub).Bodies(7, githubtest.Bot)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(bodies, "\n=====\n")), 0o644))
}

// statuses FILE writes the commit statuses that there were, the newest last: commit, state,
// context, link and description. With - in place of FILE, no token has a right to them.
func statuses(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	if gh.NoStatuses = args[0] == "-"; gh.NoStatuses {
		return
	}
	var b strings.Builder
	for _, s := range gh.Statuses {
		fmt.Fprintln(&b, s.Commit, s.State, s.Context, *s.TargetURL, *s.Description)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

// pending COMMIT CONTEXT LINK AGE is a pending status that somebody has set.
func pending(ts *testscript.TestScript, neg bool, args []string) {
	age, err := time.ParseDuration(args[3])
	ts.Check(err)
	ts.Value(gitHub{}).(*githubtest.GitHub).SetStatus(args[0], args[1], "pending", "trains", args[2], age)
}

// forged COMMIT CONTEXT FILE WORKSPACE [HOST] is a pending status that names the run in a file,
// by a page at that host.
func forged(ts *testscript.TestScript, neg bool, args []string) {
	host := "ml.azure.com"
	if len(args) > 4 {
		host = args[4]
	}
	link := "https://" + host + "/runs/" + strings.TrimSpace(ts.ReadFile(args[2])) + args[3]
	ts.Value(gitHub{}).(*githubtest.GitHub).SetStatus(args[0], args[1], "pending", "trains", link, time.Minute)
}

// locked locks the conversation of pull request 7.
func locked(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(gitHub{}).(*githubtest.GitHub).PullRequests[0].Locked = true
}

// push COMMIT moves the head of pull request 7.
func push(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(gitHub{}).(*githubtest.GitHub).Push(7, args[0])
}

// retarget REVISION makes that the tip of the branch that pull request 7 is to be merged into.
func retarget(ts *testscript.TestScript, neg bool, args []string) {
	commit := strings.TrimSpace(output(ts, "git", "rev-parse", args[0]))
	ts.Value(gitHub{}).(*githubtest.GitHub).PullRequests[0].Base = commit
}

// fork REPOSITORY makes the head of pull request 7 another repository's.
func fork(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(gitHub{}).(*githubtest.GitHub).Fork(7, args[0])
}

// contents COMMIT [NAME FILE] is what GitHub knows to lie at the root of a commit: nothing,
// or under a name what is in a file here. base is the commit that pull request 7 is based on.
func contents(ts *testscript.TestScript, neg bool, args []string) {
	files := map[string]string{}
	if len(args) == 3 {
		files[args[1]] = ts.ReadFile(args[2])
	}
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	commit := args[0]
	if commit == "base" {
		commit = gh.PullRequests[0].Base
	}
	gh.Files = map[string]map[string]string{commit: files}
}

// runner BRANCH [fork|unreadable|unwritable] makes what follows a step of an action in the workflow run that
// workflow has begun, for a head of that branch, of a fork perhaps, on a machine of its own:
// no other run is known there. Its token may not read artifacts where they are unreadable, nor
// write to the repository where that is unwritable.
func runner(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	id, err := strconv.ParseInt(ts.Getenv("GITHUB_RUN_ID"), 10, 64)
	ts.Check(err)
	gh.Runner = githubtest.Runner{ID: id, Commit: ts.Getenv("HEAD"), Branch: args[0],
		Fork: slices.Contains(args, "fork")}
	gh.NoArtifacts = slices.Contains(args, "unreadable")
	gh.NoContents = slices.Contains(args, "unwritable")
	ts.Setenv("ACTIONS_RESULTS_URL", ts.Getenv("GITHUB_API_URL")+"/")
	ts.Setenv("ACTIONS_RUNTIME_TOKEN", githubtest.RuntimeToken)
	ts.Setenv("HEAD", "") // it is another one in each run
	ts.Check(os.RemoveAll(ts.MkAbs(".aml-train")))
	gh.Seen = func(r *http.Request, _ []byte) {
		gh.Asked = append(gh.Asked, r.Method+" "+r.URL.Path)
	}
	gh.Asked = nil
}

// artifacts N REQUESTS looks how many artifacts there are, and how many requests have read
// them since the runner began.
func artifacts(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	read := 0
	for _, r := range gh.Asked {
		if strings.HasPrefix(r, "GET ") && (strings.Contains(r, "/artifacts") || strings.Contains(r, "/blob/")) {
			read++
		}
	}
	if n := len(gh.Artifacts); strconv.Itoa(n) != args[0] || strconv.Itoa(read) != args[1] {
		ts.Fatalf("%d artifacts, and %d requests that read them:\n%s", n, read, strings.Join(gh.Asked, "\n"))
	}
}

// expired PREFIX has GitHub not keep the artifacts any more whose names begin so.
func expired(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	for i := range gh.Artifacts {
		if strings.HasPrefix(gh.Artifacts[i].Name, args[0]) {
			gh.Artifacts[i].Expired = true
		}
	}
}

// gitserver gives the workflow's GitHub a real repository, which can be pushed to.
func gitServer(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	ts.Check(gh.MakeGit(filepath.Join(ts.Getenv("HOME"), "x.git")))
	server := httptest.NewTLSServer(gh)
	ts.Defer(server.Close)
	trust(ts, server)
	ts.Setenv("GITHUB_SERVER_URL", server.URL)
}

// trust has programs that are started from here trust a server's certificate.
func trust(ts *testscript.TestScript, server *httptest.Server) {
	file := filepath.Join(ts.Getenv("HOME"), "certificate.pem")
	ts.Check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		0o644))
	ts.Setenv("SSL_CERT_FILE", file)
}

// onref N REQUESTS looks how many records are on the ref of the real repository, and how many
// requests have read them since the runner began.
func onRef(ts *testscript.TestScript, neg bool, args []string) {
	gh := ts.Value(gitHub{}).(*githubtest.GitHub)
	read, written := 0, false
	for _, r := range gh.Asked {
		written = written || strings.Contains(r, "/org/x.git/")
		if strings.HasPrefix(r, "GET /repos/org/x/git/") && !written {
			read++
		}
	}
	records, _ := exec.Command("git", "-C", gh.Git, "ls-tree", "--name-only", "refs/aml-train/history").Output()
	if n := strings.Count(string(records), "\n"); strconv.Itoa(n) != args[0] || strconv.Itoa(read) != args[1] {
		ts.Fatalf("%d records, and %d requests that read them:\n%s", n, read, strings.Join(gh.Asked, "\n"))
	}
}

// secretless TEXT looks whether a text is in none of the files of the artifacts, and whether
// there is one that was masked.
func secretless(ts *testscript.TestScript, neg bool, args []string) {
	masked := false
	for _, a := range ts.Value(gitHub{}).(*githubtest.GitHub).Artifacts {
		z, err := zip.NewReader(bytes.NewReader(a.Zip), int64(len(a.Zip)))
		ts.Check(err)
		for _, f := range z.File {
			r, err := f.Open()
			ts.Check(err)
			text, err := io.ReadAll(r)
			ts.Check(err)
			if bytes.Contains(text, []byte(args[0])) {
				ts.Fatalf("%s of the artifact %s has it", f.Name, a.Name)
			}
			masked = masked || bytes.Contains(text, []byte("***"))
		}
	}
	if !masked {
		ts.Fatalf("nothing was masked")
	}
}

// branch NAME REVISION is what GitHub knows as a branch of org/x.
func branch(ts *testscript.TestScript, neg bool, args []string) {
	commits := strings.Fields(output(ts, "git", "rev-list", args[1]))
	ts.Value(gitHub{}).(*githubtest.GitHub).Branch(args[0], commits)
}

// foreign REVISION is a commit that GitHub knows of a fork.
func foreign(ts *testscript.TestScript, neg bool, args []string) {
	commit := strings.TrimSpace(output(ts, "git", "rev-parse", args[0]))
	ts.Value(gitHub{}).(*githubtest.GitHub).Foreign(commit)
}

// merge REVISION is the commit by which GitHub merges pull request 7.
func merge(ts *testscript.TestScript, neg bool, args []string) {
	commit := strings.TrimSpace(output(ts, "git", "rev-parse", args[0]))
	ts.Value(gitHub{}).(*githubtest.GitHub).Merge(7, commit)
}

// azure is under which a script has its workspace.
type azure struct{}

type cell struct{ w *azuremltest.Workspace }

// workspace [WORD...] starts a workspace of the script's own and signs in to it. The words
// say how far its storage account is locked down (azuremltest.Storage); or that its MLflow
// shows no tags of jobs (untagged), that its run history learns of jobs late, or that it
// knows no outputs as assets (dataset), or that who signs in has no role there (stranger).
func workspace(ts *testscript.TestScript, neg bool, args []string) {
	program := strings.TrimSpace(output(ts, "/bin/sh", "-c", "PATH='"+ts.Getenv("PATH")+"'; command -v aml-train"))
	w, err := azuremltest.New(ts.Getenv("AZURITE"), filepath.Join(ts.Getenv("HOME"), "workspace"),
		[]string{program, "supervise"})
	ts.Check(err)
	ts.Defer(w.Close)
	for _, word := range args {
		switch word {
		case "untagged":
			w.Untagged = true
		case "dataset":
			w.Outputs = word
		case "stranger":
			w.Stranger = true
		case "late":
			w.Late = time.Second
		default:
			ts.Check(w.Storage.Lock(word))
		}
	}
	ts.Value(azure{}).(*cell).w = w
	certificate := filepath.Join(ts.Getenv("HOME"), "azure.pem")
	ts.Check(os.WriteFile(certificate, w.Certificate(), 0o644))
	ts.Setenv("SSL_CERT_FILE", certificate)
	ts.Setenv("AZURE_CREDENTIALS", w.Creds())
}

// requests N PATTERN looks how many requests to the control plane and the workspace
// there were since it was last called.
func requests(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile(args[1])
	var found []string
	for _, r := range ts.Value(azure{}).(*cell).w.Requests() {
		if line := r.Method + " " + r.Path; re.MatchString(line) {
			found = append(found, line)
		}
	}
	if strconv.Itoa(len(found)) != args[0] {
		ts.Fatalf("%d requests match:\n%s", len(found), strings.Join(found, "\n"))
	}
}

// oidc makes what follows the steps of a workflow that may ask for a token of its
// own, as GitHub gives it out. A token is good for one exchange.
func oidc(ts *testscript.TestScript, neg bool, args []string) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer runtime-token" ||
			r.URL.Query().Get("audience") != "api://AzureADTokenExchange" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		asked++
		fmt.Fprintf(w, `{"value": "workflow-token-for-%d"}`, asked)
	}))
	ts.Defer(server.Close)
	ts.Setenv("GITHUB_ACTIONS", "true")
	ts.Setenv("GITHUB_EVENT_NAME", "push")
	ts.Setenv("GITHUB_SHA", strings.TrimSpace(output(ts, "git", "rev-parse", "HEAD")))
	ts.Setenv("GITHUB_REF", "refs/heads/main")
	ts.Setenv("GITHUB_REPOSITORY", "org/x")
	ts.Setenv("GITHUB_RUN_ID", "41")
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", server.URL+"?api-version=2.0")
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runtime-token")
	ts.Setenv("CLOUD", ts.Value(azure{}).(*cell).w.Creds())
}

// snapshots N looks how many snapshots the workspace has.
func snapshots(ts *testscript.TestScript, neg bool, args []string) {
	if list := ts.Value(azure{}).(*cell).w.Snapshots(); strconv.Itoa(len(list)) != args[0] {
		ts.Fatalf("the workspace has the snapshots %v", list)
	}
}

// models MODEL FILE writes the versions of a model in the workspace, the oldest first; none in
// place of FILE looks whether there is none.
func models(ts *testscript.TestScript, neg bool, args []string) {
	list := ts.Value(azure{}).(*cell).w.Models(args[0])
	if args[1] == "none" {
		if len(list) > 0 {
			ts.Fatalf("there are the versions %v", list)
		}
		return
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(append(list, ""), "\n")), 0o644))
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
