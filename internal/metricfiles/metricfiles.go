// Package metricfiles answers: which metrics did a training script leave in files?
//
// A script that uses no tracking library, or another one than MLflow, writes its metrics
// where its framework does: a metrics.json (its own, below Hydra's folder of a run, or as
// JSON lines), Lightning's metrics.csv, the trainer_state.json of Hugging Face's Trainer,
// the files that dvc.yaml names as metrics, TensorBoard's event files. Here they become
// values by name and step. All of these files are the script's: they are read up to a
// limit, in time and memory that grow with their size.
package metricfiles

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/size"
)

// Value is one value of a metric.
type Value struct {
	Name  string
	Value float64
	Step  int64
	Time  int64 // milliseconds since 1970; 0 where the file does not say
}

// File is a file that a run made.
type File struct {
	Path string // slash-separated, relative to the working directory
	FS   fs.FS
	Name string // in FS
}

// Main is where a script that uses no tracking library reports metrics, relative to its
// working directory: a JSON object of numbers. Nested objects are flattened with "/", and
// a list is a series by step, from 0. The strings "NaN", "Infinity" and "-Infinity" and
// the bare words that Python's json.dump writes for them are numbers too; other values are
// left out. JSON lines, one object each, are series too: their step is the line's "step",
// "iteration" or "epoch", else its number, from 0.
const Main = "outputs/metrics.json"

// Limits of what is read.
const (
	longestShown = 83       // bytes of a name or value that a message quotes
	maxText      = 64 << 20 // bytes of a file of text: a series of a million values takes 20 MB
	maxEvents    = 4 << 30  // bytes of an event file, most of which are images
	maxFiles     = 1000
	maxValues    = 2_000_000
)

// errTooMany is the error of a file that would make the values of a run more than are
// read.
var errTooMany = fmt.Errorf("the files of metrics hold more than %d values", maxValues)

// reader reads files of one kind. It returns what they hold by a name that still says
// nothing of where the file lies.
type reader struct {
	kind string
	// is tells whether a file is of the kind, and folder is by which it is told apart from
	// others: "" where nothing has to be.
	is   func(name string) bool
	read func(r *reading, f File) ([]Value, error)
}

// readers are the kinds, the one first whose word counts most: a name that a file of
// another kind gives again is not counted twice.
var readers = []reader{
	{"JSON", func(name string) bool { return path.Base(name) == "metrics.json" }, readJSON},
	{"DVC", func(name string) bool { return path.Base(name) == "dvc.yaml" }, readDVC},
	{"CSV", func(name string) bool { return path.Base(name) == "metrics.csv" }, readCSV},
	{"Trainer", func(name string) bool { return path.Base(name) == "trainer_state.json" }, readTrainer},
	{"TensorBoard", func(name string) bool { return strings.Contains(path.Base(name), ".tfevents.") }, readEvents},
}

// reading is one pass over the files of a run.
type reading struct {
	files    map[string]File  // by path
	last     map[string]int64 // of the Trainer's folders: the step of the last checkpoint
	done     map[string]bool  // files that something has read
	room     int              // how many values may still come
	warnings []string
}

func (r *reading) warn(format string, args ...any) {
	if len(r.warnings) < 20 {
		r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
	}
}

// Read returns the metrics that stand in the files of a run, and what of them cannot be
// taken. Names that are taken, because the script has logged them itself, are left out.
// name turns a name into one that can be logged, "" where none can be made of it.
func Read(files []File, taken func(name string) bool, name func(string) string) (values []Value, warnings []string) {
	r := &reading{files: map[string]File{}, last: map[string]int64{}, done: map[string]bool{}, room: maxValues}
	for _, f := range files {
		r.files[f.Path] = f
		if folder, step, ok := ofCheckpoint(f.Path); ok {
			r.last[folder] = max(r.last[folder], step)
		}
	}
	counted := map[string]string{} // name -> kind and folder that gave it
	for _, kind := range readers {
		for _, g := range r.groups(kind, files) {
			values = r.take(values, kind.kind, g, counted, taken, name)
		}
	}
	return values, r.warnings
}

// group is the values of the files of one folder.
type group struct {
	dir    string // relative to the working directory
	folder string // by which its names are told apart from others
	values []Value
}

