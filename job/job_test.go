package job

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden reads every testdata/NAME.yml and compares what comes out, the
// resolved job or the problems, with NAME.out.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var got bytes.Buffer
			j, err := Load(t.Context(), file, Options{})
			if err != nil {
				require.Nil(t, j)
				require.IsType(t, Problems{}, err)
				got.WriteString(err.Error() + "\n")
			} else {
				e := json.NewEncoder(&got)
				e.SetIndent("", "  ")
				require.NoError(t, e.Encode(j))
			}
			golden := strings.TrimSuffix(file, ".yml") + ".out"
			if *update {
				require.NoError(t, os.WriteFile(golden, got.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got.String())
		})
	}
}

func TestOptions(t *testing.T) {
	t.Chdir("testdata/src")
	for name, test := range map[string]struct {
		o       Options
		command string
		problem string
	}{
		"script": {o: Options{Script: "train.py"}, command: "python train.py"},
		"arguments": {o: Options{Script: "train.py", Arguments: `--rate 0.1 --title "a b" --x '$HOME;id'`},
			command: `python train.py --rate 0.1 --title 'a b' --x '$HOME;id'`},
		"lines": {o: Options{Script: "train.py", Arguments: "--a 1\n--b 2"},
			command: "python train.py --a 1 --b 2"},
		"source directory": {o: Options{Script: "train.py", SourceDirectory: "../src"}, command: "python train.py"},
		"script by its way": {o: Options{Script: "src/train.py", SourceDirectory: "../src"},
			problem: "did you mean train.py?"},
		"no script": {o: Options{Arguments: "--a"}, problem: "--arguments needs --script"},
		"nothing":   {o: Options{}, problem: "nothing to run"},
		"both":      {o: Options{Script: "train.py", Command: "x"}, problem: "exclude each other"},
		"bad words": {o: Options{Script: "train.py", Arguments: `"open`}, problem: "--arguments"},
		"outside":   {o: Options{Script: "../../job.go"}, problem: "does not lie in the source directory"},
		"no such folder": {o: Options{Script: "train.py", SourceDirectory: "../scr"},
			problem: "does not exist; did you mean src?"},
		"env":          {o: Options{Command: "x", Env: []string{"A"}}, problem: `--env "A": write NAME=VALUE`},
		"limit":        {o: Options{Command: "x", MaxRunSeconds: -1}, problem: "it has to be positive"},
		"distribution": {o: Options{Command: "x", Distribution: "pytroch"}, problem: "did you mean pytorch?"},
		"processes": {o: Options{Command: "x", ProcessCount: 2},
			problem: "--process-count needs --distribution"},
		"experiment": {o: Options{Command: "x", ExperimentName: "a b"}, problem: "--experiment-name is"},
		"databricks": {o: Options{Command: "x", ComputeTarget: "azure databricks"},
			problem: "Azure Databricks cannot run a training job"},
		"input": {o: Options{Command: "x ${{inputs.a}}", Inputs: []string{"a=main"}},
			command: "x ${{inputs.a}}"},
		"input in script": {o: Options{Script: "train.py", Arguments: "${{inputs.a}}", Inputs: []string{"a=1"}},
			command: "python train.py '${{inputs.a}}'"},
		"branch name": {o: Options{Command: "x ${{inputs.a}}", Inputs: []string{"a=feature/x_1.2@éa"}},
			command: "x ${{inputs.a}}"},
		"hostile branch": {o: Options{Command: "x ${{inputs.a}}", Inputs: []string{"a=$(curl${IFS}evil)"}},
			problem: "a shell would interpret"},
		"newline": {o: Options{Command: "x ${{inputs.a}}", Inputs: []string{"a=1\nid"}},
			problem: "a shell would interpret"},
		"unknown input": {o: Options{Command: "x", Inputs: []string{"a=1"}}, problem: "no input of that name"},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := Load(t.Context(), "", test.o)
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.command, j.Command)
			require.Equal(t, Local, j.Compute)
			require.Equal(t, "src", j.ExperimentName)
		})
	}
}

