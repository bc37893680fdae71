package azureml

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/goccy/go-yaml"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Versions of the control plane's API. The second knows Ray, the priority of a
// queued job and parent jobs; azure-ai-ml sends every command job with it.
const (
	apiVersion        = "2024-04-01"
	apiVersionPreview = "2025-01-01-preview"
)

// DefaultEnvironment is what a job without an environment runs in: Microsoft's own,
// with scikit-learn and MLflow.
const DefaultEnvironment = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"

// anonymous is the name under which azure-ai-ml registers environments that have none
// (ANONYMOUS_ENV_NAME). The studio does not list them.
const anonymous = "CliV2AnonymousEnvironment"

// object is a JSON object of the wire, without what is not set.
type object map[string]any

func (o object) set(key string, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if v == "" {
			return
		}
	case int:
		if v == 0 {
			return
		}
	case map[string]string:
		if len(v) == 0 {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	case map[string]any:
		if len(v) == 0 {
			return
		}
	case object:
		if len(v) == 0 {
			return
		}
	}
	o[key] = value
}

// place is what a job's references became in the workspace.
type place struct {
	environment string            // resource id, or address in a registry
	compute     string            // resource id; "" for serverless
	code        string            // resource id; "" for none
	data        map[string]string // of local inputs, where they were uploaded to
}

// body is the job as the control plane takes it (azure-ai-ml, command_job.py,
// _to_rest_object and what it calls; REST reference, "Jobs - Create Or Update",
// CommandJob), and the api-version that knows all of it.
func body(j *job.Job, p place, w Workspace, tags, properties map[string]string) (object, string) {
	version := apiVersion
	o := object{"jobType": "Command", "command": j.Command, "environmentId": p.environment, "isArchived": false}
	o.set("codeId", p.code)
	o.set("computeId", p.compute)
	o.set("displayName", j.DisplayName)
	o.set("description", j.Description)
	o.set("experimentName", j.ExperimentName)
	o.set("environmentVariables", j.EnvironmentVariables)
	o.set("tags", merged(j.Tags, tags))
	o.set("properties", merged(j.Properties, properties))
	inputs := object{}
	for name, in := range j.Inputs {
		inputs[name] = inputBody(in, cmp.Or(p.data[name], in.Path), w)
	}
	o.set("inputs", inputs)
	outputs := object{}
	for name, out := range j.Outputs {
		b := object{"jobOutputType": cmp.Or(out.Type, job.URIFolder)}
		b.set("uri", reference(out.Path, "data", w))
		b.set("mode", modes[out.Mode])
		b.set("assetName", out.Name)
		b.set("assetVersion", out.Version)
		outputs[name] = b
	}
	o.set("outputs", outputs)
	if d := j.Distribution; d != nil {
		b := object{"distributionType": map[string]string{"mpi": "Mpi", "pytorch": "PyTorch", "tensorflow": "TensorFlow", "ray": "Ray"}[d.Type]}
		b.set("processCountPerInstance", d.ProcessCountPerInstance)
		b.set("workerCount", d.WorkerCount)
		if d.Type == "tensorflow" {
			b["parameterServerCount"] = d.ParameterServerCount // 0 is sent as well
		}
		if d.Type == "ray" {
			version = apiVersionPreview
			b.set("port", d.Port)
			b.set("address", d.Address)
			b.set("dashboardPort", d.DashboardPort)
			b.set("headNodeAdditionalArgs", d.HeadNodeAdditionalArgs)
			b.set("workerNodeAdditionalArgs", d.WorkerNodeAdditionalArgs)
			if d.IncludeDashboard {
				b["includeDashboard"] = true
			}
		}
		o["distribution"] = b
	}
	if r := j.Resources; r != nil {
		b := object{}
		b.set("instanceCount", r.InstanceCount)
		b.set("maxInstanceCount", r.MaxInstanceCount)
		b.set("instanceType", r.InstanceType)
		b.set("shmSize", r.ShmSize)
		b.set("dockerArgs", r.DockerArgs)
		b.set("locations", r.Locations)
		b.set("properties", r.Properties)
		o.set("resources", b)
	}
	if limit := j.MaxDuration(); limit > 0 {
		o["limits"] = object{"jobLimitsType": "Command", "timeout": duration(int(limit.Seconds()))}
	}
	if i := j.Identity; i != nil {
		b := object{"identityType": map[string]string{"managed": "Managed", "managed_identity": "Managed", "user_identity": "UserIdentity", "aml_token": "AMLToken"}[i.Type]}
		b.set("clientId", i.ClientID)
		b.set("objectId", i.ObjectID)
		b.set("resourceId", i.ResourceID)
		o["identity"] = b
	}
	services := object{}
	for name, s := range j.Services {
		services[name] = serviceBody(s)
	}
	o.set("services", services)
	if q := j.QueueSettings; q != nil {
		b := object{}
		b.set("jobTier", map[string]string{"null": "Null", "spot": "Spot", "basic": "Basic", "standard": "Standard", "premium": "Premium"}[q.JobTier])
		if n := map[string]int{"low": 1, "medium": 2, "high": 3}[q.Priority]; n > 0 {
			version = apiVersionPreview
			b["priority"] = n
		}
		o.set("queueSettings", b)
	}
	if j.ParentJobName != "" {
		version = apiVersionPreview
		o["parentJobName"] = j.ParentJobName
	}
	return object{"properties": o}, version
}

