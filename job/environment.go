package job

import (
	"strings"

	"github.com/org/aml-train/internal/suggest"
)

func (d *document) environment(j *Job) field {
	return func(v *value) {
		if v.kind == str {
			e := environmentReference(v.text)
			j.Environment = &e
			for _, key := range []string{"", ".requirements", ".conda_file"} {
				d.at["environment"+key] = v
			}
			return
		}
		e := &Environment{}
		j.Environment = e
		d.object(v, "environment", map[string]field{
			"$schema":     nil,
			"name":        d.str("environment.name", &e.Name),
			"version":     nil, // az ignores it too: what is described here has no name of its own
			"description": d.str("environment.description", &e.Descriptor),
			"tags":        d.texts("environment.tags", &e.Tags, d.text),
			"image":       d.str("environment.image", &e.Image),
			"os_type":     d.oneOf("environment.os_type", &e.OSType, "linux", "windows"),
			"build": func(v *value) {
				e.Build = &Build{DockerfilePath: "Dockerfile"}
				d.object(v, "environment.build", map[string]field{
					"path":            d.str("environment.build.path", &e.Build.Path),
					"dockerfile_path": d.str("environment.build.dockerfile_path", &e.Build.DockerfilePath),
				})
			},
			"conda_file": func(v *value) {
				if v.kind == mapping {
					e.Conda = v.plain()
					return
				}
				d.text(v, "environment.conda_file", &e.CondaFile)
			},
			"inference_config": nil, // of deployments
			"datastore":        nil,
		})
		switch {
		case v.kind != mapping:
		case e.Image != "" && e.Build != nil:
			d.report(v.line, v.column, "environment has both image and build; keep one")
		case e.Image == "" && e.Build == nil && (e.CondaFile != "" || e.Conda != nil):
			d.report(v.line, v.column, "environment has a conda_file but no image to put it on, such as \"image: "+
				"mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04\"")
		case e.Image == "" && e.Build == nil:
			d.report(v.line, v.column, "environment describes nothing; give it an image or a build context, or name "+
				"one that exists: \"environment: azureml:NAME@latest\"")
		}
	}
}

// environmentReference reads an environment in one word.
func environmentReference(text string) Environment {
	if text == UserManaged {
		return Environment{UserManaged: true}
	}
	if image, ok := strings.CutPrefix(text, DockerPrefix); ok {
		return Environment{Image: image}
	}
	if file, ok := strings.CutPrefix(text, PipPrefix); ok {
		return Environment{Requirements: file}
	}
	if file, ok := strings.CutPrefix(text, CondaPrefix); ok {
		return Environment{CondaFile: file}
	}
	return Environment{Reference: text}
}

// MeantEnvironment suggests what a reference that no environment has was meant to be, "" where
// it is like nothing.
func MeantEnvironment(reference string) string {
	kind, rest, named := strings.Cut(reference, ":")
	known := []string{DockerPrefix, PipPrefix, CondaPrefix, "azureml:"}
	if !named {
		known = []string{UserManaged}
	}
	if named {
		kind += ":"
	}
	if near := suggest.Nearest(kind, known); near != "" && near != kind {
		return "; did you mean " + near + rest + "?"
	}
	return ""
}
