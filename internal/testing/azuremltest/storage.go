package azuremltest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/org/aml-train/internal/testing/testenv"
)

// Azurite's own account.
const (
	account = "devstoreaccount1"
	key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Storage says how far the workspace's storage account is locked down. Zero is not at
// all.
type Storage struct {
	Credentials string // of the datastores: "key", which "" is as well, "sas", "identity"
	Unlisted    bool   // the secrets of datastores may not be listed
	NoKeys      bool   // the account refuses its keys, and what they sign
	Role        string // of who is signed in: "contributor", which "" is as well, "reader", "none"
	Gen2        bool   // the default datastore is a file system of Data Lake Storage Gen2
	Firewall    bool   // the account lets nobody in
	Stuck       bool   // it lists blobs, and never sends what is in one
}

// Lock takes words for the fields of Storage, as the scripts write them.
func (s *Storage) Lock(words ...string) error {
	for _, word := range words {
		switch word {
		case "key", "sas", "identity":
			s.Credentials = word
		case "reader", "contributor", "none":
			s.Role = word
		case "unlisted":
			s.Unlisted = true
		case "nokeys":
			s.NoKeys = true
		case "gen2":
			s.Gen2 = true
		case "firewall":
			s.Firewall = true
		case "stuck":
			s.Stuck = true
		default:
			return fmt.Errorf("a storage account cannot be %s", word)
		}
	}
	return nil
}

// front stands before Azurite as the account's own rules do. What Azurite knows of (who
// signed what, for how long, for whom a token is), it decides itself.
func (w *Workspace) front(upstream *url.URL) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	proxy.Transport = testenv.AzuriteTransport()
	proxy.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) }
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		deny := func(code, message string) {
			rw.Header().Set("x-ms-error-code", code)
			rw.Header().Set("Content-Type", "application/xml")
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(rw,
				`<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code,
				message)
		}
		w.mu.Lock()
		s := w.Storage
		sig := r.URL.Query().Get("sig")
		signedByKey := strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey ") || sig != "" && !w.delegated[sig]
		w.mu.Unlock()
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case s.Stuck && r.Method == http.MethodGet && !r.URL.Query().Has("comp"):
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		case s.Firewall:
			deny("AuthorizationFailure", "This request is not authorized to perform this operation.")
		case signedByKey && s.NoKeys:
			deny("KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted on this "+
				"storage account.")
		case bearer && !w.holds(token, storageAudience):
			deny("AuthenticationFailed", "The token is for another audience, or has expired.")
		case bearer && s.Role == "none", bearer && s.Role == "reader" && r.Method != http.MethodGet &&
			r.Method != http.MethodHead:
			deny("AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using "+
				"this permission.")
		default:
			proxy.ServeHTTP(rw, r)
		}
	})
}

// storageAudience is that of a token for any storage account.
const storageAudience = "https://storage.azure.com"

// client is a container of the account, past its front.
func (w *Workspace) client(name string) (*container.Client, error) {
	cred, err := container.NewSharedKeyCredential(account, key)
	if err != nil {
		return nil, err
	}
	return container.NewClientWithSharedKeyCredential(w.azurite+"/"+name, cred,
		&container.ClientOptions{ClientOptions: w.upstream()})
}

func (w *Workspace) upstream() policy.ClientOptions {
	return policy.ClientOptions{Transport: &http.Client{Transport: testenv.AzuriteTransport()}}
}

// create makes a container.
func (w *Workspace) create(name string) error {
	c, err := w.client(name)
	if err == nil {
		_, err = c.Create(context.Background(), nil)
	}
	return err
}

// sign is a SAS of a container, as a datastore holds one: its account's key signs it.
func (w *Workspace) sign(name string) string {
	cred, _ := container.NewSharedKeyCredential(account, key)
	query, _ := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, ExpiryTime: time.Now().UTC().Add(time.Hour),
		ContainerName: name,
		Permissions: (&sas.ContainerPermissions{Read: true, Write: true, Create: true, List: true, Delete: true,
			Add: true}).String()}.SignWithSharedKey(cred)
	return query.Encode()
}

// delegate is a SAS of a container, or of one blob to be read, as the workspace hands
// one out. It signs with its own identity, which accounts without keys take, too; Azurite
// does not know the newest form of such a signature, so the front remembers it instead.
func (w *Workspace) delegate(name, blob string) string {
	cred, _ := container.NewSharedKeyCredential(account, key)
	permissions := (&sas.ContainerPermissions{Read: true, Write: true, Create: true, List: true, Delete: true,
		Add: true}).String()
	if blob != "" {
		permissions = (&sas.BlobPermissions{Read: true}).String()
	}
	query, _ := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, StartTime: time.Now().UTC().Add(-time.Minute),
		ExpiryTime:    time.Now().UTC().Add(time.Hour),
		ContainerName: name, BlobName: blob, Permissions: permissions}.SignWithSharedKey(cred)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delegated[query.Signature()] = true
	return query.Encode()
}

// datastore is a datastore as the control plane shows it.
func (w *Workspace) datastore(name string) armmachinelearning.DatastorePropertiesClassification {
	w.mu.Lock()
	s := w.Storage
	w.mu.Unlock()
	var held armmachinelearning.DatastoreCredentialsClassification
	switch s.Credentials {
	case "identity":
		held = &armmachinelearning.NoneDatastoreCredentials{
			CredentialsType: ptr(armmachinelearning.CredentialsTypeNone)}
	case "sas":
		held = &armmachinelearning.SasDatastoreCredentials{CredentialsType: ptr(armmachinelearning.CredentialsTypeSas),
			Secrets: &armmachinelearning.SasDatastoreSecrets{SecretsType: ptr(armmachinelearning.SecretsTypeSas)}}
	default:
		held = &armmachinelearning.AccountKeyDatastoreCredentials{
			CredentialsType: ptr(armmachinelearning.CredentialsTypeAccountKey),
			Secrets: &armmachinelearning.AccountKeyDatastoreSecrets{
				SecretsType: ptr(armmachinelearning.SecretsTypeAccountKey)}}
	}
	if s.Gen2 && name == "workspaceblobstore" {
		return &armmachinelearning.AzureDataLakeGen2Datastore{
			DatastoreType: ptr(armmachinelearning.DatastoreTypeAzureDataLakeGen2), AccountName: ptr(account),
			Filesystem: ptr(w.containers[name]), Endpoint: ptr("core.windows.net"), Protocol: ptr("https"),
			IsDefault: ptr(true), Credentials: held}
	}
	return &armmachinelearning.AzureBlobDatastore{DatastoreType: ptr(armmachinelearning.DatastoreTypeAzureBlob),
		AccountName:   ptr(account),
		ContainerName: ptr(w.containers[name]), Endpoint: ptr("core.windows.net"), Protocol: ptr("https"),
		IsDefault: ptr(name == "workspaceblobstore"), Credentials: held}
}

// secrets are those of a datastore; nil is a refusal.
func (w *Workspace) secrets(name string) armmachinelearning.DatastoreSecretsClassification {
	w.mu.Lock()
	s := w.Storage
	w.mu.Unlock()
	switch {
	case s.Unlisted, s.Credentials == "identity":
		return nil
	case s.Credentials == "sas":
		return &armmachinelearning.SasDatastoreSecrets{SecretsType: ptr(armmachinelearning.SecretsTypeSas),
			SasToken: ptr("?" + w.sign(w.containers[name]))}
	}
	return &armmachinelearning.AccountKeyDatastoreSecrets{SecretsType: ptr(armmachinelearning.SecretsTypeAccountKey),
		Key: ptr(key)}
}

// blobs lists what lies below an address of a container.
func (w *Workspace) blobs(ctx context.Context, address string) map[string]*container.Client {
	out := map[string]*container.Client{}
	rest, ok := strings.CutPrefix(address, w.blob+"/")
	if !ok {
		return nil
	}
	name, prefix, _ := strings.Cut(rest, "/")
	c, err := w.client(name)
	if err != nil {
		return nil
	}
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	pager := c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil
		}
		for _, b := range page.Segment.BlobItems {
			out[*b.Name] = c
		}
	}
	return out
}

// fetch copies what lies below an address to a folder.
func (w *Workspace) fetch(ctx context.Context, address, dir string) error {
	_, prefix, _ := strings.Cut(strings.TrimPrefix(address, w.blob+"/"), "/")
	for name, c := range w.blobs(ctx, address) {
		to := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, strings.TrimSuffix(prefix, "/")+"/")))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		res, err := c.NewBlobClient(name).DownloadStream(ctx, nil)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Put writes a file into a datastore.
func (w *Workspace) Put(datastore, name, text string) error {
	return w.PutBlob(datastore, name, text, nil)
}

// PutBlob writes a blob into a datastore, with what else is said of it.
func (w *Workspace) PutBlob(datastore, name, text string, o *blockblob.UploadBufferOptions) error {
	c, err := w.client(w.containers[datastore])
	if err == nil {
		_, err = c.NewBlockBlobClient(name).UploadBuffer(context.Background(), []byte(text), o)
	}
	return err
}

// Marker is what an account with a hierarchical namespace says of a folder.
func Marker() *blockblob.UploadBufferOptions {
	return &blockblob.UploadBufferOptions{Metadata: map[string]*string{"hdi_isfolder": ptr("true")}}
}

// Remove removes a blob of a datastore.
func (w *Workspace) Remove(datastore, name string) error {
	c, err := w.client(w.containers[datastore])
	if err == nil {
		_, err = c.NewBlobClient(name).Delete(context.Background(), nil)
	}
	return err
}

// Fetch copies to dir what an address names, in the datastore or of a place that the workspace
// handed out: one file, or a folder.
func (w *Workspace) Fetch(ctx context.Context, uri, dir string) (string, error) {
	if rest, ok := strings.CutPrefix(uri, "azureml://datastores/workspaceblobstore/paths/"); ok {
		uri = w.blob + "/" + w.containers["workspaceblobstore"] + "/" + rest
	}
	if len(w.blobs(ctx, uri)) > 0 {
		return dir, w.fetch(ctx, uri, dir)
	}
	folder, file, _ := strings.Cut(uri, "/code/")
	if len(w.blobs(ctx, folder)) == 0 {
		return "", fmt.Errorf("the double has no data at %s", uri)
	}
	return filepath.Join(dir, filepath.FromSlash(file)), w.fetch(ctx, folder+"/code", dir)
}
