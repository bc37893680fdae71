package cli

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/train"
)

// jobFlags are the flags that describe a job. They carry the names of the
// action's inputs.
type jobFlags struct {
	job.Options
	file        string   // by --job
	named       string   // as the argument
	behind      []string // --, for the script
	runConfig   string   // its name or path
	commit      string
	branch      string // of commit, where the caller knows it
	once        bool
	resume      bool
	evictions   []time.Duration
	python      string
	maxSnapshot string
	maxOutputs  string
	reuse       reuseFlag
	repeats     repeatsFlag
}

func (f *jobFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.SortFlags = false
	s.StringVar(&f.file, "job", "", "the job file; the same as JOB")
	s.StringVar(&f.Script, "script", "", "the training script, relative to the source directory")
	s.StringVar(&f.Arguments, "arguments", "", "arguments of the script, in shell words")
	s.StringVar(&f.Command, "command", "", "a shell command, in place of --script and --arguments")
	s.StringVar(&f.SourceDirectory, "source-directory", "",
		"the folder whose files travel (default: that of the job file's code, else .)")
	s.StringVar(&f.commit, "commit", "", "train a commit, such as HEAD or a branch, instead of the working tree; "+
		"the job file and its data are the commit's too")
	s.StringVar(&f.ComputeTarget, "compute-target", "", "where to run; local is this machine")
	s.StringVar(&f.Environment, "environment", "", "what to run in: docker:IMAGE, pip:FILE (requirements), "+
		"conda:FILE, an environment of Azure ML, or user-managed, which is what the machine has")
	s.StringArrayVar(&f.Env, "environment-variables", nil,
		"an environment variable, `NAME=VALUE` or, to pass on this machine's, NAME (repeatable; --env for short)")
	s.StringArrayVar(&f.Inputs, "inputs", nil,
		"a value for an input of the job, `NAME=VALUE` (repeatable; --input for short); ./PATH and URLs are data")
	s.StringVar(&f.ExperimentName, "experiment-name", "", "the experiment (default: the name of the source directory)")
	s.StringVar(&f.DisplayName, "display-name", "", "the run's name for people")
	s.StringVar(&f.Description, "description", "", "what the run is about")
	s.StringArrayVar(&f.Tags, "tags", nil, "a tag of the run, `NAME=VALUE` (repeatable; --tag for short)")
	s.IntVar(&f.MaxRunSeconds, "max-run-duration-seconds", 0, "end the run after that many seconds")
	s.StringVar(&f.Distribution, "distribution", "", "mpi, pytorch, tensorflow or ray "+
		"(--distributed-job-config is another name)")
	s.IntVar(&f.ProcessCount, "process-count", 0, "processes on each node; of tensorflow: workers")
	s.IntVar(&f.ServerCount, "parameter-server-count", 0, "parameter servers of tensorflow")
	s.IntVar(&f.NodeCount, "node-count", 0, "how many nodes")
	s.StringVar(&f.DockerArguments, "docker-runtime-config", "",
		"arguments of docker run for the job's container, such as \"--shm-size 2g --gpus all\"")
	s.BoolVar(&f.Checkpoints, "checkpoints", false, "give the script a folder, in "+job.CheckpointsVariable+", that "+
		"stays when the run is evicted and starts again: an output of the name "+job.Checkpoints)
	s.Var((*runName)(&f.ResumeFrom), "resume-from", "go on from an earlier run, RUN or RUN:PATH: its checkpoints, "+
		"else its outputs, are a folder that the script finds in its argument --resume-from")
	s.DurationSliceVar(&f.evictions, "preempt-after", nil, "on this machine, rehearse an eviction: end the run after "+
		"that long, such as `30s`, and start it again (30s,1m: twice)")
	s.Lookup("preempt-after").DefValue = "" // help shows none
	s.StringVar(&f.python, "python", "", "the interpreter that python stands for on this machine")
	s.StringVar(&f.runConfig, "runconfig", "",
		"a run configuration of SDK v1 in place of a job file: a path, or NAME of .azureml/NAME.runconfig")
	s.StringVar(&f.maxSnapshot, "max-snapshot-size", "", "the most that may travel, such as 500MB (default 300MiB)")
	s.StringVar(&f.maxOutputs, "max-outputs-size", "", "the most that is kept of a run's outputs and logs on this "+
		"machine, such as 500GB (default 100GB; 0 is no limit)")
	f.reuse.add(s)
	s.Var(&f.repeats, "repeats", "train with several seeds, to tell what chance makes: a number of runs, or 'decided, "+
		"at most 6', which adds runs while the verdict is open (default: repeats in .aml-train.yaml)")
	short := map[string]string{"env": "environment-variables", "input": "inputs", "tag": "tags",
		"distributed-job-config": "distribution"}
	s.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "distributed-job-config" { // as it was typed
			f.DistributedAs = name
		}
		return pflag.NormalizedName(cmp.Or(short[name], name))
	})
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yml", "yaml"}, cobra.ShellCompDirectiveFilterFileExt
	}
}

