//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// must runs a command in dir and returns what it printed.
func must(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	// it may be another user's
	cmd.Env = append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v\n%s", name, args, out)
	return strings.TrimSpace(string(out))
}

// checkout is a repository with a workflow, the Iris example, and this action in a folder of
// its own: act builds an image of the folder, .dockerignore or not, and builds it anew where
// anything in it has changed, which is all of a repository that is committed to.
func checkout(t *testing.T, workflow string) string {
	dir := t.TempDir()
	for file := range strings.SplitSeq(must(t, ".", "git", "ls-files", "--cached", "--others", "--exclude-standard"),
		"\n") {
		if strings.HasPrefix(file, ".github/") { // act would run these workflows too
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		to := filepath.Join(dir, "action", file)
		if strings.HasPrefix(file, "examples/") {
			to = filepath.Join(dir, file)
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, text, 0o644))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".github/workflows"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".github/workflows/train.yml"), []byte(workflow), 0o644))
	must(t, dir, "git", "init", "-q", "-b", "main")
	must(t, dir, "git", "remote", "add", "origin", "https://github.com/org/x")
	commit(t, dir)
	return dir
}

func commit(t *testing.T, dir string) string {
	must(t, dir, "git", "add", "-A")
	must(t, dir, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
	return must(t, dir, "git", "rev-parse", "HEAD")
}

// pullRequest writes the payload of a pull request's event.
func pullRequest(t *testing.T, head string) string {
	text, err := json.Marshal(map[string]any{"number": 7, "repository": map[string]any{"full_name": "org/x"},
		"pull_request": map[string]any{"number": 7, "base": map[string]any{"ref": "main", "sha": head},
			"head": map[string]any{"sha": head, "ref": "deeper", "repo": map[string]any{"full_name": "org/x"}}}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "event.json")
	require.NoError(t, os.WriteFile(file, text, 0o644))
	return file
}

// act runs the workflow of a checkout, as the runner would.
func act(t *testing.T, dir, api string, run int, args ...string) (string, error) {
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".config/act"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".config/act/actrc"), nil, 0o644))
	cmd := exec.Command(testenv.Program(t, "act"), append(args, "--bind", "--pull=false", "--rm", "-P",
		"ubuntu-latest="+testenv.Image,
		"-s", "GITHUB_TOKEN="+githubtest.Workflow, "--env", "GITHUB_API_URL="+api, "--env",
		fmt.Sprint("GITHUB_RUN_ID=", run))...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func serveGitHub(t *testing.T, head string) (*githubtest.GitHub, string) {
	gh := &githubtest.GitHub{PullRequests: []githubtest.PullRequest{{Number: 7, Head: head, Repo: "org/x"}}}
	server := httptest.NewServer(gh)
	t.Cleanup(server.Close)
	return gh, server.URL
}

const usesAction = `name: train
on: [push, pull_request]
jobs:
  train:
    runs-on: ubuntu-latest
    steps:
      - id: train
        uses: ./action
        with:
          job: examples/iris/job.yml
          environment: docker:aml-train-test/python
          inputs: |
            epochs=5
            rate=0.2
          download-outputs: results
      - run: |
          echo "outputs: ${{ steps.train.outputs.run }} ${{ steps.train.outputs.status }} ${{ steps.train.outputs.snapshot }}"
          ls ${{ steps.train.outputs.outputs-path }}/outputs/model.json
`

// TestActionInAct trains the Iris example with "uses: ./action", on a pull request and on
// a push: act builds the image from the Dockerfile and hands over inputs, outputs
// and files as the runner does.
func TestActionInAct(t *testing.T) {
	testenv.Docker(t)
	testenv.Program(t, "act")
	dir := checkout(t, usesAction)
	head := must(t, dir, "git", "rev-parse", "HEAD")
	gh, api := serveGitHub(t, head)

	log, err := act(t, dir, api, 41, "pull_request", "-e", pullRequest(t, head))
	require.NoError(t, err, log)
	require.Regexp(t,
		`::notice file=examples/iris/job.yml,line=1,title=iris%3A accuracy 0.\d+::Completed in .* on local, run iris-`+
			head[:7]+`-1`, log)
	require.Regexp(t, `::notice file=examples/iris/train.py,line=\d+,title=accuracy 0.\d+::`, log)
	require.Regexp(t, `outputs: iris-`+head[:7]+`-1 Completed [0-9a-f]{40}`, log)
	require.Contains(t, log, "results/outputs/model.json")
	require.Regexp(t, `Summary - ### ✅ iris · accuracy`, log)
	bodies := gh.Bodies(7, githubtest.Bot)
	require.Len(t, bodies, 1)
	require.Regexp(t,
		`^<!-- aml-train [0-9a-f]{16} 41\.1 ended -->\n### ✅ iris · accuracy 0\.\d+\n\n\*\*Completed\*\* in .* on .local. · run \[.iris-`+

			head[:7]+`-1.\]\(https://github.com/org/x/actions/runs/41\) · commit `+head[:7]+`\n`, bodies[0])
	require.Contains(t, bodies[0], "environment `aml-train-test/python (")
	require.Empty(t, trainingContainers(t))

	// The next push fails: so does the step, with an annotation on the line, and the
	// comment is the same one.
	script := filepath.Join(dir, "examples/iris/train.py")
	text, err := os.ReadFile(script)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(script, append([]byte("import seaborn\n"), text...), 0o644))
	head = commit(t, dir)
	gh.Push(7, head)
	log, err = act(t, dir, api, 42, "pull_request", "-e", pullRequest(t, head))
	require.Error(t, err)
	require.Regexp(t,
		`::error file=examples/iris/train.py,line=1,title=iris%3A ModuleNotFoundError%3A No module named 'seaborn'::train.py:1 imports seaborn, which the environment does not have. Add it to the image aml-train-test/python: RUN python -m pip install seaborn`,
		log)
	require.Contains(t, log, "exit with `FAILURE`: 1")
	bodies = gh.Bodies(7, githubtest.Bot)
	require.Len(t, bodies, 1)
	require.Regexp(t, `^<!-- aml-train [0-9a-f]{16} 42\.1 ended -->\n### ❌ iris · ModuleNotFoundError`, bodies[0])

	// A push outside a pull request has a summary, and nobody to comment to.
	require.NoError(t, os.WriteFile(script, text, 0o644))
	commit(t, dir)
	kept := t.TempDir()
	log, err = act(t, dir, api, 43, "push", "--artifact-server-path", kept, "--artifact-server-addr", "127.0.0.1")
	require.NoError(t, err, log)
	require.Regexp(t, `Summary - ### ✅ iris · accuracy`, log)
	require.Equal(t, bodies, gh.Bodies(7, githubtest.Bot))

	// What the run was, and all of its files, outlive the runner.
	records, err := filepath.Glob(filepath.Join(kept, "*", "aml-train-run-*", "*.zip"))
	require.NoError(t, err)
	require.Len(t, records, 1, log)
	record, err := os.Open(records[0])
	require.NoError(t, err)
	defer record.Close()
	info, err := record.Stat()
	require.NoError(t, err)
	read, err := history.ReadRecord(record, info.Size())
	require.NoError(t, err)
	require.Equal(t, "iris", read.Experiment)
	outputs, err := filepath.Glob(filepath.Join(kept, "*", "iris-*", "*.zip"))
	require.NoError(t, err)
	require.Len(t, outputs, 1)
	require.Contains(t, must(t, ".", "python3", "-m", "zipfile", "-l", outputs[0]), "outputs/model.json")
}

