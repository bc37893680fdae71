package azureml

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
)

// Datastores that every workspace has (learn.microsoft.com, "Data concepts in Azure
// Machine Learning"). Which one is its default, a workspace may say itself.
const (
	defaultDatastore  = ""
	blobDatastore     = "workspaceblobstore"
	artifactDatastore = "workspaceartifactstore"
)

// deniedError says that a storage account lets nobody in by any way that there is.
type deniedError struct {
	what    string // what cannot be reached
	reasons []string
	last    error
}

func (e *deniedError) Error() string {
	return fmt.Sprintf("%s cannot be reached: %s; give who is signed in the role Storage Blob Data Contributor on "+
		"the storage account (AuthorizationFailure means its firewall: run this where the account can be reached)",
		e.what, strings.Join(e.reasons, ", "))
}

func (e *deniedError) Unwrap() error { return e.last }

// denied tells that who asks is not let in, which another way may be.
func denied(err error) bool {
	code := status(err)
	return code == http.StatusForbidden || code == http.StatusUnauthorized
}

// once keeps what was found, or that nobody is let in; any other failure may pass.
type once[T any] struct {
	mu    sync.Mutex
	done  bool
	value T
	err   error
}

func (o *once[T]) get(find func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		o.value, o.err = find()
		o.done = o.err == nil || denied(o.err)
	}
	return o.value, o.err
}

// store opens a datastore, once.
func (c *connection) store(ctx context.Context, name string) (*storage, error) {
	opened := func(name string) *once[*storage] {
		s, _ := c.stores.LoadOrStore(name, &once[*storage]{})
		return s.(*once[*storage])
	}
	return opened(name).get(func() (*storage, error) {
		real, properties, err := c.datastore(ctx, name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("datastore %s: %w", real, short(err))
		case real != name: // the default one has a name as well
			return opened(real).get(func() (*storage, error) { return c.openStorage(ctx, real, properties) })
		}
		return c.openStorage(ctx, name, properties)
	})
}

// openStorage opens the container of a datastore by the first way that its storage
// account lets in: the datastore's own secrets, where it has any and they may be listed,
// else the identity that is signed in (azure-ai-ml, get_datastore_info). An account may
// refuse its own keys.
func (c *connection) openStorage(ctx context.Context, name string,
	properties armmachinelearning.DatastorePropertiesClassification) (*storage, error) {
	account, address, kind, err := c.locate(name, properties)
	if err != nil {
		return nil, err
	}
	refused := &deniedError{what: fmt.Sprintf("the datastore %s (storage account %s)", name, account)}
	s := &storage{url: address, datastore: name}
	if kind == armmachinelearning.CredentialsTypeAccountKey || kind == armmachinelearning.CredentialsTypeSas {
		how, err := s.withSecrets(ctx, c, account)
		if code := status(err); err == nil || code < 400 || code >= 500 {
			return s, short(err)
		}
		refused.add(how, err)
	}
	if err = s.withIdentity(c); err == nil {
		err = s.try(ctx)
	}
	if !denied(err) {
		return s, short(err)
	}
	refused.add("as who is signed in", err)
	return nil, refused
}

// withSecrets goes in with what the datastore has, and says how.
func (s *storage) withSecrets(ctx context.Context, c *connection, account string) (how string, err error) {
	secrets, err := c.clients.NewDatastoresClient().ListSecrets(ctx, c.group, c.name, s.datastore, nil)
	if err != nil {
		return "its secrets may not be listed", err
	}
	switch secret := secrets.DatastoreSecretsClassification.(type) {
	case *armmachinelearning.AccountKeyDatastoreSecrets:
		how, err = "with its key", s.withKey(c, account, deref(secret.Key))
	case *armmachinelearning.SasDatastoreSecrets:
		how, err = "with its SAS", s.withSAS(c, deref(secret.SasToken))
	default:
		how, err = "without a secret", s.withSAS(c, "")
	}
	if err == nil {
		err = s.try(ctx)
	}
	return how, err
}

// datastore asks for a datastore, or for the workspace's default one (azure-ai-ml,
// get_default).
func (c *connection) datastore(ctx context.Context,
	name string) (string, armmachinelearning.DatastorePropertiesClassification, error) {
	client := c.clients.NewDatastoresClient()
	if name == defaultDatastore {
		page, err := client.NewListPager(c.group, c.name,
			&armmachinelearning.DatastoresClientListOptions{IsDefault: to.Ptr(true)}).NextPage(ctx)
		if err == nil && len(page.Value) > 0 {
			return deref(page.Value[0].Name), page.Value[0].Properties, nil
		}
		name = blobDatastore
	}
	d, err := client.Get(ctx, c.group, c.name, name, nil)
	return name, d.Properties, err
}

func (e *deniedError) add(how string, err error) {
	e.last = short(err)
	e.reasons = append(e.reasons, how+": "+e.last.Error())
}

