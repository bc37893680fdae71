package azuremltest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"
)

// computes are the compute targets that there are, by kind.
var computes = map[string]armmachinelearning.ComputeClassification{
	"cpu-cluster": &armmachinelearning.AmlCompute{ComputeType: ptr(armmachinelearning.ComputeTypeAmlCompute)},
	"gpu-cluster": &armmachinelearning.AmlCompute{ComputeType: ptr(armmachinelearning.ComputeTypeAmlCompute)},
	"k8s":         &armmachinelearning.Kubernetes{ComputeType: ptr(armmachinelearning.ComputeTypeKubernetes)},
	"bricks":      &armmachinelearning.Databricks{ComputeType: ptr(armmachinelearning.ComputeTypeDatabricks)},
}

// environments are the registered ones, with their newest version.
var environments = map[string]string{"AzureML-sklearn-1.5": "7", "ours": "3"}

// answered is an answer, or that there is nothing.
func answered[T any](there bool, answer T) (resp azfake.Responder[T], errResp azfake.ErrorResponder) {
	if there {
		resp.SetResponse(http.StatusOK, answer, nil)
	} else {
		errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
	}
	return
}

func (w *Workspace) fakes() *fake.ServerFactory {
	f := &fake.ServerFactory{}
	f.WorkspacesServer.Get = func(_ context.Context, group, name string,
		_ *armmachinelearning.WorkspacesClientGetOptions) (
		resp azfake.Responder[armmachinelearning.WorkspacesClientGetResponse], errResp azfake.ErrorResponder) {
		return answered(group == Group && name == Name,
			armmachinelearning.WorkspacesClientGetResponse{Workspace: w.workspace()})
	}
	f.WorkspacesServer.NewListByResourceGroupPager =
		func(string, *armmachinelearning.WorkspacesClientListByResourceGroupOptions) (
			resp azfake.PagerResponder[armmachinelearning.WorkspacesClientListByResourceGroupResponse]) {
			one := w.workspace()
			resp.AddPage(http.StatusOK,
				armmachinelearning.WorkspacesClientListByResourceGroupResponse{
					WorkspaceListResult: armmachinelearning.WorkspaceListResult{
						Value: []*armmachinelearning.Workspace{&one}}}, nil)
			return
		}
	w.datastoreFakes(f)
	computeFakes(f)
	w.assetFakes(f)
	w.registryFakes(f)
	w.modelFakes(f)
	w.codeFakes(f)
	w.environmentFakes(f)
	w.jobFakes(f)
	return f
}

func (w *Workspace) datastoreFakes(f *fake.ServerFactory) {
	f.DatastoresServer.Get = func(_ context.Context, _, _, name string,
		_ *armmachinelearning.DatastoresClientGetOptions) (
		resp azfake.Responder[armmachinelearning.DatastoresClientGetResponse], errResp azfake.ErrorResponder) {
		if w.containers[name] == "" {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK,
			armmachinelearning.DatastoresClientGetResponse{Datastore: armmachinelearning.Datastore{Name: &name,
				Properties: w.datastore(name)}}, nil)
		return
	}
	f.DatastoresServer.NewListPager = func(_, _ string, o *armmachinelearning.DatastoresClientListOptions) (
		resp azfake.PagerResponder[armmachinelearning.DatastoresClientListResponse]) {
		var list []*armmachinelearning.Datastore
		for _, name := range slices.Sorted(maps.Keys(w.containers)) {
			if o == nil || !deref(o.IsDefault) || name == "workspaceblobstore" {
				list = append(list, &armmachinelearning.Datastore{Name: &name, Properties: w.datastore(name)})
			}
		}
		resp.AddPage(http.StatusOK,
			armmachinelearning.DatastoresClientListResponse{
				DatastoreResourceArmPaginatedResult: armmachinelearning.DatastoreResourceArmPaginatedResult{
					Value: list}}, nil)
		return
	}
	f.DatastoresServer.ListSecrets = func(_ context.Context, _, _, name string,
		_ *armmachinelearning.DatastoresClientListSecretsOptions) (
		resp azfake.Responder[armmachinelearning.DatastoresClientListSecretsResponse], errResp azfake.ErrorResponder) {
		secrets := w.secrets(name)
		if secrets == nil {
			errResp.SetResponseError(http.StatusForbidden, "AuthorizationFailed")
			return
		}
		resp.SetResponse(http.StatusOK,
			armmachinelearning.DatastoresClientListSecretsResponse{DatastoreSecretsClassification: secrets}, nil)
		return
	}
}