// modes are how data reach a job and leave it (azure-ai-ml,
// INPUT_MOUNT_MAPPING_TO_REST, OUTPUT_MOUNT_MAPPING_TO_REST).
var modes = map[string]string{"mount": "ReadWriteMount", "rw_mount": "ReadWriteMount", "upload": "Upload", "direct": "Direct",
	"ro_mount": "ReadOnlyMount", "download": "Download", "eval_mount": "EvalMount", "eval_download": "EvalDownload"}

func inputBody(in job.Input, address string, w Workspace) object {
	if in.Literal {
		return object{"jobInputType": "literal", "value": in.Value}
	}
	b := object{"jobInputType": cmp.Or(in.Type, job.URIFolder)}
	b.set("uri", reference(address, kindOf(in), w))
	mode := modes[in.Mode]
	if in.Mode == "mount" { // of an input, reading
		mode = "ReadOnlyMount"
	}
	b.set("mode", mode)
	return b
}

// kindOf is the kind of asset that an input names.
func kindOf(in job.Input) string {
	if slices.Contains([]string{job.CustomModel, job.MLflowModel, job.TritonModel}, in.Type) {
		return "models"
	}
	return "data"
}

// labelled returns the resource id of the newest version of an asset.
func (t *Target) labelled(ctx context.Context, c *connection, kind, name, label string) (string, error) {
	if label != "latest" {
		return "", &submit.Refusal{Reason: fmt.Sprintf("%s@%s: the only label is latest", name, label)}
	}
	order, one := to.Ptr("createdtime desc"), to.Ptr(int32(1))
	id := ""
	var err error
	if kind == "models" {
		var page armmachinelearning.ModelVersionsClientListResponse
		if page, err = c.clients.NewModelVersionsClient().NewListPager(c.group, c.name, name, &armmachinelearning.ModelVersionsClientListOptions{OrderBy: order, Top: one}).NextPage(ctx); err == nil && len(page.Value) > 0 {
			id = deref(page.Value[0].ID)
		}
	} else {
		var page armmachinelearning.DataVersionsClientListResponse
		if page, err = c.clients.NewDataVersionsClient().NewListPager(c.group, c.name, name, &armmachinelearning.DataVersionsClientListOptions{OrderBy: order, Top: one}).NextPage(ctx); err == nil && len(page.Value) > 0 {
			id = deref(page.Value[0].ID)
		}
	}
	switch {
	case id != "":
		return id, nil
	case err == nil, status(err) == http.StatusNotFound:
		return "", &submit.Refusal{Reason: fmt.Sprintf("the workspace has no %s asset %s", strings.TrimSuffix(kind, "s"), name)}
	}
	return "", fmt.Errorf("%s: %w", name, short(err))
}