// locate says where a datastore is: its account, the address of its container, and which
// credentials it has. A file system of Data Lake Storage Gen2 is a container as well.
func (c *connection) locate(name string, d armmachinelearning.DatastorePropertiesClassification) (account,
	address string, kind armmachinelearning.CredentialsType, err error) {
	var protocol, endpoint, folder *string
	switch d := d.(type) {
	case *armmachinelearning.AzureBlobDatastore:
		account, protocol, endpoint, folder = deref(d.AccountName), d.Protocol, d.Endpoint, d.ContainerName
	case *armmachinelearning.AzureDataLakeGen2Datastore:
		account, protocol, endpoint, folder = deref(d.AccountName), d.Protocol, d.Endpoint, d.Filesystem
	default:
		return "", "", "", fmt.Errorf("the datastore %s is neither a blob container nor a file system of Data Lake "+
			"Storage Gen2, which is what files can be uploaded to", name)
	}
	if held := d.GetDatastoreProperties().Credentials; held != nil {
		kind = deref(held.GetDatastoreCredentials().CredentialsType)
	}
	template := cmp.Or(c.env.blob, cmp.Or(deref(protocol), "https")+"://{account}.blob."+
		cmp.Or(deref(endpoint), "core.windows.net"))
	return account, strings.ReplaceAll(template, "{account}", account) + "/" + deref(folder), kind, nil
}

// try looks whether the account lets in.
func (s *storage) try(ctx context.Context) error {
	_, err := s.container.NewListBlobsFlatPager(
		&container.ListBlobsFlatOptions{MaxResults: to.Ptr(int32(1))}).NextPage(ctx)
	return err
}

func (c *connection) blobOptions() *container.ClientOptions {
	return &container.ClientOptions{ClientOptions: c.options(c.env.stores, true)}
}

func (s *storage) withKey(c *connection, account, key string) error {
	cred, err := container.NewSharedKeyCredential(account, key)
	if err != nil {
		return fmt.Errorf("datastore %s: its account key cannot be used: %w", s.datastore, err)
	}
	client, err := container.NewClientWithSharedKeyCredential(s.url, cred, c.blobOptions())
	parts, perr := sas.ParseURL(s.url)
	if err = errors.Join(err, perr); err != nil {
		return err
	}
	query, err := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS,
		ExpiryTime: time.Now().UTC().Add(12 * time.Hour), ContainerName: parts.ContainerName,
		Permissions: (&sas.ContainerPermissions{Read: true, List: true}).String()}.SignWithSharedKey(cred)
	if err != nil {
		return err
	}
	s.container = client
	s.source = func(_ context.Context, address string) (string, *string, error) {
		return address + "?" + query.Encode(), nil, nil
	}
	return nil
}

func (s *storage) withSAS(c *connection, token string) (err error) {
	token = strings.TrimPrefix(token, "?")
	s.container, err = container.NewClientWithNoCredential(s.url+"?"+token, c.blobOptions())
	s.source = func(_ context.Context, address string) (string, *string, error) {
		return address + "?" + token, nil, nil
	}
	return err
}

func (s *storage) withIdentity(c *connection) (err error) {
	s.container, err = container.NewClient(s.url, c.cred, c.blobOptions())
	s.source = func(ctx context.Context, address string) (string, *string, error) {
		t, err := c.cred.GetToken(ctx,
			policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
		bearer := "Bearer " + t.Token
		return address, &bearer, err
	}
	return err
}

// send has files sent to the default datastore or, where its account lets nobody in, to
// a place that the workspace hands out for it, as it does to its own client. version
// names what is sent; send may be called twice.
func (c *connection) send(ctx context.Context, version string, send func(s *storage, prefix string) error) error {
	store, err := c.store(ctx, defaultDatastore)
	if err == nil {
		err = send(store, uploads+version+"/")
	}
	if !denied(err) {
		return err
	}
	store, prefix, perr := c.pendingUpload(ctx, version)
	if perr != nil {
		return fmt.Errorf("%w; and the workspace offers no other place: %w", short(err), short(perr))
	}
	if perr = send(store, prefix); denied(perr) {
		return fmt.Errorf("%w; nor is anybody let in at the place that the workspace offers: %w", short(err),
			short(perr))
	}
	return perr
}

// pendingUpload is a container that the workspace hands out for one upload, with a SAS
// (azure-ai-ml, _asset_utils.py, get_storage_info_for_non_registry_asset). prefix is
// where in it the files belong.
func (c *connection) pendingUpload(ctx context.Context, version string) (s *storage, prefix string, err error) {
	answer, err := c.clients.NewCodeVersionsClient().CreateOrGetStartPendingUpload(ctx, c.group, c.name, codeName,
		version,
		armmachinelearning.PendingUploadRequestDto{
			PendingUploadType: to.Ptr(armmachinelearning.PendingUploadTypeTemporaryBlobReference)}, nil)
	if err != nil {
		return nil, "", err
	}
	ref := deref(answer.BlobReferenceForConsumption)
	cred, ok := ref.Credential.(*armmachinelearning.SASCredentialDto)
	if !ok {
		return nil, "", errors.New("the workspace offers a place for the upload without a SAS")
	}
	u, err := url.Parse(deref(ref.BlobURI))
	signed, serr := url.Parse(deref(cred.SasURI))
	parts, perr := sas.ParseURL(deref(ref.BlobURI))
	if err != nil || serr != nil || perr != nil {
		return nil, "", errors.New("the workspace hands out an address for the upload that is none")
	}
	u.Path = strings.TrimSuffix(u.Path, parts.BlobName)
	s = &storage{url: strings.TrimSuffix(u.String(), "/")}
	if prefix = strings.Trim(parts.BlobName, "/"); prefix != "" {
		prefix += "/"
	}
	return s, prefix, s.withSAS(c, signed.RawQuery)
}
