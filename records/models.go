package records

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
)

// Models is the model registry of the MLflow server that runs are kept on.
type Models struct {
	*history.Client
	Shown string // the server's address, as far as it is told
	r     *Records
	s     *server
}

// Models returns the model registry of the MLflow server that runs are kept on, nil where they are
// kept elsewhere.
func (r *Records) Models() *Models {
	if r == nil {
		return nil
	}
	s, ok := r.backend.(*server)
	if !ok {
		return nil
	}
	return &Models{s.client, s.shown, r, s}
}

// Told is an error of the registry as it is told: of the address only the host.
func (m *Models) Told(err error) error {
	if err == nil {
		return nil
	}
	if refused(err) {
		err = fmt.Errorf("%w; %s", err, m.s.needs())
	}
	return fmt.Errorf("the model registry of %s: %w", m.Shown, m.s.told(err))
}

// fileWithin is how long one file of a model may take.
const fileWithin = 30 * time.Minute

// File is a file of a model.
type File struct {
	Path string // below the run's
	Open func(context.Context) (io.ReadCloser, error)
}

// Put publishes a run and files of it on the server, and returns what a version of a registered
// model is whose source is at among them.
func (m *Models) Put(ctx context.Context, e Ended, files []File, at string) (v history.ModelVersion, err error) {
	rec, zip, err := m.r.record(ctx, e)
	if err != nil {
		return v, err
	}
	run, err := m.s.publish(ctx, rec, zip)
	switch {
	case err != nil:
		return v, err
	case !m.Holds(run):
		where, _, _ := strings.Cut(run.Info.ArtifactURI, ":")
		return v, fmt.Errorf("the server takes no files: its runs' artifacts lie at %s:, and only who may write there "+
			"can put a model there; start it with --artifacts-destination instead of a --default-artifact-root",
			where)
	}
	for _, f := range files {
		if err := m.put(ctx, e, run, f); err != nil {
			return v, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return history.ModelVersion{Source: strings.TrimSuffix(run.Info.ArtifactURI, "/") + "/" + at,
		RunID: run.Info.RunID, RunLink: e.Run.Tag(history.TagBuild)}, nil
}

// put sends a file by way of one that can be read again, should the request fail.
func (m *Models) put(ctx context.Context, e Ended, run *history.Run, f File) error {
	from, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	spool, err := os.CreateTemp(e.Store.Home, ".model-")
	if err != nil {
		return err
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	size, err := io.Copy(spool, from)
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = m.PutFile(policy.WithRetryOptions(ctx, retries(fileWithin)), run, f.Path, size, spool)
	}
	return err
}

// Outputs are all files of a run that was trained on another runner, as that has kept them.
type Outputs struct {
	file *os.File
	zip  *zip.Reader
}

// Elsewhere tells whether files of a run are where it was trained, and not here.
func Elsewhere(run *history.Run) bool { return run.Tag(history.TagLeft) != "" }

// mostOutputs is the most that is fetched of a run's outputs, in bytes, packed and unpacked.
const mostOutputs = 200 << 30

// outputsWithin is how long that may take.
const outputsWithin = time.Hour

// Outputs fetches the files of a run that are Elsewhere, from the artifact of the workflow that
// trained it. The error says where they are, or were, and what can be done.
func (r *Records) Outputs(ctx context.Context, run *history.Run, store *history.Store) (out *Outputs, err error) {
	build := run.Tag(history.TagBuild)
	_, id, _ := strings.Cut(run.Tag(history.TagLeft), " ")
	if r == nil || r.Workflow == nil || r.Token == "" || build == "" {
		return nil, fmt.Errorf("not all files of run %s are here: they are artifacts of %s; a workflow with the "+
			"permission \"actions: read\" can fetch them", run.Info.RunID,
			cmp.Or(build, "the workflow that trained it"))
	}
	ctx, cancel := context.WithTimeout(ctx, outputsWithin)
	defer cancel()
	a, err := github.ArtifactOf(ctx, r.Workflow, r.Token, id, build)
	switch {
	case errors.Is(err, github.ErrExpired):
		return nil, fmt.Errorf("the files of run %s, the artifact of %s, are gone: %w; train it again (reuse: false), "+
			"or have the repository keep artifacts longer", run.Info.RunID, build, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the workflow %s, which trained run %s, has kept no files of it; train it again with "+
			"artifacts: true (reuse: false)", build, run.Info.RunID)
	case err != nil:
		return nil, fmt.Errorf("the files of run %s, the artifact of %s, cannot be read: %w (the job needs the "+
			"permission \"actions: read\")", run.Info.RunID, build, err)
	}
	out = &Outputs{}
	if out.file, err = os.CreateTemp(store.Home, ".artifact-"); err != nil {
		return nil, err
	}
	if err = github.CopyArtifact(ctx, r.Workflow, r.Token, a, mostOutputs, out.file); err == nil {
		err = out.read()
	}
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("the files of run %s, the artifact of %s: %w", run.Info.RunID, build, err)
	}
	return out, nil
}

// read reads the list of files, and checks it: names that lead elsewhere are no run's.
func (o *Outputs) read() error {
	info, err := o.file.Stat()
	if err != nil {
		return err
	}
	if o.zip, err = zip.NewReader(o.file, info.Size()); err != nil {
		return err
	}
	total, seen := uint64(0), map[string]bool{}
	for _, f := range o.zip.File {
		if seen[f.Name] {
			return fmt.Errorf("it holds %q twice", f.Name[:min(len(f.Name), 100)])
		}
		seen[f.Name] = true
		if !fs.ValidPath(f.Name) || strings.ContainsAny(f.Name, "\\\x00") || !f.Mode().IsRegular() {
			return fmt.Errorf("it holds %q, which is no file of a run", f.Name[:min(len(f.Name), 100)])
		}
		if total += f.UncompressedSize64; f.UncompressedSize64 > mostOutputs || total > mostOutputs {
			return errors.New("what it holds is larger than the outputs of a run may be")
		}
	}
	return nil
}

// Sizes are how many bytes each of them has, by path.
func (o *Outputs) Sizes() map[string]int64 {
	sizes := map[string]int64{}
	for _, f := range o.zip.File {
		sizes[f.Name] = int64(f.UncompressedSize64)
	}
	return sizes
}

// Open opens one of them. Reading it fails where it has more bytes than the list says.
func (o *Outputs) Open(name string) (io.ReadCloser, error) {
	for _, f := range o.zip.File {
		if f.Name == name {
			return f.Open()
		}
	}
	return nil, fs.ErrNotExist
}

// Close removes what was fetched.
func (o *Outputs) Close() error {
	return errors.Join(o.file.Close(), os.Remove(o.file.Name()))
}