// trainingContainers are the containers of runs that there are.
func trainingContainers(t *testing.T) string {
	return must(t, ".", "docker", "ps", "-a", "-q", "--filter", "label=aml-train.run")
}

// actionImage builds the image of the action and returns its name.
func actionImage(t *testing.T) string {
	must(t, ".", "docker", "build", "-q", "-t", "aml-train-test/action", ".")
	return "aml-train-test/action"
}

// action starts the image as the runner does: docker run, its signals passed on.
func action(t *testing.T, image, dir, api string, run int, inputs map[string]string) (*exec.Cmd, *bytes.Buffer,
	string) {
	head := must(t, dir, "git", "rev-parse", "HEAD")
	name := fmt.Sprintf("aml-train-test-%d-%d", os.Getpid(), run)
	files := t.TempDir()
	args := []string{"run", "--name", name, "--rm", "--workdir", "/github/workspace", "--network", "host",
		"-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", dir + ":/github/workspace", "-v",
		files + ":/github/file_commands",
		"-v", filepath.Dir(pullRequest(t, head)) + ":/github/workflow"}
	env := map[string]string{"GITHUB_ACTIONS": "true", "CI": "true", "HOME": "/github/home",
		"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": "/github/workflow/event.json",
		"GITHUB_REPOSITORY": "org/x", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_API_URL": api,
		"GITHUB_WORKFLOW": "train", "GITHUB_JOB": "train",
		"GITHUB_RUN_ID": fmt.Sprint(run), "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "ada", "GITHUB_SHA": head,
		"GITHUB_REF": "refs/pull/7/merge", "GITHUB_WORKSPACE": "/github/workspace",
		"GITHUB_OUTPUT": "/github/file_commands/output", "GITHUB_STEP_SUMMARY": "/github/file_commands/summary",
		"INPUT_GITHUB-TOKEN": githubtest.Workflow}
	for name, value := range inputs {
		env["INPUT_"+name] = value
	}
	for name, value := range env {
		args = append(args, "-e", name+"="+value)
	}
	cmd := exec.Command("docker", append(args, image)...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out, name
}

// waits prints that it works, and goes on until it is ended.
const waits = `import os, time
os.makedirs("outputs")
open("outputs/half.txt", "w").write("half")
print("working", flush=True)
time.sleep(600)
`

func waiting(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wait.py"), []byte(waits), 0o644))
	must(t, dir, "git", "init", "-q", "-b", "main")
	commit(t, dir)
	return dir
}

// until waits for what has to come.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "never: %s", what)
	}
}

