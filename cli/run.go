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
	"github.com/spf13/pflag"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/deliver"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/screen"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// jobFlags are the flags that describe a job. They carry the names of the
// action's inputs.
type jobFlags struct {
	job.Options
	file        string
	commit      string
	branch      string // of commit, where the caller knows it
	once        bool
	python      string
	maxSnapshot string
	maxOutputs  string
}

func (f *jobFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.SortFlags = false
	s.StringVar(&f.file, "job", "", "the job file; the same as JOB")
	s.StringVar(&f.Script, "script", "", "the training script, relative to the source directory")
	s.StringVar(&f.Arguments, "arguments", "", "arguments of the script, in shell words")
	s.StringVar(&f.Command, "command", "", "a shell command, in place of --script and --arguments")
	s.StringVar(&f.SourceDirectory, "source-directory", "", "the folder whose files travel (default: that of the job file's code, else .)")
	s.StringVar(&f.commit, "commit", "", "train a commit, such as HEAD or a branch, instead of the working tree; the job file and its data are the commit's too")
	s.StringVar(&f.ComputeTarget, "compute-target", "", "where to run; local is this machine")
	s.StringVar(&f.Environment, "environment", "", "what to run in: docker:IMAGE, an environment of Azure ML, or user-managed, which is what the machine has")
	s.StringArrayVar(&f.Env, "environment-variables", nil, "an environment variable, NAME=VALUE or, to pass on this machine's, NAME (repeatable; --env for short)")
	s.StringArrayVar(&f.Inputs, "inputs", nil, "a value for an input of the job, NAME=VALUE (repeatable; --input for short); ./PATH and URLs are data")
	s.StringVar(&f.ExperimentName, "experiment-name", "", "the experiment (default: the name of the source directory)")
	s.StringVar(&f.DisplayName, "display-name", "", "the run's name for people")
	s.StringVar(&f.Description, "description", "", "what the run is about")
	s.StringArrayVar(&f.Tags, "tags", nil, "a tag of the run, NAME=VALUE (repeatable; --tag for short)")
	s.IntVar(&f.MaxRunSeconds, "max-run-duration-seconds", 0, "end the run after that many seconds")
	s.StringVar(&f.Distribution, "distribution", "", "mpi, pytorch, tensorflow or ray")
	s.IntVar(&f.ProcessCount, "process-count", 0, "processes on each node; of tensorflow: workers")
	s.IntVar(&f.NodeCount, "node-count", 0, "how many nodes")
	s.StringVar(&f.python, "python", "", "the interpreter that python stands for on this machine")
	s.StringVar(&f.maxSnapshot, "max-snapshot-size", "", "the most that may travel, such as 500MB (default 300MB)")
	s.StringVar(&f.maxOutputs, "max-outputs-size", "", "the most that is kept of a run's outputs and logs on this machine, such as 500GB (default 100GB; 0 is no limit)")
	short := map[string]string{"env": "environment-variables", "input": "inputs", "tag": "tags"}
	s.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(cmp.Or(short[name], name))
	})
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
	}
}

func (a *app) run() *cobra.Command {
	var f jobFlags
	var w workflowFlags
	var markdown string
	cmd := &cobra.Command{
		Use:   "run [JOB]",
		Short: "Submit a job, stream its output, wait, and report",
		Long: `Submit a job, stream its output, wait for its end, and report.

JOB is a job file in the CLI v2 schema; flags describe a job without one, or
change what it says. Without either, job in .aml-train.yaml or ./job.yml is run.
The script needs no change: it finds the run history through MLFLOW_TRACKING_URI,
or writes its metrics to outputs/metrics.json.

Ctrl-C cancels the run. Exit codes: 0 completed, 1 failed or canceled, 2 nothing
was submitted, 4 the target could not be reached or refused.`,
		Example: "  aml-train run --script train.py --arguments \"--epochs 10\"\n  aml-train run job.yml --input epochs=50 --markdown report.md",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			flow, err := a.enterWorkflow(ctx, w)
			if err != nil {
				return err
			}
			for flag, place := range map[string]string{"--markdown": markdown, "--download-outputs": w.download} {
				if place == "" || place == "-" {
					continue
				}
				if err := deliver.Check(place); err != nil { // not after hours of training
					return usage("%s: %w", flag, err)
				}
			}
			s, run, err := a.start(ctx, args, f, flow, w.wait && w.cancelWithWorkflow)
			if err != nil {
				return err
			}
			if flow != nil {
				flow.started(ctx, s, run)
				flow.superseded(ctx, s, run)
			}
			if !w.wait {
				return s.submitted(run)
			}
			return s.follow(ctx, run, following{markdown: markdown, download: w.download, cancel: w.cancelWithWorkflow, flow: flow})
		},
	}
	f.add(cmd)
	a.azure.add(cmd)
	w.add(cmd)
	cmd.Flags().StringVar(&markdown, "markdown", "", "write the report as Markdown to a file; - is standard output")
	return cmd
}

