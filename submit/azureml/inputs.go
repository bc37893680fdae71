package azureml

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// A job that runs elsewhere than in the workspace, on this machine say, can still have its
// data from there: what follows finds which data an input names, and reads them.

// CheckInput says why the data of an input cannot be read from the workspace, as far as that
// can be told without asking it; "" for nothing.
func (t *Target) CheckInput(in job.Input) string {
	switch {
	case strings.HasPrefix(in.Mode, "eval_"):
		return "has the mode " + in.Mode + ", by which Azure Machine Learning evaluates an MLTable; take download, " +
			"and mltable.load in the script"
	case inRegistry.MatchString(in.Path):
		return ""
	case strings.HasPrefix(in.Path, "azureml://registries/"):
		return "is no asset of a registry; write azureml://registries/REGISTRY/data/NAME/versions/VERSION, or " +
			"models in place of data"
	case strings.HasPrefix(in.Path, "azureml://"):
		_, _, why := t.inDatastore(in.Path)
		return why
	}
	if problem := unversioned(in.Path); problem != "" {
		return "cannot be found: " + problem
	}
	if _, labelled := latest(in.Path); labelled {
		return ""
	}
	id := reference(in.Path, kindOf(in), t.Workspace)
	if rest, ours := belowID(id, t.path()+"/"); !ours {
		return "is an asset of another workspace than " + t.Name + "; name that workspace, or a compute target"
	} else if kind, _, _ := strings.Cut(rest, "/"); kind != "data" && kind != "models" || !versioned(id) {
		return "is no version of data or of a model"
	}
	return ""
}

// inDatastore reads an address in a datastore of the workspace (azure-ai-ml,
// AzureMLDatastorePathUri): azureml://datastores/NAME/paths/PATH, or the long form with the
// workspace in it. why says what is wrong with it, "" for nothing.
func (t *Target) inDatastore(address string) (datastore, at, why string) {
	const other = "is no address in a datastore; write azureml://datastores/NAME/paths/PATH"
	rest, ok := strings.CutPrefix(address, "azureml://")
	if !ok {
		return "", "", other
	}
	if before, after, long := strings.Cut(rest, "/datastores/"); long {
		before = strings.Replace("/"+before, "/providers/Microsoft.MachineLearningServices", "", 1)
		parts := strings.Split(before, "/")
		if len(parts) != 7 || parts[1] != "subscriptions" || !strings.EqualFold(parts[3], "resourceGroups") ||
			parts[5] != "workspaces" {
			return "", "", other
		}
		if !strings.EqualFold(parts[2], t.Subscription) || !strings.EqualFold(parts[4], t.ResourceGroup) ||
			!strings.EqualFold(parts[6], t.Name) {
			return "", "", "lies in a datastore of another workspace than " + t.Name + "; name that workspace, or a " +
				"compute target"
		}
		rest = "datastores/" + after
	}
	rest, ok = strings.CutPrefix(rest, "datastores/")
	datastore, at, there := strings.Cut(rest, "/")
	if !ok || !there || datastore == "" {
		return "", "", other
	}
	at = strings.Trim(strings.TrimPrefix(at+"/", "paths/"), "/")
	return datastore, at, ""
}

// Asset returns the resource id of the version of an asset that an input names, "" where it
// names a path. The newest version is looked up; nothing else is asked.
func (t *Target) Asset(ctx context.Context, in job.Input) (string, error) {
	if asset, ok := sharedAt(in.Path); ok {
		if asset.version != "" {
			return in.Path, nil
		}
		c, err := t.connect(ctx)
		if err != nil {
			return "", err
		}
		r, err := c.registry(ctx, asset.registry)
		if err == nil {
			asset.version, err = r.newest(ctx, asset)
		}
		return asset.String(), err
	}
	if name, labelled := latest(in.Path); labelled {
		c, err := t.connect(ctx)
		if err != nil {
			return "", err
		}
		return t.labelled(ctx, c, kindOf(in), name)
	}
	if id := reference(in.Path, kindOf(in), t.Workspace); versioned(id) {
		return id, nil
	}
	return "", nil
}

// Short is an asset's id as people write it, azureml:NAME:VERSION.
func (t *Target) Short(asset string) string {
	if rest, ours := belowID(asset, t.path()+"/"); ours {
		if parts := strings.Split(rest, "/"); len(parts) == 4 && parts[2] == "versions" {
			return "azureml:" + parts[1] + ":" + parts[3]
		}
	}
	return asset
}