// arguments takes at most a job file, and behind -- what is handed to the script.
func (f *jobFlags) arguments(cmd *cobra.Command, args []string) error {
	if at := cmd.ArgsLenAtDash(); at >= 0 && at <= len(args) {
		f.behind, args = args[at:], args[:at]
	}
	f.named = firstArg(args)
	return cobra.MaximumNArgs(1)(cmd, args)
}

// identity tells jobs apart by what was asked for, also where the job cannot be read; not
// by what may differ from push to push, as inputs and commands do.
func (f *jobFlags) identity() string {
	return strings.Join([]string{cmp.Or(f.named, f.file), f.Script, f.SourceDirectory,
		f.ExperimentName, f.DisplayName}, "\x00")
}

// name is what the job is called, as far as the flags tell.
func (f *jobFlags) name() string {
	name := cmp.Or(f.ExperimentName, f.named, f.file, f.Script, "the job")
	if f.DisplayName != "" {
		name += " · " + f.DisplayName
	}
	return name
}

// request is what the flags and arguments ask for.
func (a *app) request(f jobFlags) train.Request {
	r := train.Request{File: cmp.Or(f.named, f.file), Commit: f.commit, Branch: f.branch, Once: f.once,
		Resume: f.resume, Evictions: f.evictions}
	wrong := func(err error) {
		if err != nil {
			r.Wrong = append(r.Wrong, err)
		}
	}
	for _, d := range f.evictions {
		if d <= 0 {
			wrong(mistake.Errorf("--preempt-after is %s; it has to be positive", d))
		}
	}
	if f.named != "" && f.file != "" {
		wrong(mistake.Errorf("the job file is given twice, as %s and as --job %s", f.named, f.file))
	}
	var err error
	r.File, err = f.configured(r.File)
	wrong(err)
	r.Pass, err = a.passOn(&f)
	wrong(err)
	r.MaxOutputs, err = sizeFlag("--max-outputs-size", f.maxOutputs)
	wrong(err)
	r.MaxSnapshot, err = sizeFlag("--max-snapshot-size", f.maxSnapshot)
	wrong(err)
	if f.once {
		a.azure.attempt = "once" // the job's name then says what it is, and a name is taken once
	}
	if len(f.behind) > 0 && f.Script == "" {
		wrong(mistake.Errorf("what stands behind -- is for the script that --script names; a job file says its own"))
	} else {
		for _, word := range f.behind {
			f.Arguments = strings.TrimSpace(f.Arguments + " " + job.Quote(word))
		}
	}
	r.Repeats = f.repeats.plan
	r.Reuse, err = f.reuse.wanted()
	wrong(err)
	r.Options = f.Options
	r.Options.Workflow = github.InWorkflow(a.getenv)
	return r
}

// configured returns the job file, which is a run configuration where one is named.
func (f *jobFlags) configured(file string) (string, error) {
	if f.runConfig == "" {
		return file, nil
	}
	f.RunConfig = true
	if file != "" {
		return "", mistake.Errorf("both a job file, %s, and a run configuration, --runconfig %s; name one", file,
			f.runConfig)
	}
	found, err := job.FindRunConfig(f.runConfig, func(name string) bool {
		info, err := os.Stat(filepath.FromSlash(name))
		return err == nil && !info.IsDir()
	})
	if err != nil {
		return "", mistake.Of(err)
	}
	return found, nil
}

// sizeFlag reads a limit in bytes: 0 where none is given, -1 for no limit.
func sizeFlag(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := size.Parse(text)
	if err != nil {
		return 0, mistake.Errorf("%s: %w", flag, err)
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
	var missing []error
	for _, text := range f.Env {
		value := a.getenv(text)
		switch {
		case strings.Contains(text, "="):
			pairs = append(pairs, text)
		case value == "":
			missing = append(missing, mistake.Errorf("--env %s: there is no variable of that name here to pass on; "+
				"NAME=VALUE sets one", text))
		default:
			a.mask(value)
			passed[text] = value
		}
	}
	f.Env = pairs
	return passed, errors.Join(missing...)
}
