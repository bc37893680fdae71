package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// fault is something wrong with one part of a job, and what is said of it.
type fault struct {
	part string // of the job file: a line of it is that of one fault at most
	text string // the lines, or with "--" a flag
	says string
	only string // the target that it is wrong on; "" for both
	when string // the parts that have to be right for it to be seen
}

// sound are the parts as they are right, on every target.
var sound = map[string]string{
	"command": "command: echo trained", "code": "code: src", "environment": "", "resources": "", "distribution": "",
	"inputs": "inputs: {rate: 0.1}", "limits": "limits: {timeout: 60}", "tags": "", "outputs": "", "more": "",
	"settings": "",
	"flag":     "",
}

var faults = []fault{
	{"command", "command: python trian.py", "the script trian.py does not exist", "", "code"},
	{"command", "command: bash scripts/x.sh", "the script scripts/x.sh does not exist", "", "code"},
	{"command", "command: bash -ex ./fetch.sh && python train.py", "the script ./fetch.sh does not exist", "", "code"},
	{"command", "command: python -u -m pkg.mod --x 1", "the module pkg.mod does not exist", "", "code"},
	{"command", "command: pip install -r r.txt && python -m pkg", "has no pkg/__main__.py", "", "code"},
	{"command", "command: torchrun --nproc-per-node 2 trian.py", "the script trian.py does not exist", "", "code"},
	{"command", "command: python -m no_such_module_at_all.x", "the module no_such_module_at_all.x does not exist",
		"local", "code environment"},
	{"command", "command: python train.ipynb", "is a notebook", "", ""},
	{"command", "command: echo ${{inputs.none}}", "the job has no input called \"none\"", "", ""},
	{"command", "comand: python train.py", "a command job needs a command", "", ""},
	{"command", "command: ''", "command is empty", "", ""},
	{"code", "code: scr", "the source directory scr does not exist; did you mean src?", "", ""},
	{"code", "code: src/train.py", "the source directory src/train.py is a file", "", ""},
	{"code", "code: [src]", "code is a list", "", ""},
	{"environment", "environment: azureml:ours:3", "is one of Azure Machine Learning", "local", ""},
	{"environment", "environment: azureml:ours", "names no version", "cloud", ""},
	{"environment", "environment: azureml:ours@newest", "the only label is latest", "cloud", ""},
	{"environment", "environment: {image: a, conda_file: none.yml}", "environment.conda_file: none.yml does not exist",
		"", ""},
	{"environment", "environment: {build: {path: none}}", "environment.build.path: none does not exist", "", ""},
	{"environment", "environment: user-managed", "has no environment of its own", "cloud", ""},
	{"resources", "resources: {instance_count: 2}", "the job asks for 2 instances", "local", ""},
	{"resources", "resources: {instance_count: two}", "resources.instance_count is \"two\"", "", ""},
	{"distribution", "distribution: {type: ray}", "this machine starts no Ray cluster", "local", ""},
	{"distribution", "distribution: {type: pytroch}", "did you mean pytorch?", "", ""},
	{"inputs", "inputs: {data: {path: none.csv, type: uri_file}}", "inputs.data: none.csv does not exist", "", ""},
	{"inputs", "inputs: {data: {path: 'azureml:d:1'}}", "which only Azure Machine Learning can reach", "local", ""},
	{"inputs", "inputs: {data: {path: 'azureml:d'}}", "azureml:d names no version", "cloud", ""},
	{"inputs", "inputs: {1st: 2}", "the input's name \"1st\" can hold", "", ""},
	{"limits", "limits: {timeout: soon}", "limits.timeout (seconds) is \"soon\"", "", ""},
	{"limits", "limits: {timout: 5}", "did you mean timeout?", "", ""},
	{"tags", "tags: {a: " + strings.Repeat("x", 1100) + "}", "tags.a has more than 1000 characters", "cloud", ""},
	{"tags", "tags: [a]", "tags is a list", "", ""},
	{"outputs", "outputs: {model: {mode: fast}}", "outputs.model.mode is \"fast\"", "", ""},
	{"more", "experiment: x", "a command job has no key \"experiment\"", "", ""},
	{"more", "name: -x", "name is \"-x\"", "", ""},
	{"settings", "hook: {wait: sometimes}", "hook.wait is \"sometimes\"", "", ""},
	{"settings", "jop: x.yml", "did you mean job?", "", ""},
	{"settings", "keep: {a: b}", "keep is a mapping", "", ""},
	{"flag", "--environment-variables=X", "--env X: there is no variable of that name here", "", ""},
	{"flag", "--tag=red", "--tag \"red\": write NAME=VALUE", "", ""},
	{"flag", "--input=nothing=1", "--input nothing: the job has no input of that name", "", ""},
	{"flag", "--max-run-duration-seconds=-1", "it has to be positive", "", ""},
}