func TestOptionsOverFile(t *testing.T) {
	j, err := Load(t.Context(), "testdata/full.yml",
		Options{ComputeTarget: "local", Environment: "user-managed", MaxRunSeconds: 5,
			Env:    []string{"SEED=8"},
			Inputs: []string{"rate=0.5", "data=testdata/data"}, Distribution: "tensorflow", ProcessCount: 3,
			NodeCount: 4,
			Tags:      []string{"team=red"}})
	require.NoError(t, err)
	require.Equal(t, "local", j.Compute)
	require.True(t, j.Environment.UserManaged)
	require.Equal(t, 5, j.Limits.Timeout)
	require.Equal(t, "8", j.EnvironmentVariables["SEED"])
	require.Equal(t, Input{Literal: true, Value: "0.5"}, j.Inputs["rate"])
	require.Equal(t, "data", j.Inputs["data"].Path)
	require.Equal(t, &Distribution{Type: "tensorflow", WorkerCount: 3}, j.Distribution)
	require.Equal(t, 4, j.Resources.InstanceCount)
	require.Equal(t, "red", j.Tags["team"])
}

func TestExpand(t *testing.T) {
	j := &Job{Command: "a ${{inputs.x}} ${{ inputs.x.path }} ${{outputs.y}} ${{search_space.z}} ${{inputs.none}} ${X}"}
	require.Equal(t, "a 1; 1; /out 3 ${{inputs.none}} ${X}",
		j.Expand(map[string]string{"inputs.x": "1;", "outputs.y": "/out", "search_space.z": "3"}))
}

// Azure ML's client writes numbers with Python's str().
func TestPythonFloat(t *testing.T) {
	for f, want := range map[float64]string{0.1: "0.1", 1: "1.0", 1e-5: "1e-05", 1e16: "1e+16",
		1e15: "1000000000000000.0", -0.0001: "-0.0001", 123456.789: "123456.789", math.Inf(1): "inf",
		math.Inf(-1): "-inf"} {
		require.Equal(t, want, pythonFloat(f))
	}
	require.Equal(t, "nan", pythonFloat(math.NaN()))
}

func TestDigest(t *testing.T) {
	a, err := Load(t.Context(), "testdata/full.yml", Options{})
	require.NoError(t, err)
	b, err := Load(t.Context(), "testdata/full.yml", Options{DisplayName: "other"})
	require.NoError(t, err)
	require.Equal(t, a.Digest(), b.Digest(), "the name is no part of what runs")
	b.EnvironmentVariables = map[string]string{"SEED": "9"}
	require.NotEqual(t, a.Digest(), b.Digest())
}

func TestScript(t *testing.T) {
	for command, want := range map[string]string{
		"python train.py": "train.py", "python3 src/train.py --x 1": "src/train.py", " python -u a.py": "a.py",
		"python3.11 a.py": "a.py",
		"python -m mod":   "", "python -c 1": "", "cd x && python a.py": "", "python /abs.py": "", "python $X.py": "",
		"pip install x; python a.py": "", "python 'a b.py'": "",
	} {
		require.Equal(t, want, scriptOf(command), command)
	}
}

func TestNoScript(t *testing.T) {
	for command, want := range map[string]string{
		"python train.ipynb":           "command mkdir -p outputs && papermill train.ipynb outputs/train.ipynb ",
		"python3 -u 'a/b c.ipynb' --x": "papermill 'a/b c.ipynb' 'outputs/b c.ipynb' ",
		"python run.sh":                "a command: sh run.sh", "python3.12 fit.R": "a command: Rscript fit.R",
		"python a.ipynb && echo": "nbconvert --to script a.ipynb",
		"python a.py b.ipynb":    "", "papermill a.ipynb b.ipynb": "", "python": "", "python 'a.ipynb": "",
		"pythonic a.ipynb": "", "python -m a.ipynb": "",
	} {
		got := noScript(command)
		require.Contains(t, got, want, command)
		require.Equal(t, want == "", got == "", command)
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "job.yml")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		j, err := Load(t.Context(), file, Options{})
		if err != nil {
			if len(err.(Problems)) == 0 || err.Error() == "" {
				t.Fatal("a problem without words")
			}
			return
		}
		if j.Command == "" || j.Compute == "" || len(j.Digest()) != 64 {
			t.Fatalf("%+v", j)
		}
	})
}

