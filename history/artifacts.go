package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/hexid"
	"github.com/org/aml-train/internal/home"
)

// artifactsDir, in .aml-train, is the one place of artifacts: EXPERIMENT/RUN/artifacts,
// and EXPERIMENT/models/MODEL/artifacts of logged models. The paths are made of the ids.
// The URIs in the database are for MLflow's own server and are never read, so that
// neither a client nor a history that came from elsewhere names a file of this machine.
const artifactsDir = "artifacts"

// folder is a folder of artifacts: of a run, or of a logged model.
type folder struct{ experiment, run, model string }

func (f folder) parts() []string {
	if f.model != "" {
		return []string{artifactsDir, f.experiment, "models", f.model, "artifacts"}
	}
	return []string{artifactsDir, f.experiment, f.run, "artifacts"}
}

// uri is the address under which clients reach the folder through the server.
func (f folder) uri() string { return "mlflow-artifacts:/" + path.Join(f.parts()[1:]...) }

func folderOf(r *Run) folder { return folder{experiment: r.Info.ExperimentID, run: r.Info.RunID} }

func modelFolder(m *LoggedModel) folder {
	return folder{experiment: m.Info.ExperimentID, model: m.Info.ModelID}
}

// open opens the folder of artifacts: nothing reached through it lies outside, and no
// link stands on the way to it. The error of one that is not there is fs.ErrNotExist.
func (s *Store) open(f folder, create bool) (*os.Root, error) {
	root := s.Files
	for _, part := range f.parts() {
		next, err := home.Folder(root, part, create)
		if root != s.Files {
			root.Close()
		}
		if err != nil {
			return nil, err
		}
		root = next
	}
	return root, nil
}

// ArtifactPath is the folder of a run's artifacts, relative to the store's and with
// slashes. It follows from the ids.
func (r *Run) ArtifactPath() string { return path.Join(folderOf(r).parts()...) }

// ArtifactDir is the folder of a run's artifacts, absolute, for people.
func (s *Store) ArtifactDir(r *Run) string {
	return filepath.Join(s.Home, filepath.FromSlash(r.ArtifactPath()))
}

// cleanArtifact checks the path of an artifact and writes it plainly, without a slash
// at its end.
func cleanArtifact(p string) (string, error) {
	p = strings.ReplaceAll(p, "\\", "/")
	for decoded, more := p, true; more; { // MLflow looks behind every layer of percent encoding
		if slices.Contains(strings.Split(decoded, "/"), "..") {
			return "", invalid("Invalid path: '%s'", clip.Bytes(p, maxKey))
		}
		next, err := url.PathUnescape(decoded)
		decoded, more = next, err == nil && next != decoded
	}
	clean := path.Clean(p)
	if clean = strings.TrimSuffix(clean, "/"); clean == "." {
		clean = ""
	}
	if clean != "" && (!filepath.IsLocal(filepath.FromSlash(clean)) || strings.ContainsRune(clean, 0)) {
		return "", invalid("Invalid path: '%s'", clip.Bytes(p, maxKey))
	}
	return clean, nil
}

// ListArtifacts lists a folder of a run's artifacts, "" for the topmost, by name.
// A folder that does not exist has no files.
func (s *Store) ListArtifacts(r *Run, dir string) ([]File, error) { return s.list(folderOf(r), dir) }

func (s *Store) list(f folder, dir string) ([]File, error) {
	dir, err := cleanArtifact(dir)
	if err != nil {
		return nil, err
	}
	files := []File{}
	root, err := s.open(f, false)
	if errors.Is(err, fs.ErrNotExist) {
		return files, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if info, err := root.Stat(path.Join(dir, ".")); errors.Is(err, fs.ErrNotExist) ||
		err != nil && blocked(err) || err == nil && !info.IsDir() {
		return files, nil // a file has nothing below it
	}
	entries, err := fs.ReadDir(root.FS(), path.Join(dir, "."))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		f := File{Path: path.Join(dir, e.Name()), IsDir: e.IsDir()}
		info, err := e.Info()
		if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
			continue // a link, a pipe: nothing that could be fetched
		}
		if !e.IsDir() {
			f.Size = Int(info.Size())
		}
		files = append(files, f)
	}
	return files, nil
}

