package azureml

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/pipeline"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/submit"
)

// retries is how a request to a workspace is sent again.
func retries() policy.RetryOptions { return pipeline.Retries(5, 5*time.Minute) }

// What is waited for at most, and read at most of an answer that is no file.
const (
	answerWithin = 2 * time.Minute
	answerSize   = 64 << 20
)

// newHTTPClient follows no redirect: none of the services sends one, and a token or a
// signed address would travel along.
func newHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 128
	t.ResponseHeaderTimeout = answerWithin
	return &http.Client{Transport: debuglog.Transport(t),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// door is the way to the hosts of one service, and to no other, whatever address an
// answer has named: a token goes only where the cloud or the workspace says.
type door struct {
	client *http.Client
	leads  func(*url.URL) bool
	files  bool // what comes are files, of any size
}

// Do implements policy.Transporter.
func (d door) Do(req *http.Request) (*http.Response, error) {
	if !d.leads(req.URL) {
		return nil, &strayError{req.URL.Scheme + "://" + req.URL.Host}
	}
	res, err := d.client.Do(req)
	if err == nil && (!d.files || res.StatusCode >= 300) {
		res.Body = &limitedBody{res.Body, answerSize, req.URL.Host}
	}
	return res, err
}

// strayError is the error of a request to a host that is none of the service's.
type strayError struct{ host string }

func (e *strayError) Error() string {
	return fmt.Sprintf("an answer of the workspace leads to %s, which is no address of the cloud or the workspace; "+
		"nothing was sent there (of a cloud of its own, --cloud names the addresses)", e.host)
}

// NonRetriable tells azcore's retry policy.
func (e *strayError) NonRetriable() {}

// limitedBody ends with an error where an answer is larger than it may be.
type limitedBody struct {
	io.ReadCloser
	left int64
	host string
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &largeError{b.host}
	}
	return n, err
}

type largeError struct{ host string }

func (e *largeError) Error() string {
	return fmt.Sprintf("an answer of %s is larger than %s, and is not read", e.host, size.Limit(answerSize))
}

// NonRetriable tells azcore's retry policy.
func (e *largeError) NonRetriable() {}

// connection is a workspace that was signed in to.
type connection struct {
	env     environment
	cred    azcore.TokenCredential
	http    *http.Client
	arm     *arm.Client
	managed *arm.ClientOptions // of a client of the control plane
	clients *armmachinelearning.ClientFactory
	group   string
	name    string
	path    string // the workspace's resource id

	api    string           // https://REGION.api.azureml.ms
	hosts  map[string]bool  // those of the workspace's own API
	own    runtime.Pipeline // to there, with a token
	signed runtime.Pipeline // to there and to storage accounts, without: the address holds a signature
	mlflow *history.Client
	stores sync.Map // by the datastore's name, a *once[*storage]
}

// connect signs in and looks the workspace up, once.
func (t *Target) connect(ctx context.Context) (*connection, error) {
	t.once.Do(func() { t.conn, t.err = t.open(ctx) })
	return t.conn, t.err
}

func (t *Target) open(ctx context.Context) (*connection, error) {
	if missing := t.Missing(); len(missing) > 0 {
		return nil, &submit.Refusal{Reason: fmt.Sprintf("no workspace is known to submit to: %s missing; give "+
			"--subscription-id, --resource-group and --workspace-name, write them under workspace in "+
			".aml-train.yaml, or put the config.json of Azure ML's studio here", strings.Join(missing, ", "))}
	}
	env, creds, err := t.SignIn.environment()
	if err != nil {
		return nil, &submit.Refusal{Reason: err.Error()}
	}
	client := newHTTPClient()
	cred, how, err := t.SignIn.credential(env, creds, client)
	if err != nil {
		return nil, &SignInError{err}
	}
	if err := t.SignIn.signedIn(ctx, cred, how, env); err != nil {
		return nil, err
	}
	return newConnection(ctx, env, cred, client, t.Workspace)
}

// newConnection looks a workspace up.
func newConnection(ctx context.Context, env environment, cred azcore.TokenCredential, client *http.Client,
	w Workspace) (*connection, error) {
	c := &connection{env: env, cred: cred, http: client, group: w.ResourceGroup, name: w.Name, path: w.path()}
	manager, err := url.Parse(env.cloud.Services[cloud.ResourceManager].Endpoint)
	if err != nil {
		return nil, err
	}
	options := &arm.ClientOptions{DisableRPRegistration: true,
		ClientOptions: c.options(func(u *url.URL) bool { return u.Scheme == manager.Scheme && u.Host == manager.Host },
			false)}
	c.managed = options
	if c.clients, err = armmachinelearning.NewClientFactory(w.Subscription, cred, options); err != nil {
		return nil, err
	}
	if c.arm, err = arm.NewClient("aml-train", "v1.0.0", cred, options); err != nil {
		return nil, err
	}
	found, err := c.clients.NewWorkspacesClient().Get(ctx, c.group, c.name, nil)
	if err != nil {
		return nil, c.noWorkspace(ctx, w, err)
	}
	return c, c.find(ctx, found.Properties)
}

