package job

import (
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/org/aml-train/internal/lazyregexp"
)

// Checkpoints is the name of the output that holds what a script needs to go on after it
// was interrupted: it is the same folder for each attempt of a run.
const Checkpoints = "checkpoints"

// CheckpointsVariable tells the script where that folder is.
const CheckpointsVariable = "AML_TRAIN_CHECKPOINTS"

// HasCheckpoints tells whether the job has a folder for checkpoints.
func (j *Job) HasCheckpoints() bool {
	out, ok := j.Outputs[Checkpoints]
	return ok && out.Type != URIFile
}

// checkpoints adds the output, where the flag asks for it.
func (o Options) checkpoints(j *Job, d *document) {
	if !o.Checkpoints {
		return
	}
	switch out, ok := j.Outputs[Checkpoints]; {
	case ok && out.Type == URIFile:
		d.flagProblem("--checkpoints gives the script a folder, and outputs.%s of the job is a file; make its type "+
			"uri_folder, or give it another name", Checkpoints)
	case !ok:
		if j.Outputs == nil {
			j.Outputs = map[string]Output{}
		}
		j.Outputs[Checkpoints] = Output{Type: URIFolder}
	}
}

// checkCheckpoints warns where the folder would be of no use.
func (d *document) checkCheckpoints(j *Job) {
	v := d.at["outputs."+Checkpoints+".mode"]
	if v != nil && j.HasCheckpoints() && j.Outputs[Checkpoints].Mode == "upload" {
		d.warn(v, "outputs.%s is uploaded when the job ends, which one that is evicted does not; take mode: rw_mount",
			Checkpoints)
	}
}

// resumeFrom is the input that an earlier run's files become, unless the command names
// another one behind --resume-from, as one that SDK v1 has written does.
const resumeFrom = "resume_from"

var resumeArgument = lazyregexp.New(`--resume-from[= ]['"]?\$\{\{\s*inputs\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}`)

// resumeFrom hands the files of an earlier run to the job's script as SDK v1 does with
// ScriptRunConfig(resume_from=): as data whose folder is told in the argument --resume-from
// (azureml-core, script_run_config.py). A command that names ${{inputs.resume_from}}
// gets them where it does.
func (o Options) resumeFrom(j *Job, d *document) {
	if o.ResumeFrom == "" {
		return
	}
	command := strings.TrimRight(j.Command, " \t\r\n")
	name := resumeFrom
	if m := resumeArgument.FindStringSubmatch(command); m != nil {
		name = m[1]
	} else if !j.names("inputs." + resumeFrom) {
		if o.Script == "" && !takesArguments(command) {
			d.flagProblem("--resume-from %s: the command is not one script's, behind which the argument could stand; "+
				"write into it where the folder goes: --resume-from ${{inputs.%s}}", o.ResumeFrom, resumeFrom)
			return
		}
		j.Command = command + " --resume-from ${{inputs." + resumeFrom + "}}"
	}
	if j.Inputs == nil {
		j.Inputs = map[string]Input{}
	}
	was := j.Inputs[name]
	j.Inputs[name] = Input{Type: URIFolder, Run: o.ResumeFrom, Mode: was.Mode, OnCompute: was.OnCompute, named: true}
	delete(d.at, "inputs."+name+".path")
}

// Earlier returns the input that is filled with an earlier run's files, and which run's:
// RUN, or RUN:PATH. It is "" where there is none.
func (j *Job) Earlier() (name, run string) {
	for name, in := range j.Inputs {
		if in.Run != "" {
			return name, in.Run
		}
	}
	return "", ""
}

// Found says where the files of an earlier run are, and what they are.
func (j *Job) Found(name string, at Input) {
	in := j.Inputs[name]
	in.Path, in.Type = at.Path, at.Type
	j.Inputs[name] = in
}

// names tells whether the command has an expression.
func (j *Job) names(expr string) bool {
	for _, m := range expression.FindAllStringSubmatch(j.Command, -1) {
		if normalise(m[1]) == expr {
			return true
		}
	}
	return false
}

// takesArguments tells whether what is written behind a command is an argument of the only
// script that it starts.
func takesArguments(command string) bool {
	parts := segment.Split(strings.ReplaceAll(command, "\\\n", " "), -1)
	for i, part := range parts {
		words, err := shellquote.Split(part)
		if err != nil {
			return false
		}
		if words = unwrapped(words); len(words) == 0 {
			continue
		}
		last := i == len(parts)-1
		switch {
		case !last && !harmless[words[0]]:
			return false
		case last:
			return first(words) != nil && !strings.ContainsAny(part, "|&`#")
		}
	}
	return false
}
