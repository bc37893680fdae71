package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
)

var block = regexp.MustCompile("(?ms)^```(sh|yaml)\n(.*?)^```")

// TestDocs runs every example of the README and of docs: each page's yaml blocks
// become the files that they name, and its sh blocks run one after the other, in a
// repository that holds the Iris example.
func TestDocs(t *testing.T) {
	testenv.Large(t, "it runs every example")
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	examples := 0
	for _, page := range append(pages, "README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS("examples/iris")))
		require.NoError(t, os.Remove(filepath.Join(dir, "job.yml")))
		sh := func(script string) {
			cmd := exec.Command("bash", "-euc", script)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GITHUB_ACTIONS=", "GIT_CONFIG_NOSYSTEM=1",
				"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a",
				"GIT_COMMITTER_EMAIL=a@b")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s:\n%s\n%s", page, script, out)
		}
		sh("git init -q -b main && git add -A && git commit -q -m first")
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			examples++
			head, body, _ := strings.Cut(m[2], "\n")
			switch name, file := strings.CutPrefix(head, "# file: "); {
			case m[1] == "sh":
				sh(m[2])
			case file:
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644))
				if !strings.HasPrefix(name, ".") {
					_, err := job.Load(t.Context(), filepath.Join(dir, name), job.Options{})
					require.NoError(t, err)
				}
			default:
				same, ok := strings.CutPrefix(head, "# same as: ")
				require.True(t, ok, "%s: a yaml block that names no file:\n%s", page, m[2])
				want, err := os.ReadFile(same)
				require.NoError(t, err)
				require.Equal(t, string(want), body)
			}
		}
	}
	require.Greater(t, examples, 15)
}

// TestExamples runs the examples as they are shipped.
func TestExamples(t *testing.T) {
	for _, dir := range []string{"examples/iris", "examples/iris-mlflow"} {
		_, err := job.Load(t.Context(), filepath.Join(dir, "job.yml"), job.Options{})
		require.NoError(t, err)
	}
	a, err := os.ReadFile("examples/iris/iris.csv")
	require.NoError(t, err)
	b, err := os.ReadFile("examples/iris-mlflow/iris.csv")
	require.NoError(t, err)
	require.Equal(t, string(a), string(b))
	require.Equal(t, 151, strings.Count(string(a), "\n"))
}

// TestExampleWorkflows looks whether every input and output that the examples name
// is one of the action.
func TestExampleWorkflows(t *testing.T) {
	var action struct{ Inputs, Outputs map[string]any }
	text, err := os.ReadFile("action.yml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &action))
	files, err := filepath.Glob("examples/workflows/*.yml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 5)
	named := regexp.MustCompile(`steps\.train\.outputs\.([\w-]+)`)
	for _, file := range files {
		var workflow struct {
			Jobs map[string]struct {
				Steps []struct {
					Uses string
					With map[string]any
				}
			}
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(text, &workflow))
		uses := false
		for _, job := range workflow.Jobs {
			for _, step := range job.Steps {
				if !strings.HasPrefix(step.Uses, "org/aml-train") {
					continue
				}
				uses = true
				for input := range step.With {
					require.Contains(t, action.Inputs, input, file)
				}
			}
		}
		require.True(t, uses, file)
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			require.Contains(t, action.Outputs, m[1], file)
		}
	}
}

// majors are the newest of the actions that our workflows and examples use: older ones run
// on a Node that runners no longer have.
var majors = map[string]string{"actions/checkout": "v7", "actions/setup-go": "v7", "actions/setup-python": "v7",
	"actions/upload-artifact": "v7", "docker/build-push-action": "v7", "docker/login-action": "v4",
	"docker/setup-buildx-action": "v4", "docker/setup-qemu-action": "v4", "pypa/gh-action-pypi-publish": "release/v1",
	"org/aml-train": "v1", "org/aml-train/setup": "v1"}

// TestActionVersions looks whether every workflow, every example and what init writes use
// those, and whether no example has a filter of paths, which would leave a required check
// pending for ever.
func TestActionVersions(t *testing.T) {
	var files []string
	for _, pattern := range []string{".github/workflows/*.yml", "examples/workflows/*.yml", "*.md", "docs/*.md",
		"internal/layout/write.go", "setup/action.yml", "action.yml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, found, pattern)
		files = append(files, found...)
	}
	uses := regexp.MustCompile(`(?m)\buses: *([\w-]+/[\w./-]+)@([\w./-]+)`)
	filter := regexp.MustCompile(`(?m)^ +paths(-ignore)?:`)
	found := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range uses.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(m[1], "/.github/workflows/") {
				require.Equal(t, majors[m[1]], m[2], "%s: %s", file, m[0])
				found[m[1]] = true
			}
		}
		if strings.Contains(file, "workflows/") {
			require.NotRegexp(t, filter, string(text), file)
		}
	}
	require.Len(t, found, len(majors))
}

// TestLayouts looks whether each row of docs/layouts.md names a test that has what the row
// says, each word of code in it, and whether a row names each test of a layout.
func TestLayouts(t *testing.T) {
	text, err := os.ReadFile("docs/layouts.md")
	require.NoError(t, err)
	code := regexp.MustCompile("`([^`]+)`")
	link := regexp.MustCompile(`^\[[^\]]+\]\(\.\./(testdata/script/\S+\.txt)\)$`)
	named := map[string]bool{}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| layout") {
			continue
		}
		rows++
		require.Len(t, cells, 4, line)
		m := link.FindStringSubmatch(strings.TrimSpace(cells[3]))
		require.NotNil(t, m, line)
		named[m[1]] = true
		script, err := os.ReadFile(m[1])
		require.NoError(t, err)
		words := code.FindAllStringSubmatch(cells[0]+cells[2], -1)
		require.NotEmpty(t, words, line)
		for _, word := range words {
			if !strings.Contains(string(script), word[1]) {
				t.Errorf("%s has no %s", m[1], word[1])
			}
		}
	}
	require.Greater(t, rows, 12)
	scripts, err := filepath.Glob("testdata/script/layouts/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, script := range scripts {
		require.True(t, named[filepath.ToSlash(script)], "no row of docs/layouts.md names %s", script)
	}
}

// TestLinks follows every relative link of the documentation.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	link := regexp.MustCompile(`\]\(\s*([^)#\s]*)(?:#([^)\s]+))?\)`)
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to := page
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
			}
			_, err := os.Stat(to)
			require.NoError(t, err, page)
			if m[2] != "" {
				require.Contains(t, anchors(t, to), m[2], "%s links to %s#%s", page, to, m[2])
			}
		}
		anchors(t, page)
	}
}

// anchors are the names that GitHub gives the headings of a page, each of which is there once:
// a page that says a thing twice soon says two things.
func anchors(t *testing.T, page string) (names []string) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		name = strings.ReplaceAll(name, " ", "-")
		require.NotContains(t, names, name, "%s has two headings %q", page, m[1])
		names = append(names, name)
	}
	return names
}
