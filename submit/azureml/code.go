package azureml

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"golang.org/x/sync/errgroup"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/progress"
	"github.com/org/aml-train/snapshot"
)

// codeName is the code asset whose versions are snapshots: a version's name is the
// id of the git tree, so that what is in it is known without looking.
const codeName = "aml-train"

// uploads is where in the container the files lie, as az puts its own
// (azure-ai-ml, _blob_storage_helper.py): LocalUpload/aml-train/TREE/code/..., with a
// manifest beside it that tells the next upload which of its files are there.
const uploads = "LocalUpload/aml-train/"

// parallel is how many files are sent or copied at a time.
const parallel = 64

// Sent is what an upload cost.
type Sent struct {
	Files, Copied int
	Bytes         int64
}

// blobFile is a file on its way.
type blobFile struct {
	path string // under which it arrives
	oid  string // the git id of its content
	size int64
	open func() (io.ReadCloser, error)
}

func fileOf(s *snapshot.Snapshot, path string, f *snapshot.File) blobFile {
	return blobFile{path, f.OID.String(), f.Size, func() (io.ReadCloser, error) { return s.Open(f) }}
}

// blobFiles lists the files of a snapshot as a blob store can hold them: it has no
// links, so a link becomes what it leads to.
func blobFiles(ctx context.Context, s *snapshot.Snapshot) ([]blobFile, error) {
	out := make([]blobFile, 0, len(s.Files))
	for i := range s.Files {
		f := &s.Files[i]
		if f.Mode == filemode.Symlink {
			return followed(ctx, s)
		}
		out = append(out, fileOf(s, f.Path, f))
	}
	return out, nil
}

// followed is blobFiles of a snapshot that has links.
func followed(ctx context.Context, s *snapshot.Snapshot) ([]blobFile, error) {
	dir := s.Dir
	if s.Commit != "" {
		dir = ""
	}
	tree, err := inside.Of(s.FS(), dir)
	if err != nil {
		return nil, err
	}
	files, err := tree.Files(ctx)
	out := make([]blobFile, len(files))
	for i, f := range files {
		out[i] = fileOf(s, f.Path, f.Info.Sys().(*snapshot.File))
	}
	return out, err
}

// code makes sure that the workspace has a snapshot, and returns the resource id of
// its code version. The version is made when the last file is in place, so that half
// an upload is never used.
func (t *Target) code(ctx context.Context, c *connection, s *snapshot.Snapshot) (string, Sent, error) {
	var sent Sent
	versions := c.clients.NewCodeVersionsClient()
	existing, err := versions.Get(ctx, c.group, c.name, codeName, s.ID, nil)
	if err == nil {
		return deref(existing.ID), sent, nil
	}
	if status(err) != http.StatusNotFound {
		return "", sent, fmt.Errorf("code asset: %w", short(err))
	}
	if err := s.Sizes(ctx); err != nil {
		return "", sent, err
	}
	list, err := blobFiles(ctx, s)
	if err != nil {
		return "", sent, err
	}
	address := ""
	err = c.send(ctx, s.ID, func(store *storage, prefix string) (err error) {
		var before *manifest
		if store.datastore != "" {
			before = t.newest(ctx, c, store)
		}
		sent, err = t.upload(ctx, store, prefix, list, before)
		address = store.at(prefix + "code")
		return err
	})
	if err != nil {
		return "", sent, fmt.Errorf("the snapshot cannot be uploaded: %w", err)
	}
	made, err := versions.CreateOrUpdate(ctx, c.group, c.name, codeName, s.ID,
		armmachinelearning.CodeVersion{Properties: &armmachinelearning.CodeVersionProperties{
			CodeURI: &address, IsAnonymous: to.Ptr(true),
			Description: to.Ptr("git tree " + s.ID)}}, nil)
	if err != nil {
		// Somebody else was first: a version never changes, and its name says what is in it.
		if existing, gerr := versions.Get(ctx, c.group, c.name, codeName, s.ID, nil); gerr == nil {
			return deref(existing.ID), sent, nil
		}
		return "", sent, fmt.Errorf("code asset: %w", short(err))
	}
	return deref(made.ID), sent, nil
}

