package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/org/aml-train/internal/home"
)

// artifactsDir, in .aml-train, has a folder for each experiment, and in that one for
// each run and for the models.
const artifactsDir = "artifacts"

// artifactRoot opens the folder of all artifacts. Nothing reached through it, by
// ".." or by a link, lies outside.
func (s *Store) artifactRoot() (*os.Root, error) {
	return home.Folder(s.Files, artifactsDir, true)
}

// ArtifactPath is the folder of a run's artifacts, relative to the store's and with
// slashes. It follows from the ids: the database also says where they are, and may have
// been written by anybody.
func (r *Run) ArtifactPath() string {
	return path.Join(artifactsDir, r.Info.ExperimentID, r.Info.RunID, "artifacts")
}

// ArtifactDir is the folder of a run's artifacts, absolute.
func (s *Store) ArtifactDir(r *Run) string {
	return filepath.Join(s.Home, filepath.FromSlash(r.ArtifactPath()))
}

func cleanArtifact(p string) (string, error) {
	p = path.Clean("/" + strings.ReplaceAll(p, "\\", "/"))[1:]
	if p != "" && !filepath.IsLocal(filepath.FromSlash(p)) {
		return "", invalid("Invalid artifact path: %q", p)
	}
	return p, nil
}

// ListArtifacts lists a folder of a run's artifacts, "" for the topmost, by name.
// A folder that does not exist has no files.
func (s *Store) ListArtifacts(r *Run, dir string) ([]File, error) {
	return s.list(strings.TrimPrefix(r.ArtifactPath(), artifactsDir+"/"), dir)
}

func (s *Store) list(base, dir string) ([]File, error) {
	root, err := s.artifactRoot()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return list(root, base, dir)
}

func list(root *os.Root, base, dir string) ([]File, error) {
	dir, err := cleanArtifact(dir)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root.FS(), path.Join(base, dir, "."))
	if errors.Is(err, fs.ErrNotExist) {
		return []File{}, nil
	}
	if err != nil {
		if info, serr := root.Stat(path.Join(base, dir)); serr == nil && !info.IsDir() {
			return []File{}, nil // a file has nothing below it
		}
		return nil, err
	}
	files := []File{}
	for _, e := range entries {
		f := File{Path: path.Join(dir, e.Name()), IsDir: e.IsDir()}
		if info, err := e.Info(); err == nil && !e.IsDir() {
			f.Size = Int(info.Size())
		}
		files = append(files, f)
	}
	return files, nil
}

// modelDirs returns the folders of the models that a run logged, relative to the
// store's, by the names
// under which they stand among its artifacts: MLflow 3 keeps a logged model
// beside the runs, and for a person it is what the run made.
func (s *Store) modelDirs(r *Run) (map[string]string, error) {
	dirs := map[string]string{}
	for _, ref := range r.Outputs.ModelOutputs {
		m, err := s.model(context.Background(), ref.ModelID)
		var e *Error
		if errors.As(err, &e) && e.Code == codeNotFound {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		name := "models/" + m.Info.Name
		for n := 2; dirs[name] != ""; n++ {
			name = fmt.Sprintf("models/%s-%d", m.Info.Name, n)
		}
		dirs[name] = path.Join(artifactsDir, m.Info.ExperimentID, "models", m.Info.ModelID, "artifacts")
	}
	return dirs, nil
}

// Artifacts lists every file that a run made, by path: its artifacts, and below
// models/NAME the models that it logged.
func (s *Store) Artifacts(r *Run) ([]File, error) {
	out, err := s.filesBelow(r.ArtifactPath(), "")
	if err != nil {
		return nil, err
	}
	models, err := s.modelDirs(r)
	if err != nil {
		return nil, err
	}
	for name, dir := range models {
		files, err := s.filesBelow(dir, name)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

func (s *Store) filesBelow(dir, name string) ([]File, error) {
	var out []File
	err := fs.WalkDir(s.Files.FS(), dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if e.IsDir() {
			return nil
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		out = append(out, File{Path: path.Join(name, strings.TrimPrefix(p, dir+"/")), Size: Int(info.Size())})
		return nil
	})
	return out, err
}

// OpenArtifact opens one file of a run's artifacts. It follows no link out of
// them.
func (s *Store) OpenArtifact(r *Run, p string) (io.ReadCloser, error) {
	p, err := cleanArtifact(p)
	if err != nil {
		return nil, err
	}
	dir, within := r.ArtifactPath(), p
	models, err := s.modelDirs(r)
	if err != nil {
		return nil, err
	}
	for name, d := range models {
		if rest, ok := strings.CutPrefix(p, name+"/"); ok {
			dir, within = d, rest
		}
	}
	none := func(err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFile) {
			return notFound("run %s has no artifact %s", r.Info.RunID, p)
		}
		return err
	}
	root, err := s.Files.OpenRoot(dir)
	if err != nil {
		return nil, none(err)
	}
	defer root.Close()
	f, err := openFile(root, within)
	if err != nil {
		return nil, none(err)
	}
	return f, nil
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

// artifact is MLflow's proxied artifact access (mlflow_artifacts.proto): PUT, GET
// and DELETE of one file, and the listing of a folder.
func (v *Server) artifact(w http.ResponseWriter, r *http.Request, name string) {
	err := func() error {
		root, err := v.store.artifactRoot()
		if err != nil {
			return err
		}
		defer root.Close()
		if strings.Contains("/"+name+"/", "/../") {
			return invalid("Invalid artifact path: %q", name)
		}
		if name, err = cleanArtifact(name); err != nil {
			return err
		}
		switch {
		case r.Method == http.MethodGet && name == "":
			base, err := cleanArtifact(r.URL.Query().Get("path"))
			if err != nil {
				return err
			}
			files, err := list(root, base, "")
			if err != nil {
				return err
			}
			respond(w, map[string]any{"files": files}, nil)
			return nil
		case name == "":
			return invalid("the request names no artifact")
		case r.Method == http.MethodPut:
			return put(root, name, r.Body, w)
		case r.Method == http.MethodGet:
			f, err := root.Open(name)
			if errors.Is(err, fs.ErrNotExist) {
				return notFound("no artifact %s", name)
			}
			if err != nil {
				return err
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			if info.IsDir() {
				return invalid("the artifact %s is a folder", name)
			}
			// What a script made is data, never a page of this server.
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Content-Disposition", "attachment")
			http.ServeContent(w, r, "", info.ModTime(), f)
			return nil
		case r.Method == http.MethodDelete:
			if strings.Count(name, "/") < 3 {
				return invalid("%s is the folder of a whole run", name)
			}
			if err := root.RemoveAll(name); err != nil {
				return err
			}
			respond(w, nil, nil)
			return nil
		}
		return noEndpoint(r)
	}()
	if err != nil {
		respond(w, nil, err)
	}
}

// put writes an artifact in whole or not at all.
func put(root *os.Root, name string, body io.Reader, w http.ResponseWriter) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	temporary := path.Join(path.Dir(name), "."+newID()+".part")
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		root.Remove(temporary)
		return fmt.Errorf("artifact %s: %w", name, err)
	}
	respond(w, nil, nil)
	return nil
}