func (a *app) submit() *cobra.Command {
	var f jobFlags
	var w workflowFlags
	cmd := &cobra.Command{
		Use:   "submit [JOB]",
		Short: "Submit a job and return; the run goes on",
		Long: `Submit a job and return as soon as the run has started. It goes on without
this command: watch shows its output, cancel ends it.`,
		Example: "  run=$(aml-train submit job.yml) && aml-train watch $run",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flow, err := a.enterWorkflow(cmd.Context(), w)
			if err != nil {
				return err
			}
			a.brief = f.branch != ""
			s, run, err := a.start(cmd.Context(), args, f, flow, false)
			if errors.Is(err, errSubmitted) {
				a.say("Submitted already: run %s", run.Info.RunID)
			} else if err != nil {
				return err
			}
			return s.submitted(run)
		},
	}
	f.add(cmd)
	a.azure.add(cmd)
	w.addGate(cmd)
	cmd.Flags().BoolVar(&f.once, "once", false, "submit only if the commit has no run of this job yet")
	cmd.Flags().StringVar(&f.branch, "branch", "", "the branch that --commit was pushed to")
	cmd.Flags().MarkHidden("branch")
	return cmd
}

// submitted tells that a run goes on by itself.
func (s session) submitted(run *history.Run) error {
	if s.json {
		return s.printRun(run)
	}
	s.say("aml-train watch %s shows its output", run.Info.RunID)
	fmt.Fprintln(s.out, run.Info.RunID)
	return nil
}

// start submits a job: it reads it, takes the snapshot, and hands both to the
// target. flow is nil outside a workflow.
func (a *app) start(ctx context.Context, args []string, f jobFlags, flow *workflow, attached bool) (at session, run *history.Run, err error) {
	file := cmp.Or(firstArg(args), f.file)
	if len(args) > 0 && f.file != "" {
		return at, nil, usage("the job file is given twice, as %s and as --job %s", args[0], f.file)
	}
	s := submit.Submission{Attached: attached, Secrets: &a.secrets}
	passed, err := a.passOn(&f)
	if err != nil {
		return at, nil, err
	}
	if s.MaxOutputs, err = sizeFlag("--max-outputs-size", f.maxOutputs); err != nil {
		return at, nil, err
	}
	if f.once {
		a.azure.attempt = "once" // the job's name then says what it is, and a name is taken once
	}
	if f.commit != "" {
		if s.Commit, err = a.wholeCommit(ctx, f.commit); err != nil {
			return at, nil, usageError{err}
		}
		defer s.Commit.Close()
	}
	if err := flow.admitHere(ctx, s.Commit); err != nil {
		return at, nil, err
	}
	settings, err := a.readSettings(".", s.Commit)
	if err != nil {
		return at, nil, err
	}
	if file == "" && f.Script == "" && f.Command == "" {
		if file, err = defaultJob(settings, s.Commit); err != nil {
			return at, nil, err
		}
	}
	if err := a.places(&f.Options, file, s.Commit); err != nil {
		return at, nil, err
	}
	j, err := job.Load(file, f.Options)
	if err != nil {
		return at, nil, err
	}
	if s.Commit == nil {
		if err := flow.admitJob(ctx, j); err != nil {
			return at, nil, err
		}
	}
	s.Job = j
	j.Keep = append(j.Keep, settings.Keep...)
	// The target says no before anything is made, the history included.
	here := strings.EqualFold(j.Compute, job.Local)
	for name, value := range passed {
		if s.Pass = append(s.Pass, name); !here {
			if j.EnvironmentVariables == nil {
				j.EnvironmentVariables = map[string]string{}
			}
			j.EnvironmentVariables[name] = value
		}
	}
	target, err := a.target(here, f.python)
	if err != nil {
		return at, nil, err
	}
	if err := target.Check(j); err != nil {
		return at, nil, err
	}
	if h, err := a.home(false); err == nil {
		h.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return at, nil, err
	}
	source := j.SourceDirectory()
	begin := time.Now()
	where := cmp.Or(source, j.Dir)
	if s.Commit != nil {
		where = s.Commit.Dir // the source directory need not be checked out
	}
	if s.Repository, err = a.git.Find(where); err != nil {
		return at, nil, usageError{err}
	}
	if s.Git, err = a.codeOf(s.Repository); err != nil {
		return at, nil, usageError{err}
	}
	if s.Commit != nil {
		s.Git.SetCommit(s.Commit.Commit, f.branch)
	}
	if f.once {
		if at, run := a.sameRun(ctx, j, s.Git.Commit); run != nil {
			return at, run, errSubmitted
		}
	}
	if source != "" {
		if s.Snapshot, err = a.takeSnapshot(ctx, source, f.commit, f.maxSnapshot); err != nil {
			return at, nil, err
		}
		defer s.Snapshot.Close()
		s.Git.SetDirty(s.Snapshot.Dirty)
	}
	if script := j.Script(); script != "" && s.Snapshot != nil && s.Snapshot.Find(script) == nil && s.Commit == nil {
		if d, err := snapshot.Why(&a.git, source, script); err == nil && d.Rule != nil {
			return at, nil, usage("the script %s does not travel: %s:%d ignores it (%s)", script, d.Rule.File, d.Rule.Line, d.Rule.Text)
		}
	}
	if here {
		if _, err := a.openStore(ctx, true); err != nil {
			return at, nil, usageError{err}
		}
		target = a.local(f.python)
	}
	if at, err = a.session(ctx, target); err != nil {
		return at, nil, err
	}
	run, err = target.Submit(ctx, s)
	if err != nil {
		return at, nil, err
	}
	// Said only now: standard error may be a file in the source directory, and a
	// file that grows cannot be copied as it was.
	if n := s.Snapshot; n != nil && here {
		a.say("Snapshot %s: %d files, %s, copied in %s", n.ID[:7], len(n.Files), size.Format(n.Bytes), report.Duration(time.Since(begin)))
	}
	a.say("Run %s on %s: %s", run.Info.RunID, j.Compute, oneLine(run.Tag(history.TagCommand)))
	if url := httpsOnly(at.past.URL(run)); url != "" {
		a.say("%s", url)
	}
	if here {
		a.untold(a.local(""), run.Info.RunID)
	} else {
		if len(j.Keep) > 0 {
			a.say("keep: Azure Machine Learning keeps what lies in ./outputs and ./logs, and nothing else")
		}
		a.rememberElsewhere(run.Info.RunID)
	}
	return at, run, nil
}

