package report

import (
	"fmt"
	"math/rand/v2"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/imports"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestAdviceIsTrue: in random repositories with random code and errors, what the advice says
// of a file is so: what it says did not travel is ignored, and nothing that the code's name
// means has travelled; and where the code reads one thing alone, which is ignored, it says
// so.
func TestAdviceIsTrue(t *testing.T) {
	folders := []string{"data", "data/raw", "src", "models", "configs/a", "."}
	kinds := []string{"IndexError: list index out of range", "ValueError: empty", "NameError: x",
		"ZeroDivisionError: division by zero", "KeyError: 'a'", "StopIteration",
		"ModuleNotFoundError: No module named 'data'"}
	readers := []string{"open(%q)", "glob.glob(%q)", "pd.read_csv(%q)", "Path(%q).iterdir()", "open(%q, \"w\")",
		"df.to_csv(%q)", "print(%q)", "# open(%q)"}
	said := 0
	for i := range testenv.Cases(3000) {
		r := rand.New(rand.NewPCG(uint64(testenv.Seed()), uint64(i)))
		pick := func(from []string) string { return from[r.IntN(len(from))] }
		files := fstest.MapFS{"train.py": {}}
		for range r.IntN(8) {
			files[path.Join(pick(folders), pick([]string{"a.csv", "b.csv", "c.json", "mod.py"}))] = &fstest.MapFile{}
		}
		ignored := pick([]string{"data", "models", "data/raw", "configs", "nothing"})
		why := func(p string) string {
			if strings.HasPrefix(p+"/", ignored+"/") && (p != ignored || strings.HasSuffix(p, "/") ||
				!isFile(files, p)) {
				return "`.gitignore:1` (`" + ignored + "/`)"
			}
			return ""
		}
		var code strings.Builder
		var only string
		lines := 1 + r.IntN(4)
		for range lines {
			name := path.Join(pick(folders), pick([]string{"*.csv", "a.csv", "", "**/*.json", "b.*"}))
			reader := pick(readers)
			fmt.Fprintf(&code, reader+"\n", name)
			if only = ""; lines == 1 && reader != readers[4] && reader != readers[5] && reader != readers[6] &&
				reader != readers[7] {
				only = name
			}
		}
		files["train.py"].Data = []byte(code.String())
		log := []string{"Traceback (most recent call last):", `  File "/x/runs/r/wd/train.py", line 1, in <module>`,
			"    code()", pick(kinds)}
		failed := run(history.Failed, 1, map[string]string{history.TagError: "the command exited with status 1"})
		d := Diagnose(failed, log, Context{Why: why, Repo: &imports.Repository{FS: files, Source: ".", Script: "."}})
		m := names.FindStringSubmatch(d.Advice)
		kind, _, _ := strings.Cut(log[3], ":")
		there := kind != "NameError" && kind != "ModuleNotFoundError"
		what := fmt.Sprintf("ignored %s, %v\n%s\n%s\n%s", ignored, files, code.String(), log[3], d.Advice)
		if m == nil {
			if there && only != "" && isFile(files, only) && why(only) != "" {
				t.Fatal("it says nothing:", what)
			}
			continue
		}
		said++
		require.True(t, there, what)
		require.Contains(t, code.String(), m[1], what)
		for name := range files {
			matches, err := path.Match(m[1], name)
			require.NoError(t, err)
			if before, after, deep := strings.Cut(m[1], "**/"); deep && strings.HasPrefix(name, before) {
				matches, err = path.Match(after, path.Base(name))
				require.NoError(t, err)
			}
			if matches || strings.HasPrefix(name, m[1]+"/") {
				require.NotEmpty(t, why(name), what)
			}
		}
		input := inputOf.FindStringSubmatch(d.Advice)
		require.NotNil(t, input, what)
		require.True(t, input[1] == ignored || strings.HasPrefix(input[1], ignored+"/") ||
			strings.HasPrefix(ignored, input[1]+"/"), what)
	}
	require.Greater(t, said, testenv.Cases(3000)/20)
}

var (
	names   = regexp.MustCompile("names `([^`]+)`")
	inputOf = regexp.MustCompile(`type: uri_(?:file|folder), path: ([^}]+)\}`)
)

func isFile(files fstest.MapFS, name string) bool {
	_, ok := files[name]
	return ok
}
