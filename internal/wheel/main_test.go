package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

const repository = "../.."

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v\n%s", name, args, out)
	return string(out)
}

// Of each system that is released there is a wheel, which Python's own library takes.
func TestWheels(t *testing.T) {
	dist := t.TempDir()
	systems := slices.Sorted(maps.Keys(platforms))
	for _, system := range systems {
		require.NoError(t, os.WriteFile(filepath.Join(dist, "aml-train-"+system), []byte("\x7fELF "+system), 0o644))
	}
	names, err := build("v1.2.3", dist, repository)
	require.NoError(t, err)
	require.Len(t, names, len(systems))
	first := map[string]string{}
	for _, name := range names {
		first[name] = read(t, filepath.Join(dist, name))
	}
	again, err := build("v1.2.3", dist, repository)
	require.NoError(t, err)
	require.Equal(t, names, again)
	for _, name := range names {
		require.Equal(t, first[name], read(t, filepath.Join(dist, name)), "the same binary makes the same wheel")
	}
	workflow := read(t, filepath.Join(repository, ".github/workflows/release.yml"))
	targets := regexp.MustCompile(`for target in (.*); do`).FindStringSubmatch(workflow)
	require.NotNil(t, targets)
	var released []string
	for _, target := range strings.Fields(targets[1]) {
		system := strings.ReplaceAll(target, "/", "-")
		if strings.HasPrefix(system, "windows") {
			system += ".exe"
		}
		released = append(released, system)
	}
	require.ElementsMatch(t, systems, released, "what is released, and what pip installs")

	python := testenv.Python(t)
	args := []string{"testdata/check.py"}
	for _, name := range names {
		args = append(args, filepath.Join(dist, name))
	}
	require.Equal(t, len(names), strings.Count(must(t, python, args...), " agrees\n"))
}

func read(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// In the description, which an index shows, no link is relative.
func TestLinks(t *testing.T) {
	w := newWheel("1.2.3", platforms["linux-amd64"], "")
	w.metadata("v1.2.3", "![x](docs/report.png) [a\nb](docs/azure.md) [c](https://example.com/x) [d](#e)\n", nil)
	text, err := w.close()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "x.whl")
	require.NoError(t, os.WriteFile(file, text, 0o644))
	out := must(t, testenv.Program(t, "python3"), "-c",
		"import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('aml_train-1.2.3.dist-info/METADATA').decode())",
		file)
	require.Contains(t, out, "![x](https://github.com/org/aml-train/raw/v1.2.3/docs/report.png)")
	require.Contains(t, out, "b](https://github.com/org/aml-train/blob/v1.2.3/docs/azure.md)")
	require.Contains(t, out, "[c](https://example.com/x) [d](#e)")
}

// What cannot be released is refused, by its name.
func TestRefusals(t *testing.T) {
	dist := t.TempDir()
	_, err := build("v1.2.3", dist, repository)
	require.ErrorContains(t, err, "no binary aml-train-OS-ARCH in "+dist)
	for _, tag := range []string{"1.2.3", "v1.2", "v1.2.3-rc1", "v1.2.3\nName: x", ""} {
		_, err = build(tag, dist, repository)
		require.ErrorContains(t, err, "is no version such as v1.2.3", tag)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dist, "aml-train-plan9-amd64"), nil, 0o644))
	_, err = build("v1.2.3", dist, repository)
	require.ErrorContains(t, err, "aml-train-plan9-amd64: pip knows no such system")
}

// steps are the scripts of the release's steps that build and install.
func steps(t *testing.T) (scripts []string) {
	var workflow struct {
		Jobs map[string]struct{ Steps []struct{ Name, Run string } }
	}
	text := read(t, filepath.Join(repository, ".github/workflows/release.yml"))
	require.NoError(t, yaml.Unmarshal([]byte(text), &workflow))
	for _, step := range workflow.Jobs["binaries"].Steps {
		if step.Name == "Build" || step.Name == "Install with pip what is released" {
			scripts = append(scripts, step.Run)
		}
	}
	require.Len(t, scripts, 2)
	return scripts
}

