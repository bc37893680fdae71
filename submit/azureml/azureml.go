// Package azureml answers: how does a job run in an Azure Machine Learning
// workspace?
//
// It speaks the REST API of today (api-version 2024-04-01) as Microsoft's own
// clients do. The control plane (Azure Resource Manager) knows code, environments,
// computes and jobs; the workspace's own API tells of a run's state and logs (run
// history) and its metrics (MLflow); its storage account holds the files.
//
// Sources, named where a rule is taken from them: the Go module armmachinelearning,
// Microsoft's azure-ai-ml for Python (the paths are those in its package), and
// learn.microsoft.com.
package azureml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/submit"
)

// Workspace names a workspace.
type Workspace struct {
	Subscription  string `json:"subscription_id" yaml:"subscription_id"`
	ResourceGroup string `json:"resource_group" yaml:"resource_group"`
	Name          string `json:"workspace_name" yaml:"workspace_name"`
}

// Missing names what is not known of a workspace, in the words of the flags.
func (w Workspace) Missing() []string {
	var out []string
	for name, value := range map[string]string{"subscription-id": w.Subscription, "resource-group": w.ResourceGroup, "workspace-name": w.Name} {
		if value == "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Or returns the workspace with what it lacks taken from another.
func (w Workspace) Or(other Workspace) Workspace {
	for _, f := range []struct {
		to   *string
		from string
	}{{&w.Subscription, other.Subscription}, {&w.ResourceGroup, other.ResourceGroup}, {&w.Name, other.Name}} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	return w
}

// path is the workspace's resource id.
func (w Workspace) path() string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.MachineLearningServices/workspaces/%s",
		url.PathEscape(w.Subscription), url.PathEscape(w.ResourceGroup), url.PathEscape(w.Name))
}

// Target runs jobs in a workspace.
type Target struct {
	Workspace
	SignIn SignIn

	// Home is a folder that outlives this process: what was about to be submitted is
	// remembered there, so that a submission that was cut off is taken up again.
	Home string
	// Attempt tells one submission of the same job and files from another: the
	// workflow run, its attempt and step. It is "" outside a workflow, where Home
	// does.
	Attempt string
	// Say prints progress.
	Say func(format string, args ...any)

	Poll time.Duration // between two looks at a run; 0 is the default

	once sync.Once
	err  error
	conn *connection
}

var _ submit.Target = (*Target)(nil)

// connection is a workspace that was signed in to.
type connection struct {
	env     environment
	cred    azcore.TokenCredential
	arm     *arm.Client
	clients *armmachinelearning.ClientFactory
	http    *http.Client
	group   string
	name    string
	path    string // the workspace's resource id

	api    string           // https://REGION.api.azureml.ms
	own    runtime.Pipeline // to there
	mlflow *history.Client
	store  func() (*storage, error) // the default datastore
}

// connect signs in and looks the workspace up, once.
func (t *Target) connect(ctx context.Context) (*connection, error) {
	t.once.Do(func() { t.conn, t.err = t.open(ctx) })
	return t.conn, t.err
}

func (t *Target) open(ctx context.Context) (*connection, error) {
	if missing := t.Missing(); len(missing) > 0 {
		return nil, &submit.Refusal{Reason: fmt.Sprintf("no workspace is known to submit to: %s missing; give --subscription-id, --resource-group and --workspace-name, write them under workspace in .aml-train.yaml, or put the config.json of Azure ML's studio here", strings.Join(missing, ", "))}
	}
	env, creds, err := t.SignIn.environment()
	if err != nil {
		return nil, &submit.Refusal{Reason: err.Error()}
	}
	client := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 128
	cred, how, err := t.SignIn.credential(env, creds, client)
	if err != nil {
		return nil, &SignInError{err}
	}
	if err := t.SignIn.signedIn(ctx, cred, how, env); err != nil {
		return nil, err
	}
	c := &connection{env: env, cred: cred, http: client, group: t.ResourceGroup, name: t.Name, path: t.path()}
	options := &arm.ClientOptions{ClientOptions: c.options(), DisableRPRegistration: true}
	if c.clients, err = armmachinelearning.NewClientFactory(t.Subscription, cred, options); err != nil {
		return nil, err
	}
	if c.arm, err = arm.NewClient("aml-train", "v1.0.0", cred, options); err != nil {
		return nil, err
	}
	workspaces := c.clients.NewWorkspacesClient()
	w, err := workspaces.Get(ctx, t.ResourceGroup, t.Name, nil)
	if err != nil {
		return nil, c.noWorkspace(ctx, t.Workspace, err)
	}
	// The same address as the workspace's MLflow, under another scheme.
	tracking := strings.Replace(deref(w.Properties.MlFlowTrackingURI), "azureml://", "https://", 1)
	u, err := url.Parse(tracking)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the workspace %s names no MLflow address (mlFlowTrackingUri: %q)", t.Name, tracking)
	}
	c.api = u.Scheme + "://" + u.Host
	own := c.options()
	c.own = runtime.NewPipeline("aml-train", "v1.0.0", runtime.PipelineOptions{PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(cred, []string{env.ml}, nil)}}, &own)
	c.mlflow = &history.Client{Base: tracking, HTTP: client, Token: c.token}
	c.store = sync.OnceValues(func() (*storage, error) { return c.openStorage(context.WithoutCancel(ctx), defaultDatastore) })
	return c, nil
}

