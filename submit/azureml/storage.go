package azureml

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// storage is the container of a datastore.
type storage struct {
	container *container.Client
	url       string // https://ACCOUNT.blob.core.windows.net/CONTAINER
	datastore string // "" for a place of one upload

	// source signs the address of a blob that the service is to copy, and says on
	// whose behalf it reads it, where the address does not.
	source func(ctx context.Context, address string) (signed string, authorization *string, err error)
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

// folderKey is the metadata by which an account with a hierarchical namespace marks the
// folders that it lists among the blobs (learn.microsoft.com, "Blob storage feature
// support", "Known issues with Azure Data Lake Storage").
const folderKey = "hdi_isfolder"

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
		_, err = b.Upload(ctx, streaming.NopCloser(bytes.NewReader(content)),
			&blockblob.UploadOptions{Metadata: metadata,
				HTTPHeaders:             &blob.HTTPHeaders{BlobContentMD5: sum[:]},
				TransactionalValidation: blob.TransferValidationTypeMD5(sum[:])})
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
	_, err = b.UploadStream(ctx, io.TeeReader(r, again), &blockblob.UploadStreamOptions{Metadata: metadata,
		BlockSize: small, Concurrency: 4,
		HTTPHeaders:             &blob.HTTPHeaders{BlobContentMD5: hash.Sum(nil)},
		TransactionalValidation: blob.TransferValidationTypeComputeCRC64()})
	if err == nil && !bytes.Equal(hash.Sum(nil), again.Sum(nil)) {
		b.Delete(ctx, nil)
		err = fmt.Errorf("%s changed while it was uploaded; run the command again", path.Base(name))
	}
	return err
}

// errNotCopied says that a blob has to be sent: it is not there, or who asks may not
// have it copied.
var errNotCopied = errors.New("the blob cannot be copied")

// copy has the service copy a blob within the account. It does so at once, up to
// 256 MB (learn.microsoft.com, "Copy Blob From URL").
func (s *storage) copy(ctx context.Context, from, to string) error {
	signed, authorization, err := s.source(ctx, s.at(from))
	if err != nil {
		return err
	}
	_, err = s.container.NewBlobClient(to).CopyFromURL(ctx, signed,
		&blob.CopyFromURLOptions{CopySourceAuthorization: authorization})
	if code := status(err); code >= 400 && code < 500 {
		return errNotCopied
	}
	return err
}

// read returns a whole blob.
func (s *storage) read(ctx context.Context, name string) (io.ReadCloser, error) {
	f := &storedBlob{ctx: ctx, blob: s.container.NewBlobClient(name)}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// storedBlob is a blob that is read; Seek has it read from elsewhere, so that of a file that
// grows the rest alone is fetched.
type storedBlob struct {
	ctx  context.Context
	blob *blob.Client
	at   int64
	body io.ReadCloser // nil after Seek
}

func (f *storedBlob) open() error {
	ctx := stored(f.ctx)
	res, err := f.blob.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: f.at}})
	if bloberror.HasCode(err, bloberror.InvalidRange) { // there is nothing more
		f.body = http.NoBody
		return nil
	}
	if err == nil {
		f.body = res.NewRetryReader(ctx, nil)
	}
	return err
}

// Read implements io.Reader.
func (f *storedBlob) Read(p []byte) (int, error) {
	if f.body == nil {
		if err := f.open(); err != nil {
			return 0, short(err)
		}
	}
	n, err := f.body.Read(p)
	f.at += int64(n)
	if err != nil && err != io.EOF { // a connection that ends says EOF within an error with the whole address
		err = short(err)
	}
	return n, err
}

// Seek implements io.Seeker; from the end, it asks how long the blob is.
func (f *storedBlob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekEnd:
		p, err := f.blob.GetProperties(f.ctx, nil)
		if err != nil {
			return f.at, short(err)
		}
		offset += deref(p.ContentLength)
	case io.SeekCurrent:
		offset += f.at
	}
	f.at = offset
	return offset, f.Close()
}

// Close implements io.Closer.
func (f *storedBlob) Close() error {
	if f.body == nil {
		return nil
	}
	defer func() { f.body = nil }()
	return f.body.Close()
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
	pager := s.container.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix,
		Include: container.ListBlobsInclude{Metadata: true}})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, b := range page.Segment.BlobItems {
			if isFolder(b.Metadata) {
				continue
			}
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
