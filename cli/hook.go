package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/hooks"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/train"
)

func (a *app) hook() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hook",
		Short: "The git pre-push hook: a push submits training of what is pushed",
		Long: `The git pre-push hook: git push submits training of the commit that is pushed.

It trains only in repositories that were opted in, each by its own user: install does
that, in .git/config, which no clone brings (aml-train.hook).

It never holds up the push: the submission goes on by itself. hook in
.aml-train.yaml says which branches and files count. One push goes without it with
git push -o aml-train.skip, AML_TRAIN_SKIP=1 git push or git push --no-verify.`,
		Example: "  aml-train hook install\n  aml-train hook status",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "install",
			Short:   "Put the hook in its place; a hook that is there keeps running, first",
			Example: "  aml-train hook install",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.changeHook(func(r *git.Repository) (hooks.State, error) {
					program, err := os.Executable()
					if err != nil {
						return hooks.State{}, err
					}
					return hooks.Install(r, program)
				})
			},
		},
		&cobra.Command{
			Use:     "uninstall",
			Short:   "Remove the hook and restore what was there before",
			Example: "  aml-train hook uninstall",
			Args:    cobra.NoArgs,
			RunE:    func(cmd *cobra.Command, args []string) error { return a.uninstallHook() },
		},
		&cobra.Command{
			Use:     "status",
			Short:   "What the next push would do, and what the last ones did",
			Example: "  aml-train hook status",
			Args:    cobra.NoArgs,
			RunE:    func(cmd *cobra.Command, args []string) error { return a.hookStatus(cmd.Context()) },
		},
		&cobra.Command{
			Use:   "run [REMOTE [URL]]",
			Short: "What git calls: submit training of the commits that are pushed",
			Long: `Submit training of the commits that are pushed, as git's pre-push hook: standard
input has a line for each ref. Hook managers call it; pre-commit's variables
PRE_COMMIT_TO_REF and so on do as well.`,
			Example: "  aml-train hook run origin https://github.com/org/x < refs",
			Args:    cobra.MaximumNArgs(2),
			RunE:    func(cmd *cobra.Command, args []string) error { return a.pushed(cmd.Context(), cmd.InOrStdin()) },
		},
	)
	return cmd
}

func (a *app) repository() (*git.Repository, error) {
	repo, err := a.git.Find(".")
	if err != nil {
		return nil, mistake.Of(err)
	}
	if repo == nil {
		return nil, mistake.Errorf("there is no git repository here; a hook belongs to one")
	}
	return repo, nil
}

func (a *app) changeHook(change func(*git.Repository) (hooks.State, error)) error {
	repo, err := a.repository()
	if err != nil {
		return err
	}
	state, err := change(repo)
	if err != nil {
		return mistake.Of(err)
	}
	a.sayHook(state)
	return nil
}

// uninstallHook removes the hook, and says what it removed before it says what there is now.
func (a *app) uninstallHook() error {
	return a.changeHook(func(repo *git.Repository) (hooks.State, error) {
		before, err := hooks.Look(repo)
		if err != nil {
			return before, err
		}
		after, err := hooks.Uninstall(repo)
		if err == nil && before.Installed {
			a.say("Removed: %s", inside.Relative(before.File))
		}
		return after, err
	})
}

func (a *app) sayHook(s hooks.State) {
	var first string
	for _, kept := range s.Kept {
		first += fmt.Sprintf("; %s, which was there before, runs first", inside.Relative(kept))
	}
	var moved []string
	for _, name := range s.Moved {
		moved = append(moved, inside.Relative(name))
	}
	switch {
	case s.Installed:
		a.say("Installed: %s%s", inside.Relative(s.File), first)
	case s.Rewritten && len(moved) > 0:
		a.say("Rewritten since it was installed: %s is %s hook, and aml-train's was moved to %s; "+
			"aml-train hook install puts it back", inside.Relative(s.File), s.Other, strings.Join(moved, ", "))
	case s.Rewritten:
		a.say("Rewritten since it was installed: %s is %s hook; "+
			"aml-train hook install puts aml-train's back, and that one runs first", inside.Relative(s.File), s.Other)
	case s.Other != "":
		a.say("Not installed; %s is %s hook", inside.Relative(s.File), s.Other)
	default:
		a.say("Not installed")
	}
	if !s.Installed {
		for _, kept := range s.Kept {
			a.say("%s, which was there before, is still kept; "+
				"aml-train hook install has it run first, aml-train hook uninstall puts it back", inside.Relative(kept))
		}
	}
	if s.Left != "" {
		a.say("core.hooksPath leads away from %s, where it was installed; "+
			"aml-train hook install puts it where git looks now", inside.Relative(s.Left))
	}
	for _, name := range s.Aside {
		a.say("%s was there before as well, and runs no more: its place is another hook's now", inside.Relative(name))
	}
	if s.Shared {
		a.say("%s holds the hooks of every repository whose core.hooksPath leads there; "+
			"a push trains in those alone that have opted in, in their .git/config",
			inside.Relative(filepath.Dir(s.File)))
	}
	switch {
	case s.Allowed:
		a.say("This repository has opted in (%s in its .git/config)", hooks.Key)
	case s.Installed || s.Other != "":
		a.say("This repository has not opted in, so no push of it trains; %s", hooks.OptIn)
	}
}