// Address is where the data of an input lie. asset is what Asset has returned for it.
func (t *Target) Address(ctx context.Context, in job.Input, asset string) (string, error) {
	if asset == "" {
		return in.Path, nil
	}
	if inRegistry.MatchString(asset) {
		return asset, nil // Files knows what to ask
	}
	c, err := t.connect(ctx)
	if err != nil {
		return "", err
	}
	rest, _ := belowID(asset, t.path()+"/")
	parts := strings.Split(rest, "/")
	if len(parts) != 4 {
		return "", fmt.Errorf("%s is no version of data or of a model", asset)
	}
	var address string
	if parts[0] == "models" {
		found, gerr := c.clients.NewModelVersionsClient().Get(ctx, c.group, c.name, parts[1], parts[3], nil)
		if err = gerr; found.Properties != nil {
			address = deref(found.Properties.ModelURI)
		}
	} else {
		found, gerr := c.clients.NewDataVersionsClient().Get(ctx, c.group, c.name, parts[1], parts[3], nil)
		if err = gerr; found.Properties != nil {
			address = deref(found.Properties.GetDataVersionBaseProperties().DataURI)
		}
	}
	kind := strings.TrimSuffix(parts[0], "s")
	switch {
	case status(err) == http.StatusNotFound:
		return "", &submit.Refusal{Reason: fmt.Sprintf("the workspace %s has no version %s of the %s asset %s; "+
			"azureml:%s@latest names the newest", t.Name, parts[3], kind, parts[1], parts[1])}
	case err != nil:
		return "", short(err)
	case address == "":
		return "", fmt.Errorf("the workspace does not say where version %s of the %s asset %s lies", parts[3], kind,
			parts[1])
	}
	return address, nil
}

// mostBlobs is how many files data may have.
var mostBlobs = 1_000_000

// Files lists the data at an address. Where a file and a folder are called the same, which a
// store allows, file says which one is meant.
func (t *Target) Files(ctx context.Context, address string, file bool) (*submit.Data, error) {
	c, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	store, at, err := t.storeOf(ctx, c, address)
	if err != nil {
		return nil, err
	}
	prefix := ""
	d := &submit.Data{Place: store.at(at)}
	if at != "" {
		d.Name, prefix = path.Base(at), at+"/"
	}
	d.Open = store.version(func(file string) string {
		if d.File {
			return at
		}
		return prefix + file
	})
	looks := []func(context.Context, *storage, string) (bool, error){inFolder(d), asFile(d)}
	if file {
		slices.Reverse(looks)
	}
	for _, look := range looks {
		if found, err := look(ctx, store, at); err != nil || found {
			if err != nil {
				err = fmt.Errorf("%s: %w", shown(address), short(err))
			}
			return d, err
		}
	}
	return nil, &submit.Refusal{Reason: fmt.Sprintf("there is nothing at %s (%s)", shown(address), d.Place)}
}

// shown is an address without what signs in there.
func shown(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return address
}

// storeOf opens the container that an address leads to, and says where in it.
func (t *Target) storeOf(ctx context.Context, c *connection, address string) (*storage, string, error) {
	if asset, ok := sharedAt(address); ok {
		return c.openShared(ctx, asset)
	}
	if strings.HasPrefix(address, "azureml://") {
		name, at, why := t.inDatastore(address)
		if why != "" {
			return nil, "", &submit.Refusal{Reason: address + " " + why}
		}
		store, err := c.store(ctx, name)
		return store, at, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", &submit.Refusal{Reason: "the asset's address is none: " + shown(address)}
	}
	where, at := c.containerURL(u)
	if where == "" {
		return nil, "", &submit.Refusal{Reason: fmt.Sprintf("%s is no address in a storage account of the cloud; only "+
			"a compute target may reach it", shown(address))}
	}
	s := &storage{url: where}
	if err := s.withIdentity(c); err != nil {
		return nil, "", err
	}
	return s, at, nil
}

// containerURL reads the address of a file or folder in a storage account of the cloud:
// https://ACCOUNT.blob.ENDPOINT/CONTAINER/PATH, or wasbs://, abfss://CONTAINER@ACCOUNT.../PATH,
// which is a container as well. It is "" for an address elsewhere.
func (c *connection) containerURL(u *url.URL) (where, at string) {
	if u.Scheme == "wasbs" || u.Scheme == "abfss" {
		u = &url.URL{Scheme: "https", Host: strings.Replace(u.Host, ".dfs.", ".blob.", 1),
			Path: "/" + u.User.Username() + u.Path}
	}
	parts, err := sas.ParseURL(u.String())
	if err != nil || u.User != nil || parts.ContainerName == "" || !c.env.stores(u) {
		return "", ""
	}
	at = strings.Trim(parts.BlobName, "/")
	parts.BlobName, parts.SAS, parts.UnparsedParams = "", sas.QueryParameters{}, ""
	return strings.TrimSuffix(parts.String(), "/"), at
}