func serviceBody(s job.Service) object {
	b := object{}
	b.set("jobServiceType", map[string]string{"jupyter_lab": "JupyterLab", "ssh": "SSH", "tensor_board": "TensorBoard", "vs_code": "VSCode", "custom": "Custom"}[s.Type])
	b.set("port", s.Port)
	if s.Nodes == "all" {
		b["nodes"] = object{"nodesValueType": "All"}
	}
	properties := maps.Clone(s.Properties)
	if properties == nil {
		properties = map[string]any{}
	}
	if s.LogDir != "" {
		properties["logDir"] = s.LogDir
	}
	if s.SSHPublicKeys != "" {
		properties["sshPublicKeys"] = s.SSHPublicKeys
	}
	b.set("properties", properties)
	return b
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

// duration writes seconds as an ISO 8601 duration, as azure-ai-ml does. The service
// takes less than a minute for sixty days (azure-ai-ml, _get_floored_timeout), so the
// least is a minute.
func duration(seconds int) string {
	seconds = max(seconds, 60)
	days, rest := seconds/86400, seconds%86400
	out := "P"
	if days > 0 {
		out += fmt.Sprintf("%dD", days)
	}
	if rest == 0 {
		return out
	}
	out += "T"
	for _, unit := range []struct {
		seconds int
		letter  string
	}{{3600, "H"}, {60, "M"}, {1, "S"}} {
		if n := rest / unit.seconds; n > 0 {
			out += fmt.Sprintf("%d%s", n, unit.letter)
		}
		rest %= unit.seconds
	}
	return out
}

// reference turns "azureml:NAME:VERSION" into a resource id. Everything else that
// names something, an address in a registry or a datastore say, stays as it is.
func reference(ref, kind string, w Workspace) string {
	rest, ok := strings.CutPrefix(ref, "azureml:")
	if !ok || strings.HasPrefix(rest, "//") {
		return ref
	}
	if strings.HasPrefix(rest, "/") {
		return rest // a resource id already
	}
	name, version, ok := strings.Cut(rest, ":")
	if !ok {
		return ref
	}
	return w.path() + "/" + kind + "/" + name + "/versions/" + version
}

// label resolves "azureml:NAME@latest" among the versions of an asset.
func label(ref string) (name, label string, ok bool) {
	rest, ok := strings.CutPrefix(ref, "azureml:")
	if !ok || strings.HasPrefix(rest, "/") {
		return "", "", false
	}
	name, label, ok = strings.Cut(rest, "@")
	return name, label, ok
}

// environment returns the address of what a job runs in, after registering it where
// the job describes it. Files of a commit are written below dir first.
func (t *Target) environment(ctx context.Context, c *connection, s submit.Submission) (string, error) {
	e := s.Job.Environment
	switch {
	case e == nil:
		return DefaultEnvironment, nil
	case e.Reference != "":
		return t.environmentReference(ctx, c, e.Reference)
	}
	properties := &armmachinelearning.EnvironmentVersionProperties{IsAnonymous: to.Ptr(true), IsArchived: to.Ptr(false)}
	hash := sha256.New()
	part := func(kind, text string) { fmt.Fprintf(hash, "%s %d %s\n", kind, len(text), text) }
	if e.Image != "" {
		properties.Image = &e.Image
		part("image", e.Image)
	}
	conda, err := condaText(s)
	if err != nil {
		return "", err
	}
	if conda != "" {
		properties.CondaFile = &conda
		part("conda", conda)
	}
	if e.Build != nil {
		address, err := t.buildContext(ctx, c, s.Job)
		if err != nil {
			return "", err
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
	name := anonymous
	version := hex.EncodeToString(hash.Sum(nil))
	versions := c.clients.NewEnvironmentVersionsClient()
	if found, err := versions.Get(ctx, c.group, c.name, name, version, nil); err == nil {
		return deref(found.ID), nil
	}
	made, err := versions.CreateOrUpdate(ctx, c.group, c.name, name, version, armmachinelearning.EnvironmentVersion{Properties: properties}, nil)
	if err != nil {
		// The answer was lost, or somebody else was first: its name says what is in it.
		if found, gerr := versions.Get(ctx, c.group, c.name, name, version, nil); gerr == nil {
			return deref(found.ID), nil
		}
		return "", fmt.Errorf("the environment cannot be registered: %w", short(err))
	}
	return deref(made.ID), nil
}

func condaText(s submit.Submission) (string, error) {
	switch e := s.Job.Environment; {
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
	store, folder, err := t.uploadFiles(ctx, c, tree)
	if err != nil {
		return "", fmt.Errorf("environment.build.path: %w", err)
	}
	return store.at(folder) + "/", nil
}

// environmentReference finds an environment by what names it.
func (t *Target) environmentReference(ctx context.Context, c *connection, ref string) (string, error) {
	versions := c.clients.NewEnvironmentVersionsClient()
	if name, label, ok := label(ref); ok {
		if label != "latest" {
			return "", &submit.Refusal{Reason: fmt.Sprintf("the environment %s: the only label is latest", ref)}
		}
		page, err := versions.NewListPager(c.group, c.name, name, &armmachinelearning.EnvironmentVersionsClientListOptions{OrderBy: to.Ptr("createdtime desc"), Top: to.Ptr(int32(1))}).NextPage(ctx)
		if err == nil && len(page.Value) > 0 {
			return deref(page.Value[0].ID), nil
		}
		if err == nil || status(err) == http.StatusNotFound {
			return "", t.noEnvironment(ctx, c, name)
		}
		return "", fmt.Errorf("environment %s: %w", ref, short(err))
	}
	id := reference(ref, "environments", t.Workspace)
	rest, ours := strings.CutPrefix(id, t.path()+"/environments/")
	if !ours {
		return id, nil // in a registry, or elsewhere
	}
	name, version, _ := strings.Cut(rest, "/versions/")
	if _, err := versions.Get(ctx, c.group, c.name, name, version, nil); status(err) == http.StatusNotFound {
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
			return &submit.Refusal{Reason: fmt.Sprintf("the workspace has no such version of the environment %s; azureml:%s@latest is its newest", name, name)}
		}
	}
	return &submit.Refusal{Reason: fmt.Sprintf("the workspace has no environment %s%s", name, hint(name, names))}
}

// trains are the kinds of compute that run command jobs. Azure Databricks does not,
// although a workspace may have it attached.
var trains = []armmachinelearning.ComputeType{armmachinelearning.ComputeTypeAmlCompute, armmachinelearning.ComputeTypeComputeInstance,
	armmachinelearning.ComputeTypeKubernetes, armmachinelearning.ComputeTypeVirtualMachine, armmachinelearning.ComputeTypeSynapseSpark}

// compute returns the resource id of a compute target, "" for serverless.
func (t *Target) compute(ctx context.Context, c *connection, name string) (string, error) {
	if strings.EqualFold(name, "serverless") {
		return "", nil
	}
	client := c.clients.NewComputeClient()
	found, err := client.Get(ctx, c.group, c.name, name, nil)
	switch {
	case status(err) == http.StatusNotFound:
		var names []string
		pager := client.NewListPager(c.group, c.name, nil)
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				break
			}
			for _, one := range page.Value {
				names = append(names, deref(one.Name))
			}
		}
		return "", &submit.Refusal{Reason: fmt.Sprintf("the workspace has no compute target %s%s", name, hint(name, names))}
	case err != nil:
		return "", fmt.Errorf("compute target %s: %w", name, short(err))
	}
	if found.Properties != nil {
		if kind := deref(found.Properties.GetCompute().ComputeType); !slices.Contains(trains, kind) {
			return "", &submit.Refusal{Reason: fmt.Sprintf("the compute target %s is of the kind %s, which runs no training jobs; name a cluster, a compute instance or a Kubernetes cluster", name, kind)}
		}
	}
	return deref(found.ID), nil
}

// put sends the job, and returns what the workspace made of it. Sent again, it is the
// same job: its name was decided before.
func (c *connection) put(ctx context.Context, name string, b object, version string) (made armmachinelearning.JobBase, err error) {
	req, err := runtime.NewRequest(ctx, http.MethodPut, c.arm.Endpoint()+c.path+"/jobs/"+url.PathEscape(name))
	if err != nil {
		return made, err
	}
	req.Raw().URL.RawQuery = url.Values{"api-version": {version}}.Encode()
	if identity, ok := b["properties"].(object)["identity"].(object); ok && identity["identityType"] == "UserIdentity" {
		// The job runs as who submits it (azure-ai-ml, _set_headers_with_user_aml_token).
		t, err := c.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.env.ml}})
		if err != nil {
			return made, err
		}
		req.Raw().Header.Set("x-azureml-token", t.Token)
	}
	if err := setJSON(req, b); err != nil {
		return made, err
	}
	return made, answerOf(c.arm.Pipeline(), req, &made)
}

