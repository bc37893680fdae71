package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/job"
)

// unusedEnvironment mentions a virtual environment beside the job that the run does not
// use: its packages are what the script was written with.
func (a *app) unusedEnvironment(run *history.Run, j *job.Job) {
	name, _ := assess.Interpreter(run)
	python := run.Tag(history.TagPython)
	if first, _, _ := strings.Cut(strings.TrimSpace(run.Tag(history.TagCommand)), " "); python == "" ||
		first != name || strings.Contains(name, "/") { // another program may choose an environment
		return
	}
	dirs := []string{j.SourceDirectory(), j.Dir}
	if repo, err := a.git.Find(j.Dir); err == nil && repo != nil {
		dirs = append(dirs, repo.Root)
	}
	for _, dir := range dirs {
		for _, env := range []string{".venv", "venv"} {
			at := filepath.Join(dir, env)
			if _, err := os.Stat(filepath.Join(at, "pyvenv.cfg")); dir == "" || err != nil {
				continue
			}
			if rel, err := filepath.Rel(at, python); err == nil && filepath.IsLocal(rel) {
				return
			}
			its := inside.Relative(filepath.Join(at, "bin", "python"))
			a.say("The virtual environment %s is not used: the run's python is %s. --python %s uses it, "+
				"or python: in .aml-train.yaml.", inside.Relative(at), python, its)
			return
		}
	}
}
