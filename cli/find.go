package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/find"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/azureml"
	"github.com/org/aml-train/submit/local"
	"github.com/org/aml-train/train"
)

// openStore opens the run history of the working directory. Runs that were
// interrupted since somebody looked last are ended first. It returns nil where
// there is no history and create is false.
func (a *app) openStore(ctx context.Context, create bool) (*history.Store, error) {
	if a.store != nil {
		return a.store, nil
	}
	dir, err := a.homeDir()
	if err != nil {
		return nil, err
	}
	open := history.OpenExisting
	if create {
		open = history.Open
	}
	if a.store, err = open(dir); err != nil || a.store == nil {
		return nil, err
	}
	if err := a.local("").Reconcile(ctx); err != nil {
		// what there is can be read all the same
		a.say("aml-train: a run that was interrupted could not be ended: %v", err)
	}
	return a.store, nil
}

// local is the target that is this machine.
func (a *app) local(python string) *local.Target {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return &local.Target{Store: a.store, Python: python, Supervisor: []string{self, "supervise"}, Workspace: a.dataFrom,
		Say: a.say}
}

// session is the target and the history that a command is about.
type session struct {
	*app
	train.Session
}

func (a *app) session(ctx context.Context, t submit.Target) (session, error) {
	past, err := t.History(ctx)
	return session{a, train.Session{Target: t, History: past}}, err
}

// finder finds runs by what people call them.
func (a *app) finder() *find.Finder {
	return &find.Finder{Git: &a.git, Workspace: a.known, Last: a.lastElsewhere, Assess: &a.assess,
		Here:  func() submit.Target { return a.local("") },
		Store: func(ctx context.Context) (*history.Store, error) { return a.openStore(ctx, false) }}
}

// known is the workspace for a command that looks for runs. Where the settings are wrong, none is
// known, and that is said beside what else there is to say.
func (a *app) known() (*azureml.Target, error) {
	t, err := a.workspace()
	if broken := (*settings.Error)(nil); errors.As(err, &broken) {
		err = mistake.Errorf("no workspace was asked, as %s does not say which: %s; mend it, or name the workspace "+
			"with --workspace-name, --resource-group and --subscription-id", settings.File, oneLine(err.Error()))
	}
	return t, err
}

// without warns of wrong settings where a command goes on without what they say. Any other error is
// returned.
func (a *app) without(err error, what string) error {
	broken := (*settings.Error)(nil)
	if !errors.As(err, &broken) {
		return err
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	a.say("aml-train: warning: %s: %s", what, first)
	return nil
}

// findRun returns the run of an id, of the unique beginning of one, or for "" the newest.
func (a *app) findRun(ctx context.Context, id string) (session, *history.Run, error) {
	at, run, err := a.finder().Run(ctx, id)
	return session{a, at}, run, err
}

// lastFile, in .aml-train, names the newest run that was submitted elsewhere from
// here.
const lastFile = "last"

func (a *app) lastElsewhere() (id string, when time.Time) {
	h, err := a.home(false)
	if err != nil {
		return "", when
	}
	defer h.Close()
	text, err := limited.ReadBelow(h.Root, lastFile, limited.Config)
	info, serr := h.Lstat(lastFile)
	if err != nil || serr != nil {
		return "", when
	}
	if id = strings.TrimSpace(string(text)); !history.ValidID(id) {
		return "", when
	}
	return id, info.ModTime()
}

func (a *app) rememberElsewhere(id string) {
	h, err := a.home(true)
	if err == nil {
		err = errors.Join(h.WriteFile(lastFile, []byte(id+"\n"), 0o644), h.Close())
	}
	if err != nil {
		a.say("aml-train: %v", err) // the run is there all the same
	}
}

// homeDir is the folder of the run history.
func (a *app) homeDir() (string, error) {
	dir, err := gitmeta.Home(&a.git, ".", a.getenv)
	if err != nil {
		err = mistake.Of(err)
	}
	return dir, err
}

// home opens .aml-train, and makes it if create is set.
func (a *app) home(create bool) (*home.Home, error) {
	dir, err := a.homeDir()
	if err != nil {
		return nil, err
	}
	if create {
		return home.Make(dir)
	}
	return home.Open(dir)
}

// completeRuns offers the newest runs to a shell's completion.
func (a *app) completeRuns(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	store, err := a.openStore(cmd.Context(), false)
	if err != nil || store == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	runs, _, _ := store.SearchRuns(cmd.Context(), history.Query{Submitted: true, MaxResults: 50})
	var out []string
	for _, r := range runs {
		out = append(out, r.Info.RunID+"\t"+string(r.Status())+" "+r.Started().Format(time.DateTime))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
