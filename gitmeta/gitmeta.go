// Package gitmeta answers: which code is this?
//
// It reads the commit, branch and remote of the repository around a source
// directory, with what a workflow knows beyond them, and gives them the names under
// which Azure ML's own clients attach them to a run.
package gitmeta

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/git"
)

// Info is what identifies the code of a run. A field is empty where it is not
// known: outside a repository all of them are.
type Info struct {
	Root       string // the working tree's root
	Repository string // the remote's URL, without credentials
	Branch     string // short name; empty on a detached HEAD outside a workflow
	Commit     string // 40 hex digits
	Dirty      *bool  // files differ from the commit; nil where nobody looked
	BaseBranch string // the branch that Branch is meant for: of a pull request its own, else the default one

	Build       string // the workflow run's id
	BuildURL    string
	PullRequest string // its number
	Fork        string // the repository whose code it is, where that is not the workflow's own
	Actor       string // the GitHub user that started the workflow
}

// Names of the properties, as azure-ai-ml writes them
// (azure/ai/ml/constants/_common.py, GitProperties) and, for the first three, as
// azureml-core's GitTrackingInfoProvider did.
const (
	PropRepository = "azureml.git.repository_uri"
	PropBranch     = "azureml.git.branch"
	PropCommit     = "azureml.git.commit"
	PropDirty      = "azureml.git.dirty"
	PropBuildID    = "azureml.git.build_id"
	PropBuildURI   = "azureml.git.build_uri"

	PropMLflowRepository = "mlflow.source.git.repoURL"
	PropMLflowBranch     = "mlflow.source.git.branch"
	PropMLflowCommit     = "mlflow.source.git.commit"
)

// Workflow is what runs this program, where it knows more of the code than the
// repository: which branch a commit without one was pushed to, say.
type Workflow interface{ Apply(*Info) }

// Of returns what is known of the code in a repository, which is nil where there is
// none, as the workflow is outside of one. getenv is os.Getenv but for tests.
func Of(found *git.Repository, workflow Workflow, getenv func(string) string) (Info, error) {
	var info Info
	if found != nil {
		if !found.Bare {
			info.Root = found.Root
		}
		ref, commit, err := found.Head()
		if err != nil && !errors.Is(err, git.ErrNoReference) { // no commit yet
			return info, err
		}
		info.Branch = strings.TrimPrefix(ref, "refs/heads/")
		if err == nil {
			info.Commit = commit.String()
		}
		info.Repository = found.RemoteURL(info.Branch)
		info.BaseBranch = defaultBranch(found)
	}
	if workflow != nil {
		workflow.Apply(&info)
	}
	override(&info.Repository, getenv("AZUREML_GIT_REPOSITORY_URI"))
	override(&info.Branch, getenv("AZUREML_GIT_BRANCH"))
	override(&info.Commit, getenv("AZUREML_GIT_COMMIT"))
	override(&info.Build, getenv("AZUREML_GIT_BUILD_ID"))
	override(&info.BuildURL, getenv("AZUREML_GIT_BUILD_URI"))
	if v := strings.ToLower(strings.TrimSpace(getenv("AZUREML_GIT_DIRTY"))); v != "" {
		dirty := v == "true" || v == "1"
		info.Dirty = &dirty
	}
	info.Repository = StripCredentials(info.Repository)
	info.BuildURL = StripCredentials(info.BuildURL)
	return info, nil
}

// defaultBranch is the one that a clone checked out, else the one of the usual names that
// is there, "" where none is.
func defaultBranch(r *git.Repository) string {
	if last, _, err := r.Reference("refs/remotes/origin/HEAD"); err == nil {
		if name, ok := strings.CutPrefix(last, "refs/remotes/origin/"); ok && name != "HEAD" {
			return name
		}
	}
	for _, name := range []string{"main", "master"} {
		for _, of := range []string{"refs/heads/", "refs/remotes/origin/"} {
			if _, _, err := r.Reference(of + name); err == nil {
				return name
			}
		}
	}
	return ""
}

func override(field *string, value string) {
	if value = strings.TrimSpace(value); value != "" {
		*field = value
	}
}

// SetDirty records whether the files differ from the commit, unless
// AZUREML_GIT_DIRTY has said so already or there is no repository.
func (i *Info) SetDirty(dirty bool) {
	if i.Dirty == nil && i.Root != "" {
		i.Dirty = &dirty
	}
}

// SetCommit makes it a commit that need not be the one that is checked out, and
// that nothing differs from. branch is where it was pushed to, "" where nobody
// knows; that of the checkout stays if its commit is the same.
func (i *Info) SetCommit(commit, branch string) {
	if branch != "" || i.Commit != commit {
		i.Branch = branch
	}
	i.Commit = commit
	clean := false
	i.Dirty = &clean
}

// Properties returns what is attached to a run, as one flat object.
func (i Info) Properties() map[string]string {
	p := map[string]string{}
	set := func(value string, names ...string) {
		if value != "" {
			for _, n := range names {
				p[n] = value
			}
		}
	}
	set(i.Repository, PropRepository, PropMLflowRepository)
	set(i.Branch, PropBranch, PropMLflowBranch)
	set(i.Commit, PropCommit, PropMLflowCommit)
	set(i.Build, PropBuildID)
	set(i.BuildURL, PropBuildURI)
	if i.Dirty != nil {
		p[PropDirty] = "False"
		if *i.Dirty {
			p[PropDirty] = "True"
		}
	}
	return p
}

// ShortCommit is the commit's first seven digits, as GitHub shows it.
func (i Info) ShortCommit() string {
	if len(i.Commit) < 7 {
		return i.Commit
	}
	return i.Commit[:7]
}

// Home returns the folder that holds the run history: AML_TRAIN_HOME, else
// .aml-train at the root of the repository around dir, else in dir itself.
func Home(repositories *git.Finder, dir string, getenv func(string) string) (string, error) {
	if home := getenv("AML_TRAIN_HOME"); home != "" {
		return filepath.Abs(home)
	}
	found, err := repositories.Find(dir)
	if err != nil {
		return "", err
	}
	if found != nil {
		dir = found.Root
	} else if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if info, err := os.Stat(dir); err != nil {
		return "", err
	} else if !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, ".aml-train"), nil
}
