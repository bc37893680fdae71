package azureml

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/sync/errgroup"

	gitobject "github.com/org/aml-train/internal/git/object"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// data uploads the local data of a job.
func (t *Target) data(ctx context.Context, c *connection, s submit.Submission) (map[string]string, error) {
	out := map[string]string{}
	for name, in := range s.Job.Inputs {
		if in.Literal || in.Path == "" || job.IsRemote(in.Path) {
			if id := s.Versions.Assets[name]; id != "" {
				out[name] = id
			} else if asset, ok := latest(in.Path); ok && !in.Literal {
				id, err := t.labelled(ctx, c, kindOf(in), asset)
				if err != nil {
					return nil, fmt.Errorf("inputs.%s: %w", name, err)
				}
				out[name] = id
			}
			continue
		}
		tree, err := s.Job.OpenInput(in)
		if err == nil {
			out[name], err = t.uploadData(ctx, c, tree, s.Versions.Inputs[name])
			tree.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("inputs.%s: %w", name, err)
		}
	}
	return out, nil
}

// uploadData uploads a file or folder of this machine that a job has as its data,
// and returns its address: in the datastore (azure-ai-ml, SHORT_URI_FORMAT), or that of
// the place which the workspace offered, from where the compute target reads it with the
// identity that it has. version is what dataFiles has named the data by before, "" where
// nobody asked.
func (t *Target) uploadData(ctx context.Context, c *connection, tree *inside.Tree, version string) (string, error) {
	store, folder, err := t.uploadFiles(ctx, c, tree, version)
	if err != nil {
		return "", err
	}
	if !tree.IsDir() {
		folder += "/" + tree.Name
	}
	if store.datastore == "" {
		return store.at(folder), nil
	}
	return "azureml://datastores/" + store.datastore + "/paths/" + folder, nil
}

// uploadFiles uploads a file, or everything below a folder, and returns the folder of
// the container that has it. That is named by its content, so that the same files are
// sent once. Ignore files do not count: the job names the files.
func (t *Target) uploadFiles(
	ctx context.Context, c *connection, tree *inside.Tree, version string,
) (in *storage, folder string, err error) {
	list, id, err := dataFiles(ctx, tree)
	if err == nil && version != "" && id != version {
		err = fmt.Errorf("%s changed while it was read; run the command again", tree.Path)
	}
	if err != nil {
		return nil, "", err
	}
	if in, folder, err = t.uploadList(ctx, c, "data-"+id, "Data "+tree.Path, list); err != nil {
		return nil, "", fmt.Errorf("the data %s cannot be uploaded: %w", tree.Path, err)
	}
	return in, folder, nil
}

// uploadList uploads files under a name that is made of them, once, and returns the folder of
// the container that has them; what says what they are.
func (t *Target) uploadList(
	ctx context.Context, c *connection, name, what string, list []blobFile,
) (in *storage, folder string, err error) {
	err = c.send(ctx, name, func(store *storage, prefix string) error {
		in, folder = store, prefix+"code"
		there, err := store.list(ctx, prefix+manifestFile)
		if err != nil || len(there) > 0 {
			return short(err)
		}
		sent, err := t.upload(ctx, store, prefix, list, nil)
		if err == nil {
			t.say("%s: %s sent, %s", what, size.Count(sent.Files, "file"), size.Format(sent.Bytes))
		}
		return err
	})
	return in, folder, err
}

// dataFiles lists a file, or everything below a folder, and what names it: a hash of
// the paths and contents.
func dataFiles(ctx context.Context, tree *inside.Tree) ([]blobFile, string, error) {
	files, err := tree.Files(ctx)
	if err != nil {
		return nil, "", err
	}
	list := make([]blobFile, len(files))
	for i, f := range files {
		list[i] = blobFile{f.Path, "", f.Info.Size(), f.Open}
	}
	id, err := identify(ctx, list)
	return list, id, err
}

// identify notes with each file what its content is, and returns what names them all.
func identify(ctx context.Context, list []blobFile) (string, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range list {
		g.Go(func() error {
			f := &list[i]
			r, err := f.open()
			if err != nil {
				return err
			}
			defer r.Close()
			h := gitobject.NewHash(plumbing.BlobObject, f.size)
			if n, err := io.Copy(h, r); err != nil || n != f.size {
				return cmp.Or(err, fmt.Errorf("%s changed while it was read; run the command again", f.path))
			}
			f.oid = gitobject.Sum(h).String()
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	sum := sha256.Sum256(manifestOf(list))
	return hex.EncodeToString(sum[:20]), nil
}
