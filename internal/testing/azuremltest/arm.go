package azuremltest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
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

func (w *Workspace) fakes() *fake.ServerFactory {
	f := &fake.ServerFactory{}
	f.WorkspacesServer.Get = func(_ context.Context, group, name string, _ *armmachinelearning.WorkspacesClientGetOptions) (resp azfake.Responder[armmachinelearning.WorkspacesClientGetResponse], errResp azfake.ErrorResponder) {
		if group != Group || name != Name {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.WorkspacesClientGetResponse{Workspace: w.workspace()}, nil)
		return
	}
	f.WorkspacesServer.NewListByResourceGroupPager = func(string, *armmachinelearning.WorkspacesClientListByResourceGroupOptions) (resp azfake.PagerResponder[armmachinelearning.WorkspacesClientListByResourceGroupResponse]) {
		one := w.workspace()
		resp.AddPage(http.StatusOK, armmachinelearning.WorkspacesClientListByResourceGroupResponse{WorkspaceListResult: armmachinelearning.WorkspaceListResult{Value: []*armmachinelearning.Workspace{&one}}}, nil)
		return
	}
	f.DatastoresServer.Get = func(_ context.Context, _, _, name string, _ *armmachinelearning.DatastoresClientGetOptions) (resp azfake.Responder[armmachinelearning.DatastoresClientGetResponse], errResp azfake.ErrorResponder) {
		if w.containers[name] == "" {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.DatastoresClientGetResponse{Datastore: armmachinelearning.Datastore{Name: &name, Properties: w.datastore(name)}}, nil)
		return
	}
	f.DatastoresServer.ListSecrets = func(_ context.Context, _, _, name string, _ *armmachinelearning.DatastoresClientListSecretsOptions) (resp azfake.Responder[armmachinelearning.DatastoresClientListSecretsResponse], errResp azfake.ErrorResponder) {
		secrets := w.secrets(name)
		if secrets == nil {
			errResp.SetResponseError(http.StatusForbidden, "AuthorizationFailed")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.DatastoresClientListSecretsResponse{DatastoreSecretsClassification: secrets}, nil)
		return
	}
	f.ComputeServer.Get = func(_ context.Context, _, _, name string, _ *armmachinelearning.ComputeClientGetOptions) (resp azfake.Responder[armmachinelearning.ComputeClientGetResponse], errResp azfake.ErrorResponder) {
		c := computes[name]
		if c == nil {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.ComputeClientGetResponse{ComputeResource: armmachinelearning.ComputeResource{ID: ptr(root + "/computes/" + name), Name: &name, Properties: c}}, nil)
		return
	}
	f.ComputeServer.NewListPager = func(string, string, *armmachinelearning.ComputeClientListOptions) (resp azfake.PagerResponder[armmachinelearning.ComputeClientListResponse]) {
		var list []*armmachinelearning.ComputeResource
		for name, c := range computes {
			list = append(list, &armmachinelearning.ComputeResource{Name: ptr(name), Properties: c})
		}
		resp.AddPage(http.StatusOK, armmachinelearning.ComputeClientListResponse{PaginatedComputeResourcesList: armmachinelearning.PaginatedComputeResourcesList{Value: list}}, nil)
		return
	}
	f.DataVersionsServer.NewListPager = func(_, _, name string, _ *armmachinelearning.DataVersionsClientListOptions) (resp azfake.PagerResponder[armmachinelearning.DataVersionsClientListResponse]) {
		var list []*armmachinelearning.DataVersionBase
		if name == "flowers" {
			list = append(list, &armmachinelearning.DataVersionBase{ID: ptr(root + "/data/flowers/versions/4"), Properties: &armmachinelearning.URIFolderDataVersion{DataType: ptr(armmachinelearning.DataTypeURIFolder), DataURI: ptr("azureml://datastores/workspaceblobstore/paths/flowers")}})
		}
		resp.AddPage(http.StatusOK, armmachinelearning.DataVersionsClientListResponse{DataVersionBaseResourceArmPaginatedResult: armmachinelearning.DataVersionBaseResourceArmPaginatedResult{Value: list}}, nil)
		return
	}
	f.ModelVersionsServer.NewListPager = func(_, _, name string, _ *armmachinelearning.ModelVersionsClientListOptions) (resp azfake.PagerResponder[armmachinelearning.ModelVersionsClientListResponse]) {
		var list []*armmachinelearning.ModelVersion
		if name == "classifier" {
			list = append(list, &armmachinelearning.ModelVersion{ID: ptr(root + "/models/classifier/versions/2"), Properties: &armmachinelearning.ModelVersionProperties{}})
		}
		resp.AddPage(http.StatusOK, armmachinelearning.ModelVersionsClientListResponse{ModelVersionResourceArmPaginatedResult: armmachinelearning.ModelVersionResourceArmPaginatedResult{Value: list}}, nil)
		return
	}
	w.codeFakes(f)
	w.environmentFakes(f)
	w.jobFakes(f)
	return f
}

