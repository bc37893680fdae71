// Package azuremltest answers: what would an Azure Machine Learning workspace have said?
//
// It puts Microsoft's generated fake of the control plane behind TLS on loopback, with
// Azurite as the storage account and this project's own history as the workspace's
// MLflow, and runs the jobs for real, on this machine. It refuses what the service
// refuses: a request without a token or an api-version, an unknown field, a reference
// to what is not there, a change of what cannot change.
package azuremltest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4/fake"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/submit/local"
)

// The workspace that there is, and who may use it.
const (
	Subscription = "00000000-0000-0000-0000-000000000001"
	Group        = "flowers"
	Name         = "garden"
	Tenant       = "00000000-0000-0000-0000-000000000002"
	Client       = "00000000-0000-0000-0000-000000000003"
	Secret       = "double-client-secret"
	sasSecret    = "double-sas"
)

// root is the workspace's resource id.
const root = "/subscriptions/" + Subscription + "/resourceGroups/" + Group +
	"/providers/Microsoft.MachineLearningServices/workspaces/" + Name

// Request is one request that the double got.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Body                []byte
}

// Workspace is the double.
type Workspace struct {
	URL  string // https://127.0.0.1:PORT
	blob string // https://127.0.0.1:PORT/ACCOUNT

	// Storage says how far the storage account is locked down.
	Storage Storage
	// Outputs is where the files of named outputs are that the run history does not know
	// as assets: "azureml" or "dataset". As "", it knows them.
	Outputs string
	// Untagged has the workspace's MLflow show none of a job's tags.
	Untagged bool
	// Stranger has who signs in have no role in the workspace.
	Stranger bool
	// Late is how long after a submission the run history learns of the run.
	Late time.Duration
	// Lifetime is how long a token lives.
	Lifetime time.Duration
	// Fault, where it is set, is asked before each request, and answers it in the
	// double's place.
	Fault func(w http.ResponseWriter, r *http.Request, next http.Handler) (answered bool)

	server     *httptest.Server
	arm        *fake.ServerFactoryTransport
	store      *history.Store
	local      *local.Target
	mlflow     http.Handler
	past       http.Handler
	work       string
	aged       bool              // Age was called
	azurite    string            // where the storage account is, past its front
	containers map[string]string // by datastore
	files      *httptest.Server  // the front

	mu        sync.Mutex
	requests  []Request
	codes     map[string]armmachinelearning.CodeVersion
	order     []string // codes, oldest first
	envs      map[string]armmachinelearning.EnvironmentVersion
	assets    []asset                                    // that were registered besides, the newest last
	models    map[string]armmachinelearning.ModelVersion // by name and version
	jobs      map[string]*submitted
	tokens    map[string]grant
	delegated map[string]bool // signatures that the workspace's own identity made
}

// submitted is a job that was taken.
type submitted struct {
	job      armmachinelearning.JobBase
	body     string
	command  *armmachinelearning.CommandJob
	sweep    *armmachinelearning.SweepJob // whose trials are the command, nil of another job
	status   history.Status
	created  time.Time
	files    []string // of its default output
	canceled bool
}

// New starts a workspace. supervisor runs "aml-train supervise"; azurite is the
// address of Azurite's blob service, such as https://127.0.0.1:10000; dir is the
// workspace's own folder.
func New(azurite, dir string, supervisor []string) (*Workspace, error) {
	store, err := history.Open(filepath.Join(dir, "history"))
	if err != nil {
		return nil, err
	}
	upstream, err := url.Parse(azurite)
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	w := &Workspace{Lifetime: time.Hour, azurite: azurite + "/" + account, store: store, work: dir,
		local:  &local.Target{Store: store, Supervisor: supervisor},
		mlflow: history.NewServer(store, history.Access{}),
		containers: map[string]string{"workspaceblobstore": fmt.Sprintf("azureml-blobstore-%d", now),
			"workspaceartifactstore": fmt.Sprintf("azureml-%d", now)},
		codes: map[string]armmachinelearning.CodeVersion{},
		envs:  map[string]armmachinelearning.EnvironmentVersion{},
		models: map[string]armmachinelearning.ModelVersion{"classifier/2": {
			ID: ptr(root + "/models/classifier/versions/2"), Name: ptr("2"),
			Properties: &armmachinelearning.ModelVersionProperties{
				ModelURI: ptr("azureml://datastores/workspaceblobstore/paths/classifier")}}},
		jobs: map[string]*submitted{}, tokens: map[string]grant{}, delegated: map[string]bool{}}
	for _, name := range w.containers {
		if err := w.create(name); err != nil {
			return nil, err
		}
	}
	w.files = testenv.TLSServer(w.front(upstream))
	w.blob = w.files.URL + "/" + account
	w.past = w.runHistory()
	w.arm = fake.NewServerFactoryTransport(w.fakes())
	w.server = testenv.TLSServer(w)
	w.URL = w.server.URL
	return w, nil
}

