package azureml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// SignIn says who signs in, and where. The zero value is what the machine offers.
type SignIn struct {
	Tenant string // the directory's id
	Client string // the application's id
	Creds  string // JSON of "az ad sp create-for-rbac --sdk-auth"
	Cloud  string // AzureCloud, AzureUSGovernment, AzureChinaCloud, or JSON as in Creds

	// IDToken fetches a token of the workflow that this program runs in, for Azure to
	// exchange. It is asked again at each refresh: such a token lives for minutes, and
	// training for hours. It is nil outside a workflow.
	IDToken func(context.Context) (string, error)
	// Subject is what that token names as its subject, as far as it is known: what a
	// federated credential in Azure has to name.
	Subject string
}

// endpoints are those of a cloud, in the names of --sdk-auth.
type endpoints struct {
	ClientID       string `json:"clientId"`
	ClientSecret   string `json:"clientSecret"`
	TenantID       string `json:"tenantId"`
	SubscriptionID string `json:"subscriptionId"`

	ActiveDirectory string `json:"activeDirectoryEndpointUrl"`
	ResourceManager string `json:"resourceManagerEndpointUrl"`

	// Not among those of --sdk-auth:
	MachineLearning string `json:"machineLearningResourceId"` // the audience of the workspaces' own API
	Blob            string `json:"blobEndpointUrl"`           // of a storage account, with {account} in it
}

// Secrets are the parts of Creds that nobody may see.
func (s SignIn) Secrets() []string {
	var creds endpoints
	if json.Unmarshal([]byte(s.Creds), &creds) != nil {
		return nil
	}
	return []string{creds.ClientSecret}
}

// environment is a cloud as this package needs it.
type environment struct {
	cloud cloud.Configuration
	ml    string   // the scope of a token for the workspaces' own API
	apis  []string // domains of the workspaces' own API
	files []string // domains of storage accounts
	blob  string   // a storage account's address, with {account} in it; "" takes the datastore's

	custom bool // no cloud of Microsoft's: its authority is not among those that are known
}

// clouds are Microsoft's (azure-ai-ml, _azure_environments.py; learn.microsoft.com,
// "Configure a private endpoint" for the domains of the API, and "Storage account
// overview" for those of storage accounts, which may lie in a zone of their own).
var clouds = map[string]environment{
	"azurecloud": {cloud: cloud.AzurePublic, ml: "https://ml.azure.com/.default",
		apis: []string{"api.azureml.ms"}, files: []string{"blob.core.windows.net", "blob.storage.azure.net"}},
	"azureusgovernment": {cloud: cloud.AzureGovernment, ml: "https://ml.azure.us/.default",
		apis: []string{"api.ml.azure.us"}, files: []string{"blob.core.usgovcloudapi.net"}},
	"azurechinacloud": {cloud: cloud.AzureChina, ml: "https://ml.azure.cn/.default",
		apis: []string{"api.ml.azure.cn"}, files: []string{"blob.core.chinacloudapi.cn"}},
}

// stores tells the address of a storage account of the cloud. Of a cloud of its own that
// names none, every one is that can be trusted to keep a secret.
func (e environment) stores(u *url.URL) bool {
	if e.blob == "" {
		return u.Scheme == "https" && (e.custom || below(u.Hostname(), e.files))
	}
	scheme, host, _ := strings.Cut(e.blob, "://")
	host, _, _ = strings.Cut(host, "/")
	account, rest, inHost := strings.Cut(host, "{account}")
	if inHost {
		return u.Scheme == scheme && strings.HasPrefix(u.Host, account) && strings.HasSuffix(u.Host, rest)
	}
	return u.Scheme == scheme && u.Host == host
}

// environment returns the cloud, and the credentials that creds holds.
func (s SignIn) environment() (environment, endpoints, error) {
	var creds, e endpoints
	if s.Creds != "" {
		if err := json.Unmarshal([]byte(s.Creds), &creds); err != nil {
			// the error would quote it
			return environment{}, creds,
				fmt.Errorf("creds is no JSON; it is what \"az ad sp create-for-rbac --sdk-auth\" prints")
		}
		if creds.ClientID == "" || creds.ClientSecret == "" || creds.TenantID == "" {
			return environment{}, creds,
				errors.New("creds lacks clientId, clientSecret or tenantId; it is what \"az ad sp create-for-rbac " +
					"--sdk-auth\" prints")
		}
	}
	e = creds
	switch name := strings.ToLower(strings.TrimSpace(s.Cloud)); {
	case strings.HasPrefix(name, "{"):
		if err := json.Unmarshal([]byte(s.Cloud), &e); err != nil {
			return environment{}, creds, fmt.Errorf("cloud: %w", err)
		}
	case name != "":
		known, ok := clouds[name]
		if !ok {
			return environment{}, creds,
				fmt.Errorf("cloud is %q; it can be AzureCloud, AzureUSGovernment, AzureChinaCloud, or JSON with "+
					"resourceManagerEndpointUrl and so on", s.Cloud)
		}
		return known, creds, nil
	}
	manager := strings.TrimSuffix(e.ResourceManager, "/")
	for _, known := range clouds {
		if manager == "" && known.ml == clouds["azurecloud"].ml ||
			manager == strings.TrimSuffix(known.cloud.Services[cloud.ResourceManager].Endpoint, "/") {
			return known, creds, nil
		}
	}
	for _, address := range []string{manager, e.ActiveDirectory} {
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
			return environment{}, creds, fmt.Errorf("cloud: %q is no https address", address)
		}
	}
	ml := e.MachineLearning
	if ml == "" {
		ml = "https://ml.azure.com"
	}
	return environment{
		cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: e.ActiveDirectory,
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: manager,
				Audience: manager}}},
		ml: strings.TrimSuffix(ml, "/") + "/.default", blob: e.Blob, custom: true,
	}, creds, nil
}