// groups reads the files of a kind, by folder.
func (r *reading) groups(kind reader, files []File) (groups []group) {
	n := 0
	for _, f := range ordered(files) {
		if !kind.is(f.Path) || r.done[f.Path] {
			continue
		}
		if n++; n > maxFiles {
			r.warn("more than %d files hold metrics of the kind %s; the others are left out", maxFiles, kind.kind)
			break
		}
		values, err := kind.read(r, f)
		if len(values) > r.room {
			values, err = values[:r.room], fmt.Errorf("%s: %w; the others are left out", f.Path, errTooMany)
		}
		r.room -= len(values)
		if err != nil {
			r.warn("%v", err)
		}
		if len(values) == 0 {
			continue
		}
		if dir := path.Dir(f.Path); len(groups) > 0 && groups[len(groups)-1].dir == dir {
			last := &groups[len(groups)-1]
			last.values = append(last.values, values...)
		} else {
			groups = append(groups, group{dir: dir, folder: folderOf(dir, true), values: values})
		}
	}
	alike := map[string]int{}
	for _, g := range groups {
		alike[g.folder]++
	}
	for i := range groups {
		if g := &groups[i]; alike[g.folder] > 1 { // Hydra was started more than once
			g.folder = folderOf(g.dir, false)
		}
	}
	if kind.kind == "JSON" {
		return groups // whose folder is the script's own word
	}
	return shorten(groups)
}

// ordered sorts files by folder and name, the main file first.
func ordered(files []File) []File {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int {
		switch {
		case a.Path == b.Path:
			return 0
		case a.Path == Main:
			return -1
		case b.Path == Main:
			return 1
		}
		return cmp.Or(strings.Compare(path.Dir(a.Path), path.Dir(b.Path)), strings.Compare(a.Path, b.Path))
	})
	return files
}

// dated is the folders that Hydra makes of the date and time of a run.
var dated = lazyregexp.New(`(^|/)\d{4}-\d{2}-\d{2}/\d{2}-\d{2}-\d{2}(/|$)`)

// folderOf says where files of metrics lie, below the folders that say nothing: a run's
// own, and without dates those of Hydra.
func folderOf(dir string, undated bool) string {
	for _, top := range []string{"outputs", "logs", "multirun"} {
		if dir == top || strings.HasPrefix(dir, top+"/") {
			dir = strings.TrimPrefix(strings.TrimPrefix(dir, top), "/")
			break
		}
	}
	if undated {
		dir = strings.Trim(dated.ReplaceAllString(dir, "$1"), "/")
	}
	if dir == "." {
		return ""
	}
	return dir
}

// shorten cuts from the folders what all of them start with: it tells nothing apart.
func shorten(groups []group) []group {
	if len(groups) == 0 {
		return nil
	}
	common := strings.Split(groups[0].folder, "/")
	for _, g := range groups[1:] {
		parts := strings.Split(g.folder, "/")
		n := 0
		for n < len(common) && n < len(parts) && common[n] == parts[n] {
			n++
		}
		common = common[:n]
	}
	for i := range groups {
		groups[i].folder = strings.TrimPrefix(strings.TrimPrefix(groups[i].folder, strings.Join(common, "/")), "/")
	}
	return groups
}

// take adds the values of a group whose names nobody has given.
func (r *reading) take(to []Value, kind string, g group, counted map[string]string, taken func(string) bool,
	name func(string) string) []Value {
	names := map[string]string{} // in the file -> as it is logged, "" for not at all
	for _, v := range g.values {
		as, known := names[v.Name]
		if !known {
			full := path.Join(g.folder, v.Name)
			as = name(full)
			owner := kind + " " + g.folder
			switch by, again := counted[as]; {
			case as == "":
				r.warn("%q is no name for a metric, and none can be made of it", clip.Bytes(full, longestShown))
			case again && by != owner || taken(as):
				if again && strings.HasPrefix(by, kind+" ") {
					r.warn("%q stands in more than one file; the first counts", clip.Bytes(as, longestShown))
				}
				as = ""
			default:
				if as != full {
					r.warn("%q is logged as %q: MLflow takes no other signs in a name than letters, digits and _ - . "+
						": / and blanks", clip.Bytes(full, longestShown), clip.Bytes(as, longestShown))
				}
				counted[as] = owner
			}
			names[v.Name] = as
		}
		if as != "" {
			v.Name = as
			to = append(to, v)
		}
	}
	return to
}

// text reads a file of text.
func (r *reading) text(f File) ([]byte, error) {
	text, err := limited.ReadFS(f.FS, f.Name, maxText)
	var large *limited.TooLargeError
	if errors.As(err, &large) {
		return nil, fmt.Errorf("%s is over %s; log a series that long with MLflow while the script runs", f.Path,
			size.Limit(maxText))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, cause(err))
	}
	// Before any of them is in memory: what separates them tells how many there may be, and
	// a file that is laid out for people has a line for each as well.
	if bytes.Count(text, []byte(","))+bytes.Count(text, []byte("\n")) > 2*r.room {
		return nil, fmt.Errorf("%s: %w", f.Path, errTooMany)
	}
	return text, nil
}

func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// open opens a regular file.
func open(f File) (io.ReadCloser, error) {
	info, err := fs.Stat(f.FS, f.Name)
	if err == nil && !info.Mode().IsRegular() {
		err = limited.ErrNotRegular
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, cause(err))
	}
	return f.FS.Open(f.Name)
}
