package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/hooks"
	"github.com/org/aml-train/internal/detach"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/snapshot"
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
			RunE:    func(cmd *cobra.Command, args []string) error { return a.changeHook(hooks.Uninstall) },
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
		return nil, usageError{err}
	}
	if repo == nil {
		return nil, usage("there is no git repository here; a hook belongs to one")
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
		return usageError{err}
	}
	a.sayHook(state)
	return nil
}

func (a *app) sayHook(s hooks.State) {
	var first string
	for _, kept := range s.Kept {
		first += fmt.Sprintf("; %s, which was there before, runs first", relative(kept))
	}
	var moved []string
	for _, name := range s.Moved {
		moved = append(moved, relative(name))
	}
	switch {
	case s.Installed:
		a.say("Installed: %s%s", relative(s.File), first)
	case s.Rewritten && len(moved) > 0:
		a.say("Rewritten since it was installed: %s is %s hook, and aml-train's was moved to %s; aml-train hook install puts it back", relative(s.File), s.Other, strings.Join(moved, ", "))
	case s.Rewritten:
		a.say("Rewritten since it was installed: %s is %s hook; aml-train hook install puts aml-train's back, and that one runs first", relative(s.File), s.Other)
	case s.Other != "":
		a.say("Not installed; %s is %s hook", relative(s.File), s.Other)
	default:
		a.say("Not installed")
	}
	if !s.Installed {
		for _, kept := range s.Kept {
			a.say("%s, which was there before, is still kept; aml-train hook install has it run first, aml-train hook uninstall puts it back", relative(kept))
		}
	}
	if s.Left != "" {
		a.say("core.hooksPath leads away from %s, where it was installed; aml-train hook install puts it where git looks now", relative(s.Left))
	}
	for _, name := range s.Aside {
		a.say("%s was there before as well, and runs no more: its place is another hook's now", relative(name))
	}
	if s.Shared {
		a.say("%s holds the hooks of every repository whose core.hooksPath leads there; a push trains in those alone that have opted in, in their .git/config", relative(filepath.Dir(s.File)))
	}
	switch {
	case s.Allowed:
		a.say("This repository has opted in (%s in its .git/config)", hooks.Key)
	case s.Installed || s.Other != "":
		a.say("This repository has not opted in, so no push of it trains; %s", optIn)
	}
}

// optIn says how a clone is let train at a push.
const optIn = "aml-train hook install, or beside another hook manager git config " + hooks.Key + " true, opts it in"

// training is one commit that a push gives to one branch.
type training struct {
	commit, branch string
	settings       settings
	no             string // why nothing is trained; "" where something is
}

func (t training) String() string { return t.branch + " " + t.commit[:7] }

// consider decides about one ref of a push.
func (a *app) consider(ctx context.Context, repo *git.Repository, u hooks.Update) (training, error) {
	t := training{commit: u.Local, branch: u.Branch()}
	commit, err := snapshot.TakeCommit(ctx, repo.Root, u.Local, snapshot.Options{MaxBytes: -1, Whole: true, Git: &a.git})
	if err != nil {
		return t, err
	}
	t.commit = commit.Commit // of a tag, what it stands for
	if t.settings, err = a.readSettings(repo.Root, commit); err != nil {
		return t, err
	}
	h := t.settings.Hook
	if !matchBranch(h.Branches, t.branch) {
		t.no = fmt.Sprintf("hook.branches names %s, and not this branch", strings.Join(h.Branches, ", "))
		return t, nil
	}
	if _, err := defaultJob(t.settings, commit); err != nil {
		t.no = fmt.Sprintf("the commit has neither job.yml nor a job in %s", settingsFile)
		return t, nil
	}
	// Where the remote has nothing to compare with, or what it has is not here,
	// everything counts.
	if len(h.Paths) == 0 || u.New() {
		return t, nil
	}
	before, err := snapshot.TakeCommit(ctx, repo.Root, u.Remote, snapshot.Options{MaxBytes: -1, Whole: true, Git: &a.git})
	if err != nil {
		return t, nil
	}
	if !slices.ContainsFunc(snapshot.Diff(before, commit), func(c snapshot.Change) bool { return matchPath(h.Paths, c.Path()) }) {
		t.no = fmt.Sprintf("nothing below %s changed (hook.paths)", strings.Join(h.Paths, ", "))
	}
	return t, nil
}