// A trial of a sweep is a command job with the limits and resources that are its own.
func TestTrial(t *testing.T) {
	j, err := Load(t.Context(), "testdata/sweep.yml", Options{MaxRunSeconds: 60})
	require.NoError(t, err)
	require.Equal(t, time.Minute, j.MaxDuration())
	trial := j.Trial()
	require.Equal(t, "command", trial.Type)
	require.Nil(t, trial.Sweep)
	require.Equal(t, 10*time.Minute, trial.MaxDuration())
	require.Equal(t, 2, trial.Resources.InstanceCount)
	require.Same(t, trial, trial.Trial())
	require.NotEqual(t, j.Digest(), trial.Digest())
	other, err := Load(t.Context(), "testdata/sweep.yml", Options{})
	require.NoError(t, err)
	require.NotEqual(t, j.Digest(), other.Digest())
	warned := ""
	for _, w := range j.Warnings {
		warned += w.Message
	}
	require.Contains(t, warned, "the command names no ${{search_space.dropout}}")
	require.NotContains(t, warned, "${{search_space.rate}}")
}

// What was read, written as a job file and read again is the same sweep.
func TestSweepYAML(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata")))
	for _, file := range []string{"sweep.yml", "sweep_hello.yml", "sweep_data.yml"} {
		j, err := Load(t.Context(), filepath.Join(dir, file), Options{})
		require.NoError(t, err)
		text, err := j.YAML()
		require.NoError(t, err)
		require.Contains(t, string(text), "latest/sweepJob.schema.json")
		again := filepath.Join(dir, "written.yml")
		require.NoError(t, os.WriteFile(again, text, 0o644))
		back, err := Load(t.Context(), again, Options{})
		require.NoError(t, err, string(text))
		require.Equal(t, j.Digest(), back.Digest(), string(text))
	}
}

func TestText(t *testing.T) {
	for want, v := range map[string]any{"16": int64(16), "0.1": 0.1, "1e-05": 1e-5, "2.0": 2.0, "a b": "a b"} {
		require.Equal(t, want, Text(v))
	}
}

// TestResumeFrom has the argument stand behind the script's own, where that can be told.
func TestResumeFrom(t *testing.T) {
	const folder = " --resume-from ${{inputs.resume_from}}"
	for command, want := range map[string]string{
		"python train.py":                                     "python train.py" + folder,
		"python train.py --epochs 3\n":                        "python train.py --epochs 3" + folder,
		"python -m pkg.train --x \\\n  1":                     "python -m pkg.train --x \\\n  1" + folder,
		"pip install -r r.txt && torchrun train.py a":         "pip install -r r.txt && torchrun train.py a" + folder,
		"A=1 ./train.sh x > log.txt":                          "A=1 ./train.sh x > log.txt" + folder,
		"python a.py ${{inputs.resume_from}} && echo done":    "python a.py ${{inputs.resume_from}} && echo done",
		"python a.py --resume-from=${{ inputs.resume_from }}": "python a.py --resume-from=${{ inputs.resume_from }}",
		"python a.py && python b.py":                          "",
		"python a.py && cp outputs/a ${{outputs.b}}":          "",
		"python a.py | tee log":                               "",
		"python a.py &":                                       "",
		"python a.py # the first":                             "",
		"$TRAIN":                                              "",
		"for i in 1 2; do python a.py; done":                  "",
		"echo 'a":                                             "",
	} {
		j := &Job{Command: command}
		d := &document{}
		Options{ResumeFrom: "iris-1:outputs"}.resumeFrom(j, d)
		if want == "" {
			require.Len(t, d.problems, 1, command)
			require.Contains(t, d.problems[0].Message, "the command is not one script's")
			require.Empty(t, j.Inputs)
			continue
		}
		require.Empty(t, d.problems, command)
		require.Equal(t, want, j.Command)
		name, run := j.Earlier()
		require.Equal(t, []string{"resume_from", "iris-1:outputs"}, []string{name, run}, command)
	}
	// As azureml-core writes it (script_run_config.py), the data reference has a name.
	j := &Job{Command: "python a.py --resume-from ${{inputs.MODEL_LOCATION}}", Inputs: map[string]Input{
		"MODEL_LOCATION": {Type: URIFolder, Path: "azureml://datastores/d/paths/p", Mode: "ro_mount"}}}
	Options{ResumeFrom: "iris-1"}.resumeFrom(j, &document{})
	require.Equal(t, Input{Type: URIFolder, Run: "iris-1", Mode: "ro_mount", named: true}, j.Inputs["MODEL_LOCATION"])
	digest := j.Digest()
	j.Found("MODEL_LOCATION", Input{Type: URIFolder, Path: "/tmp/somewhere"})
	require.Equal(t, digest, j.Digest(), "wherever the files are found")
}

