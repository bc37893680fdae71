package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/org/aml-train/internal/gitdir"
)

// settingsFile is what a team shares, at the repository's root.
const settingsFile = ".aml-train.yaml"

// settings is the file's content.
type settings struct {
	Job string `yaml:"job"` // the job file that is run when none is named, relative to the root
}

func readSettings(dir string) (settings, error) {
	var s settings
	repo, err := gitdir.Find(dir)
	if err != nil {
		return s, usageError{err}
	}
	root := dir
	if repo != nil {
		root = repo.Root
	}
	name := filepath.Join(root, settingsFile)
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, usageError{err}
	}
	defer f.Close()
	if err := yaml.NewDecoder(f, yaml.Strict()).Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return s, usage("%s: %s", relative(name), yaml.FormatError(err, false, true))
	}
	if s.Job != "" && !filepath.IsAbs(s.Job) {
		s.Job = relative(filepath.Join(root, filepath.FromSlash(s.Job)))
	}
	return s, nil
}