// data uploads the local data of a job.
func (t *Target) data(ctx context.Context, c *connection, s submit.Submission) (map[string]string, error) {
	out := map[string]string{}
	for name, in := range s.Job.Inputs {
		if in.Literal || in.Path == "" || job.IsRemote(in.Path) {
			if asset, l, ok := label(in.Path); ok && !in.Literal {
				id, err := t.labelled(ctx, c, kindOf(in), asset, l)
				if err != nil {
					return nil, fmt.Errorf("inputs.%s: %w", name, err)
				}
				out[name] = id
			}
			continue
		}
		tree, err := s.Job.OpenInput(in)
		if err == nil {
			out[name], err = t.uploadData(ctx, c, tree)
			tree.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("inputs.%s: %w", name, err)
		}
	}
	return out, nil
}

// tags and properties tell what the run is of. Properties never change; tags are
// what people search for.
func tagsOf(s submit.Submission, sent Sent) (tags, properties map[string]string) {
	tags, properties = map[string]string{}, s.Git.Properties()
	set := func(to map[string]string, key, value string) {
		if value != "" {
			to[key] = clip(value)
		}
	}
	set(tags, history.TagJob, s.Job.Digest())
	set(tags, history.TagPullRequest, s.Git.PullRequest)
	set(tags, history.TagActor, s.Git.Actor)
	set(tags, history.TagBuild, s.Git.BuildURL)
	set(tags, gitmeta.PropMLflowCommit, s.Git.Commit) // where MLflow looks for it
	set(tags, gitmeta.PropMLflowBranch, s.Git.Branch)
	set(properties, history.TagJobFile, s.Job.File)
	set(properties, history.TagScript, s.Job.Script())
	if s.Snapshot != nil {
		set(tags, history.TagSnapshot, s.Snapshot.ID)
		set(properties, history.TagFiles, fmt.Sprintf("%d %d", len(s.Snapshot.Files), s.Snapshot.Bytes))
		set(properties, history.TagSent, fmt.Sprintf("%d %d", sent.Files, sent.Bytes))
		if rel, err := filepath.Rel(s.Git.Root, s.Snapshot.Dir); err == nil && s.Git.Root != "" && filepath.IsLocal(rel) {
			set(properties, history.TagSource, filepath.ToSlash(rel))
		}
	}
	return secret.Of(s.Secrets, tags), secret.Of(s.Secrets, properties)
}

// clip keeps a value within what the service takes for one.
func clip(s string) string {
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:990], "") + " ..."
	}
	return s
}