// credential returns what signs in, and a name for it.
func (s SignIn) credential(env environment, creds endpoints, client *http.Client) (azcore.TokenCredential, string,
	error) {
	options := azcore.ClientOptions{Cloud: env.cloud, Transport: client,
		Telemetry: policy.TelemetryOptions{ApplicationID: "aml-train"}}
	switch {
	case s.Creds != "":
		c, err := azidentity.NewClientSecretCredential(creds.TenantID, creds.ClientID, creds.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: env.custom})
		return c, "creds", err
	case s.Client != "" && s.Tenant == "":
		return nil, "",
			errors.New("client-id needs tenant-id: who is to sign in, and to which directory, belong together")
	case s.Client != "" && s.IDToken == nil:
		return nil, "", errors.New("client-id and tenant-id sign in with a token of the workflow, and there is none; " +
			"give the job \"permissions: id-token: write\". On a fork's pull request there is never one")
	case s.Client != "":
		c, err := azidentity.NewClientAssertionCredential(s.Tenant, s.Client, s.IDToken,
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: env.custom})
		return c, "workload identity federation (client-id and tenant-id)", err
	}
	c, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options,
		TenantID: s.Tenant, DisableInstanceDiscovery: env.custom})
	return c, "environment variables, workload identity, managed identity and the Azure CLI, in this order", err
}

// signedIn tries the credential, so that what is wrong with it is said before
// anything else is done.
func (s SignIn) signedIn(ctx context.Context, c azcore.TokenCredential, how string, env environment) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	scope := strings.TrimSuffix(env.cloud.Services[cloud.ResourceManager].Audience, "/") + "/.default"
	_, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	if err == nil {
		return nil
	}
	text := err.Error()
	hint := ""
	switch {
	case strings.Contains(text, "AADSTS700213"), strings.Contains(text, "AADSTS70021"),
		strings.Contains(text, "AADSTS700211"):
		hint = "the application in Azure has no federated credential for this workflow; add one (Certificates & " +
			"secrets, Federated credentials) with the issuer https://token.actions.githubusercontent.com, the " +
			"audience api://AzureADTokenExchange and the subject"
		if s.Subject != "" {
			hint += " " + s.Subject
		} else {
			hint += " that the message above names"
		}
	case strings.Contains(text, "AADSTS7000215"), strings.Contains(text, "AADSTS7000222"):
		hint = "the client secret is wrong or has expired; make a new one with \"az ad sp create-for-rbac --sdk-auth\""
	case strings.Contains(text, "AADSTS90002"), strings.Contains(text, "AADSTS900023"):
		hint = "there is no such directory; look at tenant-id"
	case strings.Contains(text, "AADSTS700016"):
		hint = "the directory has no such application; look at client-id and tenant-id"
	case s.Creds == "" && s.Client == "":
		hint = "in a workflow, give client-id and tenant-id with \"permissions: id-token: write\"; elsewhere, az login"
	}
	var failed *azidentity.AuthenticationFailedError
	if errors.As(err, &failed) && failed.RawResponse != nil {
		text = described(failed.RawResponse, text)
	}
	if hint != "" {
		hint = "; " + hint
	}
	return &SignInError{fmt.Errorf("signing in to Azure with %s failed: %s%s", how, firstLines(text, 6), hint)}
}

// SignInError says that nobody could be signed in.
type SignInError struct{ error }

func (e *SignInError) Unwrap() error { return e.error }

// described is what the directory says of a failure.
func described(res *http.Response, otherwise string) string {
	var answer struct {
		Description string `json:"error_description"`
	}
	if res.Body == nil || json.NewDecoder(res.Body).Decode(&answer) != nil || answer.Description == "" {
		return otherwise
	}
	return answer.Description
}

func firstLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}
