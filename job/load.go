package job

import (
	"fmt"
	"maps"
	"os"
	"path"
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
	ExperimentName  string
	DisplayName     string
	Description     string
	Tags            []string // NAME=VALUE
	MaxRunSeconds   int      // 0 leaves the job file's limit
	Distribution    string   // mpi, pytorch, tensorflow or ray
	ProcessCount    int      // a node; of tensorflow: workers
	NodeCount       int

	// Files is whose files a job may name: those of the repository that it lies in. What
	// options name may lie elsewhere, outside a workflow: there they may be anybody's.
	Files    inside.Place
	Workflow bool
}

// Load reads the job file at path, or starts from nothing where path is "", puts
// the options over it and checks what can be checked without a target: the
// source directory, the script, the inputs. The error, if any, is Problems.
func Load(path string, o Options) (*Job, error) {
	place, abs, err := o.placeOf(path)
	if err != nil {
		return nil, err
	}
	j, d := &Job{Type: "command", Compute: Local, Dir: abs, Code: ".", place: place}, &document{}
	if path != "" {
		if j, d = read(path, abs, place); j == nil {
			return nil, d.sorted()
		}
	}
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	o.apply(j, d, cwd)
	d.check(j, o)
	if len(d.problems) > 0 {
		return nil, d.sorted()
	}
	if j.ExperimentName == "" {
		j.ExperimentName = defaultExperiment(j)
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
	d.problems = append(d.problems, Problem{Message: fmt.Sprintf(format, args...)})
}

// reportAt reports something about a text, where it stands; one from a flag has no place.
func (d *document) reportAt(what, format string, args ...any) {
	if v := d.at[what]; v != nil {
		d.report(v.line, v.column, format, args...)
	} else {
		d.flagProblem(format, args...)
	}
}

func (o Options) apply(j *Job, d *document, cwd string) {
	relative := func(path string) string {
		if IsRemote(path) {
			return path
		}
		abs := path
		if !filepath.IsAbs(abs) {
			abs = filepath.Join(cwd, path)
		}
		if rel, err := filepath.Rel(j.Dir, abs); err == nil {
			return filepath.ToSlash(rel)
		}
		return abs
	}
	if o.SourceDirectory != "" {
		j.Code, j.codeNamed = relative(o.SourceDirectory), !o.Workflow
	}
	if o.Script != "" || o.Arguments != "" {
		o.applyScript(j, d, cwd)
	}
	if o.Command != "" {
		if o.Script != "" || o.Arguments != "" {
			d.flagProblem("--command and --script (or --arguments) exclude each other")
		}
		j.Command = o.Command
	}
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
	if o.ComputeTarget != "" {
		if err := checkCompute(o.ComputeTarget); err != nil {
			d.flagProblem("--compute-target: %v", err)
		}
		j.Compute = strings.TrimPrefix(o.ComputeTarget, "azureml:")
	}
	if o.Environment != "" {
		e := environmentReference(o.Environment)
		for _, file := range []*string{&e.Requirements, &e.CondaFile} {
			if *file != "" {
				*file = relative(*file)
			}
		}
		j.Environment, j.environmentNamed = &e, !o.Workflow
		maps.DeleteFunc(d.at, func(what string, _ *value) bool { return strings.HasPrefix(what, "environment") })
	}
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
	switch {
	case o.MaxRunSeconds < 0:
		d.flagProblem("--max-run-duration-seconds is %d; it has to be positive", o.MaxRunSeconds)
	case o.MaxRunSeconds > 0:
		j.Limits = &Limits{Timeout: o.MaxRunSeconds}
	}
	o.distribution(j, d)
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

func (o Options) distribution(j *Job, d *document) {
	kinds := []string{"mpi", "pytorch", "tensorflow", "ray"}
	if o.Distribution != "" {
		kind := strings.ToLower(o.Distribution)
		if !slices.Contains(kinds, kind) {
			d.flagProblem("--distribution is %q; it can be %s%s", o.Distribution, strings.Join(kinds, ", "), suggest.DidYouMean(kind, kinds))
			return
		}
		j.Distribution = &Distribution{Type: kind}
	}
	if o.ProcessCount != 0 {
		switch {
		case o.ProcessCount < 0:
			d.flagProblem("--process-count is %d; it has to be positive", o.ProcessCount)
		case j.Distribution == nil:
			d.flagProblem("--process-count needs --distribution: mpi, pytorch or tensorflow")
		case j.Distribution.Type == "tensorflow":
			j.Distribution.WorkerCount = o.ProcessCount
		default:
			j.Distribution.ProcessCountPerInstance = o.ProcessCount
		}
	}
	if o.NodeCount < 0 {
		d.flagProblem("--node-count is %d; it has to be positive", o.NodeCount)
	} else if o.NodeCount > 0 {
		if j.Resources == nil {
			j.Resources = &Resources{}
		}
		j.Resources.InstanceCount = o.NodeCount
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
				d.flagProblem("--script %s does not lie in the source directory %s; give --source-directory %s", o.Script, source, filepath.Dir(o.Script))
				return
			}
		}
	}
	j.Command = "python " + quote(filepath.ToSlash(script))
	for _, w := range words {
		j.Command += " " + quote(w)
	}
}

