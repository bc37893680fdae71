package cli

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/layout"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/snapshot"
)

func (a *app) init() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Write a job file and a workflow from what lies here",
		Long: `Write job.yml, from the training script that lies here and what its tools write
besides ./outputs and ./logs, and at the root of the repository a workflow that trains
it for each pull request, and settings by which each is compared with the branch that it
is to be merged into. A file that is there is left as it is.`,
		Example: "  aml-train init && aml-train run",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := snapshot.Take(cmd.Context(), ".", snapshot.Options{MaxBytes: -1})
			if err != nil {
				return mistake.Of(err)
			}
			paths := make([]string, len(s.Files))
			for i, f := range s.Files {
				paths[i] = f.Path
			}
			l := layout.Of(s.FS(), paths)
			if l.Command == "" {
				return mistake.Errorf("nothing here is called as training scripts are (train.py, main.py); " +
					"aml-train run --script FILE trains one, or write job.yml: command: python FILE")
			}
			where, err := filepath.Abs(".")
			if err != nil {
				return err
			}
			text, err := l.JobFile(filepath.Base(where))
			if err != nil {
				return err
			}
			if _, err := a.writeNew(".", "job.yml", text); err != nil {
				return err
			}
			repo, err := a.git.Find(".")
			if err != nil || repo == nil {
				return err // a workflow needs a repository
			}
			return a.initWorkflow(repo, where, paths)
		},
	}
}

// initWorkflow writes the workflow that trains the job file in the folder where, and the settings
// that it needs. A workflow that is there need not be allowed to keep what they say.
func (a *app) initWorkflow(repo *git.Repository, where string, files []string) error {
	rel, err := filepath.Rel(repo.Root, where)
	if err != nil {
		return err
	}
	branch := repo.DefaultBranch()
	text := layout.Workflow(path.Join(filepath.ToSlash(rel), "job.yml"), branch, files)
	wrote, err := a.writeNew(repo.Root, ".github/workflows/train.yml", text)
	if err != nil || !wrote {
		return err
	}
	if _, err := a.writeNew(repo.Root, settings.File, layout.Settings); err != nil {
		return err
	}
	if in, err := a.readSettings(".", nil); err == nil && in.History == "" {
		a.say("Add history: ref to %s: without it no run is kept that pull requests are compared with",
			settings.File)
	}
	a.say("aml-train run trains it here; once all is pushed, each pull request is trained, and compared with %s",
		branch)
	return nil
}

// writeNew writes a file below a folder, unless it is there, and tells whether it did.
func (a *app) writeNew(dir, name, text string) (wrote bool, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return false, mistake.Of(err)
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	shown := inside.Relative(filepath.Join(dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrExist) {
		a.say("%s is there already, and stays as it is", shown)
		return false, nil
	}
	if err != nil {
		return false, mistake.Of(err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		a.say("Wrote %s", shown)
	}
	return err == nil, err
}