// push is what a push does: hooks decides, and a submission is a process of its own.
func (a *app) push(repo *git.Repository) *hooks.Push {
	return &hooks.Push{
		Repo: repo,
		Commit: func(ctx context.Context, rev string) (*snapshot.Snapshot, error) {
			return snapshot.Commit(ctx, &a.git, repo.Root, rev)
		},
		Read: func(commit *snapshot.Snapshot) (s hooks.Settings, no string, err error) {
			in, err := a.readSettings(repo.Root, commit)
			if err == nil {
				if _, err := in.JobFile(&a.git, commit); err != nil {
					no = "the commit has neither job.yml nor a job in " + settings.File
				}
			}
			return in.Hook, no, err
		},
		Submit: func(commit, branch string, log *os.File) (func() error, error) {
			return hooks.Start(repo, log, "submit", "--once", "--commit", commit, "--branch", branch)
		},
		Logs: func() (*os.Root, error) { return a.hookLogs(true) },
		Say:  a.say,
	}
}

// pushed is the hook.
func (a *app) pushed(ctx context.Context, in io.Reader) error {
	if why := hooks.Skipped(a.getenv); why != "" {
		a.say("aml-train: skipped, as %s says", why)
		return nil
	}
	updates, err := hooks.ReadUpdates(in, a.getenv, func(rev string) (string, error) {
		commit, err := train.WholeCommit(ctx, &a.git, rev)
		if err != nil {
			return "", err
		}
		defer commit.Close()
		return commit.Commit, nil
	})
	var repo *git.Repository
	if err == nil {
		repo, err = a.repository()
	}
	if err != nil {
		a.say("aml-train: nothing is trained: %s", oneLine(err.Error()))
		return nil
	}
	err = a.push(repo).Run(ctx, updates)
	if errors.Is(err, hooks.ErrRequired) {
		return mistake.Errorf("the push is stopped, because hook.required is true in %s; "+
			"git push --no-verify goes without training", settings.File)
	}
	return err
}

// hookLogs opens the folder of the logs, and makes it if create is set.
func (a *app) hookLogs(create bool) (*os.Root, error) {
	h, err := a.home(create)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return hooks.Folder(h, create)
}

func (a *app) hookStatus(ctx context.Context) error {
	repo, err := a.repository()
	if err != nil {
		return err
	}
	state, err := hooks.Look(repo)
	if err != nil {
		return mistake.Of(err)
	}
	a.sayHook(state)
	info, err := gitmeta.Of(repo, nil, a.getenv)
	if err != nil {
		return mistake.Of(err)
	}
	switch {
	case info.Commit == "":
		a.say("There is no commit yet to push")
	case info.Branch == "" && !state.Allowed:
		a.say("HEAD is detached, and a push of it trains nothing: this clone has not opted in; %s", hooks.OptIn)
	case info.Branch == "":
		a.say("HEAD is detached: git push REMOTE HEAD:BRANCH trains %.7s as a push of BRANCH", info.Commit)
	default:
		push := a.push(repo)
		defer push.Close()
		t, err := push.Consider(ctx, hooks.Next(repo, info.Branch, info.Commit))
		switch {
		case err != nil:
			a.say("A push of %s trains nothing: %v", t, err)
		case t.No != "":
			a.say("A push of %s trains nothing: %s", t, t.No)
		case !state.Allowed:
			a.say("A push of %s trains nothing: this clone has not opted in; %s", t, hooks.OptIn)
		case !state.Installed:
			a.say("A push of %s trains it where another hook calls aml-train hook run", t)
		default:
			a.say("A push of %s trains it", t)
		}
	}
	return a.lastPushes()
}

// lastPushes prints what the last pushes did.
func (a *app) lastPushes() error {
	logs, err := a.hookLogs(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return mistake.Of(err)
	}
	defer logs.Close()
	list := hooks.Logs(logs)
	for _, log := range list[:min(len(list), 5)] {
		if at, commit, branch, ok := log.Of(); ok {
			last := cmp.Or(log.Line(), "is being submitted")
			fmt.Fprintf(a.out, "%s  %s %s  %s\n", at.Local().Format(time.DateTime), branch, commit, last)
		}
	}
	if len(list) > 0 {
		a.say("The logs are in %s", inside.Relative(logs.Name()))
	}
	return nil
}