// upload brings files below prefix, by the cheapest way for each: it is there
// already, it is copied from an earlier upload, or it is sent.
func (t *Target) upload(ctx context.Context, store *storage, prefix string, list []blobFile,
	before *manifest) (Sent, error) {
	there, err := store.list(ctx, prefix+"code/")
	if err != nil {
		return Sent{}, short(err)
	}
	arrived := map[string]string{} // by path, the git id
	for _, i := range there {
		arrived[i.name] = i.oid
	}
	var total int64
	for _, f := range list {
		total += f.size
	}
	var bytes, copied, files atomic.Int64
	var done progress.Transfer
	defer done.Tell(len(list), total, func(far string) { t.say("Uploading: %s", far) })()
	ready := func(f blobFile) {
		done.Files.Add(1)
		done.Bytes.Add(f.size)
	}
	g, working := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, f := range list {
		if arrived[f.path] == f.oid {
			ready(f)
			continue
		}
		g.Go(func() error {
			defer ready(f)
			to := prefix + "code/" + f.path
			if from := before.find(f.oid); from != "" && f.size <= 256<<20 {
				err := store.copy(working, from, to)
				if err == nil {
					copied.Add(1)
					return nil
				}
				if !errors.Is(err, errNotCopied) {
					return fmt.Errorf("%s: %w", f.path, short(err))
				}
			}
			if err := store.put(working, to, f.oid, f.size, f.open); err != nil {
				return fmt.Errorf("%s: %w", f.path, short(err))
			}
			files.Add(1)
			bytes.Add(f.size)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Sent{}, err
	}
	text := manifestOf(list)
	if err := store.put(ctx, prefix+manifestFile, "", int64(len(text)), reading(text)); err != nil {
		return Sent{}, short(err)
	}
	return Sent{int(files.Load()), int(copied.Load()), bytes.Load()}, nil
}

func reading(text []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
}

// manifestFile, beside the folder of code, lists what is in it: a line for each
// file, its git id, a space and its path.
const manifestFile = "manifest"

// manifest is what an earlier upload left in the container.
type manifest struct {
	folder string // with a "/" at its end
	paths  map[string]string
}

// find returns the blob with the content of a git id, "" where there is none.
func (m *manifest) find(oid string) string {
	if m == nil {
		return ""
	}
	if p, ok := m.paths[oid]; ok {
		return m.folder + p
	}
	return ""
}

func manifestOf(list []blobFile) []byte {
	var b bytes.Buffer
	for _, f := range list {
		b.WriteString(f.oid)
		b.WriteByte(' ')
		b.WriteString(f.path)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// readManifest reads what manifestOf wrote. Lines that it cannot have written are
// passed over: the file they name is sent again.
func readManifest(r io.Reader) (map[string]string, error) {
	paths := map[string]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		oid, p, ok := strings.Cut(lines.Text(), " ")
		if ok && len(oid) == 40 && p != "" && path.Clean("/"+p) == "/"+p {
			paths[oid] = p
		}
	}
	return paths, lines.Err()
}

// newest returns the manifest of the newest snapshot in the workspace, nil where
// there is none or it cannot be read: then everything is sent.
func (t *Target) newest(ctx context.Context, c *connection, store *storage) *manifest {
	pager := c.clients.NewCodeVersionsClient().NewListPager(c.group, c.name, codeName,
		&armmachinelearning.CodeVersionsClientListOptions{OrderBy: to.Ptr("createdtime desc"), Top: to.Ptr(int32(1))})
	page, err := pager.NextPage(ctx)
	if err != nil || len(page.Value) == 0 || page.Value[0].Properties == nil {
		return nil
	}
	at, ok := strings.CutPrefix(deref(page.Value[0].Properties.CodeURI), store.url+"/"+uploads)
	id, ok2 := strings.CutSuffix(at, "/code")
	if !ok || !ok2 || strings.Contains(id, "/") {
		return nil
	}
	r, err := store.read(ctx, uploads+id+"/"+manifestFile)
	if err != nil {
		return nil
	}
	defer r.Close()
	paths, err := readManifest(r)
	if err != nil {
		return nil
	}
	return &manifest{uploads + id + "/code/", paths}
}