// Close ends the workspace.
func (w *Workspace) Close() {
	w.server.Close()
	w.files.Close()
	w.store.Close()
}

// Creds is what "az ad sp create-for-rbac --sdk-auth" would print.
func (w *Workspace) Creds() string {
	text, _ := json.Marshal(map[string]string{"clientId": Client, "clientSecret": Secret, "tenantId": Tenant,
		"subscriptionId":             Subscription,
		"activeDirectoryEndpointUrl": w.URL, "resourceManagerEndpointUrl": w.URL, "machineLearningResourceId": w.URL +
			"/ml",
		"blobEndpointUrl": strings.TrimSuffix(w.blob, account) + "{account}"})
	return string(text)
}

// Requests returns what was asked so far, and forgets it.
func (w *Workspace) Requests() []Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.requests
	w.requests = nil
	return out
}

// Jobs returns the names of the jobs that were taken.
func (w *Workspace) Jobs() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for name := range w.jobs {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Job is a job as it was taken.
func (w *Workspace) Job(name string) *armmachinelearning.CommandJob {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.jobs[name].command
}

// Environment is an environment as it was registered, by the end of its resource id.
func (w *Workspace) Environment(id string) armmachinelearning.EnvironmentVersion {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.envs[strings.Replace(strings.TrimPrefix(id, root+"/environments/"), "/versions", "", 1)]
}

// Snapshots returns the versions of the code asset, oldest first.
func (w *Workspace) Snapshots() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.order)
}

// Know has the workspace have the files of a job already: as the snapshot of that git
// tree, and as an upload of Microsoft's own client, by its hash of them.
func (w *Workspace) Know(tree, hash string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.codes["aml-train/"+tree] = armmachinelearning.CodeVersion{ID: ptr(root + "/codes/aml-train/versions/" + tree),
		Name:       &tree,
		Properties: &armmachinelearning.CodeVersionProperties{CodeURI: ptr(w.blob + "/known")}}
	w.codes["known/1"] = armmachinelearning.CodeVersion{ID: ptr(root + "/codes/known/versions/1"), Name: ptr("1"),
		Properties: &armmachinelearning.CodeVersionProperties{CodeURI: ptr(w.blob + "/known"),
			Properties: map[string]*string{"hash_sha256": &hash}}}
}

// Files lists the files of a snapshot that the workspace has, without their folder.
func (w *Workspace) Files(version string) []string {
	w.mu.Lock()
	c := w.codes["aml-train/"+version]
	w.mu.Unlock()
	var out []string
	for name := range w.blobs(context.Background(), deref(deref(c.Properties).CodeURI)) {
		_, path, _ := strings.Cut("/"+name, "/code/")
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (w *Workspace) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.mu.Lock()
	w.requests = append(w.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), body})
	w.mu.Unlock()
	next := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(rw, r, body) })
	if w.Fault == nil || !w.Fault(rw, r, next) {
		next(rw, r)
	}
}

