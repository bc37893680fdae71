package azuremltest

import (
	"context"
	"net/http"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"
)

// Registry is the registry that there is. It belongs to another subscription than the
// workspace, and its files lie in the workspace's blob store, where a SAS of its own leads.
const (
	Registry             = "meadow"
	registrySubscription = "00000000-0000-0000-0000-000000000009"
	registryGroup        = "shared"
)

// Share makes a version of an asset in the registry, of the kind "data" or "models", whose
// files lie in a folder of the workspace's blob store.
func (w *Workspace) Share(kind, name, version, folder string) {
	w.Register("registry "+kind, name, version, w.blob+"/"+w.containers["workspaceblobstore"]+"/"+folder)
}

func (w *Workspace) registryFakes(f *fake.ServerFactory) {
	known := func(group, registry string) bool { return group == registryGroup && registry == Registry }
	f.RegistryDataVersionsServer.NewListPager = func(_, _, name string,
		_ *armmachinelearning.RegistryDataVersionsClientListOptions) (
		resp azfake.PagerResponder[armmachinelearning.RegistryDataVersionsClientListResponse]) {
		var page armmachinelearning.RegistryDataVersionsClientListResponse
		for _, a := range w.versions("registry data", name) {
			page.Value = append(page.Value, ptr(a.data()))
		}
		resp.AddPage(http.StatusOK, page, nil)
		return
	}
	f.RegistryDataVersionsServer.Get = func(_ context.Context, group, registry, name, version string,
		_ *armmachinelearning.RegistryDataVersionsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.RegistryDataVersionsClientGetResponse],
		errResp azfake.ErrorResponder) {
		a, ok := w.version("registry data", name, version)
		return answered(ok && known(group, registry),
			armmachinelearning.RegistryDataVersionsClientGetResponse{DataVersionBase: a.data()})
	}
	f.RegistryModelVersionsServer.Get = func(_ context.Context, group, registry, name, version string,
		_ *armmachinelearning.RegistryModelVersionsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.RegistryModelVersionsClientGetResponse],
		errResp azfake.ErrorResponder) {
		a, ok := w.version("registry models", name, version)
		return answered(ok && known(group, registry), armmachinelearning.RegistryModelVersionsClientGetResponse{
			ModelVersion: armmachinelearning.ModelVersion{Name: &version,
				Properties: &armmachinelearning.ModelVersionProperties{ModelURI: &a.uri}}})
	}
	f.RegistryDataReferencesServer.GetBlobReferenceSAS = w.reference
}

// reference gives out a SAS of a version's files, to who names both as they are.
func (w *Workspace) reference(_ context.Context, group, registry, name, version string,
	body armmachinelearning.GetBlobReferenceSASRequestDto,
	_ *armmachinelearning.RegistryDataReferencesClientGetBlobReferenceSASOptions) (
	resp azfake.Responder[armmachinelearning.RegistryDataReferencesClientGetBlobReferenceSASResponse],
	errResp azfake.ErrorResponder) {
	for _, kind := range []string{"data", "models"} {
		a, ok := w.version("registry "+kind, name, version)
		id := "azureml://registries/" + Registry + "/" + kind + "/" + name + "/versions/" + version
		if !ok || a.uri != deref(body.BlobURI) || deref(body.AssetID) != id || group != registryGroup ||
			registry != Registry {
			continue
		}
		container, _, _ := strings.Cut(strings.TrimPrefix(a.uri, w.blob+"/"), "/")
		var answer armmachinelearning.RegistryDataReferencesClientGetBlobReferenceSASResponse
		answer.BlobReferenceForConsumption = &armmachinelearning.GetBlobReferenceForConsumptionDto{BlobURI: &a.uri,
			Credential: &armmachinelearning.SASCredential{
				CredentialType: ptr(armmachinelearning.DataReferenceCredentialTypeSAS),
				SasURI:         ptr(a.uri + "?" + w.delegate(container, ""))}}
		resp.SetResponse(http.StatusOK, answer, nil)
		return
	}
	errResp.SetResponseError(http.StatusBadRequest, "UserError")
	return
}
