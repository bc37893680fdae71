package local

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Data of a workspace are loaded once, by the command that submits a run: it is signed in, and
// nothing that runs later is. They lie below this person's cache folder, by what they are, and
// every run reads the same copy.

// Elsewhere knows the data of a workspace.
type Elsewhere interface {
	// CheckInput says why the data of an input cannot be had from there, "" for nothing. It
	// asks nobody.
	CheckInput(job.Input) string

	// Asset returns the id of the version of an asset that an input names, "" where it names
	// a path; Short is such an id for people.
	Asset(context.Context, job.Input) (string, error)
	Short(asset string) string

	// Address says where the data of an input lie, of an asset where that is not "".
	Address(ctx context.Context, in job.Input, asset string) (string, error)

	// Files lists the data at an address. Where it leads to a file and to a folder, file
	// tells which is meant.
	Files(ctx context.Context, address string, file bool) (*submit.Data, error)
}

// Names in the folder of data in the cache, besides its lock.
const (
	dataDir   = "data"       // of all data; in each of them, what was loaded
	partsDir  = "parts"      // files that are being loaded
	listFile  = "list"       // which version of which files that is, while they are
	loadedAll = "files.json" // the files, once they are all there
)

// inWorkspace tells data that are loaded from a workspace.
func inWorkspace(in job.Input) bool { return !in.Literal && strings.HasPrefix(in.Path, "azureml:") }

// elsewhere is the workspace that has the data of a job, nil where none of it is in one.
func (t *Target) elsewhere(j *job.Job) (Elsewhere, error) {
	for _, in := range j.Inputs {
		if inWorkspace(in) && t.Workspace != nil {
			return t.Workspace()
		}
	}
	return nil, nil
}

// checkData finds what of an input's data cannot be had from a workspace.
func (t *Target) checkData(f *job.Findings, name string, in job.Input) {
	key := "inputs." + name + ".path"
	from, err := t.elsewhere(f.Job)
	if from == nil {
		why := ""
		if err != nil {
			why = ", and " + err.Error()
		}
		f.Add(key, "inputs.%s is %s, which only Azure Machine Learning can reach%s; or name a local path (--input "+
			"%s=PATH) or a compute target", name, in.Path, why, name)
	} else if why := from.CheckInput(in); why != "" {
		f.Add(key, "inputs.%s, %s, %s", name, in.Path, why)
	}
}

// found are the data of an input.
type found struct {
	asset   string       // its id; "" of a path
	name    string       // for people, with the version
	data    *submit.Data // nil of an asset, until somebody asks for its files
	version string       // that identifies them: the asset, or what data says
	foreign bool         // they are for a stranger's code
}

// look lists the files, where that was not done.
func (f *found) look(ctx context.Context, from Elsewhere, in job.Input) error {
	if f.data != nil {
		return nil
	}
	address, err := from.Address(ctx, in, f.asset)
	if err == nil {
		f.data, err = from.Files(ctx, address, in.Type == job.URIFile)
	}
	return err
}

// find says which data an input names now.
func find(ctx context.Context, from Elsewhere, in job.Input, known string) (f found, err error) {
	if f.asset = known; known == "" {
		if f.asset, err = from.Asset(ctx, in); err != nil {
			return f, err
		}
	}
	if f.asset != "" {
		f.name, f.version = from.Short(f.asset), f.asset
		return f, nil
	}
	f.name = in.Path
	if err = f.look(ctx, from, in); err == nil {
		f.version = f.data.Version()
	}
	return f, err
}

// dataVersion notes which data an input names now.
func (t *Target) dataVersion(ctx context.Context, j *job.Job, name string, v *submit.Versions) error {
	from, err := t.elsewhere(j)
	if err != nil {
		return err
	}
	f, err := find(ctx, from, j.Inputs[name], "")
	if err != nil {
		return err
	}
	if v.Inputs[name] = f.version; f.asset != "" {
		if v.Assets == nil {
			v.Assets = map[string]string{}
		}
		v.Assets[name] = f.asset
	}
	return nil
}