// TestDockerOptions splits the arguments of docker run between the keys of a job file.
func TestDockerOptions(t *testing.T) {
	for _, c := range []struct {
		arguments, shm, rest, problem string
	}{
		{"--shm-size 2g", "2g", "--gpus all", ""},
		{"--shm-size=2G --cpus 2", "2g", "--cpus 2", ""},
		{"--memory 4g --ulimit 'memlock=-1 x' --shm-size=96m", "96m", "--memory 4g --ulimit 'memlock=-1 x'", ""},
		{"--ulimit memlock=-1", "1g", "--ulimit memlock=-1", ""},
		{"--shm-size", "", "", `--shm-size is ""; write a number and b, k, m or g`},
		{"--shm-size much", "", "", `--shm-size is "much"`},
		{"--memory '4g", "", "", "--docker-runtime-config --memory '4g"},
	} {
		was := &Resources{ShmSize: "1g", DockerArgs: "--gpus all", InstanceCount: 1}
		j := &Job{Compute: Local, Environment: &Environment{Image: "python:3.12"}, Resources: was}
		d := &document{}
		Options{DockerArguments: c.arguments}.docker(j, d)
		if c.problem != "" {
			require.Len(t, d.problems, 1)
			require.Contains(t, d.problems[0].Message, c.problem)
			continue
		}
		require.Empty(t, d.problems)
		require.Equal(t, &Resources{ShmSize: c.shm, DockerArgs: c.rest, InstanceCount: 1}, j.Resources)
		require.Equal(t, "1g", was.ShmSize, "what was read stays")
	}
	d := &document{}
	Options{DockerArguments: "--cpus 2"}.docker(&Job{Compute: Local}, d)
	require.Contains(t, d.problems[0].Message, "is for a job in a container")
	j := &Job{Compute: "gpu-cluster"} // whose environment has an image
	Options{DockerArguments: "--cpus 2"}.docker(j, &document{})
	require.Equal(t, "--cpus 2", j.Resources.DockerArgs)
}

// otherForms are the keys that a job has, and its file only in another form.
var otherForms = map[string]string{
	"inputs.datastore":         "of run configurations of SDK v1",
	"inputs.path_on_compute":   "of run configurations of SDK v1",
	"inputs.run":               "--resume-from",
	"environment.reference":    "environment: azureml:NAME@latest",
	"environment.user_managed": "no environment, or --environment user-managed",
	"environment.conda":        "conda_file as a mapping",
	"environment.requirements": "--environment pip:FILE, and run configurations",
}

// TestKeysHaveACase looks for each key of a job file, those of its mappings too, in the job files of
// testdata: one that is read and in none of them is read by no test.
func TestKeysHaveACase(t *testing.T) {
	var cases strings.Builder
	files, err := filepath.Glob("testdata/*.yml")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		cases.Write(text)
	}
	seen := map[reflect.Type]bool{}
	var look func(of reflect.Type, above string)
	look = func(of reflect.Type, above string) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Map || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || seen[of] {
			return
		}
		seen[of] = true
		for _, f := range reflect.VisibleFields(of) {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || key == "-" {
				continue
			}
			has := regexp.MustCompile(`(?m)(^|[ {])` + key + `:`).MatchString(cases.String())
			require.Equal(t, otherForms[above+key] == "", has, "%s%s and the job files of testdata", above, key)
			look(f.Type, above+key+".")
		}
	}
	look(reflect.TypeFor[Job](), "")
	require.Greater(t, len(seen), 8)
}

// TestKeysAreDocumented looks for each key of a job file on the pages about them.
func TestKeysAreDocumented(t *testing.T) {
	var pages strings.Builder
	for _, page := range []string{"jobs.md", "sweeps.md"} {
		text, err := os.ReadFile(filepath.Join("../docs", page))
		require.NoError(t, err)
		pages.Write(text)
	}
	keys := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Job]()) {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || key == "-" {
			continue
		}
		keys++
		known := regexp.MustCompile("`" + key + "[`.:]").MatchString(pages.String())
		require.True(t, known, "neither docs/jobs.md nor docs/sweeps.md tells of the key %s", key)
	}
	require.Greater(t, keys, 15)
}