func computeFakes(f *fake.ServerFactory) {
	f.ComputeServer.Get = func(_ context.Context, _, _, name string, _ *armmachinelearning.ComputeClientGetOptions) (
		resp azfake.Responder[armmachinelearning.ComputeClientGetResponse], errResp azfake.ErrorResponder) {
		c := computes[name]
		return answered(c != nil, armmachinelearning.ComputeClientGetResponse{
			ComputeResource: armmachinelearning.ComputeResource{ID: ptr(root + "/computes/" + name), Name: &name,
				Properties: c}})
	}
	f.ComputeServer.NewListPager = func(string, string, *armmachinelearning.ComputeClientListOptions) (
		resp azfake.PagerResponder[armmachinelearning.ComputeClientListResponse]) {
		var list []*armmachinelearning.ComputeResource
		for name, c := range computes {
			list = append(list, &armmachinelearning.ComputeResource{Name: ptr(name), Properties: c})
		}
		resp.AddPage(http.StatusOK,
			armmachinelearning.ComputeClientListResponse{
				PaginatedComputeResourcesList: armmachinelearning.PaginatedComputeResourcesList{Value: list}}, nil)
		return
	}
}

func (w *Workspace) workspace() armmachinelearning.Workspace {
	return armmachinelearning.Workspace{ID: ptr(root), Name: ptr(Name), Location: ptr("westeurope"),
		Properties: &armmachinelearning.WorkspaceProperties{
			DiscoveryURL:      ptr(w.URL + "/discovery"),
			MlFlowTrackingURI: ptr("azureml://" + strings.TrimPrefix(w.URL, "https://") + "/mlflow/v1.0" + root)}}
}

