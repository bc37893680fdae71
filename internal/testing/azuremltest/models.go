package azuremltest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"
)

// versionsOf are the numbers of the versions of a model, the least first.
func (w *Workspace) versionsOf(model string) (list []int) {
	for name := range w.models {
		if of, version, _ := strings.Cut(name, "/"); of == model {
			n, _ := strconv.Atoi(version)
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// Models tells the versions of a model, the oldest first: number, path, job, kind and tags.
func (w *Workspace) Models(model string) (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.versionsOf(model) {
		p := w.models[fmt.Sprint(model, "/", n)].Properties
		text := fmt.Sprintf("%d %s job=%s %s", n, deref(p.ModelURI), deref(p.JobName), deref(p.ModelType))
		for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
			text += fmt.Sprintf(" %s=%s", key, deref(p.Tags[key]))
		}
		list = append(list, text)
	}
	return list
}

// modelFakes are those of registered models. A version is a number, and its path does not change
// (azure-ai-ml, _model_operations.py; Azure/azureml-examples, issue 2725).
func (w *Workspace) modelFakes(f *fake.ServerFactory) {
	f.ModelContainersServer.Get = func(_ context.Context, _, _, name string,
		_ *armmachinelearning.ModelContainersClientGetOptions) (
		resp azfake.Responder[armmachinelearning.ModelContainersClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		all := w.versionsOf(name)
		if len(all) == 0 {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.ModelContainersClientGetResponse{
			ModelContainer: armmachinelearning.ModelContainer{ID: ptr(root + "/models/" + name), Name: &name,
				Properties: &armmachinelearning.ModelContainerProperties{
					NextVersion: ptr(strconv.Itoa(all[len(all)-1] + 1))}}}, nil)
		return
	}
	f.ModelVersionsServer.NewListPager = func(_, _, name string, _ *armmachinelearning.ModelVersionsClientListOptions) (
		resp azfake.PagerResponder[armmachinelearning.ModelVersionsClientListResponse]) {
		w.mu.Lock()
		defer w.mu.Unlock()
		all := w.versionsOf(name)
		if len(all) == 0 {
			resp.AddPage(http.StatusOK, armmachinelearning.ModelVersionsClientListResponse{}, nil)
			return
		}
		slices.Reverse(all) // the newest first
		for part := range slices.Chunk(all, pageSize) {
			var list []*armmachinelearning.ModelVersion
			for _, n := range part {
				v := w.models[fmt.Sprint(name, "/", n)]
				list = append(list, &v)
			}
			resp.AddPage(http.StatusOK, armmachinelearning.ModelVersionsClientListResponse{
				ModelVersionResourceArmPaginatedResult: armmachinelearning.ModelVersionResourceArmPaginatedResult{
					Value: list}}, nil)
		}
		return
	}
	f.ModelVersionsServer.Get = func(_ context.Context, _, _, name, version string,
		_ *armmachinelearning.ModelVersionsClientGetOptions) (
		resp azfake.Responder[armmachinelearning.ModelVersionsClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		v, ok := w.models[name+"/"+version]
		return answered(ok, armmachinelearning.ModelVersionsClientGetResponse{ModelVersion: v})
	}
	f.ModelVersionsServer.Delete = func(_ context.Context, _, _, name, version string,
		_ *armmachinelearning.ModelVersionsClientDeleteOptions) (
		resp azfake.Responder[armmachinelearning.ModelVersionsClientDeleteResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.models, name+"/"+version)
		resp.SetResponse(http.StatusOK, armmachinelearning.ModelVersionsClientDeleteResponse{}, nil)
		return
	}
	f.ModelVersionsServer.CreateOrUpdate = w.putModel
}

// putModel refuses what the service refuses.
func (w *Workspace) putModel(_ context.Context, _, _, name, version string, body armmachinelearning.ModelVersion,
	_ *armmachinelearning.ModelVersionsClientCreateOrUpdateOptions) (
	resp azfake.Responder[armmachinelearning.ModelVersionsClientCreateOrUpdateResponse],
	errResp azfake.ErrorResponder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := body.Properties
	old, there := w.models[name+"/"+version]
	refused := ""
	switch n, err := strconv.Atoi(version); {
	case err != nil || n < 1:
		refused = "ModelVersionIsNoPositiveInteger"
	case p == nil || deref(p.ModelURI) == "":
		refused = "ModelUriRequired"
	case !slices.Contains([]string{"custom_model", "mlflow_model", "triton_model"}, deref(p.ModelType)):
		refused = "ModelTypeUnknown"
	case deref(p.JobName) != "" && w.jobs[*p.JobName] == nil:
		refused = "JobNotFound"
	case len(p.Tags) > 50:
		refused = "TooManyTags"
	case there && deref(old.Properties.ModelURI) != deref(p.ModelURI):
		refused = "AssetPathsCannotBeUpdated"
	}
	if refused != "" {
		errResp.SetResponseError(http.StatusBadRequest, refused)
		return
	}
	code := http.StatusCreated
	if there {
		code = http.StatusOK
	}
	if p.Flavors == nil { // as Microsoft's own client expects it
		p.Flavors = map[string]*armmachinelearning.FlavorData{}
	}
	body.ID, body.Name = ptr(root+"/models/"+name+"/versions/"+version), &version
	w.models[name+"/"+version] = body
	resp.SetResponse(code, armmachinelearning.ModelVersionsClientCreateOrUpdateResponse{ModelVersion: body}, nil)
	return
}