// modelDirs returns the folders of the models that a run logged, by the names
// under which they stand among its artifacts: MLflow 3 keeps a logged model
// beside the runs, and for a person it is what the run made.
func (s *Store) modelDirs(ctx context.Context, r *Run) (map[string]folder, error) {
	dirs := map[string]folder{}
	for _, ref := range r.Outputs.ModelOutputs {
		m, err := s.model(ctx, ref.ModelID)
		if NotFound(err) {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		name := "models/" + m.Info.Name
		for n := 2; dirs[name].model != ""; n++ {
			name = fmt.Sprintf("models/%s-%d", m.Info.Name, n)
		}
		dirs[name] = modelFolder(m)
	}
	return dirs, nil
}

// Artifacts lists every file that a run made, by path: its artifacts, and below
// models/NAME the models that it logged.
func (s *Store) Artifacts(ctx context.Context, r *Run) ([]File, error) {
	dirs, err := s.modelDirs(ctx, r)
	if err != nil {
		return nil, err
	}
	dirs[""] = folderOf(r)
	var out []File
	for name, f := range dirs {
		files, err := s.filesBelow(f, name)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

// filesBelow lists the regular files in a folder of artifacts, each under name.
func (s *Store) filesBelow(f folder, name string) ([]File, error) {
	root, err := s.open(f, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var out []File
	err = fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			out = append(out, File{Path: path.Join(name, p), Size: Int(info.Size())})
		}
		return nil
	})
	return out, err
}

// OpenArtifact opens one file of a run's artifacts. It follows no link out of
// them.
func (s *Store) OpenArtifact(ctx context.Context, r *Run, p string) (io.ReadCloser, error) {
	p, err := cleanArtifact(p)
	if err != nil {
		return nil, err
	}
	dir, within := folderOf(r), p
	models, err := s.modelDirs(ctx, r)
	if err != nil {
		return nil, err
	}
	for name, d := range models {
		if rest, ok := strings.CutPrefix(p, name+"/"); ok {
			dir, within = d, rest
		}
	}
	f, err := s.openFile(dir, within)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openFile opens a regular file in a folder of artifacts.
func (s *Store) openFile(f folder, name string) (*os.File, error) {
	missing := notFound("No such artifact: '%s'", clip.Bytes(name, maxKey))
	root, err := s.open(f, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := openFile(root, path.Join(name, "."))
	switch {
	case errors.Is(err, fs.ErrNotExist), err != nil && blocked(err): // below a file there is nothing
		return nil, missing
	case errors.Is(err, errNoFile):
		return nil, invalid("The artifact '%s' is no file", clip.Bytes(name, maxKey))
	}
	return file, err
}

// errNoFile is openFile's answer to what is no regular file.
var errNoFile = errors.New("it is no file")

// openFile opens a file of what a script made: a pipe among it would be waited for.
func openFile(root *os.Root, name string) (*os.File, error) {
	if info, err := root.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	return root.Open(name)
}

// putFile writes an artifact in whole or not at all.
func (s *Store) putFile(f folder, name string, body io.Reader) (err error) {
	root, err := s.open(f, true)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return clash(name, err)
	}
	temporary := path.Join(path.Dir(name), "."+hexid.New(32)+".part")
	file, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return clash(name, err)
	}
	_, err = io.Copy(file, body)
	if err = errors.Join(err, file.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		root.Remove(temporary)
		return clash(name, err)
	}
	return nil
}

// clash tells an artifact that stands in the way of another from a disk that fails: the
// first is the client's fault, and trying again does not help.
func clash(name string, err error) error {
	var e *fs.PathError
	var l *os.LinkError
	if (errors.As(err, &e) || errors.As(err, &l)) && blocked(err) {
		return invalid("The artifact '%s' cannot be written: a file or folder of that name, or above it, is in its "+
			"way, or its name is too long", clip.Bytes(name, maxKey))
	}
	return fmt.Errorf("artifact %s: %w", clip.Bytes(name, maxKey), err)
}

// removeFile removes a file or folder among artifacts.
func (s *Store) removeFile(f folder, name string) error {
	root, err := s.open(f, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(name); err != nil && !blocked(err) { // below a file there is nothing
		return err
	}
	return nil
}

// findFolder finds the folder of artifacts that a path of the artifacts API names, and
// the path within it.
func (s *Store) findFolder(ctx context.Context, name string) (f folder, within string, err error) {
	if name, err = cleanArtifact(name); err != nil {
		return f, "", err
	}
	parts := strings.Split(name, "/")
	switch {
	case len(parts) >= 4 && parts[1] == "models" && parts[3] == "artifacts":
		m, err := s.model(ctx, parts[2])
		if err == nil && m.Info.ExperimentID != parts[0] {
			err = noModel(parts[2])
		}
		return folder{experiment: parts[0], model: parts[2]}, path.Join(parts[4:]...), err
	case len(parts) >= 3 && parts[2] == "artifacts":
		missing := notFound("Run with id=%s not found", clip.Bytes(parts[1], 60))
		experiment, err := queryOne(ctx, s.db, missing, value[string],
			`SELECT experiment_id FROM runs WHERE run_uuid = ?`, parts[1])
		if err == nil && experiment != parts[0] {
			err = missing
		}
		return folder{experiment: parts[0], run: parts[1]}, path.Join(parts[3:]...), err
	}
	return f, "", invalid("'%s' is neither EXPERIMENT/RUN/artifacts nor EXPERIMENT/models/MODEL/artifacts",
		clip.Bytes(name, maxKey))
}
