package azuremltest

import (
	"context"
	"net/http"
	"slices"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"
)

// asset is a version of data; those of models are kept as they are (models.go).
type asset struct{ kind, name, version, uri string }

func (a asset) id() *string {
	return ptr(root + "/" + a.kind + "/" + a.name + "/versions/" + a.version)
}

func (a asset) data() armmachinelearning.DataVersionBase {
	return armmachinelearning.DataVersionBase{ID: a.id(), Name: &a.version,
		Properties: &armmachinelearning.URIFolderDataVersion{DataType: ptr(armmachinelearning.DataTypeURIFolder),
			DataURI: &a.uri}}
}

// registered are the assets that every workspace has.
var registered = []asset{
	{"data", "flowers", "4", "azureml://datastores/workspaceblobstore/paths/flowers"},
}

// Register makes a version of an asset, of the kind "data" or "models", the newest of its name.
func (w *Workspace) Register(kind, name, version, uri string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == "models" {
		w.models[name+"/"+version] = armmachinelearning.ModelVersion{ID: asset{kind, name, version, uri}.id(),
			Name: &version, Properties: &armmachinelearning.ModelVersionProperties{ModelURI: &uri}}
		return
	}
	w.assets = append(w.assets, asset{kind, name, version, uri})
}

// versions are those of an asset, the newest first.
func (w *Workspace) versions(kind, name string) (list []asset) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range slices.Backward(slices.Concat(registered, w.assets)) {
		if a.kind == kind && a.name == name {
			list = append(list, a)
		}
	}
	return list
}

// version is one of them; ok is false where there is none.
func (w *Workspace) version(kind, name, version string) (found asset, ok bool) {
	list := w.versions(kind, name)
	i := slices.IndexFunc(list, func(a asset) bool { return a.version == version })
	if i < 0 {
		return found, false
	}
	return list[i], true
}

// assetFakes are those of data.
func (w *Workspace) assetFakes(f *fake.ServerFactory) {
	f.DataVersionsServer.NewListPager = func(_, _, name string, _ *armmachinelearning.DataVersionsClientListOptions) (
		resp azfake.PagerResponder[armmachinelearning.DataVersionsClientListResponse]) {
		var page armmachinelearning.DataVersionsClientListResponse
		for _, a := range w.versions("data", name) {
			page.Value = append(page.Value, ptr(a.data()))
		}
		resp.AddPage(http.StatusOK, page, nil)
		return
	}
	f.DataVersionsServer.Get = func(_ context.Context, _, _, name, version string,
		_ *armmachinelearning.DataVersionsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.DataVersionsClientGetResponse], errResp azfake.ErrorResponder) {
		a, ok := w.version("data", name, version)
		return answered(ok, armmachinelearning.DataVersionsClientGetResponse{DataVersionBase: a.data()})
	}
}
