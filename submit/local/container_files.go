package local

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/internal/sparse"
)

// bind is a file or folder of this machine and where it goes in the container.
type bind struct{ from, to string }

// carriedData is data of the job: it does not leave its place.
type carriedData struct {
	bind
	place inside.Place
}

// containerPaths turns what a command line names into paths of the container.
func containerPaths(p *plan, values map[string]string) (map[string]string, []carriedData) {
	within := map[string]string{}
	var data []carriedData
	for key, value := range values {
		name := key[strings.IndexByte(key, '.')+1:]
		if _, ok := p.Outputs[name]; ok && strings.HasPrefix(key, "outputs.") {
			within[key] = path.Join(containerRoot(p.Run), namedDir, name)
			continue
		}
		within[key] = value
		if in := p.Inputs[name]; strings.HasPrefix(key, "inputs.") && !in.Literal {
			from := in.Path
			place := in.Place
			if strings.HasPrefix(from, "https://") {
				from, place = value, filepath.Dir(value) // where it was downloaded to
			}
			to := path.Join(containerRoot(p.Run), inputsDir, name, safeName(filepath.Base(from)))
			within[key] = to
			data = append(data, carriedData{bind{from, to}, inside.Place{Dir: place}})
		}
	}
	return within, data
}

// send copies the run's files into its container, as one stream. Everybody there
// may write to them: the image may run as any user, and the Engine knows only those
// of the host by name.
func (e *engine) send(ctx context.Context, id string, p *plan, data []carriedData) error {
	r, w := io.Pipe()
	go func() {
		to := tar.NewWriter(w)
		err := addTree(to, filepath.Join(p.Base, workDir), containerTop(p.Run))
		err = cmp.Or(err, addObjects(to, filepath.Join(p.Base, workDir), containerTop(p.Run)))
		for _, c := range data {
			err = cmp.Or(err, addData(ctx, to, c))
		}
		if len(p.Outputs) > 0 { // empty, but for what an attempt before has left
			err = cmp.Or(err, addTree(to, filepath.Join(p.Base, namedDir), path.Join(containerRoot(p.Run), namedDir)))
		}
		w.CloseWithError(cmp.Or(err, to.Close()))
	}()
	_, err := e.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: r})
	r.CloseWithError(errors.New("the copying ended")) // where the Engine read to no end
	return err
}

// addData adds the files of a job's data to a tar stream.
func addData(ctx context.Context, w *tar.Writer, c carriedData) error {
	tree, err := c.place.Open(c.from)
	if err != nil {
		return err
	}
	defer tree.Close()
	files, err := tree.Files(ctx)
	if err != nil {
		return err
	}
	if tree.IsDir() {
		if err := addFolder(w, c.to); err != nil {
			return err
		}
	}
	made := map[string]bool{".": true}
	for _, f := range files {
		to := c.to
		if tree.IsDir() {
			to = path.Join(c.to, f.Path)
			var dirs []string
			for dir := path.Dir(f.Path); !made[dir]; dir = path.Dir(dir) {
				made[dir] = true
				dirs = append(dirs, dir)
			}
			for _, dir := range slices.Backward(dirs) {
				if err := addFolder(w, path.Join(c.to, dir)); err != nil {
					return err
				}
			}
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		err = addFile(w, f.Info, r, to)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func addFolder(w *tar.Writer, to string) error {
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: to[1:] + "/", Mode: 0o777})
}

func addFile(w *tar.Writer, info fs.FileInfo, r io.Reader, to string) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: to[1:], Size: info.Size(), Mode: int64(info.Mode().Perm() | 0o666),
		ModTime: info.ModTime()}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

// addTree adds a folder to a tar stream, under the absolute path to.
func addTree(w *tar.Writer, from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if d.Type()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(name); err != nil {
				return err
			}
		} else if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		h, err := tar.FileInfoHeader(info, filepath.ToSlash(link))
		if err != nil {
			return err
		}
		h.Name = path.Join(to, filepath.ToSlash(rel))[1:]
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		h.Mode |= 0o666
		if d.IsDir() {
			h.Name += "/"
			h.Mode |= 0o777
		}
		if err := w.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// receive copies what the command left in its special folders out of the container, to