// quote writes a word so that a shell passes it on as it is. An expression in it
// is still one.
func quote(word string) string {
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
		d.flagProblem("--input %s: the value %q is put into the command line as it is, and a shell would interpret what it holds besides letters, digits and _ . / : @ %% + = , -; write such a value in the job file, whose author answers for it, or pass it with --env", name, value)
		return
	}
	in, declared := j.Inputs[name]
	if !declared && !slices.ContainsFunc(expression.FindAllStringSubmatch(j.Command+" "+o.Command+" "+o.Arguments, -1), func(m []string) bool {
		return normalise(m[1]) == "inputs."+name
	}) {
		var known []string
		for n := range j.Inputs {
			known = append(known, n)
		}
		d.flagProblem("--input %s: the job has no input of that name, and its command names no ${{inputs.%s}}%s", name, name, suggest.DidYouMean(name, known))
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
func (d *document) check(j *Job, o Options) {
	at := func(key string) (int, int) {
		if line := j.lines[key]; line > 0 {
			return line, 1
		}
		return 0, 0
	}
	report := func(key, format string, args ...any) {
		line, column := at(key)
		if line == 0 || d.file == "" {
			d.flagProblem(format, args...)
			return
		}
		d.report(line, column, format, args...)
	}
	if strings.TrimSpace(j.Command) == "" {
		switch {
		case j.lines["command"] > 0 && len(d.problems) == 0:
			report("command", "command is empty; write what runs, such as \"python train.py\"")
		case d.file == "" && len(d.problems) == 0:
			d.flagProblem("nothing to run: name a job file, or give --script train.py or --command")
		}
		return
	}
	for _, ref := range unresolved(j) {
		if line, column := d.find(j.lines["command"], ref.text); line > 0 && o.Command == "" && o.Script == "" {
			d.report(line, column, "%s", ref.problem)
		} else {
			d.flagProblem("%s", ref.problem)
		}
	}
	if script := scriptOf(j.Command); script != "" && j.Code == "" {
		report("command", "the command starts %s, but without code no file travels; add the source directory, such as \"code: .\"", script)
	}
	if source := j.SourceDirectory(); source != "" {
		info, err := j.stat(source, j.codeNamed)
		switch {
		case err != nil:
			report("code", "the source directory %s", j.why(j.Code, "--source-directory ", o.Workflow, err))
		case !info.IsDir():
			report("code", "the source directory %s is a file; name the folder that it stands in", j.Code)
		default:
			if why := noScript(j.Command); why != "" {
				report("command", "%s", why)
			} else if script := scriptOf(j.Command); script != "" {
				if _, err := j.stat(filepath.Join(source, filepath.FromSlash(script)), j.codeNamed); err != nil {
					report("command", "the script %s does not exist in the source directory %s%s", script, j.Code, j.similarScript(script))
				}
			}
		}
	}
	d.checkEnvironment(j, o)
	for name, in := range j.Inputs {
		if in.Literal || IsRemote(in.Path) || in.Path == "" || expression.MatchString(in.Path) {
			continue
		}
		say := func(format string, args ...any) { d.reportAt("inputs."+name+".path", format, args...) }
		switch info, err := lookAt(j.OpenInput(in)); {
		case err != nil:
			say("inputs.%s: %s", name, j.why(in.Path, "--input "+name+"=", o.Workflow, err))
		case info.IsDir() && in.Type == URIFile:
			say("inputs.%s: %s is a folder; its type is uri_folder", name, in.Path)
		case !info.IsDir() && in.Type == URIFolder:
			say("inputs.%s: %s is a file; its type is uri_file", name, in.Path)
		}
	}
}

// checkEnvironment looks for the files that the environment names.
func (d *document) checkEnvironment(j *Job, o Options) {
	e := j.Environment
	if e == nil {
		return
	}
	check := func(key, name string, folder bool) bool {
		info, err := lookAt(j.Open(name, j.environmentNamed))
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
		d.reportAt(at, "environment.build.dockerfile_path: %s is no path below the build context %s", b.DockerfilePath, b.Path)
	} else if info, err := j.stat(filepath.Join(j.Local(b.Path), name), false); err != nil || info.IsDir() {
		d.reportAt(at, "environment.build: the build context %s has no %s", b.Path, b.DockerfilePath)
	}
}

// python is a command that starts with a script, and nothing that could change
// the folder before it.
var python = regexp.MustCompile(`^\s*python[0-9.]*\s+(?:-u\s+)?([^\s'"$;|&<>()\\-][^\s'"$;|&<>()\\]*\.py)(?:\s|$)`)

// noScript says what starts a file that a command has python start and that is no Python,
// "" where there is none.
func noScript(command string) string {
	words, err := shellquote.Split(command)
	if len(words) > 1 && words[1] == "-u" {
		words = slices.Delete(words, 1, 2)
	}
	if err != nil || len(words) < 2 || !pythonProgram.MatchString(words[0]) {
		return ""
	}
	script, shown := words[1], shellquote.Join(words[1])
	ext := path.Ext(script)
	programs := map[string]string{".sh": "sh", ".bash": "bash", ".r": "Rscript", ".R": "Rscript", ".jl": "julia"}
	switch {
	case programs[ext] != "":
		return fmt.Sprintf("%s is no Python script; start it with a command: %s %s", script, programs[ext], shown)
	case ext != ".ipynb":
		return ""
	}
	stem := strings.TrimSuffix(script, ext)
	return fmt.Sprintf("%s is a notebook, which python cannot start; run it with the command mkdir -p outputs && papermill %s %s (papermill has to be installed), "+
		"or make a script of it: jupyter nbconvert --to script %s, and train %s.py",
		script, shown, shellquote.Join("outputs/"+path.Base(script)), shown, stem)
}

var pythonProgram = regexp.MustCompile(`^python[0-9.]*$`)

// scriptOf returns the script that a command starts, "" where that cannot be
// told for certain.
func scriptOf(command string) string {
	m := python.FindStringSubmatch(command)
	if m == nil || filepath.IsAbs(m[1]) || strings.HasPrefix(m[1], "/") {
		return ""
	}
	return m[1]
}

// Script returns the script that the command starts with python, relative to the
// source directory, "" where it starts something else.
func (j *Job) Script() string { return scriptOf(j.Command) }