// places says whose files a job may name: those of the repository around the working
// directory where the job file lies in it, else of the one around the job file; without
// a repository, those below the working directory or beside the job file.
func (a *app) places(o *job.Options, file string, commit *snapshot.Snapshot) error {
	o.Workflow = github.InWorkflow(a.getenv)
	if commit != nil {
		o.Files = inside.Place{Dir: commit.Dir, FS: commit.FS()}
		return nil
	}
	at, err := filepath.Abs(file)
	if err != nil {
		return usageError{err}
	}
	for _, dir := range []string{".", filepath.Dir(at)} {
		repo, err := a.git.Find(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the job file does not exist either
		}
		if err != nil {
			return usageError{err}
		}
		if repo != nil {
			o.Files = inside.Place{Dir: repo.Root}
			if o.Files.Has(at) {
				return nil
			}
		}
	}
	o.Files = inside.Place{}
	return nil
}

// wholeCommit returns all files of a commit of the repository around the working
// directory.
func (a *app) wholeCommit(ctx context.Context, rev string) (*snapshot.Snapshot, error) {
	repo, err := a.git.Find(".")
	if err != nil {
		return nil, err
	}
	if repo == nil {
		return nil, fmt.Errorf("--commit %s: there is no git repository here", rev)
	}
	return snapshot.TakeCommit(ctx, repo.Root, rev, snapshot.Options{MaxBytes: -1, Whole: true, Git: &a.git})
}

// errSubmitted says that a commit has a run of the same job already.
var errSubmitted = errors.New("submitted already")

// sameRun returns the newest run of the same job and commit, nil where there is
// none.
func (a *app) sameRun(ctx context.Context, j *job.Job, commit string) (session, *history.Run) {
	store, err := a.openStore(ctx, false)
	if err != nil || store == nil {
		return session{}, nil
	}
	runs, _, err := store.SearchRuns(ctx, history.Query{Submitted: true, MaxResults: 1,
		Tags: map[string]string{history.TagJob: j.Digest(), gitmeta.PropCommit: commit}})
	if err != nil || len(runs) == 0 {
		return session{}, nil
	}
	at, err := a.session(ctx, a.local(""))
	if err != nil {
		return session{}, nil
	}
	return at, runs[0]
}

// sizeFlag reads a limit in bytes: 0 where none is given, -1 for no limit.
func sizeFlag(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := size.Parse(text)
	if err != nil {
		return 0, usage("%s: %w", flag, err)
	}
	if n == 0 {
		n = -1
	}
	return n, nil
}

// passOn takes the variables that are passed on by their name alone out of the flags,
// and returns them with their values.
func (a *app) passOn(f *jobFlags) (map[string]string, error) {
	passed := map[string]string{}
	var pairs []string
	for _, text := range f.Env {
		if strings.Contains(text, "=") {
			pairs = append(pairs, text)
			continue
		}
		value := a.getenv(text)
		if value == "" {
			return nil, usage("--env %s: there is no variable of that name here to pass on; NAME=VALUE sets one", text)
		}
		a.mask(value)
		passed[text] = value
	}
	f.Env = pairs
	return passed, nil
}

