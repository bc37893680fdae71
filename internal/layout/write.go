package layout

import (
	"path"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// JobFile is the text of a job file for what was seen.
func (l Layout) JobFile(experiment string) (string, error) {
	var b strings.Builder
	for _, part := range []struct {
		key, comment string
		value        any
		empty        bool
	}{
		{"command", "", l.Command, false},
		{"code", "", ".", false},
		{"experiment_name", "", experiment, false},
		{"environment_variables", "", l.Env, len(l.Env) == 0},
		{"keep", "# What it writes besides ./outputs and ./logs and is kept with the run.\n",
			l.Keep, len(l.Keep) == 0},
	} {
		if part.empty {
			continue
		}
		text, err := yaml.MarshalWithOptions(map[string]any{part.key: part.value}, yaml.Flow(true))
		if err != nil {
			return "", err
		}
		line := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(text)), "{"), "}")
		b.WriteString(part.comment + line + "\n")
	}
	return b.String(), nil
}

// Settings is the text of settings with which runs of the workflow are found by later ones.
const Settings = `# Runs of the branch that changes are merged into are kept on a ref of the repository, which no clone
# fetches: pull requests are compared with them. .github/workflows/train.yml may write there.
history: ref
`

// Workflow is the text of a GitHub Actions workflow that trains a job for each pull request, and
// for each push to the branch that they are merged into, on the runner, after what the files in the
// job file's folder say is installed. The job file is named from the repository's root on, those
// files from its folder on. Only the branch's job may write to the repository: what a change
// brings, or what it has installed, runs without that.
func Workflow(jobFile, branch string, files []string) string {
	dir, install := path.Dir(jobFile), ""
	if strings.HasPrefix(jobFile, "-") { // which is no flag
		jobFile = "./" + jobFile
	}
	for _, m := range []struct{ file, run string }{
		{"uv.lock", "pip install uv && uv sync"}, {"poetry.lock", "pip install poetry && poetry install"},
		{"requirements.txt", "pip install -r requirements.txt"}, {"pyproject.toml", "pip install ."},
		{"setup.py", "pip install ."},
	} {
		for _, p := range files {
			if p == m.file && install == "" {
				install = "      - run: " + m.run + "\n"
				if dir != "." {
					install += "        working-directory: " + literal(dir) + "\n"
				}
			}
		}
	}
	return `name: train
on:
  pull_request:
  push:
    branches: [` + strconv.Quote(only(branch)) + `] # what the next pull request is compared with
permissions:
  contents: read
jobs:
  change:
    if: github.event_name == 'pull_request'
    runs-on: ubuntu-latest
    permissions:
      contents: read # and with it, the runs that the other job has kept
      pull-requests: write # the comment
    steps: &train
      - uses: actions/checkout@v7
        with:
          persist-credentials: false # nothing that trains finds the token
      - uses: actions/setup-python@v7
        with:
          python-version: "3.12"
` + install + `      - uses: org/aml-train/setup@v1
      - run: aml-train run "$JOB"
        env:
          JOB: ` + literal(jobFile) + `
          GITHUB_TOKEN: ${{ github.token }} # for the comment, and the history
  branch:
    if: github.event_name == 'push'
    runs-on: ubuntu-latest
    permissions:
      contents: write # keeps the run (history: ref in .aml-train.yaml)
    steps: *train
`
}

// literal is a value that GitHub takes as it stands: within most, an expression begins with ${{
// (docs.github.com, "Contexts"), and a folder may be called like one that hands out a secret.
func literal(text string) string {
	return strconv.Quote(strings.ReplaceAll(text, "${{", "${{ '${{' }}"))
}

// only is the pattern of one branch: of what is special in one, a name can hold + and a first !
// (docs.github.com, "Filter pattern cheat sheet"; git-check-ref-format(1)).
func only(branch string) string {
	branch = strings.ReplaceAll(branch, "+", `\+`)
	if strings.HasPrefix(branch, "!") {
		branch = `\` + branch
	}
	return branch
}