// goHere stands for go in the release's steps: it builds the program for this machine, and
// something in its place for the others.
const goHere = `#!/bin/sh -e
at=$PWD
case $1.$GOOS-$GOARCH in
build.$HERE) shift 3; out=$1; shift; cd "$REPOSITORY"; exec "$GO" build -trimpath -o "$at/$out" "$@" ;;
build.*) echo "$GOOS-$GOARCH" > "$4" ;;
run.-) [ "$2" = ./internal/wheel ]; shift 2; exec "$WHEEL" "$@" ;;
*) echo "not expected: go $*" >&2; exit 1 ;;
esac
`

// release runs the release's steps in a folder, and returns it and the virtual environment
// with what they installed.
func release(t *testing.T) (dir, venv string) {
	dir, tools := t.TempDir(), t.TempDir()
	for _, file := range []string{"README.md", "LICENSE"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(read(t, filepath.Join(repository, file))),
			0o644))
	}
	root, err := filepath.Abs(repository)
	require.NoError(t, err)
	must(t, "go", "build", "-o", filepath.Join(tools, "wheel"), ".")
	require.NoError(t, os.WriteFile(filepath.Join(tools, "go"), []byte(goHere), 0o755))
	for _, script := range steps(t) {
		cmd := exec.Command("bash", "-e", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "GO="+testenv.Program(t, "go"),
			"WHEEL="+filepath.Join(tools, "wheel"), "REPOSITORY="+root, "HERE="+runtime.GOOS+"-"+runtime.GOARCH,
			"GITHUB_REF_NAME=v1.2.3", "RUNNER_TEMP="+tools, "GOOS=", "GOARCH=", "PIP_DISABLE_PIP_VERSION_CHECK=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", script, out)
	}
	return dir, filepath.Join(tools, "venv")
}

// What the release's steps make is what the README has people install: the binary, by its
// checksum, and the wheel for this machine, with the real pip and uv. It goes again.
func TestRelease(t *testing.T) {
	testenv.Large(t, "it builds the program and a virtual environment")
	python := testenv.Program(t, "python3")
	dir, venv := release(t)
	dist := filepath.Join(dir, "dist")
	sums := strings.Split(strings.TrimSpace(read(t, filepath.Join(dist, "SHA256SUMS"))), "\n")
	require.Len(t, sums, 2*len(platforms))
	check := exec.Command("sha256sum", "--check", "--ignore-missing", "--quiet", "--strict", "SHA256SUMS")
	check.Dir = dist
	out, err := check.CombinedOutput()
	require.NoError(t, err, string(out))

	pip := []string{"-m", "pip", "--isolated", "--disable-pip-version-check"}
	inside, program := filepath.Join(venv, "bin", "python"), filepath.Join(venv, "bin", "aml-train")
	require.Contains(t, must(t, program, "--version"), "v1.2.3")
	shown := must(t, inside, append(pip, "show", "--files", "aml-train")...)
	require.Contains(t, shown, "Version: 1.2.3")
	require.Contains(t, shown, "../../../bin/aml-train\n")
	must(t, inside, append(pip, "check")...)
	must(t, inside, append(pip, "uninstall", "--yes", "aml-train")...)
	require.NoFileExists(t, program)
	left, err := filepath.Glob(filepath.Join(venv, "lib/python*/site-packages/aml_train*"))
	require.NoError(t, err)
	require.Empty(t, left)

	uv := filepath.Join(testenv.Layouts(t), "bin", "uv")
	tools := t.TempDir()
	t.Setenv("UV_TOOL_DIR", filepath.Join(tools, "tools"))
	t.Setenv("UV_TOOL_BIN_DIR", filepath.Join(tools, "bin"))
	t.Setenv("UV_CACHE_DIR", filepath.Join(tools, "cache"))
	must(t, uv, "tool", "install", "--offline", "--no-index", "--find-links", dist, "--python", python, "aml-train")
	program = filepath.Join(tools, "bin", "aml-train")
	require.Contains(t, must(t, program, "--version"), "v1.2.3")
	must(t, uv, "tool", "uninstall", "aml-train")
	require.NoFileExists(t, program)
}