func (w *Workspace) serve(rw http.ResponseWriter, r *http.Request, body []byte) {
	switch p := r.URL.Path; {
	case strings.HasPrefix(p, "/"+Tenant+"/"):
		w.directory(rw, r, strings.TrimPrefix(p, "/"+Tenant))
	case strings.HasPrefix(p, "/subscriptions/"):
		if w.Stranger {
			refuse(rw, http.StatusForbidden, "AuthorizationFailed", "The client does not have authorization to "+
				"perform the action")
			return
		}
		if w.admit(rw, r, w.URL) {
			w.manage(rw, r, body)
		}
	case strings.HasPrefix(p, "/history/v1.0"+root+"/"), strings.HasSuffix(p, "/batchGetResolvedUris"):
		if w.admit(rw, r, w.URL+"/ml") {
			w.past.ServeHTTP(rw, r)
		}
	case p == "/registrymanagement/v1.0/registries/"+Registry+"/discovery":
		if w.admit(rw, r, w.URL+"/ml") {
			rw.Header().Set("Content-Type", "application/json")
			json.NewEncoder(rw).Encode(map[string]string{"registryName": Registry,
				"subscriptionId": registrySubscription, "resourceGroup": registryGroup})
		}
	case p == "/discovery":
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(map[string]string{"api": w.URL, "history": w.URL})
	case strings.HasPrefix(p, "/mlflow/v2.0"+root+"/"):
		if w.admit(rw, r, w.URL+"/ml") {
			if problem := checkSearch(p, body); problem != "" {
				refuse(rw, http.StatusBadRequest, "INVALID_PARAMETER_VALUE", problem)
				return
			}
			r.Header.Del("Authorization")
			http.StripPrefix("/mlflow/v2.0"+root, w.mlflow).ServeHTTP(rw, r)
		}
	case strings.HasPrefix(p, "/log/"):
		w.log(rw, r, strings.Split(strings.TrimPrefix(p, "/log/"), "/"))
	default:
		refuse(rw, http.StatusNotFound, "NotFound", "no such address: "+p)
	}
}

