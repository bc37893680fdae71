package job

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/kballard/go-shellquote"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/suggest"
)

// Options is a job in flags, or what flags change in a job file. They carry the
// names of SDK v1's ScriptRunConfig where it has one. The zero value changes
// nothing.
type Options struct {
	Script          string   // relative to the source directory
	Arguments       string   // of the script, in shell words
	Command         string   // in place of script and arguments
	SourceDirectory string   // relative to the working directory
	ComputeTarget   string   // as Job.Compute
	Environment     string   // a reference, docker:IMAGE, pip:FILE, conda:FILE or user-managed
	Env             []string // NAME=VALUE
	Inputs          []string // NAME=VALUE
	Asked           []string // the same, of inputs that the job declares with a value
	ExperimentName  string
	DisplayName     string
	Description     string
	Tags            []string // NAME=VALUE
	MaxRunSeconds   int      // 0 leaves the job file's limit
	Distribution    string   // mpi, pytorch, tensorflow or ray
	DistributedAs   string   // the flag by which it was given; "" for distribution
	ProcessCount    int      // a node; of tensorflow: workers
	NodeCount       int
	ServerCount     int    // parameter servers of tensorflow
	DockerArguments string // what SDK v1's DockerConfiguration says, as docker run's arguments
	Checkpoints     bool   // give the script a folder for checkpoints
	ResumeFrom      string // RUN or RUN:PATH, whose files the script gets

	RunConfig bool // the file is a run configuration of SDK v1, wherever it lies

	// Files is whose files a job may name: those of the repository that it lies in. What
	// options name may lie elsewhere, outside a workflow: there they may be anybody's.
	Files    inside.Place
	Workflow bool
}