// A workflow that is canceled cancels the run: SIGINT to docker run, which the
// runner follows up with SIGTERM 7.5 s later and a kill 2.5 s after that.
func TestActionCancel(t *testing.T) {
	testenv.Docker(t)
	image := actionImage(t)
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := waiting(t)
		gh, api := serveGitHub(t, must(t, dir, "git", "rev-parse", "HEAD"))
		cmd, out, _ := action(t, image, dir, api, 50, map[string]string{"SCRIPT": "wait.py", "ENVIRONMENT": "docker:" +
			testenv.Image, "EXPERIMENT-NAME": "wait"})
		require.NoError(t, cmd.Start())
		until(t, "a comment on a running script", func() bool {
			log, _ := exec.Command("docker", "ps", "-q", "--filter", "label=aml-train.run").Output()
			if len(log) == 0 {
				return false
			}
			text, _ := exec.Command("docker", "logs", strings.TrimSpace(string(log))).Output()
			bodies := gh.Bodies(7, githubtest.Bot)
			return strings.Contains(string(text), "working") && len(bodies) == 1 &&
				strings.Contains(bodies[0], " running -->\n### ⏳ wait · ")
		})
		start := time.Now()
		require.NoError(t, cmd.Process.Signal(signal))
		err := cmd.Wait()
		took := time.Since(start)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, out.String())
		require.Equal(t, 1, exit.ExitCode(), out.String())
		require.Less(t, took, 7*time.Second, "the runner's next signal") // 5 s, and Docker's own time
		require.Regexp(t, `<!-- aml-train [0-9a-f]{16} 50\.1 ended -->\n### ⚪ wait · canceled`,
			gh.Bodies(7, githubtest.Bot)[0])
		require.Contains(t, gh.Bodies(7, githubtest.Bot)[0], "outputs/half.txt")
		require.Contains(t, out.String(), "::warning file=wait.py,line=1,title=wait%3A canceled::")
		require.Empty(t, trainingContainers(t))
	}
}

