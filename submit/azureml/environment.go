package azureml

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/goccy/go-yaml"

	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// DefaultEnvironment is what a job without an environment runs in: Microsoft's own,
// with scikit-learn and MLflow.
const DefaultEnvironment = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"

// curated is what the names of Microsoft's own environments begin with, in their short
// form: the service knows them in every workspace (azure-ai-ml, CURATED_ENV_PREFIX).
const curated = "AzureML-"

// anonymous is the name under which azure-ai-ml registers environments that have none
// (ANONYMOUS_ENV_NAME). The studio does not list them.
const anonymous = "CliV2AnonymousEnvironment"

// environment returns the address of what a job runs in, after registering it where
// the job describes it. Files of a commit are written below dir first.
func (t *Target) environment(ctx context.Context, c *connection, s submit.Submission) (string, error) {
	e := s.Job.Environment
	switch {
	case s.Versions.Assets[""] != "":
		return s.Versions.Assets[""], nil
	case e == nil:
		return DefaultEnvironment, nil
	case e.Reference != "":
		return t.environmentReference(ctx, c, e.Reference)
	}
	properties, version, err := t.environmentProperties(ctx, c, s)
	if err != nil {
		return "", err
	}
	const name = anonymous
	versions := c.clients.NewEnvironmentVersionsClient()
	if found, err := versions.Get(ctx, c.group, c.name, name, version, nil); err == nil {
		return deref(found.ID), nil
	}
	made, err := versions.CreateOrUpdate(ctx, c.group, c.name, name, version,
		armmachinelearning.EnvironmentVersion{Properties: properties}, nil)
	if err != nil {
		// The answer was lost, or somebody else was first: its name says what is in it.
		if found, gerr := versions.Get(ctx, c.group, c.name, name, version, nil); gerr == nil {
			return deref(found.ID), nil
		}
		return "", fmt.Errorf("the environment cannot be registered: %w", short(err))
	}
	return deref(made.ID), nil
}

// environmentProperties are those of the environment that a job describes, and the version that
// tells what is in it.
func (t *Target) environmentProperties(ctx context.Context, c *connection, s submit.Submission) (
	_ *armmachinelearning.EnvironmentVersionProperties, version string, err error,
) {
	e := s.Job.Environment
	properties := &armmachinelearning.EnvironmentVersionProperties{IsAnonymous: to.Ptr(true), IsArchived: to.Ptr(false)}
	hash := sha256.New()
	part := func(kind, text string) { fmt.Fprintf(hash, "%s %d %s\n", kind, len(text), text) }
	image := e.Image
	if image == "" && e.Build == nil { // a list of packages alone
		image = baseImage
	}
	if image != "" {
		properties.Image = &image
		part("image", image)
	}
	conda, err := condaText(s)
	if err != nil {
		return nil, "", err
	}
	if conda != "" {
		properties.CondaFile = &conda
		part("conda", conda)
	}
	if e.Build != nil {
		address, err := t.buildContext(ctx, c, s.Job)
		if err != nil {
			return nil, "", err
		}
		properties.Build = &armmachinelearning.BuildContext{ContextURI: &address}
		if e.Build.DockerfilePath != "" {
			properties.Build.DockerfilePath = &e.Build.DockerfilePath
		}
		part("build", address+" "+e.Build.DockerfilePath)
	}
	if e.OSType != "" {
		kind := armmachinelearning.OperatingSystemTypeLinux
		if strings.EqualFold(e.OSType, "windows") {
			kind = armmachinelearning.OperatingSystemTypeWindows
		}
		properties.OSType = &kind
		part("os", e.OSType)
	}
	return properties, hex.EncodeToString(hash.Sum(nil)), nil
}

// baseImage is what packages are installed on where a job names none: Microsoft's base
// image for the processor, with Open MPI.
const baseImage = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"

// basePython is the version that a requirements file gets.
const basePython = "python=3.11"

