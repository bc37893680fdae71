package job

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// same writes a job as a job file, in its folder, and reads it again.
func same(t *testing.T, j *Job) {
	t.Helper()
	text, err := j.YAML()
	require.NoError(t, err)
	file := filepath.Join(j.Dir, "converted.yml")
	require.NoError(t, os.WriteFile(file, text, 0o644))
	defer os.Remove(file)
	again, err := Read(t.Context(), file, Options{})
	require.NoError(t, err, string(text))
	require.Equal(t, j.Digest(), again.Digest(), string(text))
	require.Equal(t, j.Keep, again.Keep)
}

// TestConvert writes every field of a job file so that it is read as it was.
func TestConvert(t *testing.T) {
	for _, environment := range []string{
		"user-managed", "azureml:ours:3", "pip:r.txt", "conda:c.yml", "{image: ubuntu, conda_file: c.yml}",
		"{image: ubuntu, conda_file: {dependencies: [python=3.11, {pip: [numpy]}]}}",
		"{build: {path: context}, os_type: linux}",
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"train.py": "", "r.txt": "numpy", "c.yml": "dependencies: [pip]",
			"context/Dockerfile": "FROM x"} {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		file := filepath.Join(dir, "job.yml")
		require.NoError(t, os.WriteFile(file, []byte(`name: one
display_name: "yes"
experiment_name: e
tags: {a: "1", b: "null"}
command: "python train.py ${{inputs.a}} ${{inputs.b}} ${{inputs.c}} ${{inputs.d}} ${{outputs.o}} # it's: \"x\""
code: .
inputs: {a: 0.10, b: true, c: "null", d: {type: uri_folder, path: azureml:x:1, mode: ro_mount}}
outputs: {o: {type: uri_folder, mode: upload}}
environment_variables: {A: "0", B: "", C: " x: # y "}
compute: azureml:gpu
distribution: {type: tensorflow, worker_count: 2, parameter_server_count: 1}
resources: {instance_count: 3, shm_size: 2g, docker_args: "--gpus all", properties: {a: {b: [1, "2"]}}}
limits: {timeout: 60}
identity: {type: user_identity}
services: {tb: {type: tensor_board, log_dir: logs}}
queue_settings: {job_tier: spot, priority: low}
keep: ["*.ckpt", results/]
environment: `+environment+"\n"), 0o644))
		j, err := Read(t.Context(), file, Options{})
		require.NoError(t, err)
		same(t, j)
	}
}

// FuzzRunConfig: a run configuration that is read says the same as what it is converted to.
func FuzzRunConfig(f *testing.F) {
	files, err := filepath.Glob("../testdata/runconfig/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no run configurations", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		for name, text := range map[string]string{"train.py": "",
			".azureml/conda_dependencies.yml": "dependencies: [pip]", ".azureml/c": string(text)} {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		j, err := Read(t.Context(), filepath.Join(dir, ".azureml", "c"), Options{})
		if err == nil {
			same(t, j)
		}
	})
}