// Load is Read of a job that has to be without a problem. The error, if any, is Problems.
func Load(ctx context.Context, path string, o Options) (*Job, error) {
	j, err := Read(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Read reads the job file at path, or starts from nothing where path is "", puts
// the options over it and checks what can be checked without a target: the
// source directory, the script, the inputs. The error, if any, is Problems; the job is
// then what could be read of it, so that others find what else is wrong, and nil where
// that is nothing.
func Read(ctx context.Context, path string, o Options) (*Job, error) {
	place, abs, err := o.placeOf(path)
	if err != nil {
		return nil, err
	}
	d := &document{}
	j := &Job{Type: "command", Compute: Local, Dir: abs, Code: ".", place: place, document: d}
	if path != "" {
		read := read
		if o.RunConfig || IsRunConfig(path) {
			read = readRunConfig
		}
		if j, d = read(path, abs, place); j == nil {
			return nil, d.sorted()
		}
	}
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	o.apply(j, d, cwd)
	d.check(ctx, j, o)
	j.Warnings = d.warnings
	if j.ExperimentName == "" {
		j.ExperimentName = defaultExperiment(j)
	}
	if len(d.problems) > 0 {
		return j, d.sorted()
	}
	return j, nil
}

// defaultExperiment is the name of the source directory, else of the job file's
// folder, as az takes the name of the working directory.
func defaultExperiment(j *Job) string {
	dir := j.SourceDirectory()
	if dir == "" {
		dir = j.Dir
	}
	name := regexp.MustCompile(`[^A-Za-z0-9_-]+`).ReplaceAllString(filepath.Base(dir), "-")
	if name = strings.Trim(name, "-_"); name == "" {
		return "Default"
	}
	return name[:min(len(name), 255)]
}

// problem reports something about a flag: it has no place in a file.
func (d *document) flagProblem(format string, args ...any) {
	d.problems = append(d.problems, Problem{Message: masked(fmt.Sprintf(format, args...))})
}

// reportAt reports something about a text, where it stands; one from a flag has no place.
func (d *document) reportAt(what, format string, args ...any) {
	if v := d.at[what]; v != nil {
		d.report(v.line, v.column, format, args...)
	} else {
		d.problems = append(d.problems, Problem{Message: masked(fmt.Sprintf(format, args...)), key: what})
	}
}

func (o Options) apply(j *Job, d *document, cwd string) {
	relative := func(path string) string { return relativeTo(j.Dir, cwd, path) }
	if o.SourceDirectory != "" {
		j.Code, j.codeNamed = relative(o.SourceDirectory), !o.Workflow
		d.given("code")
	}
	if o.Script != "" || o.Arguments != "" {
		o.applyScript(j, d, cwd)
	}
	if o.Command != "" {
		if o.Script != "" || o.Arguments != "" {
			d.flagProblem("--command and --script (or --arguments) exclude each other")
		}
		j.Command = o.Command
		d.given("command")
	}
	o.names(j, d)
	if o.ComputeTarget != "" {
		j.Compute = strings.TrimPrefix(o.ComputeTarget, "azureml:")
		d.given("compute")
		if err := checkCompute(o.ComputeTarget); err != nil {
			d.problems = append(d.problems, d.problemOf("compute", "--compute-target: "+err.Error()))
		}
	}
	o.environment(j, d, relative)
	o.pairs(d, "--env", o.Env, func(name, value string) {
		if j.EnvironmentVariables == nil {
			j.EnvironmentVariables = map[string]string{}
		}
		j.EnvironmentVariables[name] = value
	})
	o.pairs(d, "--tag", o.Tags, func(name, value string) {
		if j.Tags == nil {
			j.Tags = map[string]string{}
		}
		j.Tags[name] = value
	})
	o.pairs(d, "--input", o.Inputs, func(name, value string) { o.input(j, d, name, value, relative) })
	o.pairs(d, "/train", o.Asked, func(name, value string) { d.asked(j, name, value) })
	switch {
	case o.MaxRunSeconds < 0:
		d.flagProblem("--max-run-duration-seconds is %d; it has to be positive", o.MaxRunSeconds)
	case o.MaxRunSeconds > 0 && j.Sweep != nil:
		j.Sweep.Limits.Timeout = o.MaxRunSeconds
	case o.MaxRunSeconds > 0:
		j.Limits = &Limits{Timeout: o.MaxRunSeconds}
	}
	o.distribution(j, d)
	o.docker(j, d)
	o.checkpoints(j, d)
	o.resumeFrom(j, d)
}

// names are what people call the run by.
func (o Options) names(j *Job, d *document) {
	set := func(to *string, value string) {
		if value != "" {
			*to = value
		}
	}
	set(&j.ExperimentName, o.ExperimentName)
	set(&j.DisplayName, o.DisplayName)
	set(&j.Description, o.Description)
	if o.ExperimentName != "" {
		if err := checkName(o.ExperimentName); err != nil {
			d.flagProblem("--experiment-name %v", err)
		}
	}
}

// relativeTo is a path that the person gave, in the folder cwd, as one of the folder dir.
func relativeTo(dir, cwd, path string) string {
	if IsRemote(path) {
		return path
	}
	abs := path
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(cwd, path)
	}
	if rel, err := filepath.Rel(dir, abs); err == nil {
		return filepath.ToSlash(rel)
	}
	return abs
}

func (o Options) environment(j *Job, d *document, relative func(string) string) {
	if o.Environment == "" {
		return
	}
	d.given("environment")
	e := environmentReference(o.Environment)
	for _, file := range []*string{&e.Requirements, &e.CondaFile} {
		if *file != "" {
			*file = relative(*file)
		}
	}
	j.Environment, j.environmentNamed = &e, !o.Workflow
}

func (o Options) pairs(d *document, flag string, pairs []string, set func(name, value string)) {
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			d.flagProblem("%s %q: write NAME=VALUE", flag, p)
			continue
		}
		set(name, value)
	}
}

