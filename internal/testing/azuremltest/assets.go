package azuremltest

import (
	"context"
	"net/http"
	"slices"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"
)

// asset is a version of data or of a model.
type asset struct{ kind, name, version, uri string }

func (a asset) id() *string {
	return ptr(root + "/" + a.kind + "/" + a.name + "/versions/" + a.version)
}

func (a asset) data() armmachinelearning.DataVersionBase {
	return armmachinelearning.DataVersionBase{ID: a.id(), Name: &a.version,
		Properties: &armmachinelearning.URIFolderDataVersion{DataType: ptr(armmachinelearning.DataTypeURIFolder),
			DataURI: &a.uri}}
}

func (a asset) model() armmachinelearning.ModelVersion {
	return armmachinelearning.ModelVersion{ID: a.id(), Name: &a.version,
		Properties: &armmachinelearning.ModelVersionProperties{ModelURI: &a.uri}}
}

// registered are the assets that every workspace has.
var registered = []asset{
	{"data", "flowers", "4", "azureml://datastores/workspaceblobstore/paths/flowers"},
	{"models", "classifier", "2", "azureml://datastores/workspaceblobstore/paths/classifier"},
}

// Register makes a version of an asset, of the kind "data" or "models", the newest of its name.
func (w *Workspace) Register(kind, name, version, uri string) {
	w.mu.Lock()
	defer w.mu.Unlock()
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

// assetFakes are those of data and models.
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
		if !ok {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.DataVersionsClientGetResponse{DataVersionBase: a.data()},
			nil)
		return
	}
	f.ModelVersionsServer.NewListPager = func(_, _, name string, _ *armmachinelearning.ModelVersionsClientListOptions) (
		resp azfake.PagerResponder[armmachinelearning.ModelVersionsClientListResponse]) {
		var page armmachinelearning.ModelVersionsClientListResponse
		for _, a := range w.versions("models", name) {
			page.Value = append(page.Value, ptr(a.model()))
		}
		resp.AddPage(http.StatusOK, page, nil)
		return
	}
	f.ModelVersionsServer.Get = func(_ context.Context, _, _, name, version string,
		_ *armmachinelearning.ModelVersionsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.ModelVersionsClientGetResponse], errResp azfake.ErrorResponder) {
		a, ok := w.version("models", name, version)
		if !ok {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.ModelVersionsClientGetResponse{ModelVersion: a.model()}, nil)
		return
	}
}
