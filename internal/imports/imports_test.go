package imports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// tree is a repository of empty files.
func tree(names ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, name := range names {
		name, text, _ := strings.Cut(name, "=")
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func TestFind(t *testing.T) {
	for name, test := range map[string]struct {
		files          []string
		source, script string
		module         string
		path, root     string // "" where it is not the repository's
	}{
		"beside the code": {[]string{"common/__init__.py", "app/go.py"}, "app", ".", "common", "common",
			"."},
		"of a monorepo": {[]string{"packages/common/pyproject.toml",
			"packages/common/src/common/__init__.py", "packages/app/go.py"}, "packages/app", ".", "common",
			"packages/common/src/common", "packages/common/src"},
		"deep, of no project": {[]string{"a/b/c/common/__init__.py", "app/go.py"}, "app", ".", "common",
			"a/b/c/common", "a/b/c"},
		"a namespace": {[]string{"libs/ns/part/x.py", "app/go.py"}, "app", ".", "ns", "libs/ns",
			"libs"},
		"compiled": {[]string{"native/fast.cpython-311-x86_64-linux-gnu.so", "app/go.py"}, "app",
			".", "fast", "native/fast.cpython-311-x86_64-linux-gnu.so", "native"},
		"compiled for Windows": {[]string{"src/fast.pyd", "go.py"}, ".", ".", "fast", "src/fast.pyd", "src"},
		"src layout":           {[]string{"src/pkg/__init__.py", "train.py"}, ".", ".", "pkg", "src/pkg", "src"},
		"script in a folder":   {[]string{"pkg/__init__.py", "jobs/train.py"}, ".", "jobs", "pkg", "pkg", "."},
		"a script called so":   {[]string{"scripts/yaml.py", "train.py"}, ".", ".", "yaml", "", ""},
		"a folder called so":   {[]string{"deploy/docker/build.py", "train.py"}, ".", ".", "docker", "", ""},
		"no Python in it":      {[]string{"configs/common/a.yaml", "train.py"}, ".", ".", "common", "", ""},
		"a file of the root":   {[]string{"yaml.py", "app/go.py"}, "app", ".", "yaml", "yaml.py", "."},
		"needed by the project": {[]string{"tools/fancy.py", "requirements.txt=fancy>=1\n", "train.py"}, ".",
			".", "fancy", "", ""},
		"a helper": {[]string{"tools/helpers.py", "app/go.py"}, "app", ".", "helpers",
			"tools/helpers.py", "tools"},
		"in an environment": {[]string{".venv/lib/python3.11/site-packages/six.py", "env/pyvenv.cfg",
			"env/lib/own/__init__.py", "train.py"}, ".", ".", "own", "", ""},
		"tests come last": {[]string{"a/tests/own/__init__.py", "z/y/own/__init__.py"}, ".", ".", "own",
			"z/y/own", "z/y"},
		"a part of a package": {[]string{"pkg/__init__.py", "pkg/utils.py", "train.py"}, ".", ".", "utils",
			"pkg/utils.py", "."},
		"a member of a uv workspace": {[]string{"uv.lock=[[package]]\nname = \"common\"\nversion = \"0.1\"\n" +
			"source = { editable = \"packages/common\" }\n", "packages/common/pyproject.toml",
			"packages/common/src/common/a.py", "packages/app/go.py"}, "packages/app", ".", "common",
			"packages/common/src/common", "packages/common/src"},
		"a package of a uv lock file": {[]string{"uv.lock=[[package]]\nname = \"common\"\nversion = \"0.1\"\n" +
			"source = { registry = \"https://pypi.org/simple\" }\n", "packages/common/a.py", "app/go.py"}, "app", ".",
			"common", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Repository{FS: tree(test.files...), Source: test.source, Script: test.script}
			m, ok := r.Find(test.module)
			require.Equal(t, test.path != "", ok, "%+v", m)
			require.Equal(t, test.path, m.Path)
			require.Equal(t, test.root, m.Root)
		})
	}
	r := &Repository{FS: tree("common/__init__.py", "common/utils.py", "common/deep/x.py", "common/data/x.csv"),
		Source: ".", Script: "."}
	for module, want := range map[string][2]string{
		"common.utls": {"common/utls", "utils"}, "common.deep.y": {"common/deep/y", ""},
		"common.data":  {"common/data", ""},
		"common.dep.x": {"common/dep", "deep"}, "common.deep.x": {"", ""},
	} {
		m, ok := r.Find(module)
		require.True(t, ok)
		require.Equal(t, want, [2]string{m.Missing, m.Near}, module)
	}
}

// TestAgainstPython: in random repositories, a module that is found is what Python imports
// from the folder that is named, and one that is not found Python imports from no folder.
func TestAgainstPython(t *testing.T) {
	python := testenv.Program(t, "python3")
	type query struct {
		Dir, Root, Name, Want string
		Folders               []string
	}
	words := []string{"common", "utils", "pkg", "src", "lib", "libs", "packages", "tools", "tests"}
	var queries []query
	base := t.TempDir()
	for i := range testenv.Cases(300) {
		r := rand.New(rand.NewPCG(uint64(testenv.Seed()), uint64(i)))
		word := func() string { return words[r.IntN(len(words))] }
		dir := filepath.Join(base, fmt.Sprint(i))
		folders := []string{"."}
		for range 1 + r.IntN(12) {
			at := path.Join(folders[r.IntN(len(folders))], word())
			require.NoError(t, os.MkdirAll(filepath.Join(dir, at), 0o755))
			folders = append(folders, at)
			for _, file := range []string{"__init__.py", word() + ".py", word() + ".so", "data.csv", "pyproject.toml"} {
				if r.IntN(3) == 0 {
					require.NoError(t, os.WriteFile(filepath.Join(dir, at, file), nil, 0o644))
				}
			}
		}
		root, err := os.OpenRoot(dir)
		require.NoError(t, err)
		repo := &Repository{FS: root.FS(), Source: folders[r.IntN(len(folders))], Script: "."}
		for _, name := range []string{"common", "utils", "pkg", word() + "." + word()} {
			q := query{Dir: dir, Name: name, Folders: folders}
			if m, ok := repo.Find(name); ok && m.Missing == "" {
				q.Root, q.Name, q.Want = m.Root, m.Name, m.Path
				if strings.Contains(name, ".") {
					q.Name += name[strings.Index(name, "."):]
				}
			} else if ok {
				q.Root, q.Name = m.Root, m.Name+name[strings.Index(name, "."):]
			}
			queries = append(queries, q)
		}
		root.Close()
	}
	in, err := json.Marshal(queries)
	require.NoError(t, err)
	cmd := exec.Command(python, "-I", "testdata/find.py")
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var answers []string
	require.NoError(t, json.Unmarshal(out, &answers))
	require.Len(t, answers, len(queries))
	found := 0
	for i, q := range queries {
		require.Equal(t, q.Want, answers[i], "%+v", q)
		if q.Want != "" {
			found++
		}
	}
	require.Greater(t, found, len(queries)/10)
	require.Less(t, found, len(queries)*9/10)
}

func TestNear(t *testing.T) {
	r := &Repository{FS: tree("trainer/__init__.py", "src/models.py", "app/helpers.py", "data/x.csv",
		"requirements.txt=trainers\n"), Source: "app", Script: "."}
	for name, want := range map[string]string{"trainner": "trainer", "model": "models", "helper": "helpers",
		"seaborn": "", "date": "", "trainers": "", "helpers": ""} {
		require.Equal(t, want, r.Near(name), name)
	}
}

func TestInstaller(t *testing.T) {
	for name, test := range map[string]struct {
		file, text string
		pkg        string
		has        bool
		command    string
	}{
		"uv, not there": {"uv.lock", "[[package]]\nname = \"numpy\"\nversion = \"2\"\nsource = { registry " +
			"= \"x\" }\n", "seaborn", false, "uv add seaborn"},
		"uv, there": {"uv.lock", "[[package]]\nname = \"scikit-learn\"\nversion = \"2\"\n" +
			"source = { registry = \"x\" }\n", "scikit_learn", true, "uv sync"},
		"uv, a part": {"uv.lock", "[[package]]\nname = \"scikit-learn-extra\"\nversion = \"2\"\n" +
			"source = { registry = \"x\" }\n", "scikit-learn", false, "uv add scikit-learn"},
		"poetry": {"poetry.lock", "[[package]]\nname = \"numpy\"\ndescription = \"not \\\"seaborn\\\"\"\n",
			"seaborn", false, "poetry add seaborn"},
		"poetry, there": {"poetry.lock", "[[package]]\nname = \"pyyaml\"\n", "PyYAML", true, "poetry install"},
		"pdm":           {"pdm.lock", "[[package]]\nname = \"numpy\"\n", "numpy", true, "pdm install"},
		"pixi": {"pixi.lock",
			"- conda: https://conda.anaconda.org/conda-forge/linux-64/numpy-1.26.4-py310_0.conda\n", "numpy", true,
			"pixi install"},
		"pixi, not there": {"pixi.lock", "- conda: https://x/numpy-base-1.26.4-py310_0.conda\n", "numpy", false,
			"pixi add numpy"},
		"pixi, conda's name": {"pixi.lock", "packages: []\n", "torch", false, "pixi add pytorch"},
		"pipenv": {"Pipfile.lock", "{\n    \"default\": {\n        \"numpy\": {\n", "numpy", true,
			"pipenv sync"},
		"pipenv, not there": {"Pipfile.lock", "{}", "numpy", false, "pipenv install numpy"},
		"conda": {"environment.yml", "dependencies:\n  - python=3.11\n  - conda-forge::numpy=2\n" +
			"  - pip:\n    - seaborn==0.13\n", "seaborn", true, "conda env update --file ../environment.yml"},
		"conda, channel": {"environment.yml", "dependencies:\n  - conda-forge::numpy=2\n", "numpy", true,
			"conda env update --file ../environment.yml"},
		"conda, not there": {"environment.yml", "dependencies:\n  # - seaborn\n", "seaborn", false,
			"conda env update --file ../environment.yml"},
		"pip": {"requirements.txt", "numpy\nSeaborn[stats] >= 0.13  # plots\n", "seaborn", true,
			"python -m pip install -r ../requirements.txt"},
		"pip, not there": {"requirements.txt", "seaborn-image\n#seaborn\n", "seaborn", false,
			"python -m pip install -r ../requirements.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Repository{FS: tree(test.file + "=" + test.text), Source: "app"}
			i, ok := r.Installer(test.pkg)
			require.True(t, ok)
			require.Equal(t, test.has, i.Has)
			require.Equal(t, test.command, i.Command)
			require.Equal(t, !test.has && (test.file == "environment.yml" || test.file == "requirements.txt"), i.ByHand)
		})
	}
	_, ok := (&Repository{FS: tree("train.py"), Source: "."}).Installer("x")
	require.False(t, ok)
	// The nearest counts.
	i, ok := (&Repository{FS: tree("uv.lock", "a/requirements.txt"), Source: "a/b"}).Installer("x")
	require.True(t, ok)
	require.Equal(t, "a/requirements.txt", i.File)
}

func TestTables(t *testing.T) {
	require.Equal(t, "scikit-learn", Package("sklearn.linear_model"))
	require.Equal(t, "protobuf", Package("google.protobuf"))
	require.Empty(t, Package("google.other"))
	require.Contains(t, Standard("tomllib"), "from 3.11 on")
	require.Contains(t, Standard("distutils.core"), "no part of Python from 3.12 on")
	require.Contains(t, Standard("_lzma"), "built without it")
	require.Empty(t, Standard("numpy"))
	for name, pkg := range packages {
		require.NotContains(t, standard, name)
		require.Regexp(t, `^[A-Za-z0-9._-]+$`, pkg)
	}
}

func TestRelative(t *testing.T) {
	for want, at := range map[string][2]string{
		"x": {".", "x"}, ".": {"a", "a"}, "../b/c": {"a", "b/c"}, "b": {"a", "a/b"}, "..": {"a/b", "a"},
		"../../x": {"a/b", "x"}, "../..": {"a/b", "."},
	} {
		require.Equal(t, want, Relative(at[0], at[1]), at)
	}
}