// TestValidateIsRun: of jobs with any number of faults, validate refuses those that run
// refuses before it submits anything, with the same words; and each fault is told,
// whatever else is wrong.
func TestValidateIsRun(t *testing.T) {
	testenv.Large(t, "it starts the program hundreds of times")
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"src/train.py": "", "src/train.ipynb": "{}", "src/pkg/__init__.py": ""} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	git := exec.Command("git", "init", "-q", dir)
	require.NoError(t, git.Run())
	random := rand.New(rand.NewPCG(1, uint64(testenv.Seed())))
	told := map[string]bool{}
	var valid int
	for n := range max(testenv.Cases(200), 2*len(faults)) {
		target := []string{"local", "cloud"}[n%2]
		chosen := choose(random, target, n)
		args := write(t, dir, target, chosen)
		refused, said := answerOf(dir, append([]string{"validate"}, args...))
		ran, answer := answerOf(dir, append([]string{"run"}, args...))
		what := fmt.Sprintf("%s %v\n%s\n%s", target, args, said, answer)
		require.Equal(t, len(chosen) > 0, refused == 2, what)
		if refused != 2 {
			require.Zero(t, refused, what)
			require.NotEqual(t, 2, ran, what)
			valid++
			continue
		}
		require.Equal(t, 2, ran, what)
		require.Equal(t, said, answer)
		for _, f := range chosen {
			if slices.ContainsFunc(chosen, func(g fault) bool { return strings.Contains(f.when, g.part) }) {
				continue
			}
			require.Contains(t, said, f.says, what)
			told[f.text] = true
		}
	}
	require.NotZero(t, valid)
	require.Len(t, told, len(faults))
}

// choose takes faults of different parts: the first cases have one each, in turn.
func choose(random *rand.Rand, target string, n int) (chosen []fault) {
	if n < 2*len(faults) {
		if f := faults[n/2]; f.only == "" || f.only == target {
			return []fault{f}
		}
		return nil
	}
	taken := map[string]bool{}
	for range random.IntN(6) {
		f := faults[random.IntN(len(faults))]
		if !taken[f.part] && (f.only == "" || f.only == target) {
			taken[f.part] = true
			chosen = append(chosen, f)
		}
	}
	return chosen
}

// write writes a job file and settings with the faults and returns the arguments.
func write(t *testing.T, dir, target string, chosen []fault) []string {
	parts, args := map[string]string{}, []string{"job.yml"}
	for part, text := range sound {
		parts[part] = text
	}
	for _, f := range chosen {
		parts[f.part] = f.text
	}
	if parts["flag"] != "" {
		args = append(args, parts["flag"])
	}
	settings := parts["settings"]
	delete(parts, "flag")
	delete(parts, "settings")
	if target == "cloud" {
		parts["compute"] = "compute: azureml:cluster"
		settings += "\nworkspace: {subscription_id: s, resource_group: g, workspace_name: w}"
	}
	var lines []string
	for _, text := range parts {
		lines = append(lines, text)
	}
	slices.Sort(lines)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yml"), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".aml-train.yaml"), []byte(settings+"\n"), 0o644))
	return args
}

// answerOf runs a command line and returns its exit code and what it says.
func answerOf(dir string, args []string) (int, string) {
	cmd := exec.Command("aml-train", args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stderr = &out
	cmd.Env = append(os.Environ(), "AZURE_TOKEN_CREDENTIALS=EnvironmentCredential", "GITHUB_ACTIONS=")
	cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String()
}
