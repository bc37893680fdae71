package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
)

// Commits reads the settings of a repository's commits: from the clone where it has them, else
// from GitHub.
type Commits struct {
	Git      *git.Finder
	Workflow *github.Workflow // whose repository it is; nil outside a workflow
	Token    string           // that may read the repository's contents; "" for none
}

// Of reads the settings of a commit. unread is why they cannot be read, wrong what is wrong
// with what they say.
func (c Commits) Of(ctx context.Context, commit string) (in Settings, unread, wrong error) {
	if here, missing := snapshot.Commit(ctx, c.Git, ".", commit); missing == nil {
		defer here.Close()
		in, wrong = Read(c.Git, ".", here)
		return in, nil, wrong
	}
	text, err := github.ReadFile(ctx, c.Workflow, c.Token, commit, File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Settings{}, nil, nil
	case err == nil:
		in, wrong = parse(text, File, ".")
		return in, nil, wrong
	}
	return Settings{}, err, nil
}

// InForce are the settings that say by which rules a change is judged, and where its runs are
// kept.
type InForce struct {
	Settings
	Note   string // what a reader has to know of where the rules come from; "" for nothing
	AtMost int    // runs that may be added until a verdict is decided; 0 for as many as they say
	Unread error  // why those of the branch that a change is to be merged into could not be read; nil where they were
}

// Over puts settings in force for a change that has its own.
func (s Settings) Over(own Settings) InForce {
	in := InForce{Settings: s}
	if !slices.Equal(texts(s.Rules), texts(own.Rules)) || s.Strict != own.Strict ||
		len(s.Rules) > 0 && !maps.Equal(s.Prices, own.Prices) {
		in.Note = "this change has other rules in " + File + "; those of its base are in force until it is merged"
	}
	return in
}

// OfBase is Over where s are the settings of what the change is to be merged into: how many runs
// are added until a verdict is decided is not for the change to say, as the more there may be,
// the less do the first of them show.
func (s Settings) OfBase(own Settings) InForce {
	in := s.Over(own)
	in.AtMost = max(UsuallyAtMost, s.Repeats.AtMost)
	return in
}

func texts(list []job.Item) []string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.Text
	}
	return out
}

// InForce returns the settings that are in force where those of the working directory are own.
// In the workflow of a pull request they are those of the branch that it is to be merged into:
// it cannot loosen what judges it, nor have runs and sign-ins sent elsewhere.
func (c Commits) InForce(ctx context.Context, own Settings) (InForce, error) {
	w := c.Workflow
	switch {
	case w != nil && (w.PullRequest != 0 || w.Base != ""):
		return c.base(ctx, own)
	case w != nil && own.History != "":
		in := own
		in.History = c.history(ctx, own)
		return in.Over(own), nil
	}
	return own.Over(own), nil
}

// base returns the settings of the commit that a pull request is based on.
func (c Commits) base(ctx context.Context, own Settings) (_ InForce, err error) {
	base := c.Workflow.Base
	if base == "" {
		base, err = github.BaseOf(ctx, c.Workflow, c.Token)
	}
	if err == nil {
		in, unread, wrong := c.Of(ctx, base)
		if unread == nil {
			return in.OfBase(own), wrong
		}
		err = unread
	}
	// A token that may not read the base never may: a team that has rules sees below what they need, in
	// each of its pull requests, as does one whose steps have no token. That GitHub is busy tells
	// nobody: who takes the rules away may have used up what it answers in an hour.
	if len(own.Rules) == 0 && (c.Token == "" || !github.Busy(err)) {
		in := InForce{Settings: own, AtMost: UsuallyAtMost, Unread: err}
		if c.Token != "" {
			in.Note = "whether the branch that this is to be merged into has rules could not be read: " + err.Error()
		}
		in.History = "" // where runs are sent is not for a change to say
		return in, nil
	}
	return InForce{}, fmt.Errorf("the rules of the branch that this is to be merged into cannot be read: %w; "+
		"give the step a token that may read the repository (permissions: contents: read), "+
		"or check out with fetch-depth: 0", err)
}

// history is where runs are kept in a workflow that is about no change: where its own commit
// says. What a step has checked out may be another branch's, whose author did not write the
// workflow that has the sign-ins, as on workflow_run.
func (c Commits) history(ctx context.Context, here Settings) string {
	if repo, err := c.Git.Find("."); err == nil && repo != nil {
		if head, err := repo.Revision("HEAD^{commit}"); err == nil && head.String() == c.Workflow.SHA {
			return here.History
		}
	}
	its, unread, wrong := c.Of(ctx, c.Workflow.SHA)
	if unread != nil || wrong != nil {
		return ""
	}
	return its.History
}
