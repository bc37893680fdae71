package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/hooks"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/judge"
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

	// Repeats says how often a job is trained, each time with another seed.
	Repeats repeatsSettings `yaml:"repeats"`

	Reuse bool `yaml:"reuse"` // a run that has trained the same is reported instead of another

	History string `yaml:"history"` // where runs outlive a runner: artifacts, ref, none, or the address of an MLflow server

	Report struct {
		Metrics []string `yaml:"metrics"` // the names of those that a report begins with, where the job names none
	} `yaml:"report"`

	// Rules are what a run has to keep; Strict breaks one that cannot be judged.
	Rules  []job.Item `yaml:"rules"`
	Strict bool       `yaml:"strict"`

	// Prices are those of compute targets, by their names, in USD for an hour of one node.
	Prices map[string]float64 `yaml:"prices"`

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
	return parseSettings(text, relative(name), root)
}

// parseSettings reads the text of the settings file of that name, of the repository at
// root.
func parseSettings(text []byte, shown, root string) (s settings, err error) {
	err = job.Settings(text, shown, &s, func(report func(key string, offset int, message string)) {
		if s.Job != "" && !filepath.IsLocal(filepath.FromSlash(s.Job)) {
			report("job", 0, fmt.Sprintf("job is %q; it has to be a path below the repository's root", s.Job))
		}
		if message := checkHistory(s.History); message != "" {
			report("history", 0, message)
		}
		s.Repeats.check(report)
		checkPrices(s.Prices, report)
		for i, r := range s.Rules {
			var wrong *judge.RuleError
			if _, err := judge.ParseRule(r.Text); errors.As(err, &wrong) {
				report(fmt.Sprintf("rules.%d", i), wrong.Column-1, wrong.Message)
			}
		}
	})
	if err != nil {
		return s, err
	}
	if s.Job != "" {
		s.Job = relative(filepath.Join(root, filepath.FromSlash(s.Job)))
	}
	if strings.ContainsRune(s.Python, '/') && !filepath.IsAbs(s.Python) {
		s.Python = filepath.Join(root, filepath.FromSlash(s.Python))
	}
	return s, nil
}

// checkHistory says what is wrong with the place that history names, "" where nothing is.
func checkHistory(place string) string {
	switch place {
	case "", historyArtifacts, historyRef, historyNone:
		return ""
	}
	u, err := url.Parse(place)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Sprintf("history is %q; it has to be artifacts, ref, none, or the address of an MLflow server, "+
			"such as https://mlflow.example.com", place)
	case u.User != nil:
		return "history has a user in its address; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or " +
			"MLFLOW_TRACKING_TOKEN, sign in"
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Sprintf("history is %q; the address of a server has neither a query nor a fragment", place)
	}
	return ""
}