// applyScript makes the command "python SCRIPT ARGUMENTS". The words are quoted,
// so that what they hold reaches the script as it is.
func (o Options) applyScript(j *Job, d *document, cwd string) {
	if o.Script == "" {
		d.flagProblem("--arguments needs --script; the arguments of a job file's command stand in its command")
		return
	}
	words, err := shellquote.Split(o.Arguments)
	if err != nil {
		d.flagProblem("--arguments %s: %v", o.Arguments, err)
		return
	}
	if j.Code == "" {
		j.Code = "."
	}
	script := filepath.FromSlash(o.Script)
	source := j.SourceDirectory()
	if info, err := j.stat(source, j.codeNamed); err == nil && info.IsDir() {
		inSource := script
		if !filepath.IsAbs(script) {
			inSource = filepath.Join(source, script)
		}
		// What completion in a shell gives is relative to the working directory.
		if _, err := j.stat(inSource, true); err != nil && !filepath.IsAbs(script) {
			inSource = filepath.Join(cwd, script)
		}
		if _, err := j.stat(inSource, true); err == nil {
			if rel, err := filepath.Rel(source, inSource); err == nil && filepath.IsLocal(rel) {
				script = rel
			} else {
				d.flagProblem("--script %s does not lie in the source directory %s; give --source-directory %s",
					o.Script, source, filepath.Dir(o.Script))
				return
			}
		}
	}
	d.given("command")
	j.Command = "python " + Quote(filepath.ToSlash(script))
	for _, w := range words {
		j.Command += " " + Quote(w)
	}
}

// Quote writes a word so that a shell passes it on as it is. An expression in it
// is still one.
func Quote(word string) string {
	if word != "" && plain(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// plain tells whether a value can stand in a shell command without changing it.
func plain(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("_./:@%+=,-", r)
	})
}

// input sets an input from a flag. Its value lands in a command line as it is,
// and it may come from where anybody can write, such as a branch name: what a
// shell would interpret is refused.
func (o Options) input(j *Job, d *document, name, value string, relative func(string) string) {
	if !plain(value) {
		d.flagProblem("--input %s: the value %q is put into the command line as it is, and a shell would interpret "+
			"what it holds besides letters, digits and _ . / : @ %% + = , -; write such a value in the job file, "+
			"whose author answers for it, or pass it with --env", name, value)
		return
	}
	in, declared := j.Inputs[name]
	if !declared && !slices.ContainsFunc(expression.FindAllStringSubmatch(j.Command+" "+o.Command+" "+o.Arguments, -1),
		func(m []string) bool {
			return normalise(m[1]) == "inputs."+name
		}) {
		var known []string
		for n := range j.Inputs {
			known = append(known, n)
		}
		d.flagProblem("--input %s: the job has no input of that name, and its command names no ${{inputs.%s}}%s", name,
			name, suggest.DidYouMean(name, known))
		return
	}
	switch {
	case declared && !in.Literal:
		in.Path, in.named = relative(value), !o.Workflow
		delete(d.at, "inputs."+name+".path")
	case IsRemote(value):
		in = Input{Type: URIFile, Path: value}
		if !strings.HasPrefix(value, "http") {
			in.Type = URIFolder
		}
	case strings.HasPrefix(value, "./"), strings.HasPrefix(value, "../"), filepath.IsAbs(value):
		in = Input{Type: URIFolder, Path: relative(value), named: !o.Workflow}
		if info, err := j.stat(in.Path, in.named); err == nil && !info.IsDir() {
			in.Type = URIFile
		}
	default:
		in = Input{Literal: true, Value: value}
	}
	if j.Inputs == nil {
		j.Inputs = map[string]Input{}
	}
	j.Inputs[name] = in
}

// check reports what is wrong with the whole job.
func (d *document) check(ctx context.Context, j *Job, o Options) {
	report := func(key, format string, args ...any) {
		d.problems = append(d.problems, d.problemOf(key, fmt.Sprintf(format, args...)))
	}
	if strings.TrimSpace(j.Command) == "" {
		switch _, written := d.keys["command"]; {
		case written && j.Sound("command"):
			report("command", "command is empty; write what runs, such as \"python train.py\"")
		case d.file == "" && len(d.problems) == 0:
			d.flagProblem("nothing to run: name a job file, or give --script train.py or --command")
		}
	}
	for _, ref := range unresolved(j) {
		if line, column := d.find(d.keys["command"].line, ref.text); line > 0 && o.Command == "" && o.Script == "" {
			d.report(line, column, "%s", ref.problem)
		} else {
			d.flagProblem("%s", ref.problem)
		}
	}
	if j.Sweep != nil {
		d.checkSpace(j)
	}
	for kind, given := range map[string]map[string]string{"tags": j.Tags, "properties": j.Properties} {
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if strings.HasPrefix(strings.ToLower(name), reserved) {
				d.reportAt(kind+" "+name, "%s.%s: aml-train itself notes with a run what begins with %s; take another "+
					"name", kind, name, reserved)
			}
		}
	}
	d.checkSource(j, o, report)
	d.checkEnvironment(ctx, j, o)
	d.checkCheckpoints(j)
	for _, name := range slices.Sorted(maps.Keys(j.Inputs)) {
		in := j.Inputs[name]
		if in.Literal || IsRemote(in.Path) || in.Path == "" || expression.MatchString(in.Path) {
			continue
		}
		say := func(format string, args ...any) { d.reportAt("inputs."+name+".path", format, args...) }
		tree, err := j.OpenInput(in)
		switch info, err := lookAt(ctx, tree, err); {
		case err != nil:
			say("inputs.%s: %s", name, j.why(in.Path, "--input "+name+"=", o.Workflow, err))
		case info.IsDir() && in.Type == URIFile:
			say("inputs.%s: %s is a folder; its type is uri_folder", name, in.Path)
		case !info.IsDir() && in.Type == URIFolder:
			say("inputs.%s: %s is a file; its type is uri_file", name, in.Path)
		}
	}
}

