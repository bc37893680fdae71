// Package cli answers: what did the person ask for?
//
// Each command has a file of its own. What all of them print for machines goes to
// standard output with --json; progress and logs always go to standard error.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/org/aml-train/assess"
	"github.com/org/aml-train/find"
	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/internal/version"
	"github.com/org/aml-train/promote"
	"github.com/org/aml-train/registry"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit/azureml"
)

// app is what every command needs.
type app struct {
	out, err   io.Writer
	getenv     func(string) string
	json       bool
	debug      bool // each step is told
	begun      time.Time
	git        git.Finder // of the repositories that the command is about
	interrupts interrupts
	lasts      atomic.Bool    // the command goes on where nobody reads what it says
	store      *history.Store // of the runs on this machine
	azure      azureFlags
	assess     assess.Assessor // says what there is to say of runs
	rules      ruleFlags
	inForce    settings.Settings  // say where runs are kept, and what trains where a comment asks for it
	data       *azureml.Target    // where runs on this machine have their data from; nil until one asks
	promotes   *promote.Wanted    // what the merge's run becomes; nil where the event is none
	model      *registry.Promoted // what the merge's run has become
	secrets    secret.Redactor
	commands   *github.Log // nil outside a workflow
	brief      bool        // what is wrong is said in one line as well, the last: a hook looks for it there
}

// Main runs one command line and returns the exit code. signals are those that ask the
// program to end: at the first it does so in good order, at the second at once.
func Main(args []string, signals chan os.Signal) int {
	hide()
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		collectLate()
	}
	a := &app{getenv: os.Getenv, begun: time.Now(), interrupts: interrupts{signals: signals}}
	a.secrets.Add(secret.Values(os.Environ())...)
	var stdout, stderr io.Writer = stream{os.Stdout, &a.lasts}, stream{os.Stderr, &a.lasts}
	root := a.root()
	if github.InWorkflow(a.getenv) {
		if dir := github.Workspace(a.getenv); dir != "" { // the runner's, which need not be a container's user
			a.git.Trusted = []string{dir}
		}
		a.commands = github.NewLog(stderr)
		defer a.commands.Commands(nil)
		plain := github.NewOutput(stdout, &a.json)
		defer plain.Flush()
		stdout, stderr = plain, a.commands
		if len(args) == 0 { // the action
			args = actionArguments(a.run(), a.getenv)
		}
	}
	out, errs := secret.NewWriter(stdout, &a.secrets), secret.NewWriter(stderr, &a.secrets)
	defer errs.Flush()
	defer out.Flush()
	a.out, a.err = out, errs
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	again := a.interrupts.listen(a.getenv, cancel)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	select {
	case err := <-ended:
		if a.store != nil {
			err = errors.Join(err, a.store.Close())
		}
		return a.exit(err)
	case <-again:
		return a.interrupted()
	}
}

// readSettings reads the settings of the repository around dir, of a commit where one is given.
func (a *app) readSettings(dir string, commit *snapshot.Snapshot) (settings.Settings, error) {
	return settings.Read(&a.git, dir, commit)
}

// assesses hands the assessor what it needs of this command.
func (a *app) assesses() {
	of := &a.assess
	of.Git, of.Secrets, of.Say = &a.git, &a.secrets, a.say
	of.Names = func(ctx context.Context, name string) []assess.Name {
		list, _ := a.finder().Readings(ctx, name) // what is wrong with it was said before
		return find.Names(list)
	}
	of.Metrics = func() []string {
		s, _ := a.readSettings(".", nil) // what is wrong with them is said where they decide
		return s.Report.Metrics
	}
	of.Directory = func(run *history.Run) string { return a.local("").WorkingDirectory(run) }
}

// mask makes texts secrets, here and in the workflow's log.
func (a *app) mask(texts ...string) {
	a.secrets.Add(texts...)
	if a.commands != nil {
		a.commands.Mask(texts...)
	}
}

// collectLate leaves the garbage of a short command where it is: most end before
// they have made 128 MB of it. From then on it is collected as in any program, at
// 256 MB more eagerly.
func collectLate() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(128 << 20)
	runtime.AddCleanup(new([64]byte), func(struct{}) { // runs after the first collection
		debug.SetMemoryLimit(256 << 20)
		debug.SetGCPercent(100)
	}, struct{}{})
}

// trace has each step told where somebody asked for that.
func (a *app) trace(cmd *cobra.Command) {
	if a.debug || github.Debugging(a.getenv) {
		debuglog.To(a.err)
		debuglog.Step(a.begun, "%s, aml-train %s", cmd.CommandPath(), version.String())
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "aml-train",
		Short: "Train models from git",
		Long: `aml-train submits the training job of a git repository, streams it, and
reports what came out: metrics, outputs, and why it failed.`,
		Example: "  aml-train run --script train.py --arguments \"--epochs 10\"\n  aml-train run job.yml\n  " +
			"aml-train runs",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	a.assesses()
	root.SetFlagErrorFunc(flagError)
	showFlags(root)
	root.PersistentFlags().BoolVar(&a.debug, "debug", false,
		"tell requests, git lookups and how long each took, on standard error")
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) { a.trace(cmd) }
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON to standard output")
	group(root, "Train:", a.run(), a.submit(), a.init(), a.validate(), a.snapshot(), a.metadata())
	group(root, "A run:", a.show(), a.watch(), a.logs(), a.cancel(), a.download(), a.promote())
	group(root, "The run history:", a.runs(), a.compare(), a.archive(), a.delete(), a.ui(), a.tensorboard(),
		a.history())
	group(root, "On a push, and on GitHub:", a.hook(), a.settle())
	root.AddCommand(a.supervise())
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		usageErrors(c)
		switch c.Name() {
		case "help":
			c.Args = func(cmd *cobra.Command, args []string) error {
				if of, _, err := root.Find(args); err != nil || of == root {
					return knownCommand(root, args)
				}
				return nil
			}
		case "watch", "logs", "cancel", "show", "runs", "download", "compare", "promote", "archive", "delete", "ui",
			"tensorboard":
			a.azure.add(c)
		}
	}
	return root
}

// usageErrors makes a wrong number of arguments a mistake in usage, and has help show flags
// as they were declared.
func usageErrors(c *cobra.Command) {
	c.Flags().SortFlags = false
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			return wrongArguments(cmd, args, check)
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// say prints progress for people.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// printJSON prints a machine's answer.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v) // a text with a secret is found as JSON writes it, too
}

// terminal returns the width of what is printed to, and whether colours are
// welcome there.
func terminal(w io.Writer, getenv func(string) string) (width int, color bool) {
	width = 80
	f, ok := unwrapped(w).(stream)
	if !ok || !isTerminal(w) {
		return width, false
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		width = n
	}
	return width, getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

func unwrapped(w io.Writer) io.Writer {
	if outer, ok := w.(*secret.Writer); ok {
		return outer.Unwrap()
	}
	return w
}

func isTerminal(w io.Writer) bool {
	f, ok := unwrapped(w).(stream)
	return ok && term.IsTerminal(int(f.Fd()))
}

func firstArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return ""
}