func (w *Workspace) workspace() armmachinelearning.Workspace {
	return armmachinelearning.Workspace{ID: ptr(root), Name: ptr(Name), Location: ptr("westeurope"), Properties: &armmachinelearning.WorkspaceProperties{
		DiscoveryURL: ptr(w.URL + "/discovery"), MlFlowTrackingURI: ptr("azureml://" + strings.TrimPrefix(w.URL, "https://") + "/mlflow/v1.0" + root)}}
}

func (w *Workspace) codeFakes(f *fake.ServerFactory) {
	f.CodeVersionsServer.Get = func(_ context.Context, _, _, name, version string, _ *armmachinelearning.CodeVersionsClientGetOptions) (resp azfake.Responder[armmachinelearning.CodeVersionsClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		c, ok := w.codes[name+"/"+version]
		if !ok {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.CodeVersionsClientGetResponse{CodeVersion: c}, nil)
		return
	}
	f.CodeVersionsServer.CreateOrUpdate = func(ctx context.Context, _, _, name, version string, body armmachinelearning.CodeVersion, _ *armmachinelearning.CodeVersionsClientCreateOrUpdateOptions) (resp azfake.Responder[armmachinelearning.CodeVersionsClientCreateOrUpdateResponse], errResp azfake.ErrorResponder) {
		if body.Properties == nil || body.Properties.CodeURI == nil || len(w.blobs(ctx, *body.Properties.CodeURI)) == 0 {
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
		resp.SetResponse(http.StatusCreated, armmachinelearning.CodeVersionsClientCreateOrUpdateResponse{CodeVersion: body}, nil)
		return
	}
	f.CodeVersionsServer.NewListPager = func(_, _, name string, o *armmachinelearning.CodeVersionsClientListOptions) (resp azfake.PagerResponder[armmachinelearning.CodeVersionsClientListResponse]) {
		w.mu.Lock()
		defer w.mu.Unlock()
		var list []*armmachinelearning.CodeVersion
		if o != nil && o.Hash != nil { // whatever its name: Microsoft's own client asks so
			for _, c := range w.codes {
				if h := c.Properties.Properties["hash_sha256"]; h != nil && *h == *o.Hash {
					list = append(list, &c)
				}
			}
			resp.AddPage(http.StatusOK, armmachinelearning.CodeVersionsClientListResponse{CodeVersionResourceArmPaginatedResult: armmachinelearning.CodeVersionResourceArmPaginatedResult{Value: list}}, nil)
			return
		}
		for _, version := range slices.Backward(w.order) {
			if c, ok := w.codes[name+"/"+version]; ok {
				list = append(list, &c)
			}
		}
		resp.AddPage(http.StatusOK, armmachinelearning.CodeVersionsClientListResponse{CodeVersionResourceArmPaginatedResult: armmachinelearning.CodeVersionResourceArmPaginatedResult{Value: list[:min(1, len(list))]}}, nil)
		return
	}
	f.CodeVersionsServer.CreateOrGetStartPendingUpload = func(_ context.Context, _, _, name, version string, _ armmachinelearning.PendingUploadRequestDto, _ *armmachinelearning.CodeVersionsClientCreateOrGetStartPendingUploadOptions) (resp azfake.Responder[armmachinelearning.CodeVersionsClientCreateOrGetStartPendingUploadResponse], errResp azfake.ErrorResponder) {
		container := fmt.Sprintf("pending-%d", time.Now().UnixNano())
		if _, err := w.create(container); err != nil {
			errResp.SetResponseError(http.StatusInternalServerError, "InternalError")
			return
		}
		at := w.blob + "/" + container
		resp.SetResponse(http.StatusOK, armmachinelearning.CodeVersionsClientCreateOrGetStartPendingUploadResponse{PendingUploadResponseDto: armmachinelearning.PendingUploadResponseDto{
			PendingUploadType: ptr(armmachinelearning.PendingUploadTypeTemporaryBlobReference),
			BlobReferenceForConsumption: &armmachinelearning.BlobReferenceForConsumptionDto{BlobURI: &at,
				Credential: &armmachinelearning.SASCredentialDto{CredentialType: ptr(armmachinelearning.PendingUploadCredentialTypeSAS), SasURI: ptr(at + "?" + w.delegate(container, ""))}}}}, nil)
		return
	}
}

func (w *Workspace) environmentFakes(f *fake.ServerFactory) {
	id := func(name, version string) *string {
		return ptr(root + "/environments/" + name + "/versions/" + version)
	}
	f.EnvironmentContainersServer.NewListPager = func(string, string, *armmachinelearning.EnvironmentContainersClientListOptions) (resp azfake.PagerResponder[armmachinelearning.EnvironmentContainersClientListResponse]) {
		var list []*armmachinelearning.EnvironmentContainer
		for name := range environments {
			list = append(list, &armmachinelearning.EnvironmentContainer{Name: ptr(name)})
		}
		resp.AddPage(http.StatusOK, armmachinelearning.EnvironmentContainersClientListResponse{EnvironmentContainerResourceArmPaginatedResult: armmachinelearning.EnvironmentContainerResourceArmPaginatedResult{Value: list}}, nil)
		return
	}
	f.EnvironmentVersionsServer.NewListPager = func(_, _, name string, _ *armmachinelearning.EnvironmentVersionsClientListOptions) (resp azfake.PagerResponder[armmachinelearning.EnvironmentVersionsClientListResponse]) {
		var list []*armmachinelearning.EnvironmentVersion
		if version := environments[name]; version != "" {
			list = append(list, &armmachinelearning.EnvironmentVersion{ID: id(name, version), Name: ptr(version)})
		}
		resp.AddPage(http.StatusOK, armmachinelearning.EnvironmentVersionsClientListResponse{EnvironmentVersionResourceArmPaginatedResult: armmachinelearning.EnvironmentVersionResourceArmPaginatedResult{Value: list}}, nil)
		return
	}
	f.EnvironmentVersionsServer.Get = func(_ context.Context, _, _, name, version string, _ *armmachinelearning.EnvironmentVersionsClientGetOptions) (resp azfake.Responder[armmachinelearning.EnvironmentVersionsClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		e, ok := w.envs[name+"/"+version]
		if environments[name] == version {
			e, ok = armmachinelearning.EnvironmentVersion{ID: id(name, version), Name: &version}, true
		}
		if !ok {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.EnvironmentVersionsClientGetResponse{EnvironmentVersion: e}, nil)
		return
	}
	f.EnvironmentVersionsServer.CreateOrUpdate = func(_ context.Context, _, _, name, version string, body armmachinelearning.EnvironmentVersion, _ *armmachinelearning.EnvironmentVersionsClientCreateOrUpdateOptions) (resp azfake.Responder[armmachinelearning.EnvironmentVersionsClientCreateOrUpdateResponse], errResp azfake.ErrorResponder) {
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
		body.ID, body.Name = id(name, version), &version
		w.envs[name+"/"+version] = body
		resp.SetResponse(http.StatusCreated, armmachinelearning.EnvironmentVersionsClientCreateOrUpdateResponse{EnvironmentVersion: body}, nil)
		return
	}
}

// Fields that a command job has (REST reference, "Jobs - Create Or Update", CommandJob).
var jobFields = strings.Fields(`codeId command componentId computeId description displayName distribution environmentId environmentVariables experimentName
	identity inputs isArchived jobType limits notificationSetting outputs properties queueSettings resources services tags parentJobName`)

var jobName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$`)

// checkJob is what the service refuses of a job; "" is nothing.
func (w *Workspace) checkJob(name string, header http.Header, body []byte) string {
	var b struct{ Properties map[string]json.RawMessage }
	if err := json.Unmarshal(body, &b); err != nil {
		return "The request is no JSON: " + err.Error()
	}
	text := func(key string) (s string) { json.Unmarshal(b.Properties[key], &s); return s }
	for key := range b.Properties {
		if !slices.Contains(jobFields, key) {
			return "Could not find member '" + key + "' on object of type 'CommandJob'"
		}
	}
	var identity struct{ IdentityType string }
	json.Unmarshal(b.Properties["identity"], &identity)
	if identity.IdentityType == "UserIdentity" && !w.holds(header.Get("x-azureml-token"), w.URL+"/ml") {
		return "A job that runs as its user needs the header x-azureml-token with a token for Azure Machine Learning"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch env, code, compute := text("environmentId"), text("codeId"), text("computeId"); {
	case !jobName.MatchString(name):
		return "The job name " + name + " is invalid"
	case text("jobType") != "Command":
		return "jobType is required"
	case text("command") == "":
		return "command is required"
	case env == "":
		return "environmentId is required"
	case !strings.HasPrefix(env, "azureml://registries/") && !strings.HasPrefix(env, root+"/environments/"):
		return "environmentId " + env + " is no resource id"
	case code != "" && !strings.HasPrefix(code, root+"/codes/"):
		return "codeId " + code + " is no resource id"
	case code != "" && w.codes[strings.Replace(strings.TrimPrefix(code, root+"/codes/"), "/versions", "", 1)].ID == nil:
		return "The code asset " + code + " does not exist"
	case compute != "" && computes[strings.TrimPrefix(compute, root+"/computes/")] == nil:
		return "The compute " + compute + " does not exist"
	}
	for key, value := range map[string]string{"tags": "tag", "properties": "property", "environmentVariables": "environment variable"} {
		var m map[string]string
		if raw := b.Properties[key]; raw != nil && json.Unmarshal(raw, &m) != nil {
			return "Each " + value + " has to be a string"
		}
	}
	return ""
}

// shown is a job as it is now.
func (s *submitted) shown() *armmachinelearning.JobBase {
	command := *s.command
	command.Status = ptr(armmachinelearning.JobStatus(s.status))
	j := s.job
	j.Properties = &command
	return &j
}

func (w *Workspace) jobFakes(f *fake.ServerFactory) {
	f.JobsServer.Get = func(_ context.Context, _, _, id string, _ *armmachinelearning.JobsClientGetOptions) (resp azfake.Responder[armmachinelearning.JobsClientGetResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s := w.jobs[id]
		if s == nil {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		resp.SetResponse(http.StatusOK, armmachinelearning.JobsClientGetResponse{JobBase: *s.shown()}, nil)
		return
	}
	f.JobsServer.NewListPager = func(_, _ string, o *armmachinelearning.JobsClientListOptions) (resp azfake.PagerResponder[armmachinelearning.JobsClientListResponse]) {
		view := armmachinelearning.ListViewTypeActiveOnly
		if o != nil && o.ListViewType != nil {
			view = *o.ListViewType
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		newest := slices.SortedFunc(maps.Values(w.jobs), func(a, b *submitted) int { return b.created.Compare(a.created) })
		newest = slices.DeleteFunc(newest, func(s *submitted) bool {
			archived := deref(s.command.IsArchived)
			return archived && view == armmachinelearning.ListViewTypeActiveOnly || !archived && view == armmachinelearning.ListViewTypeArchivedOnly
		})
		resp.AddPage(http.StatusOK, armmachinelearning.JobsClientListResponse{}, nil) // a page may be empty
		for part := range slices.Chunk(newest, pageSize) {
			var list []*armmachinelearning.JobBase
			for _, s := range part {
				list = append(list, s.shown())
			}
			resp.AddPage(http.StatusOK, armmachinelearning.JobsClientListResponse{JobBaseResourceArmPaginatedResult: armmachinelearning.JobBaseResourceArmPaginatedResult{Value: list}}, nil)
		}
		return
	}
	f.JobsServer.CreateOrUpdate = func(ctx context.Context, _, _, id string, body armmachinelearning.JobBase, _ *armmachinelearning.JobsClientCreateOrUpdateOptions) (resp azfake.Responder[armmachinelearning.JobsClientCreateOrUpdateResponse], errResp azfake.ErrorResponder) {
		text, _ := ctx.Value(bodyKey{}).([]byte)
		command, ok := body.Properties.(*armmachinelearning.CommandJob)
		if !ok {
			errResp.SetResponseError(http.StatusBadRequest, "UserError")
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if old := w.jobs[id]; old != nil {
			// The same again is no change, and nothing of a job may change.
			if old.body != string(text) {
				errResp.SetResponseError(http.StatusConflict, "JobPropertyImmutable")
				return
			}
			resp.SetResponse(http.StatusOK, armmachinelearning.JobsClientCreateOrUpdateResponse{JobBase: *old.shown()}, nil)
			return
		}
		command.Services = map[string]*armmachinelearning.JobService{"Studio": {Endpoint: ptr("https://ml.azure.com/runs/" + id + "?wsid=" + root), JobServiceType: ptr("Studio")}}
		if command.ExperimentName == nil {
			command.ExperimentName = ptr("Default")
		}
		if command.Outputs == nil {
			command.Outputs = map[string]armmachinelearning.JobOutputClassification{}
		}
		command.Outputs["default"] = &armmachinelearning.URIFolderJobOutput{JobOutputType: ptr(armmachinelearning.JobOutputTypeURIFolder), URI: ptr("azureml://datastores/workspaceartifactstore/ExperimentRun/dcid." + id)}
		body.ID, body.Name = ptr(root+"/jobs/"+id), &id
		body.SystemData = &armmachinelearning.SystemData{CreatedAt: ptr(time.Now())}
		s := &submitted{job: body, body: string(text), command: command, status: history.Queued, created: time.Now()}
		w.jobs[id] = s
		go w.run(id, s)
		resp.SetResponse(http.StatusCreated, armmachinelearning.JobsClientCreateOrUpdateResponse{JobBase: *s.shown()}, nil)
		return
	}
	f.JobsServer.BeginCancel = func(ctx context.Context, _, _, id string, _ *armmachinelearning.JobsClientBeginCancelOptions) (resp azfake.PollerResponder[armmachinelearning.JobsClientCancelResponse], errResp azfake.ErrorResponder) {
		w.mu.Lock()
		s := w.jobs[id]
		w.mu.Unlock()
		if s == nil {
			errResp.SetResponseError(http.StatusNotFound, "ResourceNotFound")
			return
		}
		w.local.Cancel(ctx, id)
		resp.SetTerminalResponse(http.StatusOK, armmachinelearning.JobsClientCancelResponse{}, nil)
		return
	}
}

// run is the cluster.
func (w *Workspace) run(id string, s *submitted) {
	ctx := context.Background()
	set := func(status history.Status) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.status = status
	}
	end, err := w.train(ctx, id, s, set)
	if err != nil {
		end = history.Failed
	}
	set(end)
}

func (w *Workspace) train(ctx context.Context, id string, s *submitted, set func(history.Status)) (history.Status, error) {
	set(history.Preparing)
	dir := filepath.Join(w.work, "code", id)
	j := &job.Job{Type: "command", Name: id, Compute: job.Local, Command: *s.command.Command, ExperimentName: *s.command.ExperimentName, Dir: w.work, // the data lie there too
		Inputs: map[string]job.Input{}, Outputs: map[string]job.Output{}, EnvironmentVariables: map[string]string{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var snap *snapshot.Snapshot
	if s.command.CodeID != nil {
		w.mu.Lock()
		code := w.codes[strings.Replace(strings.TrimPrefix(*s.command.CodeID, root+"/codes/"), "/versions", "", 1)]
		w.mu.Unlock()
		if err := w.fetch(ctx, *code.Properties.CodeURI, dir); err != nil {
			return "", err
		}
		j.Code = "code/" + id
		var err error
		if snap, err = snapshot.Take(ctx, dir, snapshot.Options{MaxBytes: -1}); err != nil {
			return "", err
		}
	}
	j.Tags = map[string]string{}
	for name, value := range s.command.Tags {
		if !w.Untagged {
			j.Tags[name] = *value
		}
	}
	for name, value := range s.command.EnvironmentVariables {
		j.EnvironmentVariables[name] = *value
	}
	for name, in := range s.command.Inputs {
		switch in := in.(type) {
		case *armmachinelearning.LiteralJobInput:
			j.Inputs[name] = job.Input{Literal: true, Value: *in.Value}
		case *armmachinelearning.URIFileJobInput:
			p, err := w.Fetch(ctx, *in.URI, filepath.Join(w.work, "data", id, name))
			if err != nil {
				return "", err
			}
			j.Inputs[name] = job.Input{Type: job.URIFile, Path: p}
		case *armmachinelearning.URIFolderJobInput:
			p, err := w.Fetch(ctx, *in.URI, filepath.Join(w.work, "data", id, name))
			if err != nil {
				return "", err
			}
			j.Inputs[name] = job.Input{Type: job.URIFolder, Path: p}
		default:
			return "", fmt.Errorf("input %s: the double knows no %T", name, in)
		}
	}
	for name := range s.command.Outputs {
		if name == "default" {
			continue
		}
		j.Outputs[name] = job.Output{Type: job.URIFolder}
	}
	if s.command.Limits != nil && s.command.Limits.Timeout != nil {
		j.Limits = &job.Limits{Timeout: 3600}
	}
	if _, err := w.local.Submit(ctx, submit.Submission{Job: j, Snapshot: snap, Git: gitmeta.Info{}}); err != nil {
		return "", err
	}
	set(history.Running)
	run, err := w.local.Watch(ctx, id, nil)
	if err != nil {
		return "", err
	}
	set(history.Finalizing)
	files, err := w.store.Artifacts(ctx, run)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		r, err := w.store.OpenArtifact(ctx, run, f.Path)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return "", err
		}
		if err := w.Keep(id, f.Path, string(text)); err != nil {
			return "", err
		}
	}
	return run.Status(), nil
}

// Keep puts a file of a run where the service keeps it: what belongs to a named output in
// the default datastore, everything else among the run's artifacts.
func (w *Workspace) Keep(id, name, text string) error {
	if rest, ok := strings.CutPrefix(name, "named_outputs/"); ok {
		return w.Put("workspaceblobstore", cmp.Or(w.Outputs, "azureml")+"/"+id+"/"+rest, text)
	}
	if err := w.Put("workspaceartifactstore", "ExperimentRun/dcid."+id+"/"+name, text); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs[id].files = append(w.jobs[id].files, name)
	return nil
}

// assetType is the type of an output's asset, as the run history names it.
func assetType(o armmachinelearning.JobOutputClassification) string {
	switch o.(type) {
	case *armmachinelearning.CustomModelJobOutput:
		return "CustomModel"
	case *armmachinelearning.MLFlowModelJobOutput:
		return "MLFlowModel"
	case *armmachinelearning.TritonModelJobOutput:
		return "TritonModel"
	case *armmachinelearning.MLTableJobOutput:
		return "MLTable"
	case *armmachinelearning.URIFileJobOutput:
		return "UriFile"
	}
	return "UriFolder"
}
