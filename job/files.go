package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/suggest"
)

// Open opens a local file or folder that the job names: one of its repository, or with
// named, which says that it comes from the command line, one that lies anywhere. It is
// the commit's where the job is one of a commit. The error of what a job may not name is
// an *inside.OutsideError.
func (j *Job) Open(name string, named bool) (*inside.Tree, error) {
	name, place := j.Local(name), j.place
	if place.Dir == "" {
		place.Dir = j.Dir
	}
	if named && !place.Has(name) {
		return inside.Named(name)
	}
	return place.Open(name)
}

// OpenInput opens the data of an input. Data that a commit does not have, as it is seldom
// committed, is the working tree's.
func (j *Job) OpenInput(in Input) (*inside.Tree, error) {
	if in.Run != "" {
		return inside.Named(j.Local(in.Path)) // the run history's, which is no part of the repository
	}
	t, err := j.Open(in.Path, in.named)
	if j.place.FS != nil && errors.Is(err, fs.ErrNotExist) {
		here := *j
		here.place.FS = nil
		return here.Open(in.Path, in.named)
	}
	return t, err
}

func (j *Job) stat(name string, named bool) (fs.FileInfo, error) {
	t, err := j.Open(name, named)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.Info(), nil
}

// lookAt describes a file or folder that is going to be read: a folder's links do not
// lead out of it.
func lookAt(ctx context.Context, t *inside.Tree, err error) (fs.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.Info(), t.Check(ctx)
}

// defaultPlace is whose files a job at dir may name where nobody said: those below the
// working directory, or below dir where that lies elsewhere.
func defaultPlace(cwd, dir string) inside.Place {
	if place := (inside.Place{Dir: cwd}); place.Has(dir) {
		return place
	}
	return inside.Place{Dir: dir}
}

// why says what is wrong with a path of the job, and what would be right. The flag is
// that by which the person at this machine can name what lies elsewhere, with a value
// ahead of the path; "" where there is none.
func (j *Job) why(path, flag string, workflow bool, err error) string {
	var outside *inside.OutsideError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s does not exist%s", path, j.sibling(path))
	case !errors.As(err, &outside):
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Sprintf("%s: %v", path, err)
	case outside.Into != "" && outside.Link != "":
		return fmt.Sprintf("%s: %s is a link into %s, which never travels", path, outside.Link, outside.Into)
	case outside.Into != "":
		return fmt.Sprintf("%s leads into %s, which never travels", path, outside.Into)
	}
	if outside.Folder {
		return fmt.Sprintf("%s: %s is a link to %s, out of the folder; put what it leads to into the folder, or "+
			"make it an input of its own", path, outside.Link, outside.To)
	}
	text, target := path+" leads out of the repository", j.Local(path)
	if outside.Link != "" {
		text = fmt.Sprintf("%s leads out of the repository: %s is a link to %s", path, outside.Link, outside.To)
		target = filepath.FromSlash(outside.To)
		if !filepath.IsAbs(target) {
			target = filepath.Join(outside.Dir, filepath.Dir(filepath.FromSlash(outside.Link)), target)
		}
	}
	switch {
	case workflow:
		return text + "; in a workflow a job reads only files of its repository: put it there, or name an asset or " +
			"a URL"
	case flag != "":
		return fmt.Sprintf("%s; what lies elsewhere is named on the command line: %s%s", text, flag, target)
	}
	return text + "; put it into the repository"
}

// similarScript looks for the script meant: one of the same name elsewhere, or
// of a similar name.
func (j *Job) similarScript(script string) string {
	t, err := j.Open(j.Code, j.codeNamed)
	if err != nil {
		return ""
	}
	defer t.Close()
	kind := cmp.Or(filepath.Ext(script), ".py")
	var scripts []string
	seen := 0
	fs.WalkDir(t.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if seen++; err != nil || seen > 20_000 {
			return fs.SkipDir
		}
		if e.IsDir() && path != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules" ||
			e.Name() == "site-packages") {
			return fs.SkipDir
		}
		if strings.HasSuffix(e.Name(), kind) && len(scripts) < 2000 {
			scripts = append(scripts, path)
		}
		return nil
	})
	for _, s := range scripts {
		if s != filepath.ToSlash(filepath.Clean(script)) && filepath.Base(s) == filepath.Base(script) {
			return "; did you mean " + s + "?"
		}
	}
	if hint := suggest.DidYouMean(script, scripts); hint != "" {
		return hint
	}
	if len(scripts) > 0 && len(scripts) <= 8 {
		return "; it has " + strings.Join(scripts, ", ")
	}
	return ""
}

// sibling suggests what stands beside a path that does not exist.
func (j *Job) sibling(path string) string {
	name := j.Local(path)
	t, err := j.Open(filepath.Dir(name), true)
	if err != nil || !t.IsDir() {
		return ""
	}
	defer t.Close()
	entries, _ := fs.ReadDir(t.FS(), ".")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return suggest.DidYouMean(filepath.Base(name), names)
}

// placeOf returns where the job at path may take files from, and the path as absolute.
func (o Options) placeOf(path string) (inside.Place, string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return o.Files, "", err
	}
	abs := cwd
	if path != "" {
		abs = path
		if !filepath.IsAbs(abs) {
			abs = filepath.Join(cwd, path)
		}
	}
	place := o.Files
	if place.Dir == "" && path == "" {
		place.Dir = cwd
	} else if place.Dir == "" {
		place = defaultPlace(cwd, filepath.Dir(abs))
	}
	return place, abs, nil
}
