package local

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/job"
)

// An image that a job describes is built by the Docker Engine of this machine once, and
// kept under a name that says what it is built of.

// imageBuild is an image that is built for a job. Its context lies among the run's files.
type imageBuild struct {
	Image      string // its name
	Dockerfile string // in the context
	What       string // for people
}

// Names of what is built.
const (
	builtImages = "aml-train/environment:"
	contextFile = "context.tar" // in a run's folder
)

// maxContext bounds a build context, in bytes.
const maxContext = 4 << 30

// isBuilt tells whether a job's image is built here.
func isBuilt(j *job.Job) bool {
	e := j.Environment
	return e != nil && (e.Build != nil || e.Image != "" && (e.CondaFile != "" || e.Conda != nil))
}

// writeContext writes what the image of a job is built of to a file in dir, and names it.
func writeContext(ctx context.Context, j *job.Job, dir *os.Root) (b *imageBuild, err error) {
	f, err := dir.OpenFile(contextFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hash := sha256.New()
	out := bufio.NewWriter(f)
	w := tar.NewWriter(io.MultiWriter(out, hash))
	if e := j.Environment; e.Build != nil {
		b = &imageBuild{Dockerfile: cmp.Or(e.Build.DockerfilePath, "Dockerfile"), What: e.Build.Path}
		err = packFolder(ctx, w, j, b.Dockerfile)
	} else {
		b = &imageBuild{Dockerfile: "Dockerfile", What: e.Image + " with its conda file"}
		err = packConda(w, j)
	}
	if err = errors.Join(err, w.Close(), out.Flush()); err != nil {
		return nil, err
	}
	fmt.Fprintf(hash, "%q", b.Dockerfile)
	b.Image = builtImages + hex.EncodeToString(hash.Sum(nil)[:10])
	return b, nil
}

// packFolder packs a build context as the docker command does: without what its
// .dockerignore excludes, and with the Dockerfile in any case.
func packFolder(ctx context.Context, w *tar.Writer, j *job.Job, dockerfile string) error {
	tree, err := j.Open(j.Environment.Build.Path, false)
	if err != nil {
		return err
	}
	defer tree.Close()
	ignored, err := dockerignore(tree, dockerfile)
	if err != nil {
		return err
	}
	files, err := tree.Files(ctx)
	if err != nil {
		return err
	}
	var total int64
	for _, file := range files {
		leave, err := ignored.MatchesOrParentMatches(file.Path)
		if err != nil {
			return err
		}
		if leave && file.Path != path.Clean(dockerfile) {
			continue
		}
		if total += file.Info.Size(); total > maxContext {
			return fmt.Errorf("the build context %s has more than %d GiB; a .dockerignore leaves out what the image "+
				"does not need", tree.Name, maxContext>>30)
		}
		if err := packFile(w, file); err != nil {
			return err
		}
	}
	return nil
}

// dockerignore reads the patterns of a build context: those of its Dockerfile before the
// common ones.
func dockerignore(tree *inside.Tree, dockerfile string) (*patternmatcher.PatternMatcher, error) {
	for _, name := range []string{path.Clean(dockerfile) + ".dockerignore", ".dockerignore"} {
		text, err := limited.ReadFS(tree.FS(), name, limited.Config)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(strings.NewReader(string(text)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return patternmatcher.New(patterns)
	}
	return patternmatcher.New(nil)
}

// packFile adds a file, with nothing in its header but what an image would have of it.
func packFile(w *tar.Writer, file inside.File) error {
	r, err := file.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	mode := int64(0o644)
	if file.Info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := w.WriteHeader(&tar.Header{Name: file.Path, Mode: mode, Size: file.Info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return err
}

// onImage puts a conda environment on an image, with whichever tool the image has, as Azure
// ML does. The environment is the one that a command finds first.
const onImage = `FROM %s
COPY environment.yml /aml-train/environment.yml
RUN for tool in micromamba mamba conda /opt/miniconda/bin/conda; do \
      if command -v $tool; then \
        CONDA_ALWAYS_YES=true MAMBA_ALWAYS_YES=true $tool env create -p /aml-train/env -f /aml-train/environment.yml && exit 0; exit 1; \
      fi; \
    done; echo "the image has no micromamba, mamba or conda, which a conda file needs" >&2; exit 1
ENV CONDA_PREFIX=/aml-train/env PATH=/aml-train/env/bin:$PATH
`

func packConda(w *tar.Writer, j *job.Job) error {
	list, err := j.Packages()
	if err != nil {
		return err
	}
	image := j.Environment.Image
	if strings.ContainsAny(image, " \t\r\n\\$") {
		return fmt.Errorf("%q is no name of an image", image)
	}
	for _, file := range [][2]string{{"Dockerfile", fmt.Sprintf(onImage, image)}, {"environment.yml", list.Conda}} {
		if err := w.WriteHeader(&tar.Header{Name: file[0], Mode: 0o644, Size: int64(len(file[1]))}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, file[1]); err != nil {
			return err
		}
	}
	return nil
}

// build builds the image of a run where the Engine has it not yet, and shows on the console
// what that prints.
func (t *Target) build(ctx context.Context, e *engine, p *plan, console io.Writer) error {
	b := p.Build
	if _, err := e.ImageInspect(ctx, b.Image); err == nil {
		return nil
	}
	t.Store.SetStatus(ctx, p.Run, history.Provisioning, "")
	fmt.Fprintf(console, "aml-train: building the environment %s\n", b.What)
	dir, err := t.folder(p.Run, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := dir.Open(contextFile)
	if err != nil {
		return err
	}
	defer f.Close()
	start := time.Now()
	answer, err := e.ImageBuild(ctx, f, client.ImageBuildOptions{
		Dockerfile: b.Dockerfile, Tags: []string{b.Image}, Remove: true, ForceRemove: true,
		Labels: map[string]string{labelHome: t.Store.Home},
	})
	if err == nil {
		defer answer.Body.Close()
		err = showBuild(answer.Body, console)
	}
	if err != nil {
		return fmt.Errorf("the environment %s could not be built: %w", b.What, err)
	}
	fmt.Fprintf(console, "aml-train: built in %s\n", time.Since(start).Round(time.Second))
	return nil
}

// showBuild prints what the Engine says of a build (docs.docker.com, "Engine API",
// POST /build): messages in JSON, of which an error is the last.
func showBuild(messages io.Reader, console io.Writer) error {
	for d := json.NewDecoder(messages); ; {
		var m struct {
			Stream string
			Error  string
		}
		switch err := d.Decode(&m); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return errors.New(m.Error)
		}
		io.WriteString(console, m.Stream)
	}
}
