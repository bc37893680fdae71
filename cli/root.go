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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/hooks"
	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/internal/version"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/submit/azureml"
	"github.com/org/aml-train/submit/local"
	"github.com/org/aml-train/train"
)

// Exit codes.
const (
	exitOK          = 0
	exitRun         = 1 // the run failed or was canceled
	exitUsage       = 2 // bad usage, job file or configuration: nothing was submitted
	exitRules       = 3 // a rule was broken
	exitUnreachable = 4 // the target could not be reached, or refused
)

// runEnded is the error of a command whose run did not complete. Everything about
// it has been said.
type runEnded struct{ status history.Status }

func (e *runEnded) Error() string { return "the run ended as " + string(e.status) }

// usageError is a mistake in what was asked.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

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
	baseline   string   // what a reported run is compared with
	rules      rules    // and what it has to keep
	records    *records // nil where none outlive this machine
	reused     *train.Reused
	candidates sync.Map // by the id of a run, the history.Baselines for it
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

// exit says what went wrong and returns the code for it.
func (a *app) exit(err error) int {
	code := a.fault(err)
	if a.brief && err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintln(a.err, hooks.Refused+first)
	}
	debuglog.Step(a.begun, "exit code %d", code)
	return code
}

// trace has each step told where somebody asked for that.
func (a *app) trace(cmd *cobra.Command) {
	if a.debug || github.Debugging(a.getenv) {
		debuglog.To(a.err)
		debuglog.Step(a.begun, "%s, aml-train %s", cmd.CommandPath(), version.String())
	}
}

func (a *app) fault(err error) int {
	var ended *runEnded
	var broken *rulesBroken
	var usage usageError
	var mistake *train.Mistake
	var problems job.Problems
	var refusal *submit.Refusal
	var untrusted *home.UntrustedError
	var several train.Refused
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &several):
		code := exitUnreachable
		for _, one := range several {
			code = min(code, a.fault(one))
		}
		return code
	case errors.As(err, &ended):
		return exitRun
	case errors.As(err, &broken):
		return exitRules
	case errors.As(err, &problems):
		a.fail(annotations(err))
		for _, p := range problems {
			if p.File == "" {
				p.Message = "aml-train: " + p.Message // of a flag; the others say which file they are of
			}
			fmt.Fprintln(a.err, p)
		}
		return exitUsage
	case errors.Is(err, context.Canceled): // by Ctrl-C, before there was a run to cancel
		fmt.Fprintln(a.err, "aml-train: interrupted")
		return exitRun
	}
	a.fail(annotations(err))
	fmt.Fprintln(a.err, "aml-train:", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	switch {
	case errors.As(err, &usage), errors.As(err, &mistake), errors.As(err, &refusal), errors.As(err, &untrusted):
		return exitUsage
	}
	return exitUnreachable
}

// annotations are what is wrong, each where it stands.
func annotations(err error) (list []report.Annotation) {
	var problems job.Problems
	if !errors.As(err, &problems) {
		return []report.Annotation{{Level: "error", Title: "aml-train", Message: err.Error()}}
	}
	for _, p := range problems {
		list = append(list, report.Annotation{Level: "error", File: p.File, Line: p.Line,
			Title: "Nothing was submitted", Message: p.Message})
	}
	return list
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
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, c := range cmd.Commands() {
				if !c.Hidden {
					names = append(names, c.Name())
				}
			}
			return usage("there is no command %q%s; aml-train --help lists them", args[0], didYouMean(args[0], names))
		},
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	showFlags(root)
	root.PersistentFlags().BoolVar(&a.debug, "debug", false,
		"tell requests, git lookups and how long each took, on standard error")
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) { a.trace(cmd) }
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON to standard output")
	root.AddCommand(a.run(), a.submit(), a.watch(), a.logs(), a.cancel(), a.show(), a.runs(), a.download(), a.compare(),
		a.snapshot(), a.metadata(), a.validate(), a.init(), a.archive(), a.delete(), a.ui(), a.tensorboard(), a.hook(),
		a.history(), a.supervise())
	for _, c := range root.Commands() {
		usageErrors(c)
		switch c.Name() {
		case "watch", "logs", "cancel", "show", "runs", "download", "compare", "archive", "delete", "ui", "tensorboard":
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
			if err := check(cmd, args); err != nil {
				return usage("%w; %s", err, strings.TrimSpace(cmd.UseLine()))
			}
			return nil
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
	return &local.Target{Store: a.store, Python: python, Supervisor: []string{self, "supervise"}}
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

// findRun returns the run of an id, of the unique beginning of one, or for ""
// the newest: of this machine, else, by its whole id, of the workspace.
func (a *app) findRun(ctx context.Context, id string) (s session, run *history.Run, err error) {
	run, err = a.findLocal(ctx, id)
	if id == "" {
		last, when := a.lastElsewhere()
		if last == "" && err != nil {
			return s, nil, err
		}
		if last != "" && (err != nil || when.After(run.Started())) {
			id, run = last, nil
		}
	}
	if run != nil {
		s, err = a.session(ctx, a.local(""))
		return s, run, err
	}
	t, aerr := a.workspace()
	if aerr == nil && len(t.Missing()) > 0 && err == nil {
		aerr = usage("the newest run, %s, was submitted to a workspace that is not known here any more; name a run, "+
			"or the workspace", id)
	}
	if aerr != nil || len(t.Missing()) > 0 {
		return s, nil, errors.Join(err, aerr)
	}
	if s, aerr = a.session(ctx, t); aerr != nil {
		return s, nil, aerr
	}
	if run, aerr = s.History.Run(ctx, id); errors.Is(aerr, azureml.ErrNoRun) {
		return s, nil, usageError{errors.Join(err, aerr)}
	}
	return s, run, aerr
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
func (a *app) homeDir() (string, error) { return gitmeta.Home(&a.git, ".", a.getenv) }

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

func (a *app) findLocal(ctx context.Context, id string) (*history.Run, error) {
	store, err := a.openStore(ctx, false)
	if err != nil {
		return nil, err
	}
	if store == nil {
		return nil, usage("there is no run history here yet; aml-train run makes the first run")
	}
	if id == "" {
		newest, _, err := store.SearchRuns(ctx, history.Query{Submitted: true, MaxResults: 1})
		if err == nil && len(newest) == 0 {
			err = usage("there is no run here yet; aml-train run makes the first one")
		}
		if err != nil {
			return nil, err
		}
		return newest[0], nil
	}
	if run, err := store.Run(ctx, id); err == nil {
		return run, nil
	}
	// Of runs that a script made, only the whole id finds one.
	found, _, err := store.SearchRuns(ctx, history.Query{View: "ALL", Submitted: true, Prefix: id, MaxResults: 2})
	if err != nil {
		return nil, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 2:
		n, err := store.CountRuns(ctx, id)
		if err != nil {
			return nil, err
		}
		return nil, usage("%s is the beginning of %d runs, %s and %s among them; give more of it", id, n,
			found[0].Info.RunID, found[1].Info.RunID)
	}
	newest, _, err := store.SearchRuns(ctx, history.Query{View: "ALL", Submitted: true, MaxResults: 100})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range newest {
		names = append(names, r.Info.RunID)
	}
	return nil, usage("there is no run %q%s; aml-train runs lists them", id, didYouMean(id, names))
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

func firstArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return ""
}