// load has the data of a submission on this machine, and returns its inputs that they are, by
// name. Which ones they are is noted with the submission.
func (t *Target) load(ctx context.Context, s *submit.Submission) (map[string]input, error) {
	from, err := t.elsewhere(s.Job)
	if err != nil || from == nil {
		return nil, err
	}
	inputs, versions := map[string]input{}, map[string]string{}
	s.Data = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Job.Inputs)) {
		in := s.Job.Inputs[name]
		if !inWorkspace(in) {
			continue
		}
		f, err := find(ctx, from, in, s.Versions.Assets[name])
		if known := s.Versions.Inputs[name]; err == nil && known != "" && known != f.version {
			err = errors.New("it has changed since it was looked at; run the command again")
		}
		if err == nil {
			f.foreign = s.Git.Fork != ""
			inputs[name], err = t.loadOne(ctx, from, name, in, f)
		}
		if err != nil {
			return nil, fmt.Errorf("inputs.%s: %w", name, cancelled(ctx, err))
		}
		s.Data[name] = f.name
		if versions[name] = f.version; f.asset == "" {
			versions[name] = f.name + " " + f.version
		}
	}
	text, err := json.Marshal(versions)
	s.Properties = maps.Clone(s.Properties)
	if s.Properties == nil {
		s.Properties = map[string]string{}
	}
	s.Properties[history.TagInputs] = clip.Bytes(string(text), history.MaxTagValue)
	return inputs, err
}

// cancelled is an error, or that of a context that has ended: what else failed follows from it.
func cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// loadOne has the data of one input here, or of the mode direct its address.
func (t *Target) loadOne(ctx context.Context, from Elsewhere, name string, in job.Input, f found) (to input,
	err error) {
	if in.Mode == "direct" {
		address, err := from.Address(ctx, in, f.asset)
		if err == nil && !plainPath.MatchString(address) {
			err = fmt.Errorf("%s has other characters than a command line takes as they are; take the mode download",
				address)
		}
		return input{Literal: true, Value: address}, err
	}
	e, err := t.openData(ctx, f)
	if err != nil {
		return to, err
	}
	defer e.close()
	files, at := e.whole()
	if files == nil || f.foreign { // what is here may be more than a stranger's code could have loaded
		if err := f.look(ctx, from, in); err != nil {
			return to, err
		}
	}
	if files == nil {
		if err := fits(in, f.data.File); err != nil {
			return to, err
		}
		begin := time.Now()
		if files, at, err = t.fetchData(ctx, e, name, f); err != nil {
			return to, fmt.Errorf("%s: %w", f.name, err)
		}
		t.say("Data %s: %s, %s, loaded in %s", name, f.name, files.text(), time.Since(begin).Round(time.Millisecond))
	} else {
		if err := fits(in, files.File); err != nil {
			return to, err
		}
		t.say("Data %s: %s, %s, is here already", name, f.name, files.text())
	}
	return input{Type: in.Type, Path: at, Place: filepath.Join(e.dir.Name(), dataDir)}, nil
}

// fits refuses data of another type than the input's.
func fits(in job.Input, file bool) error {
	switch folder := in.Type == job.URIFolder || in.Type == job.MLTable; {
	case file && folder:
		return &submit.Refusal{Reason: fmt.Sprintf("%s is a file, and the input a %s; make its type %s", in.Path,
			in.Type, job.URIFile)}
	case !file && in.Type == job.URIFile:
		return &submit.Refusal{Reason: fmt.Sprintf("%s is a folder, and the input a %s; make its type %s", in.Path,
			in.Type, job.URIFolder)}
	}
	return nil
}

func (t *Target) say(format string, args ...any) {
	if t.Say != nil {
		t.Say(format, args...)
	}
}

// dataEntry is the place of data in the cache, locked.
type dataEntry struct {
	all, dir *os.Root
	lock     *os.File
	key      string
}

func (e *dataEntry) close() {
	e.lock.Close()
	e.dir.Close()
	e.all.Close()
}

