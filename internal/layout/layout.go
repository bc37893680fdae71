// Package layout answers: how is this repository laid out, so what does a first job file
// for it say?
package layout

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
)

// Layout is what a job file says of a repository that it does not say itself.
type Layout struct {
	Script  string            // that trains, "" where none is seen
	Command string            // that starts it
	Env     map[string]string // variables that it needs
	Keep    []string          // patterns of what it writes besides outputs and logs
}

// writers are the tools that write where they write: by what stands in the code that uses
// them. A group of the pattern names the folder, where the code does.
var writers = []struct {
	code *lazyregexp.Regexp
	keep string
}{
	{lazyregexp.New(`(?m)^\s*(?:import|from) (?:pytorch_lightning|lightning)\b`), "lightning_logs/"},
	{lazyregexp.New(`(?m)^\s*(?:import|from) hydra\b`), "multirun/"},
	{lazyregexp.New(`(?m)^\s*(?:import|from) wandb\b`), "wandb/"},
	{lazyregexp.New(`(?m)^\s*(?:import|from) dvclive\b`), "dvclive/"},
	{lazyregexp.New(`(?m)^\s*(?:import|from) ultralytics\b|\bSummaryWriter\(\s*\)`), "runs/"},
	{lazyregexp.New(`\bSummaryWriter\(\s*(?:log_?dir\s*=\s*)?["']([\w-][\w./-]*)["']`), ""},
	{lazyregexp.New(`(?:TrainingArguments|SFTConfig)\((?s:.{0,400}?)output_dir\s*=\s*["']([\w-][\w./-]*)["']`), ""},
	{lazyregexp.New(`\bdirpath\s*=\s*["']([\w-][\w./-]*)["']`), ""},
	{lazyregexp.New(
		`\b(?:savefig|torch\.save|joblib\.dump|save_model|save_pretrained)\((?:[^"'\n]*,)?\s*f?["']([\w-][\w-]*)/`),
		""},
}

// scripts are what training scripts are called, the likeliest first.
var scripts = []string{"train.py", "training.py", "run_train.py", "main.py", "run.py", "train.ipynb"}

const maxFile = 1 << 20

// Of looks at the files of a source directory, whose paths are given.
func Of(files fs.FS, paths []string) Layout {
	l := Layout{Env: map[string]string{}}
	has := func(name string) bool { return slices.Contains(paths, name) }
	for _, p := range paths {
		if path.Ext(p) != ".py" && path.Ext(p) != ".ipynb" || strings.Contains("/"+path.Dir(p)+"/", "/tests/") {
			continue
		}
		if text, err := limited.ReadFS(files, p, maxFile); err == nil {
			l.writes(string(text))
		}
	}
	l.Script = script(paths)
	pulls := slices.ContainsFunc(paths, func(p string) bool { return strings.HasSuffix(p, ".dvc") })
	switch {
	case has("dvc.yaml"):
		l.Command = "dvc repro"
		l.keep("dvc.lock")
	case path.Ext(l.Script) == ".ipynb":
		l.Command = "mkdir -p outputs && papermill " + l.Script + " outputs/" + path.Base(l.Script)
	case l.Script != "":
		l.Command = "python " + l.Script
	}
	manager := ""
	for file, program := range map[string]string{"uv.lock": "uv", "poetry.lock": "poetry"} {
		if has(file) {
			manager = program
		}
	}
	if manager != "" && strings.HasPrefix(l.Command, "python ") {
		l.Command = manager + " run " + l.Command
	} else if strings.HasPrefix(l.Script, "src/") {
		// Its own folder is on Python's path.
	} else if slices.ContainsFunc(paths, func(p string) bool {
		return strings.HasPrefix(p, "src/") &&
			strings.HasSuffix(p, ".py")
	}) {
		l.Env["PYTHONPATH"] = "src"
	}
	if pulls && l.Command != "" {
		l.Command = "dvc pull && " + l.Command
	}
	slices.Sort(l.Keep)
	return l
}

// writes notes where the code of a file makes its tools write.
func (l *Layout) writes(code string) {
	for _, w := range writers {
		for _, m := range w.code.FindAllStringSubmatch(code, 20) {
			keep := w.keep
			if len(m) > 1 && m[1] != "" {
				keep = strings.TrimSuffix(path.Clean(m[1]), "/") + "/"
			}
			l.keep(keep)
		}
	}
}

func (l *Layout) keep(pattern string) {
	first, _, _ := strings.Cut(pattern, "/")
	if first != "outputs" && first != "logs" && first != "." && first != ".." && !slices.Contains(l.Keep, pattern) {
		l.Keep = append(l.Keep, pattern)
	}
}

// script returns the file that most likely trains: by its name, then by how near it lies.
func script(paths []string) string {
	for _, name := range scripts {
		best := ""
		for _, p := range paths {
			if path.Base(p) == name && (best == "" || strings.Count(p, "/") < strings.Count(best, "/")) {
				best = p
			}
		}
		if best != "" {
			return best
		}
	}
	return ""
}
