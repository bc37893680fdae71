package azureml

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/history"
)

// Models is the model registry of a workspace. A version there is a resource under a number that
// its maker chooses, and whose path never changes (azure-ai-ml, _model_operations.py): who comes
// second with a number is refused, and takes the next one. It has no aliases: a tag stands for
// one.
type Models struct {
	t *Target
	c *connection

	// MLflow tells that what is added is a model of MLflow's, as the folder with MLmodel in it.
	MLflow bool
}

// Models signs in to the workspace.
func (t *Target) Models(ctx context.Context) (*Models, error) {
	c, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Models{t: t, c: c}, nil
}

// tagAlias begins the name of the tag by which a version has an alias.
const tagAlias = "alias."

// Kinds of models (azure-ai-ml, constants/_assets.py, AssetTypes).
const (
	customModel = "custom_model"
	mlflowModel = "mlflow_model"
)

// ModelVersions lists all versions of a model, archived ones too, by number; none where there is
// no such model.
func (m *Models) ModelVersions(ctx context.Context, model string) (all []*history.ModelVersion, err error) {
	pager := m.c.clients.NewModelVersionsClient().NewListPager(m.c.group, m.c.name, model,
		&armmachinelearning.ModelVersionsClientListOptions{ListViewType: to.Ptr(armmachinelearning.ListViewTypeAll)})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if status(err) == http.StatusNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, m.told(model, err)
		}
		for _, v := range page.Value {
			if v != nil && v.Properties != nil {
				all = append(all, versionFrom(model, v))
			}
		}
	}
	slices.SortFunc(all, func(a, b *history.ModelVersion) int { return a.Number() - b.Number() })
	return all, nil
}

func (m *Models) told(model string, err error) error {
	if denied(err) {
		return fmt.Errorf("who is signed in may not register models in the workspace %s; give it the role AzureML "+
			"Data Scientist there: %w", m.c.name, short(err))
	}
	return fmt.Errorf("the model %s in the workspace %s: %w", model, m.c.name, short(err))
}

func versionFrom(model string, from *armmachinelearning.ModelVersion) *history.ModelVersion {
	p := from.Properties
	v := &history.ModelVersion{Name: model, Version: deref(from.Name), Source: deref(p.ModelURI),
		RunID: deref(p.JobName), Description: deref(p.Description)}
	if _, version, ok := strings.Cut(deref(from.ID), "/versions/"); ok && v.Version == "" {
		v.Version = version
	}
	for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
		v.Tags = append(v.Tags, history.KeyValue{Key: key, Value: deref(p.Tags[key])})
		if alias, ok := strings.CutPrefix(key, tagAlias); ok {
			v.Aliases = append(v.Aliases, alias)
		}
	}
	return v
}

// AddModelVersion adds a version under the number that comes next. The error of one that
// somebody else has taken meanwhile says so: the list tells.
func (m *Models) AddModelVersion(ctx context.Context, v history.ModelVersion) error {
	number, err := m.next(ctx, v.Name)
	if err != nil {
		return err
	}
	p := &armmachinelearning.ModelVersionProperties{ModelURI: &v.Source, ModelType: to.Ptr(customModel),
		Tags: map[string]*string{}}
	if m.MLflow {
		p.ModelType = to.Ptr(mlflowModel)
	}
	if v.RunID != "" {
		p.JobName = &v.RunID
	}
	for _, t := range v.Tags {
		p.Tags[t.Key] = &t.Value
	}
	_, err = m.c.clients.NewModelVersionsClient().CreateOrUpdate(ctx, m.c.group, m.c.name, v.Name,
		strconv.Itoa(number), armmachinelearning.ModelVersion{Properties: p}, nil)
	if err != nil {
		return m.told(v.Name, err)
	}
	return nil
}