// options are those of every client: which hosts it may reach, and whether what comes
// from there are files.
func (c *connection) options(leads func(*url.URL) bool, files bool) policy.ClientOptions {
	o := pipeline.Options(retries(), door{c.http, leads, files})
	o.Cloud = c.env.cloud
	return *o
}

// find learns where the workspace's own API is. Its discovery document says so
// (azure-ai-ml, _get_workspace_url), which in a private network names another host than
// the region's; without one, it is where its MLflow is (azureml-mlflow).
func (c *connection) find(ctx context.Context, w *armmachinelearning.WorkspaceProperties) error {
	if w == nil {
		w = &armmachinelearning.WorkspaceProperties{}
	}
	tracking := strings.Replace(deref(w.MlFlowTrackingURI), "azureml://", "https://", 1)
	c.hosts = map[string]bool{}
	for _, address := range []string{tracking, deref(w.DiscoveryURL)} {
		if u, err := url.Parse(address); err == nil && u.Scheme == "https" && u.Host != "" {
			c.hosts[u.Host] = true
		}
	}
	signed := c.options(func(u *url.URL) bool { return c.ownHost(u) || c.env.stores(u) }, true)
	c.signed = pipeline.New(&signed)
	own := c.options(c.ownHost, false)
	anybody := pipeline.New(&own)
	var services struct{ API string }
	req, err := runtime.NewRequest(ctx, http.MethodGet, deref(w.DiscoveryURL))
	if err == nil {
		err = answerOf(anybody, req, &services) // nobody need sign in for it
	}
	if err != nil || services.API == "" {
		services.API = tracking
	}
	u, err := url.Parse(services.API)
	if err != nil || !c.ownHost(u) {
		return fmt.Errorf("the workspace %s names no address of its API (discoveryUrl %q, mlFlowTrackingUri %q)",
			c.name, deref(w.DiscoveryURL), deref(w.MlFlowTrackingURI))
	}
	c.api = "https://" + u.Host
	c.own = pipeline.New(&own, runtime.NewBearerTokenPolicy(c.cred, []string{c.env.ml}, nil))
	// Microsoft's plugin for MLflow 2 and 3 asks there, too (azureml-mlflow, _utils.py).
	c.mlflow = &history.Client{Base: c.api + "/mlflow/v2.0" + c.path, HTTP: doer{c.own}}
	return nil
}

// ownHost tells a host of the workspace's own API: one that the control plane names for
// it, or another of the cloud's.
func (c *connection) ownHost(u *url.URL) bool {
	return u.Scheme == "https" && (c.hosts[u.Host] || below(u.Hostname(), c.env.apis))
}

// doer sends requests through a pipeline.
type doer struct{ pipeline runtime.Pipeline }

func (d doer) Do(r *http.Request) (*http.Response, error) {
	req, err := runtime.NewRequestFromRequest(r)
	if err != nil {
		return nil, err
	}
	res, err := d.pipeline.Do(req)
	return res, short(err)
}

// planes are the parts of the workspace's own API, with the versions that azure-ai-ml asks
// for (_restclient, _configuration.py of each).
var planes = map[string]string{"history": "v1.0", "data": "1.5.0", "modelregistry": "1.0.0",
	"registrymanagement": "v1.0"}

// ask asks the workspace's own API. A body is sent as JSON.
func (c *connection) ask(ctx context.Context, method, path string, body, out any) error {
	req, err := runtime.NewRequest(ctx, method, c.api+path)
	if err != nil {
		return err
	}
	plane, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	query := req.Raw().URL.Query()
	query.Set("api-version", planes[plane])
	req.Raw().URL.RawQuery = query.Encode()
	if body != nil {
		if err := setJSON(req, body); err != nil {
			return err
		}
	}
	return answerOf(c.own, req, out)
}

func (c *connection) get(ctx context.Context, path string, out any) error {
	return c.ask(ctx, http.MethodGet, path, nil, out)
}

func setJSON(req *policy.Request, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return req.SetBody(streaming.NopCloser(bytes.NewReader(text)), "application/json")
}

// answerOf sends a request and reads the answer into out, where that is not nil.
func answerOf(p runtime.Pipeline, req *policy.Request, out any) error {
	req.Raw().Header.Set("Accept", "application/json")
	res, err := p.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if !runtime.HasStatusCode(res, http.StatusOK, http.StatusCreated) {
		return runtime.NewResponseError(res)
	}
	if out == nil {
		return nil
	}
	return runtime.UnmarshalAsJSON(res, out)
}

// below tells a host of one of the domains.
func below(host string, domains []string) bool {
	for _, d := range domains {
		if strings.HasSuffix(strings.ToLower(host), "."+d) {
			return true
		}
	}
	return false
}
