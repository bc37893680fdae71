// Package settings answers: what has the team agreed on?
//
// That is in .aml-train.yaml at the repository's root: Read reads the file of a working tree or
// of a commit here, and Commits those of commits that only GitHub may have. In the workflow of a
// pull request, what judges it and where its runs are sent is for the branch to say that it is
// to be merged into (Commits.InForce).
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/hooks"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/promote"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit/azureml"
)

// File is the name of the file, at the repository's root.
const File = ".aml-train.yaml"

// misnamed is what others call such files, and people this one.
const misnamed = ".aml-train.yml"

// The places that history names, besides the address of an MLflow server.
const (
	HistoryArtifacts = "artifacts" // of the workflow that trained the run; the default
	HistoryRef       = "ref"       // github.HistoryRef, of the repository
	HistoryNone      = "none"
)

// Settings is the file's content; jobs.md, rules.md, history.md and hook.md in docs describe its keys.
type Settings struct {
	Job  string         `yaml:"job"` // the job file that is run when none is named, relative to the root
	Hook hooks.Settings `yaml:"hook"`
	// Python is the interpreter that python stands for on this machine: the name of a
	// program, or a path that starts at the root.
	Python string   `yaml:"python"`
	Keep   []string `yaml:"keep"` // patterns of files that every run keeps, see job.Job

	// Repeats says how often a job is trained, each time with another seed.
	Repeats Repeats `yaml:"repeats"`

	Reuse bool `yaml:"reuse"` // a run that has trained the same is reported instead of another

	History string `yaml:"history"` // where runs outlive a runner: artifacts, ref, none, or the address of an MLflow server

	Report struct {
		Metrics []string `yaml:"metrics"` // the names of those that a report begins with, where the job names none
	} `yaml:"report"`

	// Rules are what a run has to keep; Strict breaks one that cannot be judged.
	Rules  []job.Item `yaml:"rules"`
	Strict bool       `yaml:"strict"`

	// Promote says what the run of a merge becomes a version of.
	Promote promote.Settings `yaml:"promote"`

	// Prices are those of compute targets, by their names, in USD for an hour of one node.
	Prices map[string]float64 `yaml:"prices"`

	Workspace azureml.Workspace `yaml:"workspace"`
}

// Error is the error of settings that cannot be read, or that say what they may not (job.Problems):
// a mistake of whoever wrote them, without which much can be done all the same.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Read reads the settings of the repository around dir: those of its working tree, or with a
// commit, of that. Without a file they are all at their defaults. The error of what is wrong with
// them is an Error.
func Read(finder *git.Finder, dir string, commit *snapshot.Snapshot) (Settings, error) {
	var s Settings
	repo, err := finder.Find(dir)
	if err != nil {
		return s, mistake.Of(err)
	}
	root := dir
	if repo != nil {
		root = repo.Root
	}
	name := filepath.Join(root, File)
	place := inside.Place{Dir: root}
	if commit != nil {
		place.FS = commit.FS()
	}
	text, err := place.Read(name, limited.Config)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = place.Read(filepath.Join(root, misnamed), limited.Config); errors.Is(err, fs.ErrNotExist) {
			return s, nil
		}
		// rules that stand there and judge nothing would be believed to
		return s, &Error{mistake.Errorf("%s is not read: settings are in %s; rename it", misnamed, File)}
	}
	if err != nil {
		return s, &Error{mistake.Errorf("%s: %w; settings are a file of the repository", inside.Relative(name), err)}
	}
	return parse(text, inside.Relative(name), root)
}

// parse reads the text of the settings file of that name, of the repository at root.
func parse(text []byte, shown, root string) (s Settings, err error) {
	err = job.Settings(text, shown, &s, func(report func(key string, offset int, message string)) {
		if s.Job != "" && !filepath.IsLocal(filepath.FromSlash(s.Job)) {
			report("job", 0, fmt.Sprintf("job is %q; it has to be a path below the repository's root", s.Job))
		}
		if message := checkHistory(s.History); message != "" {
			report("history", 0, message)
		}
		s.Repeats.check(report)
		checkPrices(s.Prices, report)
		s.Promote.Check(func(key, message string) { report(strings.TrimSuffix("promote."+key, "."), 0, message) })
		for i, r := range s.Rules {
			var wrong *judge.RuleError
			if _, err := judge.ParseRule(r.Text); errors.As(err, &wrong) {
				report(fmt.Sprintf("rules.%d", i), wrong.Column-1, wrong.Message)
			}
		}
	})
	if err != nil {
		return s, &Error{err}
	}
	if s.Job != "" {
		s.Job = inside.Relative(filepath.Join(root, filepath.FromSlash(s.Job)))
	}
	if strings.ContainsRune(s.Python, '/') && !filepath.IsAbs(s.Python) {
		s.Python = filepath.Join(root, filepath.FromSlash(s.Python))
	}
	return s, nil
}

// JobFile is the job file that is run when none is named: that of the settings, else job.yml
// or job.yaml in the current folder, else at the repository's root; of a commit, at its root
// alone. That there is none is a mistake.
func (s Settings) JobFile(finder *git.Finder, commit *snapshot.Snapshot) (string, error) {
	if s.Job != "" {
		if _, err := os.Stat(s.Job); commit == nil && errors.Is(err, fs.ErrNotExist) {
			return "", mistake.Errorf("%s names the job file %s, and there is none", File, s.Job)
		}
		return s.Job, nil
	}
	dirs := []string{"."}
	if repo, err := finder.Find("."); err == nil && repo != nil {
		dirs = append(dirs, repo.Root)
	}
	for _, name := range []string{"job.yml", "job.yaml"} {
		if commit != nil {
			if commit.Find(name) != nil {
				return inside.Relative(filepath.Join(commit.Dir, name)), nil
			}
			continue
		}
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err == nil {
				return inside.Relative(path), nil
			}
		}
	}
	return "", mistake.Errorf("nothing to run: name a job file, or describe the job with --script train.py; " +
		"aml-train run --help shows both")
}

// checkHistory says what is wrong with the place that history names, "" where nothing is.
func checkHistory(place string) string {
	switch place {
	case "", HistoryArtifacts, HistoryRef, HistoryNone:
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

// checkPrices reports prices that are none.
func checkPrices(prices map[string]float64, report func(key string, offset int, message string)) {
	for target, price := range prices {
		if math.IsNaN(price) || math.IsInf(price, 0) || price < 0 {
			report("prices."+target, 0, fmt.Sprintf(
				"the price of %s is %g; it is a number of USD for an hour of one node", target, price))
		}
	}
}
