package job

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
)

// v1Environment is the environment of a run configuration.
type v1Environment struct {
	at *value // where it stands

	name, version, asset string
	userManaged, docker  bool
	interpreter, conda   string
	condaInline          any
	image, registry, shm string
	arguments            []string
	build, dockerfile    string
	variables            map[string]string
}

// readEnvironment reads the section, or the file that it names.
func (r *runConfig) readEnvironment(v *value) {
	if v.kind != str {
		r.environmentSection(v)
		return
	}
	name := filepath.FromSlash(v.text)
	if !strings.ContainsAny(v.text, "/.") || strings.HasPrefix(v.text, curatedPrefix) { // a name alone
		r.environment.at, r.environment.name = v, v.text
		return
	}
	d, root := open(filepath.Join(r.job.Dir, name), v.text, r.place)
	outer := r.document
	if root != nil {
		r.document = d
		r.environmentSection(root)
		r.document = outer
	}
	r.problems = append(r.problems, d.problems...)
	r.warnings = append(r.warnings, d.warnings...)
}

// curatedPrefix begins the names of Microsoft's own environments.
const curatedPrefix = "AzureML-"

func (r *runConfig) environmentSection(v *value) {
	e := &r.environment
	e.at = v
	const rebuilt = "build an image that has it, and name that as docker.baseImage"
	r.section(v, "environment", map[string]field{
		"name": r.str("environment.name", &e.name), "version": r.str("environment.version", &e.version),
		"assetid":              r.str("environment.assetId", &e.asset),
		"environmentvariables": r.texts("environment.environmentVariables", &e.variables, r.literal),
		"python": func(v *value) {
			r.section(v, "environment.python", map[string]field{
				"usermanageddependencies": r.flag("environment.python.userManagedDependencies", &e.userManaged),
				"interpreterpath":         r.str("environment.python.interpreterPath", &e.interpreter),
				"condadependenciesfile":   r.str("environment.python.condaDependenciesFile", &e.conda),
				"condadependencies":       func(v *value) { e.condaInline = v.plain() },
				"basecondaenvironment": r.replaced("environment.python.baseCondaEnvironment",
					"list its packages in the conda file"),
			})
		},
		"docker": func(v *value) { r.dockerSection(v, rebuilt) },
		"spark": r.whenSet("environment.spark", "a standalone Spark job of Azure Machine Learning "+
			"replaces it", map[string]string{"precachePackages": "true"}),
		"databricks": r.whenSet("environment.databricks", "Azure Databricks runs no training job", nil),
		"r":          r.replaced("environment.r", rebuilt),
		"inferencingstackversion": r.replaced("environment.inferencingStackVersion",
			"it is of deployments, not of training"),
	})
}

func (r *runConfig) dockerSection(v *value, rebuilt string) {
	e := &r.environment
	secret := func(v *value) {
		r.warn(v, "the registry's sign-in does not belong into a file; give the workspace a connection to the "+
			"registry, or docker login on this machine")
	}
	r.section(v, "environment.docker", map[string]field{
		"enabled":   r.flag("environment.docker.enabled", &e.docker),
		"baseimage": r.str("environment.docker.baseImage", &e.image),
		"sharedvolumes": r.replaced("environment.docker.sharedVolumes",
			"a container here shares no folder of the machine; what it needs is an input", "true"),
		"shmsize":   r.str("environment.docker.shmSize", &e.shm),
		"arguments": r.words("environment.docker.arguments", &e.arguments),
		"basedockerfile": func(v *value) {
			r.report(v.line, v.column, "environment.docker.baseDockerfile holds a Dockerfile; write it to a file in "+
				"a folder, and name the folder in a job file: environment: {build: {path: FOLDER}}")
		},
		"buildcontext": func(v *value) {
			kind := ""
			r.section(v, "environment.docker.buildContext", map[string]field{
				"locationtype":   r.str("environment.docker.buildContext.locationType", &kind),
				"location":       r.str("environment.docker.buildContext.location", &e.build),
				"dockerfilepath": r.str("environment.docker.buildContext.dockerfilePath", &e.dockerfile),
			})
		},
		"baseimageregistry": func(v *value) {
			r.section(v, "environment.docker.baseImageRegistry", map[string]field{
				"address": r.str("environment.docker.baseImageRegistry.address", &e.registry), "username": secret,
				"password": secret, "registryidentity": secret,
			})
		},
		"platform": r.whenSet("environment.docker.platform", rebuilt,
			map[string]string{"os": "Linux", "architecture": "amd64"}),
	})
}

// defaultShm is what SDK v1's template asks for.
const defaultShm = "2g"

// useEnvironment makes the job's environment of what was read.
func (r *runConfig) useEnvironment() {
	e, j := &r.environment, r.job
	delete(e.variables, "EXAMPLE_ENV_VAR") // the template's
	for name, value := range e.variables {
		if _, given := j.EnvironmentVariables[name]; !given {
			if j.EnvironmentVariables == nil {
				j.EnvironmentVariables = map[string]string{}
			}
			j.EnvironmentVariables[name] = value
		}
	}
	docker := r.docker || e.docker || j.Compute != Local
	if shm := r.shm; docker && (shm != "" && shm != defaultShm || e.shm != "" && e.shm != defaultShm) {
		if shm == "" || shm == defaultShm {
			shm = e.shm
		}
		r.resources().ShmSize = shm
	}
	if arguments := slices.Concat(e.arguments, r.dockerArguments); len(arguments) > 0 {
		r.resources().DockerArgs = strings.Join(arguments, " ")
	}
	if e.at == nil {
		return
	}
	for _, key := range []string{"", ".conda_file", ".build.path"} {
		r.at["environment"+key] = e.at
	}
	j.Environment = r.environmentOf(docker)
}

// environmentOf is the environment itself, as job files have it.
func (r *runConfig) environmentOf(docker bool) *Environment {
	e := &r.environment
	of := func(name string) *Environment {
		if e.version == "" {
			return &Environment{Reference: name + "@latest"}
		}
		return &Environment{Reference: name + ":" + e.version}
	}
	image := e.image
	if e.registry != "" {
		image = strings.TrimSuffix(e.registry, "/") + "/" + image
	}
	switch {
	case e.asset != "":
		return &Environment{Reference: e.asset}
	case strings.HasPrefix(e.name, curatedPrefix):
		return of(e.name)
	case e.build != "":
		return &Environment{Build: &Build{Path: e.build, DockerfilePath: cmp.Or(e.dockerfile, "Dockerfile")}}
	case e.userManaged && !docker:
		if e.interpreter != "" && e.interpreter != "python" {
			r.warn(e.at, "environment.python.interpreterPath has no effect; --python %s names the interpreter",
				e.interpreter)
		}
		return &Environment{UserManaged: true}
	case e.userManaged:
		return &Environment{Image: image}
	case e.conda == "" && e.condaInline == nil && image == "": // a name alone
		return of("azureml:" + e.name)
	}
	made := &Environment{CondaFile: e.conda, Conda: e.condaInline}
	if e.condaInline != nil {
		made.CondaFile = ""
	}
	if docker {
		made.Image = image
	}
	return made
}

func (r *runConfig) resources() *Resources {
	if r.job.Resources == nil {
		r.job.Resources = &Resources{}
	}
	return r.job.Resources
}