// A container of the action that was killed leaves its run's container behind. The
// next start removes it, whether the history is still there or not.
func TestActionKilled(t *testing.T) {
	testenv.Docker(t)
	image := actionImage(t)
	for _, keep := range []bool{true, false} {
		dir := waiting(t)
		_, api := serveGitHub(t, must(t, dir, "git", "rev-parse", "HEAD"))
		inputs := map[string]string{"SCRIPT": "wait.py", "ENVIRONMENT": "docker:" + testenv.Image,
			"EXPERIMENT-NAME": "wait"}
		cmd, _, name := action(t, image, dir, api, 60, inputs)
		require.NoError(t, cmd.Start())
		until(t, "a run", func() bool {
			history := filepath.Join(dir, ".aml-train/history.db")
			_, err := os.Stat(history)
			return err == nil && strings.Contains(logsOf(trainingContainers(t)), "working")
		})
		must(t, ".", "docker", "kill", "-s", "KILL", name)
		cmd.Wait()
		require.NotEmpty(t, trainingContainers(t))
		if !keep { // what actions/checkout does
			require.NoError(t, os.RemoveAll(filepath.Join(dir, ".aml-train")))
		}
		inputs["SCRIPT"], inputs["COMMAND"] = "", "true"
		cmd, out, _ := action(t, image, dir, api, 61, inputs)
		require.NoError(t, cmd.Run(), out.String())
		require.Empty(t, trainingContainers(t))
		if keep {
			found, err :=
				filepath.Glob(filepath.Join(dir, ".aml-train/artifacts/*/wait-*-1/artifacts/outputs/half.txt"))
			require.NoError(t, err)
			require.Len(t, found, 1, "what the run had written is kept")
		}
	}
}

func logsOf(container string) string {
	if container == "" {
		return ""
	}
	out, _ := exec.Command("docker", "logs", container).Output()
	return string(out)
}

// The action has no Python of its own, and says what to do instead. What it leaves
// behind belongs to whom the workspace belongs.
func TestActionItself(t *testing.T) {
	testenv.Docker(t)
	image := actionImage(t)
	dir := waiting(t)
	require.NoError(t, os.Chown(dir, 1001, 1001))
	_, api := serveGitHub(t, must(t, dir, "git", "rev-parse", "HEAD"))
	cmd, out, _ := action(t, image, dir, api, 70, map[string]string{"SCRIPT": "wait.py"})
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, 2, exit.ExitCode())
	for _, way := range []string{"::error title=Nothing was submitted::", "environment: {image: NAME}",
		"org/aml-train/setup"} {
		require.Contains(t, out.String(), way)
	}
	for input, why := range map[string]string{"WAIT": "the run would be on this runner, which ends it together with",
		"CANCEL-WITH-WORKFLOW": "this container ends with this command"} {
		cmd, out, _ = action(t, image, dir, api, 71, map[string]string{"COMMAND": "true", "ENVIRONMENT": "docker:" +
			testenv.Image, input: "false"})
		require.ErrorAs(t, cmd.Run(), &exit)
		require.Equal(t, 2, exit.ExitCode())
		require.Contains(t, out.String(), why)
	}
	cmd, out, _ = action(t, image, dir, api, 72, map[string]string{"COMMAND": "mkdir outputs && echo x > outputs/x",
		"ENVIRONMENT": "docker:" + testenv.UserImage, "DOWNLOAD-OUTPUTS": "got/it"})
	require.NoError(t, cmd.Run(), out.String())
	for _, path := range []string{".aml-train/history.db", "got", "got/it/outputs/x"} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.EqualValues(t, 1001, info.Sys().(*syscall.Stat_t).Uid, path)
	}
}