func (w *Workspace) codeFakes(f *fake.ServerFactory) {
	f.CodeVersionsServer.Get = func(_ context.Context, _, _, name, version string,
		_ *armmachinelearning.CodeVersionsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.CodeVersionsClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		c, ok := w.codes[name+"/"+version]
		return answered(ok, armmachinelearning.CodeVersionsClientGetResponse{CodeVersion: c})
	}
	f.CodeVersionsServer.CreateOrUpdate = func(ctx context.Context, _, _, name, version string,
		body armmachinelearning.CodeVersion, _ *armmachinelearning.CodeVersionsClientCreateOrUpdateOptions) (
		resp azfake.Responder[armmachinelearning.CodeVersionsClientCreateOrUpdateResponse],
		errResp azfake.ErrorResponder) {
		if body.Properties == nil || body.Properties.CodeURI == nil ||
			len(w.blobs(ctx, *body.Properties.CodeURI)) == 0 {
			errResp.SetResponseError(http.StatusBadRequest, "NoFilesAtCodeUri")
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		id := name + "/" + version
		if old, ok := w.codes[id]; ok && *old.Properties.CodeURI != *body.Properties.CodeURI {
			errResp.SetResponseError(http.StatusBadRequest, "AssetPathsCannotBeUpdated")
			return
		} else if !ok {
			w.order = append(w.order, version)
		}
		body.ID, body.Name = ptr(root+"/codes/"+name+"/versions/"+version), &version
		w.codes[id] = body
		resp.SetResponse(http.StatusCreated,
			armmachinelearning.CodeVersionsClientCreateOrUpdateResponse{CodeVersion: body}, nil)
		return
	}
	f.CodeVersionsServer.NewListPager = w.listCodes
	f.CodeVersionsServer.CreateOrGetStartPendingUpload = w.pendingUpload
}

// listCodes lists by name, or by hash whatever the name is: Microsoft's own client asks so.
func (w *Workspace) listCodes(_, _, name string, o *armmachinelearning.CodeVersionsClientListOptions) (
	resp azfake.PagerResponder[armmachinelearning.CodeVersionsClientListResponse]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*armmachinelearning.CodeVersion
	if o != nil && o.Hash != nil {
		for _, c := range w.codes {
			if h := c.Properties.Properties["hash_sha256"]; h != nil && *h == *o.Hash {
				list = append(list, &c)
			}
		}
		resp.AddPage(http.StatusOK,
			armmachinelearning.CodeVersionsClientListResponse{
				CodeVersionResourceArmPaginatedResult: armmachinelearning.CodeVersionResourceArmPaginatedResult{
					Value: list}}, nil)
		return
	}
	for _, version := range slices.Backward(w.order) {
		if c, ok := w.codes[name+"/"+version]; ok {
			list = append(list, &c)
		}
	}
	resp.AddPage(http.StatusOK,
		armmachinelearning.CodeVersionsClientListResponse{
			CodeVersionResourceArmPaginatedResult: armmachinelearning.CodeVersionResourceArmPaginatedResult{
				Value: list[:min(1, len(list))]}}, nil)
	return
}

// pendingUpload makes a container to upload to.
func (w *Workspace) pendingUpload(_ context.Context, _, _, name, version string,
	_ armmachinelearning.PendingUploadRequestDto,
	_ *armmachinelearning.CodeVersionsClientCreateOrGetStartPendingUploadOptions) (
	resp azfake.Responder[armmachinelearning.CodeVersionsClientCreateOrGetStartPendingUploadResponse],
	errResp azfake.ErrorResponder) {
	container := fmt.Sprintf("pending-%d", time.Now().UnixNano())
	if err := w.create(container); err != nil {
		errResp.SetResponseError(http.StatusInternalServerError, "InternalError")
		return
	}
	at := w.blob + "/" + container
	resp.SetResponse(http.StatusOK, armmachinelearning.CodeVersionsClientCreateOrGetStartPendingUploadResponse{
		PendingUploadResponseDto: armmachinelearning.PendingUploadResponseDto{
			PendingUploadType: ptr(armmachinelearning.PendingUploadTypeTemporaryBlobReference),
			BlobReferenceForConsumption: &armmachinelearning.BlobReferenceForConsumptionDto{BlobURI: &at,
				Credential: &armmachinelearning.SASCredentialDto{
					CredentialType: ptr(armmachinelearning.PendingUploadCredentialTypeSAS),
					SasURI:         ptr(at + "?" + w.delegate(container, ""))}}}}, nil)
	return
}

type (
	containerPage = armmachinelearning.EnvironmentContainerResourceArmPaginatedResult
	versionPage   = armmachinelearning.EnvironmentVersionResourceArmPaginatedResult
)

func (w *Workspace) environmentFakes(f *fake.ServerFactory) {
	f.EnvironmentContainersServer.NewListPager =
		func(string, string, *armmachinelearning.EnvironmentContainersClientListOptions) (
			resp azfake.PagerResponder[armmachinelearning.EnvironmentContainersClientListResponse]) {
			var list []*armmachinelearning.EnvironmentContainer
			for name := range environments {
				list = append(list, &armmachinelearning.EnvironmentContainer{Name: ptr(name)})
			}
			resp.AddPage(http.StatusOK,
				armmachinelearning.EnvironmentContainersClientListResponse{
					EnvironmentContainerResourceArmPaginatedResult: containerPage{Value: list}},
				nil)
			return
		}
	f.EnvironmentVersionsServer.NewListPager =
		func(_, _, name string, _ *armmachinelearning.EnvironmentVersionsClientListOptions) (
			resp azfake.PagerResponder[armmachinelearning.EnvironmentVersionsClientListResponse]) {
			var list []*armmachinelearning.EnvironmentVersion
			if version := environments[name]; version != "" {
				list = append(list, &armmachinelearning.EnvironmentVersion{ID: environmentID(name, version),
					Name: ptr(version)})
			}
			resp.AddPage(http.StatusOK,
				armmachinelearning.EnvironmentVersionsClientListResponse{
					EnvironmentVersionResourceArmPaginatedResult: versionPage{Value: list}},
				nil)
			return
		}
	f.EnvironmentVersionsServer.Get = func(_ context.Context, _, _, name, version string,
		_ *armmachinelearning.EnvironmentVersionsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.EnvironmentVersionsClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		e, ok := w.envs[name+"/"+version]
		if environments[name] == version {
			e, ok = armmachinelearning.EnvironmentVersion{ID: environmentID(name, version), Name: &version}, true
		}
		return answered(ok, armmachinelearning.EnvironmentVersionsClientGetResponse{EnvironmentVersion: e})
	}
	f.EnvironmentVersionsServer.CreateOrUpdate = w.createEnvironment
}

// createEnvironment refuses what the service refuses.
func (w *Workspace) createEnvironment(_ context.Context, _, _, name, version string,
	body armmachinelearning.EnvironmentVersion,
	_ *armmachinelearning.EnvironmentVersionsClientCreateOrUpdateOptions) (
	resp azfake.Responder[armmachinelearning.EnvironmentVersionsClientCreateOrUpdateResponse],
	errResp azfake.ErrorResponder) {
	p := body.Properties
	if p == nil || (p.Image == nil) == (p.Build == nil) || p.CondaFile != nil && p.Image == nil {
		errResp.SetResponseError(http.StatusBadRequest, "EnvironmentNeedsImageOrBuild")
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.envs[name+"/"+version]; ok {
		errResp.SetResponseError(http.StatusConflict, "EnvironmentVersionExists")
		return
	}
	body.ID, body.Name = environmentID(name, version), &version
	w.envs[name+"/"+version] = body
	resp.SetResponse(http.StatusCreated, armmachinelearning.EnvironmentVersionsClientCreateOrUpdateResponse{
		EnvironmentVersion: body}, nil)
	return
}

func environmentID(name, version string) *string {
	return ptr(root + "/environments/" + name + "/versions/" + version)
}