// where a command on this machine would have left it.
func (t *Target) receive(ctx context.Context, e *engine, id string, p *plan) error {
	base, err := t.openBase(p.Run, true) // it may have gone with the container that made it
	if err != nil {
		return err
	}
	defer base.Close()
	room := p.mostOutputs()
	var all error
	for _, c := range []bind{
		{containerWork(p) + "/outputs", path.Join(p.within(), "outputs")},
		{containerWork(p) + "/logs", path.Join(p.within(), "logs")},
		{containerRoot(p.Run) + "/" + namedDir, namedDir},
	} {
		r, err := e.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: c.from})
		if errdefs.IsNotFound(err) {
			continue
		}
		if err == nil {
			removeAll(base, c.to)
			err = errors.Join(extract(r.Content, base, c.to, &room), r.Content.Close())
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", path.Base(c.from), err))
		}
	}
	return errors.Join(all, e.receiveNew(ctx, id, p, base, &room))
}

// receiveNew copies what the command wrote elsewhere in the copy, or beside it, out of
// the container. The Engine knows which paths are new; of a file of the snapshot that was
// changed it knows nothing, because it was copied in.
func (e *engine) receiveNew(ctx context.Context, id string, p *plan, base *os.Root, room *int64) error {
	files, _, err := recorded(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := map[string]bool{workDir + "/.git": true, path.Join(p.within(), "outputs"): true,
		path.Join(p.within(), "logs"): true}
	folders := map[string]bool{".": true}
	add := func(name string) {
		for name = path.Dir(name); !folders[name]; name = path.Dir(name) {
			folders[name] = true
		}
	}
	add(path.Join(p.within(), "outputs"))
	for name := range files {
		known[path.Join(workDir, name)] = true
		add(path.Join(workDir, name))
	}
	diff, err := e.ContainerDiff(ctx, id, client.ContainerDiffOptions{})
	if err != nil {
		return err
	}
	var all error
	for _, change := range diff.Changes {
		name, ours := strings.CutPrefix(change.Path, containerRoot(p.Run)+"/exe/")
		if !ours || change.Kind == container.ChangeDelete || known[name] || folders[name] ||
			!folders[path.Dir(name)] || path.Base(name) == "__pycache__" {
			continue // what lies below a new folder comes with it
		}
		if err := e.receiveOne(ctx, id, change.Path, base, name, room); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", name, err))
		}
	}
	return all
}

// receiveOne copies a file or folder out of the container.
func (e *engine) receiveOne(ctx context.Context, id, from string, base *os.Root, to string, room *int64) error {
	r, err := e.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: from})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Content.Close()
	if r.Stat.Mode.IsDir() {
		return extract(r.Content, base, to, room)
	}
	stream := tar.NewReader(r.Content)
	h, err := stream.Next()
	if err != nil || h.Typeflag != tar.TypeReg {
		return err // a link, socket or device
	}
	return extractEntry(base, to, h, stream, room)
}

// extract unpacks a tar stream with one topmost folder, whose entries go to the folder
// dir of base, as far as there is room, in bytes. Whatever the stream says, nothing is
// written outside; an entry that cannot be written costs no other.
func extract(r io.Reader, base *os.Root, dir string, room *int64) error {
	if err := base.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := base.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var failed []error
	for from := tar.NewReader(r); ; {
		h, err := from.Next()
		if err != nil {
			if err != io.EOF {
				failed = append(failed, err)
			}
			if more := len(failed) - 10; more > 0 {
				failed = append(failed[:10], fmt.Errorf("and %d more", more))
			}
			return errors.Join(failed...)
		}
		_, name, _ := strings.Cut(path.Clean(h.Name), "/")
		if err := extractEntry(root, name, h, from, room); err != nil {
			failed = append(failed, err)
		}
	}
}

var errNoFolder = errors.New("it is no folder")

func extractEntry(root *os.Root, name string, h *tar.Header, from io.Reader, room *int64) error {
	if name == "" {
		if h.Typeflag != tar.TypeDir {
			return errNoFolder
		}
		return nil
	}
	if h.Size > *room {
		return fmt.Errorf("%s (%s) is more than is kept (--max-outputs-size moves that)", name, size.Format(h.Size))
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeReg:
		*room -= h.Size
		return extractFile(root, name, h, from)
	case tar.TypeLink:
		if _, target, ok := strings.Cut(path.Clean(h.Linkname), "/"); ok {
			return root.Link(target, name)
		}
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	}
	return nil
}

func extractFile(root *os.Root, name string, h *tar.Header, from io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode)&0o111|0o644)
	if err != nil {
		return err
	}
	_, err = sparse.Copy(f, from)
	return errors.Join(err, f.Close())
}