// pushed is the hook. It lets the push go on whatever happens, but for a submission
// that the settings require.
func (a *app) pushed(ctx context.Context, in io.Reader) error {
	if v := a.getenv("AML_TRAIN_SKIP"); v != "" && v != "0" {
		a.say("aml-train: skipped, as AML_TRAIN_SKIP says")
		return nil
	}
	if slices.Contains(hooks.PushOptions(), "aml-train.skip") {
		a.say("aml-train: skipped, as the push option aml-train.skip says")
		return nil
	}
	updates, err := a.updates(in)
	if err != nil {
		a.say("aml-train: nothing is trained: %s", oneLine(err.Error()))
		return nil
	}
	repo, err := a.repository()
	if err != nil {
		a.say("aml-train: nothing is trained: %s", oneLine(err.Error()))
		return nil
	}
	refused, allowed := false, hooks.Allowed(repo)
	seen := map[string]bool{}
	for _, u := range updates {
		if u.Branch() == "" || seen[u.Local] {
			continue
		}
		seen[u.Local] = true
		t, err := a.consider(ctx, repo, u)
		if !allowed {
			if err == nil && t.no == "" {
				a.say("aml-train: %s is not trained: this clone has not opted in; %s", t, optIn)
			}
			continue
		}
		if err == nil && t.no == "" {
			err = a.train(ctx, t)
		}
		switch {
		case err != nil:
			a.say("aml-train: %s is not trained: %s", t, oneLine(err.Error()))
			refused = refused || t.settings.Hook.Required
		case t.no != "" && len(updates) == 1:
			a.say("aml-train: %s is not trained: %s", t, t.no)
		}
	}
	if refused {
		return usage("the push is stopped, because hook.required is true in %s; git push --no-verify goes without training", settingsFile)
	}
	return nil
}

// updates reads what is pushed, from git or from pre-commit, which has read git's
// lines itself and hands one of them on (pre-commit.com, "pre-push"). Of a branch
// that has nothing in common with the remote it does not name the commits.
func (a *app) updates(in io.Reader) ([]hooks.Update, error) {
	local, remote := a.getenv("PRE_COMMIT_LOCAL_BRANCH"), a.getenv("PRE_COMMIT_REMOTE_BRANCH")
	if remote == "" {
		return hooks.ParseUpdates(in)
	}
	to := a.getenv("PRE_COMMIT_TO_REF")
	if to == "" {
		commit, err := a.wholeCommit(context.Background(), local)
		if err != nil {
			return nil, err
		}
		to = commit.Commit
	}
	from := cmp.Or(a.getenv("PRE_COMMIT_FROM_REF"), strings.Repeat("0", len(to)))
	return hooks.ParseUpdates(strings.NewReader(strings.Join([]string{local, to, remote, from}, " ")))
}

// logsDir, in .aml-train, has a log of each submission, named by its time, commit
// and branch.
const (
	logsDir    = "hook"
	logTime    = "20060102-150405.000"
	logsKept   = 20
	waitAtMost = 30 * time.Second
)

// logs opens the folder of the logs, and makes it if create is set.
func (a *app) logs(create bool) (*os.Root, error) {
	h, err := a.home(create)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return home.Folder(h.Root, logsDir, create)
}