func refuse(rw http.ResponseWriter, status int, code, message string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("x-ms-error-code", code)
	rw.WriteHeader(status)
	json.NewEncoder(rw).Encode(map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// routes tell which operation a request is.
var routes = []struct {
	method, path, name string
}{
	{"GET", `/workspaces`, "WorkspacesClient.NewListByResourceGroupPager"},
	{"GET", `/workspaces/[^/]+`, "WorkspacesClient.Get"},
	{"GET", `/workspaces/[^/]+/datastores`, "DatastoresClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/datastores/[^/]+`, "DatastoresClient.Get"},
	{"POST", `/workspaces/[^/]+/datastores/[^/]+/listSecrets`, "DatastoresClient.ListSecrets"},
	{"GET", `/workspaces/[^/]+/computes`, "ComputeClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/computes/[^/]+`, "ComputeClient.Get"},
	{"GET", `/workspaces/[^/]+/codes/[^/]+/versions`, "CodeVersionsClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/codes/[^/]+/versions/[^/]+`, "CodeVersionsClient.Get"},
	{"PUT", `/workspaces/[^/]+/codes/[^/]+/versions/[^/]+`, "CodeVersionsClient.CreateOrUpdate"},
	{"POST", `/workspaces/[^/]+/codes/[^/]+/versions/[^/]+/startPendingUpload`,
		"CodeVersionsClient.CreateOrGetStartPendingUpload"},
	{"GET", `/workspaces/[^/]+/environments`, "EnvironmentContainersClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/environments/[^/]+/versions`, "EnvironmentVersionsClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/environments/[^/]+/versions/[^/]+`, "EnvironmentVersionsClient.Get"},
	{"PUT", `/workspaces/[^/]+/environments/[^/]+/versions/[^/]+`, "EnvironmentVersionsClient.CreateOrUpdate"},
	{"GET", `/workspaces/[^/]+/data/[^/]+/versions`, "DataVersionsClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/models/[^/]+`, "ModelContainersClient.Get"},
	{"GET", `/workspaces/[^/]+/models/[^/]+/versions`, "ModelVersionsClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/data/[^/]+/versions/[^/]+`, "DataVersionsClient.Get"},
	{"GET", `/workspaces/[^/]+/models/[^/]+/versions/[^/]+`, "ModelVersionsClient.Get"},
	{"PUT", `/workspaces/[^/]+/models/[^/]+/versions/[^/]+`, "ModelVersionsClient.CreateOrUpdate"},
	{"DELETE", `/workspaces/[^/]+/models/[^/]+/versions/[^/]+`, "ModelVersionsClient.Delete"},
	{"GET", `/registries/[^/]+/data/[^/]+/versions`, "RegistryDataVersionsClient.NewListPager"},
	{"GET", `/registries/[^/]+/data/[^/]+/versions/[^/]+`, "RegistryDataVersionsClient.Get"},
	{"GET", `/registries/[^/]+/models/[^/]+/versions/[^/]+`, "RegistryModelVersionsClient.Get"},
	{"POST", `/registries/[^/]+/datareferences/[^/]+/versions/[^/]+`,
		"RegistryDataReferencesClient.GetBlobReferenceSAS"},
	{"GET", `/workspaces/[^/]+/jobs`, "JobsClient.NewListPager"},
	{"GET", `/workspaces/[^/]+/jobs/[^/]+`, "JobsClient.Get"},
	{"PUT", `/workspaces/[^/]+/jobs/[^/]+`, "JobsClient.CreateOrUpdate"},
	{"POST", `/workspaces/[^/]+/jobs/[^/]+/cancel`, "JobsClient.BeginCancel"},
}

var compiled = sync.OnceValue(func() []*regexp.Regexp {
	var out []*regexp.Regexp
	for _, r := range routes {
		out = append(out,
			regexp.MustCompile(
				`^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices`+r.path+`$`))
	}
	return out
})

// manage hands a request to Microsoft's fake of the control plane.
func (w *Workspace) manage(rw http.ResponseWriter, r *http.Request, body []byte) {
	// The fake names the next page of a list by an address of its own.
	operation, next, _ := strings.Cut(r.URL.Path, "/fake_page_")
	if v := r.URL.Query().Get("api-version"); next == "" && !apiVersion.MatchString(v) {
		refuse(rw, http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '"+v+"' is invalid")
		return
	}
	name := ""
	for i, re := range compiled() {
		if r.Method == routes[i].method && re.MatchString(operation) {
			name = routes[i].name
		}
	}
	if name == "" {
		refuse(rw, http.StatusNotFound, "NotFound", r.Method+" "+r.URL.Path)
		return
	}
	if name == "JobsClient.CreateOrUpdate" {
		if problem := w.checkJob(path.Base(r.URL.Path), r.Header, body); problem != "" {
			refuse(rw, http.StatusBadRequest, "UserError", problem)
			return
		}
	}
	if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/jobs") && w.aged {
		w.listJobs(rw, r)
		return
	}
	if name == "CodeVersionsClient.CreateOrUpdate" {
		body = hashVersion.ReplaceAll(body, []byte(`"hash_version": "$1"`))
	}
	ctx := context.WithValue(r.Context(), runtime.CtxAPINameKey{}, name)
	req := r.Clone(context.WithValue(ctx, bodyKey{}, body))
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.URL.Scheme, req.URL.Host, req.RequestURI = "https", r.Host, ""
	res, err := w.arm.Do(req)
	var answer *azcore.ResponseError
	switch {
	case errors.As(err, &answer):
		refuse(rw, answer.StatusCode, answer.ErrorCode, name+": "+answer.ErrorCode)
		return
	case err != nil:
		refuse(rw, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	defer res.Body.Close()
	for key, values := range res.Header {
		rw.Header()[key] = values
	}
	rw.WriteHeader(res.StatusCode)
	io.Copy(rw, res.Body)
}

// hashVersion is a property that Microsoft's own client sends as a number, which the
// service takes and the generated fake does not.
var hashVersion = regexp.MustCompile(`"hash_version":\s*(\d+)`)

// apiVersion is a version since the API has command jobs.
var apiVersion = regexp.MustCompile(`^202[3-6]-\d\d-\d\d(-preview)?$`)

type bodyKey struct{}

// log is a blob that grows, with a SAS.
func (w *Workspace) log(rw http.ResponseWriter, r *http.Request, parts []string) {
	if r.URL.Query().Get("sig") != sasSecret {
		rw.WriteHeader(http.StatusForbidden)
		return
	}
	run, err := w.store.Run(r.Context(), parts[0])
	if err != nil {
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	f, err := os.Open(filepath.Join(w.store.ArtifactDir(run), filepath.FromSlash(strings.Join(parts[1:], "/"))))
	if err != nil {
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	if r.Method == http.MethodHead {
		rw.Header().Set("Content-Length", strconv.Itoa(len(text)))
		return
	}
	from := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
		if from >= len(text) { // as blob storage does, for an empty one too
			rw.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		rw.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
		rw.WriteHeader(http.StatusPartialContent)
	}
	rw.Write(text[from:])
}

func ptr[T any](v T) *T { return to.Ptr(v) }