// inFolder lists what lies below a folder.
func inFolder(d *submit.Data) func(context.Context, *storage, string) (bool, error) {
	return func(ctx context.Context, s *storage, at string) (bool, error) {
		prefix := at
		if prefix != "" {
			prefix += "/"
		}
		seen, looked := false, 0
		pager := s.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix,
			Include: container.ListBlobsInclude{Metadata: true}})
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return false, err
			}
			for _, b := range page.Segment.BlobItems {
				seen = true
				if f, ok := blobOf(b, prefix); ok {
					d.Files = append(d.Files, f)
				}
			}
			// Folders' marks, and pages of nothing, are no files, and may have no end either.
			if looked += 1 + len(page.Segment.BlobItems); len(d.Files) > mostBlobs || looked > 10*mostBlobs {
				return false, &submit.Refusal{Reason: fmt.Sprintf("there are more than %s below it; name a folder in "+
					"it", size.Count(mostBlobs, "file"))}
			}
		}
		slices.SortFunc(d.Files, func(a, b submit.DataFile) int { return strings.Compare(a.Path, b.Path) })
		return seen, nil
	}
}

// blobOf is a blob of a list; ok is false of one that only marks a folder: as a hierarchical
// namespace does, or as a name that ends in "/".
func blobOf(b *container.BlobItem, prefix string) (f submit.DataFile, ok bool) {
	f.Path = strings.TrimPrefix(deref(b.Name), prefix)
	if p := b.Properties; p != nil {
		f.Size, f.ETag, f.MD5 = deref(p.ContentLength), quoted(p.ETag), p.ContentMD5
	}
	marker := isFolder(b.Metadata) || f.Size == 0 && (f.Path == "" || strings.HasSuffix(f.Path, "/"))
	return f, !marker
}

func isFolder(metadata map[string]*string) bool {
	for key, value := range metadata {
		if strings.EqualFold(key, folderKey) && strings.EqualFold(deref(value), "true") {
			return true
		}
	}
	return false
}

// asFile looks for a file.
func asFile(d *submit.Data) func(context.Context, *storage, string) (bool, error) {
	return func(ctx context.Context, s *storage, at string) (bool, error) {
		if at == "" {
			return false, nil
		}
		p, err := s.container.NewBlobClient(at).GetProperties(ctx, nil)
		if status(err) == http.StatusNotFound || err == nil && isFolder(p.Metadata) {
			return false, nil
		}
		if err == nil {
			d.File = true
			d.Files = []submit.DataFile{{Path: d.Name, Size: deref(p.ContentLength), ETag: quoted(p.ETag),
				MD5: p.ContentMD5}}
		}
		return err == nil, err
	}
}

// version reads files as submit.Data does: the bytes that are stored, whatever their content
// encoding says, of one version. named tells which blob a file is.
func (s *storage) version(named func(string) string) func(context.Context, submit.DataFile, int64) (io.ReadCloser,
	error) {
	return func(ctx context.Context, f submit.DataFile, from int64) (io.ReadCloser, error) {
		ctx = stored(ctx)
		res, err := s.container.NewBlobClient(named(f.Path)).DownloadStream(ctx, &blob.DownloadStreamOptions{
			Range: blob.HTTPRange{Offset: from}, AccessConditions: &blob.AccessConditions{
				ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag(f.ETag))}}})
		if err != nil {
			return nil, whyNot(err)
		}
		return shortened{res.NewRetryReader(ctx, nil)}, nil
	}
}

// quoted is an entity tag as requests have it (RFC 9110); a list has it without its quotes.
func quoted(tag *azcore.ETag) string {
	if text := string(deref(tag)); text != "" && !strings.HasSuffix(text, `"`) {
		return `"` + text + `"`
	}
	return string(deref(tag))
}

// stored has a download bring what is stored: Go's client would unpack a blob that says it is
// packed.
func stored(ctx context.Context) context.Context {
	return policy.WithHTTPHeader(ctx, http.Header{"Accept-Encoding": {"identity"}})
}

// shortened has errors of the Azure SDK in one line, without secrets.
type shortened struct{ io.ReadCloser }

func (s shortened) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF { // a connection that ends says EOF within an error with the whole address
		err = whyNot(err)
	}
	return n, err
}

// whyNot says why a blob cannot be read, and what to do.
func whyNot(err error) error {
	hint := ""
	switch code := status(err); {
	case code == 0:
		hint = "run the command again, which goes on with what has come"
	case bloberror.HasCode(err, bloberror.BlobArchived):
		hint = "it lies in the archive tier; move it to the hot one first"
	case code == http.StatusPreconditionFailed:
		hint = "it has changed since it was listed; run the command again"
	case code == http.StatusNotFound:
		hint = "it was there when it was listed; run the command again"
	case denied(err):
		hint = "give who is signed in the role Storage Blob Data Reader on the storage account, or renew the " +
			"datastore's SAS, and run the command again"
	}
	if err = short(err); hint != "" {
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}
