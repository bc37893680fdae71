package settle

import (
	"context"
	"errors"
	"fmt"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/train"
)

// ended tells of a run that has ended: its comment first and its status last, so that one that
// is cut off is told of again.
func (s *Settler) ended(ctx context.Context, p github.Status, run *history.Run, n Note) error {
	in, err := s.inForce(ctx, n)
	if err != nil {
		return err
	}
	r, err := s.Collect(ctx, train.Session{Target: s.Target, History: s.past}, run, n, in)
	if err != nil {
		return err
	}
	if comment := s.statuses.Comment(n.Note); comment != nil {
		if err := s.comment(ctx, comment, r.Markdown); err != nil {
			return err
		}
	}
	return s.complete(ctx, p, concluded(p, r), run.Info.RunID, r.Markdown)
}

// inForce are the settings in force of the run that was left with a note: those of what it is to
// be merged into, as where somebody waits for it.
func (s *Settler) inForce(ctx context.Context, n Note) (in settings.InForce, err error) {
	own, err := s.settingsOf(ctx, n.Commit)
	if err != nil {
		return in, err
	}
	of, ok := n.Change(s.Repository)
	if !ok {
		return own.Over(own), nil
	}
	base, err := github.BaseOf(ctx, of, s.Token)
	if err != nil {
		return in, fmt.Errorf("nobody can tell which rules are in force: %w", err)
	}
	its, err := s.settingsOf(ctx, base)
	if err == nil {
		err = s.settings[base].wrong
	}
	return its.OfBase(own), err
}

// settingsOf are the settings of a commit. What is wrong with those of a change was said when
// it was submitted, or is not in force.
func (s *Settler) settingsOf(ctx context.Context, commit string) (settings.Settings, error) {
	known, ok := s.settings[commit]
	if !ok {
		of := settings.Commits{Git: s.Git, Workflow: s.Repository, Token: s.Token}
		known.Settings, known.err, known.wrong = of.Of(ctx, commit)
		if known.err != nil {
			known.err = fmt.Errorf("%s of %.7s cannot be read: %w; give the token the permission \"contents: read\"",
				settings.File, commit, known.err)
		}
		s.settings[commit] = known
	}
	return known.Settings, known.err
}

// comment writes the comment. A pull request that takes none, as it is locked or has a newer
// push, keeps no status pending.
func (s *Settler) comment(ctx context.Context, comment *github.Comment, render func(int) string) error {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	_, err := comment.Write(ctx, render, true)
	var refused *github.NotAllowedError
	switch {
	case errors.Is(err, github.ErrSuperseded):
		s.Say("aml-train: %v", err)
		return nil
	case errors.As(err, &refused):
		s.Say("aml-train: no comment on the pull request: %v", err)
		return nil
	}
	return err
}

// complete ends a status.
func (s *Settler) complete(ctx context.Context, p, with github.Status, run string, render func(int) string) error {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	with.Description = s.Secrets.String(with.Description)
	done, err := s.statuses.Complete(ctx, p, with)
	switch {
	case errors.Is(err, github.ErrNoCommit): // nobody can look at it any more
		s.outcome(p, run, err.Error())
		return nil
	case err != nil:
		return err
	case !done:
		s.outcome(p, run, "somebody else has told of it, or another run follows it")
		return nil
	}
	if s.Summarise != nil {
		s.Summarise(render)
	}
	s.outcome(with, run, with.State+", "+with.Description)
	return nil
}

// gone ends a status whose run is not there, and the comment that tells of it.
func (s *Settler) gone(ctx context.Context, p github.Status, run, why string) error {
	r := report.Gone{Name: github.JobOf(p.Context), Commit: p.Commit, Why: why}
	if run != "" && p.PullRequest != 0 {
		within, cancel := context.WithTimeout(ctx, statusWithin)
		comment, err := s.statuses.CommentAbout(within, p.PullRequest, p.URL)
		cancel()
		if err == nil && comment != nil {
			err = s.comment(ctx, comment, r.Markdown)
		}
		var refused *github.NotAllowedError
		if err != nil && !errors.As(err, &refused) {
			return err
		}
	}
	with := p
	with.State, with.Description, with.URL = github.Error, why, s.Repository.RunURL()
	return s.complete(ctx, p, with, run, r.Markdown)
}