func (a *app) takeSnapshot(ctx context.Context, source, commit, most string) (*snapshot.Snapshot, error) {
	o := snapshot.Options{Git: &a.git}
	var err error
	if o.MaxBytes, err = sizeFlag("--max-snapshot-size", most); err != nil {
		return nil, err
	}
	take := snapshot.Take
	if commit != "" {
		take = func(ctx context.Context, dir string, o snapshot.Options) (*snapshot.Snapshot, error) {
			return snapshot.TakeCommit(ctx, dir, commit, o)
		}
	}
	s, err := take(ctx, source, o)
	if err != nil {
		return nil, usageError{err}
	}
	return s, nil
}

// defaultJob is the job file that is run when none is named.
func defaultJob(settings settings, commit *snapshot.Snapshot) (string, error) {
	if settings.Job != "" {
		return settings.Job, nil
	}
	for _, name := range []string{"job.yml", "job.yaml"} {
		if commit == nil {
			if _, err := os.Stat(name); err == nil {
				return name, nil
			}
		} else if commit.Find(name) != nil {
			return relative(filepath.Join(commit.Dir, name)), nil
		}
	}
	return "", usage("nothing to run: name a job file, or describe the job with --script train.py; aml-train run --help shows both")
}

// following is how a run is followed.
type following struct {
	markdown string
	download string
	cancel   bool      // an interrupt cancels the run; else it only ends the watching
	flow     *workflow // nil outside a workflow
}

// follow streams a run to its end and reports it.
func (s session) follow(ctx context.Context, run *history.Run, f following) error {
	id := run.Info.RunID
	var ended *history.Run
	log, flush := s.console()
	watch := func() (err error) {
		defer flush()
		ended, err = s.target.Watch(ctx, id, log)
		return err
	}
	var err error
	if f.flow != nil {
		stop := f.flow.follow(ctx, s, id)
		err = f.flow.step.Group("Output of "+id, watch)
		stop()
	} else {
		err = watch()
	}
	if err != nil && ctx.Err() != nil {
		if f.flow == nil {
			s.stop() // a second Ctrl-C ends this program; a workflow sends a second signal anyway
		}
		if !f.cancel {
			s.say("\nThe run goes on; aml-train watch %s shows it again, aml-train cancel %s ends it.", id, id)
			return &runEnded{run.Status()}
		}
		s.say("\nCanceling run %s ...", id)
		background := context.WithoutCancel(ctx)
		if cerr := s.target.Cancel(background, id); cerr != nil && !errors.Is(cerr, history.ErrEnded) {
			s.say("aml-train: %v", cerr)
		}
		log.again()
		if f.flow == nil {
			ended, err = s.target.Watch(background, id, log)
		} else {
			ended, err = s.awaitCancel(background, id, log)
		}
		flush()
	}
	if err != nil {
		return err
	}
	return s.report(ctx, ended, f)
}

// console is where the output of a run is shown: on a terminal as it is, elsewhere as a
// terminal would leave it, so that a progress bar is one line. flush shows the line that
// has not ended.
func (a *app) console() (log *resumed, flush func()) {
	if isTerminal(a.err) {
		return &resumed{w: a.err}, func() {}
	}
	s := screen.NewWriter(a.err)
	return &resumed{w: s}, func() { s.Flush() }
}

// cancelPatience is how long a workflow that is being canceled waits for the run's
// end: ten seconds after its first signal this program is killed, and the comment has
// to be written before.
const cancelPatience = 6 * time.Second

// awaitCancel waits for the end of a run that was asked to end, or returns it as it is:
// a cluster may take minutes.
func (s session) awaitCancel(ctx context.Context, id string, log io.Writer) (*history.Run, error) {
	soon, stop := context.WithTimeout(ctx, cancelPatience)
	defer stop()
	ended, err := s.target.Watch(soon, id, log)
	if err != nil && soon.Err() != nil {
		return s.past.Run(ctx, id)
	}
	return ended, err
}

// resumed is the log of a run that is written from the beginning a second time:
// what has been shown is not shown again.
type resumed struct {
	w           io.Writer
	shown, skip int64
}

func (r *resumed) again() { r.skip = r.shown }

func (r *resumed) Write(p []byte) (int, error) {
	skip := min(r.skip, int64(len(p)))
	r.skip -= skip
	n, err := r.w.Write(p[skip:])
	r.shown += int64(n)
	return n + int(skip), err
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + " ..."
	}
	return s
}

func didYouMean(name string, known []string) string { return suggest.DidYouMean(name, known) }

// relative shortens a path for people.
func relative(path string) string {
	if cwd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(cwd, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}
