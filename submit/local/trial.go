package local

import (
	"context"
	"crypto/rand"
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

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/filestat"
	"github.com/org/aml-train/internal/git/index"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/job"
)

// spawn makes the run of a trial and starts its supervisor.
func (s *sweepRun) spawn(ctx context.Context, t *trial, values map[string]any) error {
	run, err := s.create(ctx, t.number, values)
	if err != nil {
		return err
	}
	t.run = run.Info.RunID
	fail := func(err error) error {
		s.t.Store.SetStatus(context.WithoutCancel(ctx), t.run, history.Failed,
			interruptedWord+"the trial could not be started: "+err.Error()) // a sweep that goes on tries again
		s.t.remove(t.run)
		return err
	}
	lock, err := s.prepare(ctx, run, values)
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	if t.supervisor, err = s.t.spawn(t.run, lock, true, s.p.Pass); err != nil {
		return fail(err)
	}
	return nil
}

// create makes the run of a trial in the history: SWEEP_NUMBER, as Azure ML names it. One
// that was interrupted before keeps its name, and the next has ".2" behind it.
func (s *sweepRun) create(ctx context.Context, n int, values map[string]any) (*history.Run, error) {
	parameters, err := parametersTag(values)
	if err != nil {
		return nil, err
	}
	var tags []history.KeyValue
	for _, tag := range s.run.Data.Tags {
		if ofTrials(tag.Key) {
			tags = append(tags, tag)
		}
	}
	command := job.Job{Command: s.run.Tag(history.TagCommand)}
	tags = append(tags, history.KeyValue{Key: history.TagParent, Value: s.p.Run},
		history.KeyValue{Key: history.TagTrial, Value: clip.Bytes(parameters, history.MaxTagValue)},
		history.KeyValue{Key: history.TagCommand, Value: clip.Bytes(command.Expand(spaceValues(words(values))),
			history.MaxTagValue)},
		history.KeyValue{Key: history.TagStatus, Value: string(history.Preparing)})
	for attempt := 1; ; attempt++ {
		id := fmt.Sprintf("%s_%d", s.p.Run, n)
		if attempt > 1 {
			id = fmt.Sprintf("%s.%d", id, attempt)
		}
		run, err := s.t.Store.CreateRun(context.WithoutCancel(ctx),
			history.NewRun{ID: id, ExperimentID: s.p.ExperimentID, Name: id,
				User: s.run.Tag(history.TagUser), Start: time.Now(), Status: "SCHEDULED", Tags: tags, Owner: s.p.Run})
		if !errors.Is(err, history.ErrRunExists) {
			return run, err
		}
	}
}

// ofTrials tells a tag of a sweep that its trials have too: what ran, of which code.
func ofTrials(key string) bool {
	switch key {
	case history.TagTarget, history.TagEnvironment, history.TagPython, history.TagSource, history.TagScript,
		history.TagSnapshot, history.TagJobFile, history.TagUser:
		return true
	}
	return strings.HasPrefix(key, "mlflow.source.") || strings.HasPrefix(key, "azureml.git.")
}

// words are hyperparameters as the command line gets them.
func words(values map[string]any) map[string]string {
	out := map[string]string{}
	for name, v := range values {
		out[name] = job.Word(v)
	}
	return out
}

// spaceValues are the values of hyperparameters by their expressions.
func spaceValues(texts map[string]string) map[string]string {
	values := map[string]string{}
	for name, text := range texts {
		values["search_space."+name] = text
	}
	return values
}

// prepare makes the folder of a trial, with a copy of the sweep's files, and returns the
// lock on it.
func (s *sweepRun) prepare(ctx context.Context, run *history.Run, values map[string]any) (lock *os.File, err error) {
	dir, lock, err := s.t.fresh(ctx, run.Info.RunID)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := s.t.replicate(s.p.Run, run.Info.RunID, s.p.within()); err != nil {
		return lock, err
	}
	p := *s.p
	p.Sweep, p.Attached, p.Space, p.Mark = nil, true, words(values), rand.Text()
	p.Timeout = time.Duration(s.p.Sweep.Limits.TrialTimeout) * time.Second
	// What Azure ML sets for a trial (azure-ai-ml, SweepJob).
	p.Env = map[string]string{}
	for name, in := range s.p.Inputs {
		if in.Literal {
			p.Env["AZUREML_SWEEP_"+name] = in.Value
		}
	}
	for name, v := range values {
		p.Env["AZUREML_SWEEP_"+name] = job.Text(v)
	}
	maps.Copy(p.Env, s.p.Env)
	p.Params = maps.Clone(s.p.Params)
	if p.Params == nil {
		p.Params = map[string]string{}
	}
	for name, v := range values {
		p.Params[name] = job.Text(v)
	}
	s.t.locate(&p, run)
	return lock, s.t.deposit(&p, dir)
}