// options are those of every client: each request is tried again by itself, for
// uploads are many and small.
func (c *connection) options() policy.ClientOptions {
	return policy.ClientOptions{Cloud: c.env.cloud, Transport: c.http, Telemetry: policy.TelemetryOptions{ApplicationID: "aml-train"},
		Retry: policy.RetryOptions{MaxRetries: 5, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 30 * time.Second}}
}

// token returns a token for the workspace's own API. The credential keeps it as
// long as it lives.
func (c *connection) token(ctx context.Context) (string, error) {
	t, err := c.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.env.ml}})
	return t.Token, err
}

// noWorkspace explains why a workspace cannot be had.
func (c *connection) noWorkspace(ctx context.Context, w Workspace, err error) error {
	switch status(err) {
	case http.StatusNotFound:
		var names []string
		pager := c.clients.NewWorkspacesClient().NewListByResourceGroupPager(w.ResourceGroup, nil)
		for len(names) < 200 && pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				break
			}
			for _, one := range page.Value {
				names = append(names, deref(one.Name))
			}
		}
		return &submit.Refusal{Reason: fmt.Sprintf("there is no workspace %s in the resource group %s of subscription %s%s", w.Name, w.ResourceGroup, w.Subscription, hint(w.Name, names))}
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("who is signed in may not use the workspace %s; give it the role AzureML Data Scientist there: %w", w.Name, short(err))
	}
	return fmt.Errorf("workspace %s: %w", w.Name, short(err))
}

// hint suggests the name meant, else lists those there are where they are few.
func hint(name string, known []string) string {
	if h := suggest.DidYouMean(name, known); h != "" {
		return h
	}
	if len(known) == 0 || len(known) > 8 {
		return ""
	}
	return "; there are " + strings.Join(known, ", ")
}

// status is the HTTP status of a refusal, 0 where there was no answer.
func status(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// short is an error of the Azure SDK in one line, without secrets: its own quotes the
// whole answer, and of a network failure the signed address.
func short(err error) error {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		var u *url.Error
		if errors.As(err, &u) { // its text holds the whole address, a SAS among it
			shown, _, _ := strings.Cut(u.URL, "?")
			return &azureError{fmt.Sprintf("%s %s: %v", strings.ToUpper(u.Op), shown, u.Err), err}
		}
		return err
	}
	message := ""
	if answer.RawResponse != nil && answer.RawResponse.Body != nil {
		var body struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if text, rerr := runtime.Payload(answer.RawResponse); rerr == nil && json.Unmarshal(text, &body) == nil {
			message = ": " + strings.Join(strings.Fields(body.Error.Message), " ")
		}
	}
	return &azureError{fmt.Sprintf("Azure answers %d %s%s", answer.StatusCode, answer.ErrorCode, message), err}
}

type azureError struct {
	text string
	error
}

func (e *azureError) Error() string { return e.text }
func (e *azureError) Unwrap() error { return e.error }

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// get asks the workspace's own API.
func (c *connection) get(ctx context.Context, path string, out any) error {
	req, err := runtime.NewRequest(ctx, http.MethodGet, c.api+path)
	if err != nil {
		return err
	}
	res, err := c.own.Do(req)
	if err != nil {
		return err
	}
	if !runtime.HasStatusCode(res, http.StatusOK) {
		return runtime.NewResponseError(res)
	}
	return runtime.UnmarshalAsJSON(res, out)
}
