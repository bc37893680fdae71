package cli

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/settings"
)

// bad are values that nothing takes which reads more than text.
var bad = []string{"", "x", "-1", "1.5", "1e999", "99999999999999999999", "-99999999999999999999", "0x", "NaN", "truee",
	"{", "[1", "{\"a\": \"b\"", "=", "a=b=c", "%zz", "http://[::1", "http://x:port/", "é\xff", "P1Y", "12:99", "1 2",
	"2026-13-45", "10XB", "accuracy >= x", "accuracy >= 1e999", "@{99999999999999999999}", "HEAD~99999999999999999999"}

// insides are words of the functions that read numbers, addresses and times: they say nothing
// to whoever wrote the value.
var insides = regexp.MustCompile(`strconv|invalid syntax|value out of range|parsing "|parsing time|json: |yaml: |0x[0-9a-f]{6}`)

// said runs a command line in this process and returns all that it says.
func said(args ...string) string {
	var out bytes.Buffer
	a := &app{getenv: os.Getenv, out: &out, err: &out}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := root.ExecuteContext(ctx)
	if a.store != nil {
		a.store.Close()
	}
	a.exit(err)
	return out.String()
}

// inWords fails a test where a message holds the inside of a function.
func inWords(t *testing.T, message string, format string, args ...any) {
	t.Helper()
	if found := insides.FindString(message); found != "" {
		t.Errorf("%s: %q in:\n%s", fmt.Sprintf(format, args...), found, message)
	}
}

// TestFlagsInWords gives every flag of every command some of the bad values.
func TestFlagsInWords(t *testing.T) {
	t.Chdir(t.TempDir())
	flags := 0
	var each func(c *cobra.Command, path []string)
	each = func(c *cobra.Command, path []string) {
		for _, sub := range c.Commands() {
			each(sub, append(slices.Clone(path), sub.Name()))
		}
		if !c.Runnable() || len(path) == 0 || c.Hidden || path[0] == "completion" {
			return
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			flags++
			for _, value := range some(bad) {
				args := slices.Clone(path)
				switch path[0] {
				case "run", "submit", "validate": // nothing is submitted
					args = append(args, "missing.yml")
				case "compare":
					args = append(args, "a", "b")
				case "cancel", "delete", "archive", "download":
					args = append(args, "a")
				}
				args = append(args, "--"+f.Name+"="+value)
				inWords(t, said(args...), "%q", args)
			}
		})
	}
	each((&app{}).root(), nil)
	require.Greater(t, flags, 120)
}

// picks are the same in each run of the tests with one seed.
var picks = rand.New(rand.NewPCG(uint64(testenv.Seed()), 11))

// some are up to five of the values, others each time.
func some(values []string) []string {
	values = slices.Clone(values)
	picks.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
	return values[:min(testenv.Cases(20), 5)]
}

// TestEnvironmentInWords gives every variable that the code reads some of the bad values.
func TestEnvironmentInWords(t *testing.T) {
	reads := regexp.MustCompile(`(?:[gG]etenv|LookupEnv)\("([A-Z][A-Z0-9_]+)"\)`)
	names := map[string]bool{"GIT_CONFIG_COUNT": true, "GIT_CONFIG_PARAMETERS": true, "GIT_DIR": true}
	require.NoError(t, filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if strings.HasPrefix(name, "../.") && d.IsDir() {
			return fs.SkipDir // .git and .cache
		}
		if err != nil || d.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") ||
			strings.Contains(name, "internal/testing") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range reads.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return err
	}))
	for _, keep := range []string{"PATH", "HOME", "TMPDIR"} {
		delete(names, keep)
	}
	require.Greater(t, len(names), 25)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("job.yml", []byte("command: echo\n"), 0o644))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, workflow := range []string{"", "true"} {
			for _, value := range some(bad) {
				if name == "GITHUB_ACTIONS" && workflow != "" {
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Setenv("GITHUB_ACTIONS", workflow)
					t.Setenv(name, value)
					for _, args := range [][]string{{"validate", "job.yml"}, {"metadata"}, {"runs"},
						{"submit", "missing.yml"}} {
						inWords(t, said(args...), "%s=%q %v", name, value, args)
					}
				})
			}
		}
	}
}

// TestKeysInWords puts some of the bad values at each place of job files and settings.
func TestKeysInWords(t *testing.T) {
	files, err := filepath.Glob("../job/testdata/*.yml")
	require.NoError(t, err)
	texts := map[string]string{"settings": `job: job.yml
python: python3
keep: [a]
strict: true
rules: ["accuracy >= 0.9"]
report: {metrics: [a]}
hook: {branches: [main], paths: [src], wait: true}
workspace: {subscription_id: a, resource_group: b, workspace_name: c}
`}
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		texts[name] = string(text)
	}
	t.Chdir(t.TempDir())
	tried := 0
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		var whole any
		if yaml.Unmarshal([]byte(texts[name]), &whole) != nil {
			continue // a test of what cannot be read
		}
		for _, value := range some(bad) {
			replaced(whole, value, func() {
				changed, err := yaml.Marshal(whole)
				if err != nil {
					return
				}
				file, args := "job.yml", []string{"validate", "job.yml"}
				if name == "settings" {
					file, args = settings.File, []string{"runs"}
				}
				require.NoError(t, os.WriteFile(file, changed, 0o644))
				tried++
				inWords(t, said(args...), "%s with %q:\n%s", name, value, changed)
				require.NoError(t, os.Remove(file))
			})
		}
	}
	require.Greater(t, tried, 400)
}

// replaced calls each with every leaf of a document replaced by a value, one at a time.
func replaced(node any, value string, each func()) {
	switch node := node.(type) {
	case map[string]any:
		for k, v := range node {
			if leaf(v) {
				node[k] = value
				each()
				node[k] = v
			} else {
				replaced(v, value, each)
			}
		}
	case []any:
		for i, v := range node {
			if leaf(v) {
				node[i] = value
				each()
				node[i] = v
			} else {
				replaced(v, value, each)
			}
		}
	}
}

func leaf(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}