// train starts the submission of a commit. It goes on by itself, unless the settings
// have the push wait for it.
func (a *app) train(ctx context.Context, t training) error {
	logs, err := a.logs(true)
	if err != nil {
		return err
	}
	defer logs.Close()
	dropLogs(logs)
	branch := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-'
		}
		return r
	}, t.branch)
	branch = strings.ToValidUTF8(branch[:min(len(branch), 150)], "") // a file's name has 255 bytes at most
	name := fmt.Sprintf("%s %s %s.log", time.Now().UTC().Format(logTime), t.commit[:7], branch)
	log, err := logs.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "submit", "--once", "--commit", t.commit, "--branch", t.branch)
	cmd.Stdout, cmd.Stderr = log, log
	for _, kv := range os.Environ() { // git tells its hooks where the repository is, and everybody else finds it
		if name, _, _ := strings.Cut(kv, "="); !strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "GIT_CONFIG") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	detach.Session(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	h := t.settings.Hook
	if h.Wait == "" && !h.Required {
		a.say("aml-train: training %s; aml-train hook status and aml-train watch follow it", t)
		return cmd.Process.Release()
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		last := lastLine(logs, name)
		if err != nil {
			return errors.New(strings.TrimPrefix(last, "aml-train: "))
		}
		a.say("aml-train: training %s: run %s", t, strings.TrimSpace(last+" "+link(logs, name)))
	case <-time.After(waitAtMost):
		a.say("aml-train: training %s, which takes a while to be accepted; aml-train hook status shows how it goes", t)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// maxLog bounds what is read of a log: a submission prints some lines.
const maxLog = 1 << 20

func lastLine(logs *os.Root, name string) string {
	text, _ := limited.ReadBelow(logs, name, maxLog)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// link is the run's page, as a submission has printed it; "" for a run on this
// machine.
func link(logs *os.Root, name string) string {
	text, _ := limited.ReadBelow(logs, name, maxLog)
	for line := range strings.Lines(string(text)) {
		if url := httpsOnly(strings.TrimSpace(line)); url != "" {
			return url
		}
	}
	return ""
}

// dropLogs keeps the newest logs.
func dropLogs(logs *os.Root) {
	names := logNames(logs)
	for _, name := range names[min(len(names), logsKept-1):] {
		logs.Remove(name)
	}
}

// logNames lists the logs, newest first.
func logNames(logs *os.Root) []string {
	entries, _ := fs.ReadDir(logs.FS(), ".")
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			names = append(names, e.Name())
		}
	}
	slices.Reverse(names) // ReadDir lists by name
	return names
}

func (a *app) hookStatus(ctx context.Context) error {
	repo, err := a.repository()
	if err != nil {
		return err
	}
	state, err := hooks.Look(repo)
	if err != nil {
		return usageError{err}
	}
	a.sayHook(state)
	info, err := gitmeta.Read(repo.Root, a.getenv)
	if err != nil {
		return usageError{err}
	}
	switch {
	case info.Commit == "":
		a.say("There is no commit yet to push")
	case info.Branch == "":
		a.say("HEAD is no branch, so a push of it trains what it names")
	default:
		u := hooks.Update{LocalRef: "HEAD", Local: info.Commit, RemoteRef: "refs/heads/" + info.Branch, Remote: upstream(repo, info.Branch)}
		t, err := a.consider(ctx, repo, u)
		switch {
		case err != nil:
			a.say("A push of %s trains nothing: %v", t, err)
		case t.no != "":
			a.say("A push of %s trains nothing: %s", t, t.no)
		case !state.Allowed:
			a.say("A push of %s trains nothing: this clone has not opted in; %s", t, optIn)
		default:
			a.say("A push of %s trains it", t)
		}
	}
	return a.lastPushes()
}

// lastPushes prints what the last pushes did.
func (a *app) lastPushes() error {
	logs, err := a.logs(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	defer logs.Close()
	names := logNames(logs)
	for _, name := range names[:min(len(names), 5)] {
		parts := strings.SplitN(strings.TrimSuffix(name, ".log"), " ", 3)
		at, err := time.Parse(logTime, parts[0])
		if err != nil || len(parts) < 3 {
			continue
		}
		last := cmp.Or(lastLine(logs, name), "is being submitted")
		fmt.Fprintf(a.out, "%s  %s %s  %s\n", at.Local().Format(time.DateTime), parts[2], parts[1], last)
	}
	if len(names) > 0 {
		a.say("The logs are in %s", relative(logs.Name()))
	}
	return nil
}

// upstream returns what the remote is known to have of a branch, zeros where
// nothing is known.
func upstream(repo *git.Repository, branch string) string {
	none := strings.Repeat("0", 40)
	remote, ref := "origin", "refs/heads/"+branch
	if r, merge := repo.Config.Get("branch."+branch+".remote"), repo.Config.Get("branch."+branch+".merge"); r != "" && merge != "" {
		remote, ref = r, merge
	}
	_, id, err := repo.Reference("refs/remotes/" + remote + "/" + strings.TrimPrefix(ref, "refs/heads/"))
	if err != nil {
		return none
	}
	return id.String()
}