func condaText(s submit.Submission) (string, error) {
	switch e := s.Job.Environment; {
	case e.Requirements != "":
		list, err := s.Job.Packages()
		if err != nil {
			return "", err
		}
		if list.Constraints != "" {
			return "", errors.New(noConstraints(e.Requirements))
		}
		text, err := yaml.Marshal(map[string]any{"channels": []string{"conda-forge"}, "dependencies": []any{
			basePython, "pip", map[string]any{"pip": strings.Split(strings.TrimSuffix(list.Pip, "\n"), "\n")},
		}})
		return string(text), err
	case e.CondaFile != "":
		f, err := s.Job.Open(e.CondaFile, false)
		if err != nil {
			return "", fmt.Errorf("environment.conda_file: %w", err)
		}
		defer f.Close()
		text, err := f.Read(limited.Config)
		if err != nil {
			return "", fmt.Errorf("environment.conda_file: %w", err)
		}
		return string(text), nil
	case e.Conda != nil:
		text, err := yaml.Marshal(e.Conda)
		return string(text), err
	}
	return "", nil
}

// buildContext uploads a Docker build context and returns its address.
func (t *Target) buildContext(ctx context.Context, c *connection, j *job.Job) (string, error) {
	tree, err := j.Open(j.Environment.Build.Path, false)
	if err != nil {
		return "", fmt.Errorf("environment.build.path: %w", err)
	}
	defer tree.Close()
	store, folder, err := t.uploadFiles(ctx, c, tree, "")
	if err != nil {
		return "", fmt.Errorf("environment.build.path: %w", err)
	}
	return store.at(folder) + "/", nil
}

// environmentReference finds an environment by what names it.
func (t *Target) environmentReference(ctx context.Context, c *connection, ref string) (string, error) {
	versions := c.clients.NewEnvironmentVersionsClient()
	if name, ok := latest(ref); ok {
		page, err := versions.NewListPager(c.group, c.name, name,
			&armmachinelearning.EnvironmentVersionsClientListOptions{OrderBy: to.Ptr("createdtime desc"),
				Top: to.Ptr(int32(1))}).NextPage(ctx)
		if err == nil && len(page.Value) > 0 {
			return deref(page.Value[0].ID), nil
		}
		if err == nil || status(err) == http.StatusNotFound {
			if strings.HasPrefix(name, curated) {
				return ref, nil
			}
			return "", t.noEnvironment(ctx, c, name)
		}
		return "", fmt.Errorf("environment %s: %w", ref, short(err))
	}
	id := reference(ref, "environments", t.Workspace)
	rest, ours := belowID(id, t.path()+"/environments/")
	if !ours {
		return id, nil // in a registry, or elsewhere
	}
	name, version, _ := strings.Cut(rest, "/versions/")
	if _, err := versions.Get(ctx, c.group, c.name, name, version, nil); status(err) == http.StatusNotFound {
		if strings.HasPrefix(name, curated) {
			return "azureml:" + name + ":" + version, nil
		}
		return "", t.noEnvironment(ctx, c, name)
	} else if err != nil {
		return "", fmt.Errorf("environment %s: %w", ref, short(err))
	}
	return id, nil
}

func (t *Target) noEnvironment(ctx context.Context, c *connection, name string) error {
	var names []string
	pager := c.clients.NewEnvironmentContainersClient().NewListPager(c.group, c.name, nil)
	for len(names) < 500 && pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			break
		}
		for _, e := range page.Value {
			names = append(names, deref(e.Name))
		}
	}
	for _, known := range names {
		if known == name {
			return &submit.Refusal{Reason: fmt.Sprintf("the workspace has no such version of the environment %s; "+
				"azureml:%s@latest is its newest", name, name)}
		}
	}
	return &submit.Refusal{Reason: fmt.Sprintf("the workspace has no environment %s%s", name, suggest.Among(name,
		names, "there are"))}
}