// reserved begins the names of what this program notes with a run, and believes: whose code
// it is, and what it answers for.
const reserved = "aml-train."

// checkSource looks for the source directory, and in it for what the command starts.
func (d *document) checkSource(j *Job, o Options, report func(key, format string, args ...any)) {
	started := starts(j.Command)
	if why := noScript(j.Command); why != "" {
		report("command", "%s", why)
		started = nil
	}
	if j.Code == "" {
		if started != nil && !started.module && j.Sound("code") {
			report("command", "the command starts %s, but without code no file travels; "+
				"add the source directory, such as \"code: .\"", started.name)
		}
		return
	}
	source := j.SourceDirectory()
	if source == "" {
		return
	}
	info, err := j.stat(source, j.codeNamed)
	switch {
	case err != nil:
		report("code", "the source directory %s", j.why(j.Code, "--source-directory ", o.Workflow, err))
	case !info.IsDir():
		report("code", "the source directory %s is a file; name the folder that it stands in", j.Code)
	default:
		if started != nil {
			if why := j.missing(started); why != "" {
				report("command", "%s", why)
			}
		}
	}
}

// checkEnvironment looks for the files that the environment names.
func (d *document) checkEnvironment(ctx context.Context, j *Job, o Options) {
	e := j.Environment
	if e == nil {
		return
	}
	check := func(key, name string, folder bool) bool {
		tree, err := j.Open(name, j.environmentNamed)
		info, err := lookAt(ctx, tree, err)
		switch {
		case err != nil:
			d.reportAt("environment."+key, "environment.%s: %s", key, j.why(name, "", o.Workflow, err))
		case folder && !info.IsDir():
			d.reportAt("environment."+key, "environment.%s: %s is a file; name the folder that it stands in", key, name)
		case !folder && info.IsDir():
			d.reportAt("environment."+key, "environment.%s: %s is a folder; name the file in it", key, name)
		default:
			return true
		}
		return false
	}
	if e.CondaFile != "" && !IsRemote(e.CondaFile) {
		check("conda_file", e.CondaFile, false)
	}
	if e.Requirements != "" && check("requirements", e.Requirements, false) {
		if _, err := j.Packages(); err != nil {
			d.reportAt("environment", "environment: %v", err)
		}
	}
	b := e.Build
	if b == nil || b.Path == "" || IsRemote(b.Path) || !check("build.path", b.Path, true) || b.DockerfilePath == "" {
		return
	}
	at := "environment.build.dockerfile_path"
	if d.at[at] == nil {
		at = "environment.build.path" // it is the default's name
	}
	name := filepath.FromSlash(b.DockerfilePath)
	if !filepath.IsLocal(name) {
		d.reportAt(at, "environment.build.dockerfile_path: %s is no path below the build context %s", b.DockerfilePath,
			b.Path)
	} else if info, err := j.stat(filepath.Join(j.Local(b.Path), name), false); err != nil || info.IsDir() {
		d.reportAt(at, "environment.build: the build context %s has no %s", b.Path, b.DockerfilePath)
	}
}
