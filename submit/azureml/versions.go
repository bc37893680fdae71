package azureml

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Versions implements submit.Target. The newest version of an asset is looked up, and is
// the one that the submission names then.
func (t *Target) Versions(ctx context.Context, s submit.Submission) (v submit.Versions, err error) {
	c, err := t.connect(ctx)
	if err != nil {
		return v, err
	}
	v.Inputs, v.Assets = map[string]string{}, map[string]string{}
	if v.Environment, err = t.environmentVersion(ctx, c, s, &v); err != nil {
		return v, err
	}
	if code := s.Job.Code; job.IsRemote(code) {
		if v.Code = reference(code, "codes", t.Workspace); !versioned(v.Code) {
			v.Lacks("the code %s names no version", code)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Job.Inputs)) {
		if in := s.Job.Inputs[name]; !in.Literal && in.Path != "" {
			if err := t.inputVersion(ctx, c, s.Job, name, &v); err != nil {
				return v, fmt.Errorf("inputs.%s: %w", name, err)
			}
		}
	}
	return v, nil
}

// versioned tells whether an id is that of a version: of an asset in a workspace or a
// registry.
func versioned(id string) bool {
	_, version, ok := strings.Cut(id, "/versions/")
	return ok && version != "" && !strings.ContainsAny(version, "/@")
}

func (t *Target) inputVersion(ctx context.Context, c *connection, j *job.Job, name string, v *submit.Versions) error {
	in := j.Inputs[name]
	if asset, ok := latest(in.Path); ok {
		id, err := t.labelled(ctx, c, kindOf(in), asset)
		v.Inputs[name], v.Assets[name] = id, id
		return err
	}
	if !job.IsRemote(in.Path) {
		tree, err := j.OpenInput(in)
		if err != nil {
			return err
		}
		defer tree.Close()
		_, v.Inputs[name], err = dataFiles(ctx, tree)
		return err
	}
	shown, _, _ := strings.Cut(in.Path, "?") // a signature is a secret
	switch id := reference(in.Path, kindOf(in), t.Workspace); {
	case versioned(id):
		v.Inputs[name] = id
	case strings.HasPrefix(in.Path, "https://") && in.Type == job.URIFile:
		v.Fetched(ctx, submit.Secure, name, in.Path)
	default:
		v.Lacks("inputs.%s, %s, has no version; register it as an asset, and name azureml:NAME:VERSION or "+
			"azureml:NAME@latest", name, shown)
	}
	return nil
}

// environmentVersion is what a job runs in. One that the job describes is known by what
// it says: Azure builds its image once, and uses that for each environment that says the
// same, whatever its packages have become since (learn.microsoft.com, "What are Azure Machine
// Learning environments?", Image caching and reuse). An image that is named by a tag is
// looked up anew.
func (t *Target) environmentVersion(
	ctx context.Context, c *connection, s submit.Submission, v *submit.Versions,
) (string, error) {
	e := s.Job.Environment
	if e == nil {
		e = &job.Environment{Reference: DefaultEnvironment}
	}
	if e.Reference != "" {
		id, err := t.environmentReference(ctx, c, e.Reference)
		if err != nil {
			return "", err
		}
		// Microsoft's own in their short form are known everywhere: azureml:AzureML-NAME:VERSION.
		short := strings.HasPrefix(id, "azureml:"+curated) && strings.Count(id, ":") == 2
		if !versioned(id) && !short {
			v.Lacks("the environment %s names no version", e.Reference)
		}
		v.Assets[""] = id
		return id, nil
	}
	described := map[string]string{"image": e.Image, "os": e.OSType}
	if e.Image == "" && e.Build == nil {
		described["image"] = baseImage
	}
	if image := described["image"]; image != "" && !strings.Contains(image, "@sha256:") {
		v.Lacks("the environment's image, %s, is named by a tag; name it by its digest (image: %s@sha256:...)", image,
			image)
	}
	var err error
	if described["conda"], err = condaText(s); err != nil {
		return "", err
	}
	if e.Build != nil {
		described["dockerfile"] = e.Build.DockerfilePath
		if job.IsRemote(e.Build.Path) {
			v.Lacks("the build context %s has no version", e.Build.Path)
		} else {
			tree, err := s.Job.Open(e.Build.Path, false)
			if err == nil {
				_, described["build"], err = dataFiles(ctx, tree)
				tree.Close()
			}
			if err != nil {
				return "", fmt.Errorf("environment.build.path: %w", err)
			}
		}
	}
	text, err := json.Marshal(described)
	return string(text), err
}