// openData opens the place of data, and waits until nobody else loads them.
func (t *Target) openData(ctx context.Context, f found) (*dataEntry, error) {
	sum := sha256.Sum256([]byte(f.version))
	key := hex.EncodeToString(sum[:10])
	around, err := home.Private(cacheDir(), true)
	if err != nil {
		return nil, err
	}
	defer around.Close()
	all, err := home.Folder(around.Root, dataDir, true)
	if err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		dir, err := home.Folder(all, key, true)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		lock, err := tryLock(dir)
		if lock == nil && err == nil {
			t.say("Another command loads the data %s; waiting for it", f.name)
			lock, err = waitLock(ctx, dir)
		}
		if err != nil {
			return nil, errors.Join(err, dir.Close(), all.Close())
		}
		here, herr := dir.Stat(".")
		now, err := all.Lstat(key)
		if herr == nil && err == nil && os.SameFile(here, now) {
			return &dataEntry{all, dir, lock, key}, nil
		}
		lock.Close() // it was removed while we waited
		dir.Close()
	}
	return nil, errors.Join(ctx.Err(), all.Close())
}

// loadedFiles are the files of data that are whole, as they were when they were loaded.
type loadedFiles struct {
	Name  string // of the file or folder, below dataDir
	File  bool
	Files []loadedFile
}

// loadedFile is a file, and what tells it from one that somebody has written to since: a
// program can set back when the content was changed, and not when that was done.
type loadedFile struct {
	Path string
	Is   filestat.Stat
}

func (l *loadedFiles) text() string {
	bytes := int64(0)
	for _, f := range l.Files {
		bytes += f.Is.Size
	}
	return size.Count(len(l.Files), "file") + ", " + size.Format(bytes)
}

// mostList bounds what is read of a list of loaded files: a million, with names.
const mostList = 1 << 30

// whole returns the files where they are all there, as they were loaded, and where they are.
func (e *dataEntry) whole() (*loadedFiles, string) {
	text, err := limited.ReadBelow(e.dir, loadedAll, mostList)
	if err != nil {
		return nil, ""
	}
	l := &loadedFiles{}
	if json.Unmarshal(text, l) != nil || !filepath.IsLocal(l.Name) || e.differs(l) != "" {
		return nil, ""
	}
	now := time.Now()
	e.dir.Chtimes(loadedAll, now, now) // used
	return l, e.at(l.Name)
}

func (e *dataEntry) at(name string) string { return filepath.Join(e.dir.Name(), dataDir, name) }

// differs names a file that is not what it was when it was loaded, "" for none.
func (e *dataEntry) differs(l *loadedFiles) (name string) {
	want := make(map[string]loadedFile, len(l.Files))
	for _, f := range l.Files {
		want[f.Path] = f
	}
	top := path.Join(dataDir, l.Name)
	err := fs.WalkDir(e.dir.FS(), top, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name = strings.TrimPrefix(at, top+"/")
		if l.File {
			name = l.Name
		}
		info, err := d.Info()
		f, ok := want[name]
		if err != nil || !ok || !info.Mode().IsRegular() || filestat.Of(info) != f.Is {
			return fs.ErrInvalid
		}
		delete(want, name)
		return nil
	})
	if err != nil {
		return cmp.Or(name, l.Name)
	}
	for name := range want {
		return name
	}
	return ""
}

// forgetData removes data that no run has used for long, and what nobody went on loading, but
// for those of one place.
func (e *dataEntry) forgetData() {
	entries, _ := fs.ReadDir(e.all.FS(), ".")
	for _, other := range entries {
		name := other.Name()
		if strings.HasPrefix(name, ".") {
			removeAll(e.all, name)
			continue
		}
		info, err := e.all.Lstat(path.Join(name, loadedAll))
		if err != nil {
			info, err = e.all.Lstat(path.Join(name, listFile))
		}
		if err != nil || name == e.key || time.Since(info.ModTime()) < unused {
			continue
		}
		dir, err := home.Folder(e.all, name, false)
		if err != nil {
			continue
		}
		if lock, err := tryLock(dir); lock != nil && err == nil {
			if e.all.Rename(name, "."+name) == nil {
				removeAll(e.all, "."+name)
			}
			lock.Close()
		}
		dir.Close()
	}
}
