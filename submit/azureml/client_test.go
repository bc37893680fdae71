package azureml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/require"
)

// network answers requests without a network, so that hours pass at once. A handler
// that panics with http.ErrAbortHandler cuts the connection.
type network http.HandlerFunc

func (n network) RoundTrip(r *http.Request) (res *http.Response, err error) {
	defer func() {
		switch cut := recover(); cut {
		case nil:
		case http.ErrAbortHandler:
			err = io.ErrUnexpectedEOF
		default:
			panic(cut)
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	n(w, r)
	return w.Result(), nil
}

// token is good for everything.
type token struct{ err func() error }

func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if t.err != nil && t.err() != nil {
		return azcore.AccessToken{}, t.err()
	}
	return azcore.AccessToken{Token: "secret-token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// offline is a workspace that h answers for. Its control plane and discovery document are
// there already.
func offline(t *testing.T, cred azcore.TokenCredential, h http.HandlerFunc) *connection {
	client := newHTTPClient()
	client.Transport = network(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Host == "management.azure.com" && strings.HasSuffix(r.URL.Path, "/workspaces/w"):
			fmt.Fprint(w,
				`{"properties": {"discoveryUrl": "https://w.workspace.mars.api.azureml.ms/discovery", "mlFlowTrackingUri": "azureml://mars.api.azureml.ms/mlflow/v1.0/x"}}`)
		case r.URL.Path == "/discovery":
			fmt.Fprint(w, `{"api": "https://w.workspace.mars.api.azureml.ms"}`)
		default:
			h(w, r)
		}
	})
	c, err := newConnection(t.Context(), clouds["azurecloud"], cred, client, Workspace{"s", "g", "w"})
	require.NoError(t, err)
	return c
}

// What Retry-After says is waited for, up to five minutes, and no shorter.
func TestRetryAfter(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, after := range []int{1, 30, 31, 299, 301, 86400} {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				c := offline(t, token{}, func(w http.ResponseWriter, r *http.Request) {
					if asked++; asked == 1 {
						w.Header().Set("Retry-After", fmt.Sprint(after))
						w.WriteHeader(code)
						return
					}
					fmt.Fprint(w, `{"runs": [], "status": "Running"}`)
				})
				for plane, ask := range map[string]func() error{
					"run history": func() error { return c.get(t.Context(), "/history", nil) },
					"MLflow":      func() error { _, err := c.mlflow.Run(t.Context(), "r"); return err },
					"control plane": func() error {
						_, err := c.clients.NewJobsClient().Get(t.Context(), "g", "w", "j",
							nil)
						return err
					},
					"files": func() error {
						_, err := c.log(t.Context(), http.MethodGet, "https://a.blob.core.windows.net/l?sig=x", 0)
						return err
					},
				} {
					asked = 0
					start := time.Now()
					err := ask()
					if waited := time.Since(start); after <= 300 {
						require.NoError(t, err, plane)
						require.Equal(t, time.Duration(after)*time.Second, waited.Truncate(time.Second), plane)
						continue
					}
					require.Equal(t, 1, asked, plane)
					require.Less(t, time.Since(start), time.Second, plane)
				}
			})
		}
	}
}

// Which hosts get a token of the workspace's API, which one of storage, which neither.
func TestHosts(t *testing.T) {
	c := offline(t, token{}, nil)
	require.Equal(t, "https://w.workspace.mars.api.azureml.ms", c.api)
	for address, want := range map[string]string{
		"https://westeurope.api.azureml.ms/x":             "api",
		"https://w.workspace.mars.api.azureml.ms":         "api",
		"https://a.blob.core.windows.net/c":               "files",
		"https://a.z21.blob.storage.azure.net/c":          "files",
		"http://westeurope.api.azureml.ms":                "",
		"http://a.blob.core.windows.net":                  "",
		"https://westeurope.api.azureml.ms.example.com":   "",
		"https://evilapi.azureml.ms":                      "",
		"https://api.azureml.ms@example.com":              "",
		"https://example.com/?.api.azureml.ms":            "",
		"https://example.com#.blob.core.windows.net":      "",
		"https://example.com\\.blob.core.windows.net":     "",
		"https://a.blob.core.windows.net.example.com":     "",
		"https://core.windows.net":                        "",
		"https://a.queue.core.windows.net":                "",
		"https://a.blob.core.usgovcloudapi.net":           "",
		"https://169.254.169.254/metadata/identity/token": "",
		"file:///etc/passwd":                              "",
	} {
		u, err := url.Parse(address)
		if err != nil {
			require.Empty(t, want)
			continue
		}
		require.Equal(t, want == "api", c.ownHost(u), address)
		require.Equal(t, want == "files", c.env.stores(u), address)
	}
	own := environment{custom: true, blob: "https://{account}.blob.local:8443"}
	for address, want := range map[string]bool{"https://a.blob.local:8443/c": true, "https://a.blob.local/c": false,
		"http://a.blob.local:8443": false, "https://a.blob.local:8443.example.com": false} {
		u, err := url.Parse(address)
		require.Equal(t, want, err == nil && own.stores(u), address)
	}
}

