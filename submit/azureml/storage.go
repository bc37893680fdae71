package azureml

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
)

// Datastores that every workspace has (learn.microsoft.com, "Data concepts in Azure
// Machine Learning").
const (
	defaultDatastore  = "workspaceblobstore"
	artifactDatastore = "workspaceartifactstore"
)

// errNoSecrets says that the secrets of a datastore may not be listed.
var errNoSecrets = errors.New("the datastore's secrets may not be listed")

// storage is the container of a datastore.
type storage struct {
	container *container.Client
	url       string // https://ACCOUNT.blob.core.windows.net/CONTAINER
	datastore string // "" for a temporary container

	// source signs the address of a blob that the service is to copy, and says on
	// whose behalf it reads it, where the address does not.
	source func(ctx context.Context, address string) (signed string, authorization *string, err error)
}

func (c *connection) blobOptions() *container.ClientOptions {
	return &container.ClientOptions{ClientOptions: c.options(c.env.stores, true)}
}

// store opens a datastore, once.
func (c *connection) store(ctx context.Context, name string) (*storage, error) {
	open, _ := c.stores.LoadOrStore(name, sync.OnceValues(func() (*storage, error) {
		return c.openStorage(context.WithoutCancel(ctx), name)
	}))
	return open.(func() (*storage, error))()
}

// openStorage opens the container of a datastore with the credentials that it has:
// an account key, a SAS, or the identity that is signed in.
func (c *connection) openStorage(ctx context.Context, name string) (*storage, error) {
	datastores := c.clients.NewDatastoresClient()
	d, err := datastores.Get(ctx, c.group, c.name, name, nil)
	if err != nil {
		return nil, fmt.Errorf("datastore %s: %w", name, short(err))
	}
	store, ok := d.Properties.(*armmachinelearning.AzureBlobDatastore)
	if !ok {
		return nil, fmt.Errorf("the datastore %s is no blob container, which is what files can be uploaded to", name)
	}
	account := deref(store.AccountName)
	address := c.env.blob
	if address == "" {
		address = cmp.Or(deref(store.Protocol), "https") + "://{account}.blob." + cmp.Or(deref(store.Endpoint), "core.windows.net")
	}
	s := &storage{url: strings.ReplaceAll(address, "{account}", account) + "/" + deref(store.ContainerName), datastore: name}
	secrets, err := datastores.ListSecrets(ctx, c.group, c.name, name, nil)
	switch status(err) {
	case http.StatusForbidden, http.StatusUnauthorized:
		return nil, errNoSecrets
	}
	// A datastore without secrets is read with the identity that is signed in.
	if err != nil && status(err) != http.StatusBadRequest && status(err) != http.StatusNotFound {
		return nil, fmt.Errorf("datastore %s: %w", name, short(err))
	}
	var held armmachinelearning.DatastoreSecretsClassification
	if err == nil {
		held = secrets.DatastoreSecretsClassification
	}
	switch secret := held.(type) {
	case *armmachinelearning.AccountKeyDatastoreSecrets:
		return s, s.withKey(c, account, deref(secret.Key))
	case *armmachinelearning.SasDatastoreSecrets:
		return s, s.withSAS(c, deref(secret.SasToken))
	}
	return s, s.withIdentity(c)
}

func (s *storage) withKey(c *connection, account, key string) error {
	cred, err := container.NewSharedKeyCredential(account, key)
	if err != nil {
		return fmt.Errorf("datastore %s: its account key cannot be used: %w", s.datastore, err)
	}
	s.container, err = container.NewClientWithSharedKeyCredential(s.url, cred, c.blobOptions())
	parts, perr := sas.ParseURL(s.url)
	if err = errors.Join(err, perr); err != nil {
		return err
	}
	expires := time.Now().UTC().Add(12 * time.Hour)
	query, err := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPSandHTTP, ExpiryTime: expires, ContainerName: parts.ContainerName,
		Permissions: (&sas.ContainerPermissions{Read: true, List: true}).String()}.SignWithSharedKey(cred)
	if err != nil {
		return err
	}
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
		t, err := c.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
		bearer := "Bearer " + t.Token
		return address, &bearer, err
	}
	return err
}