// replicate gives a folder among the copies, such as a trial's, the files of another one,
// such as its sweep's: a copy that another run has left, brought to what that is, or a new
// one. The command works in the folder within of it.
func (t *Target) replicate(of, to, work string) error {
	copies, err := t.copies(false)
	if err != nil {
		return err
	}
	defer copies.Close()
	from, err := home.Folder(copies, of, false)
	if err != nil {
		return err
	}
	defer from.Close()
	within := path.Join(to, work)
	files, in, err := recorded(from)
	if errors.Is(err, fs.ErrNotExist) { // the job sends no code
		return copies.MkdirAll(within, 0o755)
	}
	if err != nil {
		return err
	}
	list := make([]copied, 0, len(files))
	byPath := make(map[string]copied, len(files))
	for _, f := range files {
		list = append(list, f)
		byPath[f.Path] = f
	}
	right := takeSpare(copies, to, func(path string) (plumbing.Hash, uint32, bool) {
		f, ok := byPath[path]
		return f.OID, f.Mode, ok
	}, in)
	if err := copies.MkdirAll(within, 0o755); err != nil {
		return err
	}
	source := filepath.Join(t.top(of), in)
	target := filepath.Join(t.top(to), in)
	slices.SortFunc(list, func(a, b copied) int { return strings.Compare(a.Path, b.Path) })
	made := map[string]bool{".": true}
	for i := range list {
		if err := copyOne(&list[i], source, target, made, right[list[i].Path]); err != nil {
			return err
		}
	}
	if err := t.copyGit(of, to, filepath.ToSlash(in), list); err != nil {
		return err
	}
	dir, err := home.Folder(copies, to, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	return record(dir, in, list)
}

// copyOne copies a file of a copy to another one, unless it is right there already, and
// notes what it then is.
func copyOne(f *copied, source, target string, made map[string]bool, right bool) error {
	name := filepath.FromSlash(f.Path)
	from, to := filepath.Join(source, name), filepath.Join(target, name)
	if parent := filepath.Dir(name); !made[parent] {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		made[parent] = true
	}
	switch {
	case right:
	case filemode.FileMode(f.Mode) == filemode.Symlink:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(link, to); err != nil {
			return err
		}
	default:
		if err := copyPlain(from, to); err != nil {
			return err
		}
		if filemode.FileMode(f.Mode) == filemode.Executable {
			if err := os.Chmod(to, 0o755); err != nil {
				return err
			}
		}
	}
	info, err := os.Lstat(to)
	if err == nil {
		f.Stat = filestat.Of(info)
	}
	return err
}

// copyGit copies the repository of a copy. Its index then has the stat data of the files
// that list has.
func (t *Target) copyGit(from, to, in string, list []copied) error {
	source, target := filepath.Join(t.top(from), ".git"), filepath.Join(t.top(to), ".git")
	if _, err := os.Lstat(source); errors.Is(err, fs.ErrNotExist) {
		return nil // the code is in no repository
	}
	if err := os.CopyFS(target, os.DirFS(source)); err != nil {
		return err
	}
	name := filepath.Join(target, "index")
	x, err := index.Read(name, target, nil)
	if err != nil {
		return err
	}
	prefix := ""
	if in != "." {
		prefix = in + "/"
	}
	known := make(map[string]*copied, len(list))
	for i := range list {
		known[prefix+list[i].Path] = &list[i]
	}
	user, group := uint32(os.Geteuid()), uint32(os.Getegid())
	entries := make([]index.Entry, x.Len())
	for i := range entries {
		entries[i] = x.Entry(i)
		if f := known[entries[i].Name]; f != nil && f.OID == entries[i].ID &&
			filemode.FileMode(f.Mode) == entries[i].Mode && !entries[i].SkipWorktree {
			entries[i].Stat, entries[i].User, entries[i].Group = f.Stat, user, group
		}
	}
	return os.WriteFile(name, index.Append(nil, entries), 0o644)
}