// The action submits to a workspace, signs in with the token of its workflow, and tells
// the pull request what came out, as it does for a run on this machine.
func TestActionAzure(t *testing.T) {
	testenv.Docker(t)
	azurite := testenv.Azurite(t)
	image := actionImage(t)
	w, err := azuremltest.New(azurite, t.TempDir(), []string{testenv.Program(t, "aml-train"), "supervise"})
	require.NoError(t, err)
	defer w.Close()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("examples/iris")))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".aml-train")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".azure.pem"), testenv.Certificate(), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(".azure.pem\n"), 0o644))
	must(t, dir, "git", "init", "-q", "-b", "main")
	head := commit(t, dir)
	gh, api := serveGitHub(t, head)
	inputs := map[string]string{"JOB": "job.yml", "COMPUTE-TARGET": "cpu-cluster",
		"SUBSCRIPTION-ID": azuremltest.Subscription, "RESOURCE-GROUP": azuremltest.Group,
		"WORKSPACE-NAME": azuremltest.Name, "CREDS": w.Creds(), "DOWNLOAD-OUTPUTS": "results"}
	for run := 80; run < 82; run++ {
		if run == 81 {
			inputs["COMMIT"] = "HEAD" // its data are not on the disk, and the image has no /tmp
		}
		cmd, out, _ := action(t, image, dir, api, run, inputs)
		at := slices.Index(cmd.Args, image)
		cmd.Args = slices.Insert(cmd.Args, at, "-e", "SSL_CERT_FILE=/github/workspace/.azure.pem")
		require.NoError(t, cmd.Run(), out.String())
		require.Contains(t, out.String(), "::add-mask::"+azuremltest.Secret)
		for line := range strings.SplitSeq(out.String(), "\n") {
			require.False(t, strings.Contains(line, azuremltest.Secret) && !strings.HasPrefix(line, "::add-mask::"),
				line)
		}
		require.Contains(t, out.String(), "test accuracy 0.9")
		require.Regexp(t, `::notice file=train.py,line=\d+,title=accuracy 0\.\d+::`, out.String())
		bodies := gh.Bodies(7, githubtest.Bot)
		require.Len(t, bodies, 1)
		require.Regexp(t, fmt.Sprintf(`^<!-- aml-train [0-9a-f]{16} %d\.1 ended -->\n### ✅ iris · accuracy 0\.\d+`,
			run), bodies[0])
		require.Contains(t, bodies[0], "on `cpu-cluster` · run [`iris-"+head[:7])
		require.Contains(t, bodies[0], "](https://ml.azure.com/runs/iris-")
		_, err = os.Stat(filepath.Join(dir, "results/outputs/model.json"))
		require.NoError(t, err)
	}
	require.Len(t, w.Jobs(), 2, "each workflow run has a job of its own")
}

// The image is small.
func TestImageSize(t *testing.T) {
	testenv.Docker(t)
	out, err := exec.Command("sh", "-c", "docker save "+actionImage(t)+" | gzip | wc -c").Output()
	require.NoError(t, err)
	var bytes int
	_, err = fmt.Sscan(string(out), &bytes)
	require.NoError(t, err)
	require.Less(t, bytes, 12<<20)
}

// setup takes the binary out of the image that action.yml names.
func TestSetup(t *testing.T) {
	testenv.Docker(t)
	text, err := os.ReadFile("setup/action.yml")
	require.NoError(t, err)
	var setup struct {
		Runs struct{ Steps []struct{ Run string } }
	}
	require.NoError(t, yaml.Unmarshal(text, &setup))
	root, err := os.Getwd()
	require.NoError(t, err)
	temp := t.TempDir()
	cmd := exec.Command("bash", "-c", setup.Runs.Steps[0].Run)
	cmd.Env = append(os.Environ(), "ACTION="+filepath.Join(root, "setup", ".."), "RUNNER_TEMP="+temp, "GITHUB_PATH="+
		filepath.Join(temp, "path"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	path, err := os.ReadFile(filepath.Join(temp, "path"))
	require.NoError(t, err)
	version, err := exec.Command(filepath.Join(strings.TrimSpace(string(path)), "aml-train"), "--version").Output()
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`^aml-train version \S+\n$`), string(version))
}