// temporary is a container that the workspace hands out for one upload, with a SAS
// (azure-ai-ml, _asset_utils.py, get_storage_info_for_non_registry_asset). prefix is
// where in it the files belong.
func (c *connection) temporary(blobURI, sasURI string) (s *storage, prefix string, err error) {
	u, err := url.Parse(blobURI)
	if err != nil {
		return nil, "", err
	}
	signed, err := url.Parse(sasURI)
	if err != nil {
		return nil, "", errors.New("the workspace hands out an address for the upload that is none")
	}
	parts, err := sas.ParseURL(blobURI)
	if err != nil {
		return nil, "", err
	}
	u.Path = strings.TrimSuffix(u.Path, parts.BlobName)
	s = &storage{url: strings.TrimSuffix(u.String(), "/")}
	return s, strings.Trim(parts.BlobName, "/"), s.withSAS(c, signed.RawQuery)
}

// at is the address of a blob, or of a folder of them.
func (s *storage) at(name string) string {
	return s.url + "/" + (&url.URL{Path: name}).EscapedPath()
}

// small is what is sent in one request.
const small = 8 << 20

// oidKey is the metadata under which a blob remembers the git id of its content: what
// had arrived before a crash is known by it, and copies keep it.
const oidKey = "gitoid"

// put uploads a file of known size, with its MD5. open is called once for a small
// file, twice for a large one.
func (s *storage) put(ctx context.Context, name, oid string, size int64, open func() (io.ReadCloser, error)) error {
	b := s.container.NewBlockBlobClient(name)
	metadata := map[string]*string{}
	if oid != "" {
		metadata[oidKey] = &oid
	}
	r, err := open()
	if err != nil {
		return err
	}
	if size <= small {
		content, err := io.ReadAll(io.LimitReader(r, small+1))
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		if int64(len(content)) != size {
			return fmt.Errorf("%s changed while it was uploaded; run the command again", path.Base(name))
		}
		sum := md5.Sum(content)
		_, err = b.Upload(ctx, streaming.NopCloser(bytes.NewReader(content)), &blockblob.UploadOptions{Metadata: metadata,
			HTTPHeaders: &blob.HTTPHeaders{BlobContentMD5: sum[:]}, TransactionalValidation: blob.TransferValidationTypeMD5(sum[:])})
		return err
	}
	hash := md5.New()
	n, err := io.Copy(hash, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%s changed while it was uploaded; run the command again", path.Base(name))
	}
	if r, err = open(); err != nil {
		return err
	}
	defer r.Close()
	again := md5.New()
	_, err = b.UploadStream(ctx, io.TeeReader(r, again), &blockblob.UploadStreamOptions{Metadata: metadata, BlockSize: small, Concurrency: 4,
		HTTPHeaders: &blob.HTTPHeaders{BlobContentMD5: hash.Sum(nil)}, TransactionalValidation: blob.TransferValidationTypeComputeCRC64()})
	if err == nil && !bytes.Equal(hash.Sum(nil), again.Sum(nil)) {
		b.Delete(ctx, nil)
		err = fmt.Errorf("%s changed while it was uploaded; run the command again", path.Base(name))
	}
	return err
}

// errNoSource says that what was to be copied is not there.
var errNoSource = errors.New("the blob to be copied is not there")

// copy has the service copy a blob within the account. It does so at once, up to
// 256 MB (learn.microsoft.com, "Copy Blob From URL").
func (s *storage) copy(ctx context.Context, from, to string) error {
	signed, authorization, err := s.source(ctx, s.at(from))
	if err != nil {
		return err
	}
	_, err = s.container.NewBlobClient(to).CopyFromURL(ctx, signed, &blob.CopyFromURLOptions{CopySourceAuthorization: authorization})
	if bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.CannotVerifyCopySource, bloberror.ResourceNotFound) {
		return errNoSource
	}
	return err
}

// read returns a whole blob.
func (s *storage) read(ctx context.Context, name string) (io.ReadCloser, error) {
	res, err := s.container.NewBlobClient(name).DownloadStream(ctx, nil)
	if err != nil {
		return nil, err
	}
	return res.NewRetryReader(ctx, nil), nil
}

// item is a blob in a listing.
type item struct {
	name string // without the prefix
	size int64
	oid  string // as put wrote it
}

// list lists the blobs below a prefix, which ends in "/".
func (s *storage) list(ctx context.Context, prefix string) ([]item, error) {
	var out []item
	pager := s.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix, Include: container.ListBlobsInclude{Metadata: true}})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, b := range page.Segment.BlobItems {
			i := item{name: strings.TrimPrefix(deref(b.Name), prefix)}
			if b.Properties != nil {
				i.size = deref(b.Properties.ContentLength)
			}
			for key, value := range b.Metadata {
				if strings.EqualFold(key, oidKey) {
					i.oid = deref(value)
				}
			}
			out = append(out, i)
		}
	}
	return out, nil
}
