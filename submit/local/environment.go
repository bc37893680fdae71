package local

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A script gets this machine's variables, as it would if the person had started it, but
// for those with which this program itself signs in, or makes a workflow do something:
// a job is code that others wrote, and what it needs of them is passed on by name.

// own are the variables that no script gets, unless they are passed on by name: what
// signs in to GitHub, to Azure (azidentity: EnvironmentCredential, workload and managed
// identities) and to another run history, and the files in which the runner of a
// workflow reads commands (docs.github.com, "Workflow commands").
var own = []string{
	"GITHUB_TOKEN", "GH_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GH_ENTERPRISE_TOKEN",
	"GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY",
	"AZURE_CREDENTIALS", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PASSWORD",
	"AZURE_USERNAME", "AZURE_PASSWORD", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_HEADER", "MSI_SECRET",
	"MLFLOW_REGISTRY_URI",
}

// ownPrefixes begin the names of others: the inputs of this action, what the runner gives
// to actions alone, another MLflow server, this program's own.
var ownPrefixes = []string{"INPUT_", "ACTIONS_", "MLFLOW_TRACKING_", "AML_TRAIN_"}

func isOwn(name string) bool {
	name = strings.ToUpper(name) // Windows knows no case here
	return slices.Contains(own, name) ||
		slices.ContainsFunc(ownPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// scripts returns what a script gets of an environment, NAME=VALUE each. The names in
// pass are passed on, whatever they are.
func scripts(environ, pass []string) (out []string) {
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !isOwn(name) || slices.Contains(pass, name) {
			out = append(out, kv)
		}
	}
	if slices.Contains(pass, configCount) {
		return out
	}
	return withoutGitSignIn(out)
}

// Variables by which git is configured (git-config(1), "ENVIRONMENT").
const (
	configCount      = "GIT_CONFIG_COUNT"
	configKey        = "GIT_CONFIG_KEY_"
	configValue      = "GIT_CONFIG_VALUE_"
	configParameters = "GIT_CONFIG_PARAMETERS" // what git -c says
)

// withoutGitSignIn takes out of git's configuration what a workflow signs in with, such
// as http.extraHeader, and leaves the rest: a folder is safe, a URL stands for another.
func withoutGitSignIn(environ []string) (out []string) {
	value := map[string]string{}
	for _, kv := range environ {
		name, v, _ := strings.Cut(kv, "=")
		switch {
		case name == configCount, strings.HasPrefix(name, configKey), strings.HasPrefix(name, configValue):
			value[name] = v
		case name == configParameters && signsIn(v, v):
		default:
			out = append(out, kv)
		}
	}
	count, err := strconv.Atoi(value[configCount])
	if err != nil || count > len(environ) { // git refuses it, and the script is to see that
		if text, ok := value[configCount]; ok {
			out = append(out, configCount+"="+text)
		}
		return out
	}
	kept := 0
	for i := range count {
		k, v := value[configKey+strconv.Itoa(i)], value[configValue+strconv.Itoa(i)]
		if !signsIn(k, v) {
			n := strconv.Itoa(kept)
			out = append(out, configKey+n+"="+k, configValue+n+"="+v)
			kept++
		}
	}
	return append(out, configCount+"="+strconv.Itoa(kept))
}

// signsIn tells whether a setting of git holds what signs in to a server.
func signsIn(key, value string) bool {
	k := strings.ToLower(key)
	if strings.Contains(k, "extraheader") || strings.Contains(k, "cookiefile") || strings.Contains(k, "credential.") {
		return true
	}
	for _, text := range []string{key, value} {
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == '\'' || r == ' ' || r == '=' }) {
			if i := strings.Index(word, "://"); i >= 0 && strings.Contains(word[i:], "@") {
				return true
			}
		}
	}
	return false
}

// environment is what the command runs with: this process's own variables, what
// Azure ML sets for a run, and the job's.
func (t *Target) environment(p *plan, base *os.Root, address, token string) (map[string]string, error) {
	env := p.machine()
	search, err := t.tools(p, base, env["PATH"])
	if err != nil {
		return nil, err
	}
	env["PATH"], env["PWD"] = search, p.Work
	fence(env, p.Base)
	for _, name := range []string{"NO_PROXY", "no_proxy"} { // the history is on this machine
		env[name] = strings.TrimPrefix(env[name]+",127.0.0.1,localhost", ",")
	}
	maps.Copy(env, runEnvironment(p, address, token))
	return env, nil
}

// machine is what of this process's variables its command gets.
func (p *plan) machine() map[string]string {
	env := map[string]string{}
	for _, kv := range scripts(os.Environ(), p.Pass) {
		if !belongsToRepository(kv) {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
		}
	}
	return env
}

// building is what the tools get that build its environment: the same, and the job's own,
// such as the address of an index.
func (p *plan) building() map[string]string {
	env := p.machine()
	maps.Copy(env, p.Env)
	return env
}

// runEnvironment is what a run finds in its environment wherever it runs: what
// Azure ML sets, and the job's own variables.
func runEnvironment(p *plan, base, token string) map[string]string {
	env := map[string]string{
		"PYTHONUNBUFFERED":       "1", // a line appears when it is printed
		"MLFLOW_TRACKING_URI":    base,
		"MLFLOW_TRACKING_TOKEN":  token,
		"MLFLOW_RUN_ID":          p.Run,
		"MLFLOW_EXPERIMENT_ID":   p.ExperimentID,
		"MLFLOW_EXPERIMENT_NAME": p.Experiment,
		"AZUREML_RUN_ID":         p.Run,
		// An address of this machine's loopback is gone when somebody reads it.
		"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
	}
	for _, name := range p.Pass {
		env[name] = os.Getenv(name)
	}
	maps.Copy(env, p.Env)
	return env
}

func pairs(env map[string]string) []string {
	out := make([]string, 0, len(env)+1)
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

// tools returns the PATH on which "python" is the interpreter of the run. One
// that has another name there, python3 or what --python gave, is called through
// a script of that name: a link would hide a virtual environment from Python.
func (t *Target) tools(p *plan, base *os.Root, search string) (string, error) {
	if p.Python == "" || isWindows {
		return search, nil
	}
	if found, err := exec.LookPath("python"); err == nil && t.Python == "" {
		if abs, _ := filepath.Abs(found); abs == p.Python {
			return search, nil
		}
	}
	if err := base.MkdirAll(toolsDir, 0o755); err != nil {
		return "", err
	}
	script := "#!/bin/sh\nexec '" + strings.ReplaceAll(p.Python, "'", `'\''`) + "' \"$@\"\n"
	names := []string{"python"}
	if filepath.Base(p.Python) != "python3" {
		names = append(names, "python3")
	}
	for _, name := range names {
		if err := base.WriteFile(path.Join(toolsDir, name), []byte(script), 0o755); err != nil {
			return "", err
		}
	}
	// The interpreter's own folder next: pip and the like belong to it.
	return strings.Join([]string{filepath.Join(p.Base, toolsDir), filepath.Dir(p.Python), search},
		string(os.PathListSeparator)), nil
}