// next is the number of the next version: that of the workspace, which does not give those of
// deleted ones again, and more than any that there is.
func (m *Models) next(ctx context.Context, model string) (int, error) {
	all, err := m.ModelVersions(ctx, model)
	if err != nil {
		return 0, err
	}
	next := 1
	for _, v := range all {
		next = max(next, v.Number()+1)
	}
	c, err := m.c.clients.NewModelContainersClient().Get(ctx, m.c.group, m.c.name, model, nil)
	switch {
	case status(err) == http.StatusNotFound:
		return next, nil
	case err != nil:
		return 0, m.told(model, err)
	}
	if c.Properties != nil {
		if n, err := strconv.Atoi(deref(c.Properties.NextVersion)); err == nil {
			next = max(next, n)
		}
	}
	return next, nil
}

// RemoveModelVersion deletes a version. One that is not there is no error.
func (m *Models) RemoveModelVersion(ctx context.Context, model, version string) error {
	_, err := m.c.clients.NewModelVersionsClient().Delete(ctx, m.c.group, m.c.name, model, version, nil)
	if err != nil && status(err) != http.StatusNotFound {
		return m.told(model, err)
	}
	return nil
}

// TagModelVersion sets a tag of a version.
func (m *Models) TagModelVersion(ctx context.Context, model, version, key, value string) error {
	return m.change(ctx, model, version, func(tags map[string]*string) { tags[key] = &value })
}

// AliasModel tags a version with an alias, and takes that from all others.
func (m *Models) AliasModel(ctx context.Context, model, alias, version string) error {
	err := m.TagModelVersion(ctx, model, version, tagAlias+alias, "true")
	if err != nil {
		return err
	}
	all, err := m.ModelVersions(ctx, model)
	for _, v := range all {
		if err == nil && v.Version != version && slices.Contains(v.Aliases, alias) {
			err = m.change(ctx, model, v.Version, func(tags map[string]*string) { delete(tags, tagAlias+alias) })
		}
	}
	return err
}

// change changes the tags of a version, of which nothing else is ever changed.
func (m *Models) change(ctx context.Context, model, version string, change func(map[string]*string)) error {
	versions := m.c.clients.NewModelVersionsClient()
	found, err := versions.Get(ctx, m.c.group, m.c.name, model, version, nil)
	if err == nil && found.Properties == nil {
		found.Properties = &armmachinelearning.ModelVersionProperties{}
	}
	if err == nil {
		if found.Properties.Tags == nil {
			found.Properties.Tags = map[string]*string{}
		}
		change(found.Properties.Tags)
		found.Properties.ProvisioningState = nil // which is the service's
		_, err = versions.CreateOrUpdate(ctx, m.c.group, m.c.name, model, version,
			armmachinelearning.ModelVersion{Properties: found.Properties}, nil)
	}
	if err != nil {
		return m.told(model, err)
	}
	return nil
}

// SourceOf is the source of a version that lies among the outputs of a run of the workspace
// (learn.microsoft.com, "Work with models in Azure Machine Learning", paths of job outputs).
func SourceOf(run, name string) string {
	at := "artifacts"
	if rest, ok := strings.CutPrefix(name, namedDir); ok {
		at, name, _ = strings.Cut(rest, "/")
	}
	return "azureml://jobs/" + run + "/outputs/" + at + "/paths/" + name
}

// ModelFile is a file of a model that is not in the workspace.
type ModelFile struct {
	Path string // below the run's
	Size int64
	Open func() (io.ReadCloser, error) // called several times
}

// Upload sends the files of a model, once, and returns the source of a version that lies at
// among them.
func (m *Models) Upload(ctx context.Context, files []ModelFile, at string) (source string, err error) {
	list := make([]blobFile, len(files))
	for i, f := range files {
		list[i] = blobFile{f.Path, "", f.Size, f.Open}
	}
	id, err := identify(ctx, list)
	if err != nil {
		return "", err
	}
	store, folder, err := m.t.uploadList(ctx, m.c, "model-"+id, "Model "+at, list)
	if err != nil {
		return "", fmt.Errorf("the model cannot be uploaded to the workspace %s: %w", m.c.name, err)
	}
	if store.datastore == "" {
		return store.at(folder + "/" + at), nil
	}
	w := m.t.Workspace
	return fmt.Sprintf("azureml://subscriptions/%s/resourceGroups/%s/workspaces/%s/datastores/%s/paths/%s/%s",
		w.Subscription, w.ResourceGroup, w.Name, store.datastore, folder, at), nil
}
