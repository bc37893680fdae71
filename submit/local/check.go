package local

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/org/aml-train/job"
)

// Check implements submit.Target. The local environment is the machine's own.
func (t *Target) Check(ctx context.Context, j *job.Job) error {
	f := &job.Findings{Job: j.Trial()}
	if j.Sweep != nil {
		checkSweep(f, j.Sweep)
	}
	j = f.Job
	t.checkEnvironment(f)
	if r := j.Resources; r != nil && max(r.InstanceCount, r.MaxInstanceCount) > 1 {
		key := "resources.instance_count"
		if r.InstanceCount <= 1 {
			key = "resources.max_instance_count"
		}
		f.Add(key, "the job asks for %d instances, and this machine is one; name a compute target, "+
			"or set instance_count to 1", max(r.InstanceCount, r.MaxInstanceCount))
	}
	if why := checkDistribution(j); why != "" {
		f.Add("distribution", "%s", why)
	}
	t.checkInputs(f)
	t.checkHistory(ctx, f)
	if (j.Environment == nil || j.Environment.UserManaged) && j.Sound("environment") {
		t.checkPrograms(f)
	}
	if err := f.Err(); err != nil || !InContainer(j) || !j.Sound("environment") {
		return err
	}
	e, err := openEngine(ctx)
	if err != nil {
		return err
	}
	return e.Close()
}

func (t *Target) checkEnvironment(f *job.Findings) {
	const key = "environment"
	switch e := f.Job.Environment; {
	case e == nil || e.UserManaged:
	case e.Image == "" && e.Build == nil && e.Reference == "":
		if !f.Job.Sound(key) {
			return
		}
		if _, err := t.packagesOf(f.Job); err != nil {
			f.Add(key, "%v", err)
		}
	case e.Image != "", e.Build != nil:
		if e.Build != nil && job.IsRemote(e.Build.Path) {
			f.Add(key, "the build context %s is not on this machine; name a folder of the repository, or a compute "+
				"target",
				e.Build.Path)
		}
		if err := dockerArgs(f.Job.Resources, &container.Config{}, &container.HostConfig{}); err != nil {
			f.Add("resources.docker_args", "resources: %v", err)
		}
	case curatedImage(e.Reference) != "":
	default:
		f.Add(key, "the environment %s is one of Azure Machine Learning, whose image is not public; name an image "+
			"(--environment docker:IMAGE), the packages of a requirements file (--environment pip:FILE), this "+
			"machine's own python (--environment %s), or a compute target%s", e.Reference, job.UserManaged,
			job.MeantEnvironment(e.Reference))
	}
}

func (t *Target) checkInputs(f *job.Findings) {
	for _, name := range slices.Sorted(maps.Keys(f.Job.Inputs)) {
		in := f.Job.Inputs[name]
		key := "inputs." + name + ".path"
		switch {
		case in.Literal || !job.IsRemote(in.Path):
		case inWorkspace(in):
			t.checkData(f, name, in)
		case strings.HasPrefix(in.Path, "https://") && in.Type == job.URIFile:
		case strings.HasPrefix(in.Path, "https://"):
			f.Add(key, "inputs.%s is a %s at %s; over https only a single file can be fetched: make its type "+
				"uri_file, or name a local folder", name, in.Type, in.Path)
		default:
			f.Add(key, "inputs.%s is %s, which only Azure Machine Learning can reach; name a local path (--input "+
				"%s=PATH), an address in a datastore, or a compute target", name, in.Path, name)
		}
	}
}

// checkHistory asks the run history, where there is one, for what a new run cannot be.
func (t *Target) checkHistory(ctx context.Context, f *job.Findings) {
	if t.Store == nil {
		return
	}
	j := f.Job
	if j.Name != "" {
		if _, err := t.Store.Run(ctx, j.Name); err == nil {
			f.Add("name", "%s", nameTaken(j.Name))
		}
	}
	if e, err := t.Store.ExperimentByName(ctx, j.ExperimentName); err == nil && e.LifecycleStage != "active" {
		f.Add("experiment_name", "%s", experimentArchived(j.ExperimentName))
	}
}

// checkPrograms looks for what starts a command on this machine.
func (t *Target) checkPrograms(f *job.Findings) {
	if !isWindows {
		if _, err := exec.LookPath("sh"); err != nil { // the action's own image has nothing but this program
			f.Add("command", "there is no shell here to start a command with, and no python: inside the action, "+
				"name the image that the job trains in (environment: {image: NAME} in the job file, or the input "+
				"environment: docker:NAME), or put aml-train on the runner itself with the action "+
				"org/aml-train/setup and use aml-train run")
			return
		}
	}
	python, err := t.python()
	module := f.Job.Foreign()
	switch {
	case err != nil && (f.Job.Script() != "" || module != "" || t.Python != ""):
		f.Add("command", "%v", err)
	case err == nil && module != "" && lacks(python, module, f.Job.EnvironmentVariables):
		f.Add("command", "the module %s does not exist: it is in no folder of the source directory, and %s has no "+
			"package of that name", module, python)
	}
}

// lacks tells whether an interpreter knows for certain that it has no module. Only the
// first part of its name is looked for, so that no code of a package runs.
func lacks(python, module string, env map[string]string) bool {
	for _, name := range []string{"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PATH"} {
		if env[name] != "" {
			return false // another interpreter, or one that looks elsewhere
		}
	}
	top, _, _ := strings.Cut(module, ".")
	const look = "import sys; sys.path[:] = [p for p in sys.path if p]\n" +
		"import importlib.util as u\nprint('found' if u.find_spec(sys.argv[1]) else 'missing')"
	cmd := exec.Command(python, "-c", look, top)
	cmd.Env = scripts(os.Environ(), nil)
	out, err := cmd.Output()
	return err == nil && strings.TrimSpace(string(out)) == "missing"
}

func nameTaken(name string) string {
	return "there is a run " + name + " already; take name out of the job file, or change it"
}

func experimentArchived(name string) string {
	return "the experiment " + name + " is archived; aml-train archive --restore --experiment " + name +
		" brings it back, or choose another with --experiment-name"
}

// checkSweep finds what this machine's sampling does not do.
func checkSweep(f *job.Findings, s *job.Sweep) {
	if s.Sampling.Type == "bayesian" {
		f.Add("sampling_algorithm", "bayesian sampling is not done on this machine: it needs a library that is kept "+
			"up, and there is none for this program; take {type: random, rule: sobol}, which spreads its trials "+
			"evenly, or name a compute target")
	}
}
