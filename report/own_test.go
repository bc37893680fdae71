package report

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/imports"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestOwnNames: in random repositories, a name that the snapshot or a folder above it holds,
// as a module, a package or a part of one, is never one to install, however Python says
// that it did not find it; a name that nothing holds is.
func TestOwnNames(t *testing.T) {
	tops := []string{"mypkg", "trainer_x", "dataset_tools", "losses_z", "helpers_q"}
	subs := []string{"utils", "models", "io_x", "deep"}
	folders := []string{".", "src", "app", "app/jobs", "scripts", "packages/core", "app/src", "lib", "a/b/c", "python"}
	kinds := []string{
		"ModuleNotFoundError: No module named '%s'",
		"ModuleNotFoundError: No module named '%s'; '%[2]s' is not a package",
		"/usr/bin/python3: No module named %s",
		"/usr/bin/python3: Error while finding module specification for '%s' (ModuleNotFoundError: No module named " +
			"'%[2]s')",
		"ImportError: No module named %s",
	}
	owned, foreign := 0, 0
	for i := range testenv.Cases(5000) {
		r := rand.New(rand.NewPCG(uint64(testenv.Seed()), uint64(i)))
		pick := func(from []string) string { return from[r.IntN(len(from))] }
		files := randomModules(r, folders, tops, subs)
		top := pick(tops)
		name := top
		switch r.IntN(4) {
		case 0:
			name += "." + pick(subs)
		case 1:
			name += "." + misspelt(r, pick(subs))
		case 2:
			name = misspelt(r, top)
			top = name
		}
		here := false
		for file := range files {
			for part := range strings.SplitSeq(file, "/") {
				stem, _, _ := strings.Cut(part, ".")
				here = here || stem == top
			}
		}
		log := []string{"Traceback (most recent call last):", `  File "/x/runs/r/wd/train.py", line 1, in <module>`,
			"    import " + name}
		line := fmt.Sprintf(pick(kinds), name, top)
		line, _, _ = strings.Cut(line, "%!(EXTRA")
		if strings.HasPrefix(line, "/usr") {
			log = nil
		}
		source := pick([]string{".", "app", "app/jobs"})
		d := Diagnose(run(history.Failed, 1, nil), append(log, line), Context{
			Repo:    &imports.Repository{FS: files, Source: source, Script: "."},
			Install: func(pkg string) string { return "pip install " + pkg }})
		what := fmt.Sprintf("case %d, source %s, %v\n%s\n%s", i, source, files, line, d.Advice)
		switch {
		case here:
			owned++
			require.NotContains(t, d.Advice, "pip install", what)
			require.Contains(t, d.Advice, "your own", what)
		case strings.Contains(d.Advice, "your own"): // one that is spelt alike
			require.Contains(t, d.Advice, "did you mean", what)
		case strings.Contains(d.Advice, "that is installed has no"): // Python has found what the name begins with
			require.Contains(t, line, top+".", what)
		default:
			foreign++
			require.Contains(t, d.Advice, "pip install", what)
		}
	}
	require.Greater(t, min(owned, foreign), testenv.Cases(5000)/20)
}

// randomModules are the files of a repository with some modules and packages.
func randomModules(r *rand.Rand, folders, tops, subs []string) fstest.MapFS {
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	files := fstest.MapFS{"app/train.py": {}, "train.py": {}}
	for range 1 + r.IntN(4) {
		at := path.Join(pick(folders), pick(tops))
		switch r.IntN(4) {
		case 0:
			files[at+".py"] = &fstest.MapFile{}
		case 1:
			files[path.Join(at, "__init__.py")] = &fstest.MapFile{}
			files[path.Join(at, pick(subs)+".py")] = &fstest.MapFile{}
		case 2: // a namespace
			files[path.Join(at, pick(subs), "__init__.py")] = &fstest.MapFile{}
		case 3:
			files[at+".cpython-311-x86_64-linux-gnu.so"] = &fstest.MapFile{}
		}
	}
	return files
}

// misspelt is a word with two of its letters changed places.
func misspelt(r *rand.Rand, word string) string {
	i := 1 + r.IntN(len(word)-2)
	return word[:i] + string(word[i+1]) + string(word[i]) + word[i+2:]
}
