package assess

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/imports"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
)

// diagnosis is what the diagnosis of a run may ask about its job and about the
// repository here; done ends that.
func (a *Assessor) diagnosis(ctx context.Context, run *history.Run) (c report.Context, done func()) {
	done = func() {}
	if run.Tag(history.TagTarget) == job.Local {
		c.Work = filepath.ToSlash(a.Directory(run))
		c.Source = run.Tag(history.TagSource)
	}
	c.Install = func(pkg string) string { return install(run, c.Repo, pkg) }
	repo, err := a.Git.Find(".")
	if err != nil || repo == nil || run.Tag(history.TagSource) == "" {
		return c, done
	}
	root, err := os.OpenRoot(repo.Root)
	if err != nil {
		return c, done
	}
	source := filepath.FromSlash(run.Tag(history.TagSource))
	if !filepath.IsLocal(source) {
		source = "."
	}
	c.Repo = &imports.Repository{FS: root.FS(), Source: filepath.ToSlash(source)}
	if script := run.Tag(history.TagScript); script != "" {
		c.Repo.Script = filepath.ToSlash(filepath.Dir(filepath.FromSlash(script)))
	}
	c.Why = func(path string) string {
		d, err := snapshot.Why(ctx, a.Git, filepath.Join(repo.Root, source), path)
		if err != nil || d.Travels || d.Rule == nil {
			return ""
		}
		return fmt.Sprintf("`%s:%d` (`%s`)", d.Rule.File, d.Rule.Line, d.Rule.Text)
	}
	return c, func() { root.Close() }
}

// install says how a package gets into the environment of a run: into the workspace's,
// the image, or what manages the environment of the repository.
func install(run *history.Run, repo *imports.Repository, pkg string) string {
	switch e := run.Tag(history.TagEnvironment); {
	case run.Tag(history.TagTarget) != job.Local:
		return fmt.Sprintf("Add `%s` to the environment `%s`: to the conda file that the job file names, "+
			"or to its image.", pkg, e)
	case e != "" && e != job.UserManaged:
		image, _, _ := strings.Cut(e, " ")
		return fmt.Sprintf("Add it to the image `%s`: `RUN python -m pip install %s` in its Dockerfile.", image, pkg)
	}
	if repo != nil {
		if i, ok := repo.Installer(pkg); ok {
			switch {
			case i.Has:
				return fmt.Sprintf("`%s` has it: `%s` installs it.", i.File, i.Command)
			case i.ByHand:
				return fmt.Sprintf("Add `%s` to `%s`; `%s` installs it.", i.Package, i.File, i.Command)
			}
			return fmt.Sprintf("`%s` adds it to `%s` and installs it.", i.Command, i.File)
		}
	}
	python, place := Interpreter(run)
	return fmt.Sprintf("Install it for the `%s` that ran the script%s: `%[1]s -m pip install %[3]s`.", python, place,
		pkg)
}

// programs is a Python interpreter as a command names it, with the folder that it lies in.
var programs = lazyregexp.New(`(?:^|[\s;&|(])((?:[\w.~/-]*/)?python[\d.]*)(?:\s|$)`)

// Interpreter is the Python that a run's command names, and where it lies, in ", PATH",
// where the name alone does not tell.
func Interpreter(run *history.Run) (name, place string) {
	name = "python"
	if m := programs.FindStringSubmatch(run.Tag(history.TagCommand)); m != nil {
		name = m[1]
	}
	if at := run.Tag(history.TagPython); name == "python" && at != "" {
		place = fmt.Sprintf(", `%s`", at)
	}
	return name, place
}
