package azureml

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/submit"
)

// inRegistry is an asset of a registry: azureml://registries/REGISTRY/KIND/NAME/versions/VERSION,
// or the newest, .../labels/latest (azure-ai-ml, REGISTRY_ASSET_ID).
var inRegistry = lazyregexp.New(`^azureml://registries/([^/]+)/(data|models)/([^/]+)/(?:versions/([^/@]+)|labels/latest)$`)

// shared is an asset of a registry. A version of "" is the newest one.
type shared struct{ registry, kind, name, version string }

// sharedAt reads the address of an asset of a registry; ok is false for any other.
func sharedAt(address string) (s shared, ok bool) {
	m := inRegistry.FindStringSubmatch(address)
	if m == nil {
		return s, false
	}
	return shared{m[1], m[2], m[3], m[4]}, true
}

func (s shared) String() string {
	return "azureml://registries/" + s.registry + "/" + s.kind + "/" + s.name + "/versions/" + s.version
}

// registry is where a registry is managed.
type registry struct {
	name, group string
	clients     *armmachinelearning.ClientFactory
}

// registry looks a registry up: it lies in a subscription and a resource group of its own,
// which its discovery names to everybody (azure-ai-ml, _registry_utils.py).
func (c *connection) registry(ctx context.Context, name string) (*registry, error) {
	var found struct{ SubscriptionID, ResourceGroup string }
	err := c.get(ctx, "/registrymanagement/v1.0/registries/"+url.PathEscape(name)+"/discovery", &found)
	switch {
	case status(err) == http.StatusNotFound:
		return nil, &submit.Refusal{Reason: "there is no registry " + name}
	case err != nil:
		return nil, fmt.Errorf("registry %s: %w", name, short(err))
	case found.SubscriptionID == "" || found.ResourceGroup == "":
		return nil, fmt.Errorf("the registry %s does not say where it is managed", name)
	}
	clients, err := armmachinelearning.NewClientFactory(found.SubscriptionID, c.cred, c.managed)
	return &registry{name, found.ResourceGroup, clients}, err
}

// newest is the version of an asset that was made last.
func (r *registry) newest(ctx context.Context, s shared) (string, error) {
	order, one := to.Ptr("createdtime desc"), to.Ptr(int32(1))
	version := ""
	var err error
	if s.kind == "models" {
		var page armmachinelearning.RegistryModelVersionsClientListResponse
		page, err = r.clients.NewRegistryModelVersionsClient().NewListPager(r.group, r.name, s.name,
			&armmachinelearning.RegistryModelVersionsClientListOptions{OrderBy: order, Top: one}).NextPage(ctx)
		if err == nil && len(page.Value) > 0 {
			version = deref(page.Value[0].Name)
		}
	} else {
		var page armmachinelearning.RegistryDataVersionsClientListResponse
		page, err = r.clients.NewRegistryDataVersionsClient().NewListPager(r.group, r.name, s.name,
			&armmachinelearning.RegistryDataVersionsClientListOptions{OrderBy: order, Top: one}).NextPage(ctx)
		if err == nil && len(page.Value) > 0 {
			version = deref(page.Value[0].Name)
		}
	}
	if version == "" && (err == nil || status(err) == http.StatusNotFound) {
		return "", &submit.Refusal{Reason: fmt.Sprintf("the registry %s has no %s in %s", r.name, s.name, s.kind)}
	}
	return version, short(err)
}

// at is the address of a version in the registry's storage.
func (r *registry) at(ctx context.Context, s shared) (address string, err error) {
	if s.kind == "models" {
		found, gerr := r.clients.NewRegistryModelVersionsClient().Get(ctx, r.group, r.name, s.name, s.version, nil)
		if err = gerr; found.Properties != nil {
			address = deref(found.Properties.ModelURI)
		}
	} else {
		found, gerr := r.clients.NewRegistryDataVersionsClient().Get(ctx, r.group, r.name, s.name, s.version, nil)
		if err = gerr; found.Properties != nil {
			address = deref(found.Properties.GetDataVersionBaseProperties().DataURI)
		}
	}
	switch {
	case status(err) == http.StatusNotFound:
		err = &submit.Refusal{Reason: fmt.Sprintf("the registry %s has no version %s of %s in %s", r.name, s.version,
			s.name, s.kind)}
	case denied(err):
		err = fmt.Errorf("who is signed in may not read the registry %s; give it the role AzureML Registry User "+
			"there: %w", r.name, short(err))
	case err == nil && address == "":
		err = fmt.Errorf("the registry %s does not say where version %s of %s lies", r.name, s.version, s.name)
	}
	return address, short(err)
}

// openShared opens the container that holds a version of a registry's asset, by the SAS that
// the registry gives out for it.
func (c *connection) openShared(ctx context.Context, s shared) (*storage, string, error) {
	r, err := c.registry(ctx, s.registry)
	if err != nil {
		return nil, "", err
	}
	address, err := r.at(ctx, s)
	if err != nil {
		return nil, "", err
	}
	answer, err := r.clients.NewRegistryDataReferencesClient().GetBlobReferenceSAS(ctx, r.group, r.name, s.name,
		s.version, armmachinelearning.GetBlobReferenceSASRequestDto{AssetID: to.Ptr(s.String()),
			BlobURI: &address}, nil)
	if err != nil {
		return nil, "", fmt.Errorf("the registry %s gives out no access to %s: %w", r.name, s, short(err))
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", fmt.Errorf("the registry %s names an address of %s that is none", r.name, s)
	}
	where, at := c.containerURL(u)
	if where == "" {
		return nil, "", &submit.Refusal{Reason: fmt.Sprintf("%s lies at %s, which is no storage account of the cloud",
			s, shown(address))}
	}
	store := &storage{url: where}
	if given := answer.BlobReferenceForConsumption; given != nil {
		if held, ok := given.Credential.(*armmachinelearning.SASCredential); ok {
			signed, err := url.Parse(deref(held.SasURI))
			if err != nil {
				return nil, "", fmt.Errorf("the registry %s hands out an address that is none", r.name)
			}
			return store, at, store.withSAS(c, signed.RawQuery)
		}
	}
	return store, at, store.withIdentity(c)
}