// An answer that leads elsewhere, by a next page, a log, a redirect or a discovery
// document, makes no request there.
func TestNothingIsSentElsewhere(t *testing.T) {
	t.Parallel()
	elsewhere := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Host, "example.com") }
	strayed := 0
	c := offline(t, token{}, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case elsewhere(r):
			strayed++
		case strings.Contains(r.URL.Path, "/computes"):
			fmt.Fprint(w, `{"value": [], "nextLink": "https://example.com/next"}`)
		default:
			http.Redirect(w, r, "https://example.com/stolen", http.StatusTemporaryRedirect)
		}
	})
	pager := c.clients.NewComputeClient().NewListPager("g", "w", nil)
	_, err := pager.NextPage(t.Context())
	require.NoError(t, err)
	_, err = pager.NextPage(t.Context())
	require.ErrorContains(t, err, "https://example.com, which is no address of the cloud or the workspace")
	_, err = c.log(t.Context(), http.MethodGet, "https://example.com/log?sig=secret", 0)
	require.ErrorContains(t, err, "https://example.com, which is no address")
	require.NotContains(t, err.Error(), "secret")
	for _, ask := range []func() error{
		func() error { return c.get(t.Context(), "/history", nil) },
		func() error { _, err := c.mlflow.Run(t.Context(), "r"); return err },
		func() error { _, err := c.clients.NewJobsClient().Get(t.Context(), "g", "w", "j", nil); return err },
		func() error { _, err := c.fetch(t.Context(), "https://a.blob.core.windows.net/l?sig=x", 0); return err },
	} {
		require.Error(t, ask())
	}
	require.Zero(t, strayed)

	client := newHTTPClient()
	client.Transport = network(func(w http.ResponseWriter, r *http.Request) {
		if elsewhere(r) {
			strayed++
		}
		if r.URL.Path == "/discovery" {
			fmt.Fprint(w, `{"api": "https://example.com"}`)
			return
		}
		fmt.Fprint(w, `{"properties": {"discoveryUrl": "https://mars.api.azureml.ms/discovery"}}`)
	})
	_, err = newConnection(t.Context(), clouds["azurecloud"], token{}, client, Workspace{"s", "g", "w"})
	require.ErrorContains(t, err, "names no address of its API")
	require.Zero(t, strayed)
}

// An answer without an end costs no more memory than the limit; a file is read as it
// comes.
func TestLargeAnswers(t *testing.T) {
	c := offline(t, token{}, func(w http.ResponseWriter, r *http.Request) {
		w.Write(bytes.Repeat([]byte(" "), answerSize+1))
	})
	err := c.get(t.Context(), "/history", nil)
	require.ErrorContains(t, err, "an answer of w.workspace.mars.api.azureml.ms is larger than 64 MiB")
	res, err := c.fetch(t.Context(), "https://a.blob.core.windows.net/l?sig=x", 0)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.EqualValues(t, answerSize+1, n)
}

// The control plane's own address is checked as well.
func TestCustomCloud(t *testing.T) {
	client := newHTTPClient()
	client.Transport = network(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w,
			`{"properties": {"mlFlowTrackingUri": "azureml://ml.local/mlflow/v1.0/x", "discoveryUrl": "https://ml.local/discovery"}}`)
	})
	env := environment{custom: true, ml: "https://ml.local/.default", cloud: cloud.Configuration{
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: "https://manager.local", Audience: "https://manager.local"}}}}
	c, err := newConnection(t.Context(), env, token{}, client, Workspace{"s", "g", "w"})
	require.NoError(t, err)
	require.Equal(t, "https://ml.local", c.api, "without a discovery document that says where, it is where MLflow is")
	req, err := runtime.NewRequest(t.Context(), http.MethodGet, "https://manager.local.example.com/x")
	require.NoError(t, err)
	var stray *strayError
	_, err = c.arm.Pipeline().Do(req)
	require.True(t, errors.As(err, &stray))
}
