package cli

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/org/aml-train/hooks"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/yamlfile"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit/azureml"
)

// settingsFile is what a team shares, at the repository's root.
const settingsFile = ".aml-train.yaml"

// settings is the file's content.
type settings struct {
	Job  string         `yaml:"job"` // the job file that is run when none is named, relative to the root
	Hook hooks.Settings `yaml:"hook"`
	// Python is the interpreter that python stands for on this machine: the name of a
	// program, or a path that starts at the root.
	Python string   `yaml:"python"`
	Keep   []string `yaml:"keep"` // patterns of files that every run keeps, see job.Job

	Report struct {
		Metrics []string `yaml:"metrics"` // the names of those that a report begins with, where the job names none
	} `yaml:"report"`

	Workspace azureml.Workspace `yaml:"workspace"`
}

// readSettings reads the settings of the repository around dir: those of its
// working tree, or with a commit, of that.
func (a *app) readSettings(dir string, commit *snapshot.Snapshot) (settings, error) {
	var s settings
	repo, err := a.git.Find(dir)
	if err != nil {
		return s, usageError{err}
	}
	root := dir
	if repo != nil {
		root = repo.Root
	}
	name := filepath.Join(root, settingsFile)
	place := inside.Place{Dir: root}
	if commit != nil {
		place.FS = commit.FS()
	}
	text, err := place.Read(name, limited.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, usage("%s: %w; settings are a file of the repository", relative(name), err)
	}
	if err := yamlfile.Decode(text, &s); err != nil {
		return s, usage("%s: %s", relative(name), yaml.FormatError(err, false, true))
	}
	if s.Job != "" {
		if !filepath.IsLocal(filepath.FromSlash(s.Job)) {
			return s, usage("%s: job is %q; it has to be a path below the repository's root", relative(name), s.Job)
		}
		s.Job = relative(filepath.Join(root, filepath.FromSlash(s.Job)))
	}
	if strings.ContainsRune(s.Python, '/') && !filepath.IsAbs(s.Python) {
		s.Python = filepath.Join(root, filepath.FromSlash(s.Python))
	}
	if w := s.Hook.Wait; w != "" && w != "submitted" {
		return s, usage("%s: hook.wait is %q; it can be submitted", relative(name), w)
	}
	return s, nil
}
