package local

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/progress"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Submit implements submit.Target: when it returns, the copy of the snapshot is
// complete and the supervisor runs.
func (t *Target) Submit(ctx context.Context, s submit.Submission) (*history.Run, error) {
	if err := t.Check(ctx, s.Job); err != nil {
		return nil, err
	}
	if !s.Attached && os.Getpid() == 1 {
		return nil, &submit.Refusal{Reason: "this container ends with this command, and a run in it as well; leave " +
			"wait and cancel-with-workflow at true, or name a compute target"}
	}
	python, _ := t.python()
	t.forgetLeftovers()
	// The files first: where they cannot be copied, there is no run to explain.
	staged, err := t.stage(ctx, s)
	if err != nil {
		return nil, &submit.Refusal{Reason: err.Error()}
	}
	defer t.unstage(staged)
	data, err := t.loadWhile(ctx, &s, staged)
	if err != nil {
		return nil, err
	}
	begin := func() (*history.Run, error) { return t.create(ctx, s, python) }
	if s.Resume {
		begin = func() (*history.Run, error) { return t.resume(ctx, s) }
	}
	run, err := begin()
	if err != nil {
		return nil, err
	}
	id := run.Info.RunID
	fail := func(err error) (*history.Run, error) {
		end := stopped(ctx, fmt.Errorf("the run could not be started: %w", err))
		t.Store.SetStatus(context.WithoutCancel(ctx), id, end.status, end.reason)
		t.remove(id)
		return nil, fmt.Errorf("run %s: %w", id, err)
	}
	lock, err := t.prepare(ctx, s, run, staged, python, data)
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	process, err := t.spawn(id, lock, s.Attached, s.Pass)
	if err != nil {
		return fail(err)
	}
	if process.life != nil {
		lifeline = append(lifeline, process.life)
	}
	return run, nil
}

// input says where an input is. What a commit has, or an earlier run, is written below dir
// first: a script that goes on with the files of a run writes there, and not to its record.
func (t *Target) input(ctx context.Context, j *job.Job, in job.Input, dir string) (input, error) {
	to := input{Literal: in.Literal, Value: in.Value, Type: in.Type, Path: in.Path}
	if in.Literal || job.IsRemote(in.Path) {
		return to, nil
	}
	tree, err := j.OpenInput(in)
	if err != nil {
		return to, err
	}
	defer tree.Close()
	if to.Path, to.Place = j.Local(in.Path), tree.Place; tree.Disk && in.Run == "" {
		return to, nil
	}
	to.Place = dir
	to.Path, err = tree.Copy(ctx, dir)
	return to, err
}

// prepare makes the folder of a run, with all that its supervisor needs, and returns the
// lock on it.
func (t *Target) prepare(ctx context.Context, s submit.Submission, run *history.Run, staged,
	python string, data map[string]input) (lock *os.File, err error) {
	dir, lock, err := t.fresh(ctx, run.Info.RunID)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	p := plan{
		Experiment: s.Job.ExperimentName, Command: s.Job.Command, Outputs: s.Job.Outputs,
		Env:     s.Job.EnvironmentVariables,
		Timeout: s.Job.MaxDuration(), Python: python, Attached: s.Attached, Keep: s.Job.Keep, Root: root(s),
		Inputs: map[string]input{},
		Image:  cmp.Or(s.Versions.Image, image(s.Job)), Resources: s.Job.Trial().Resources,
		Distribution: s.Job.Distribution, Mark: rand.Text(), MaxOutputs: s.MaxOutputs, Pass: s.Pass,
		Evictions: s.Evictions,
	}
	if w := s.Job.Sweep; w != nil {
		seed, err := strconv.ParseInt(run.Tag(history.TagSeed), 10, 64)
		if err != nil {
			return lock, fmt.Errorf("the seed of the sweep: %w", err)
		}
		p.Sweep = &sweepPlan{Sweep: *w, Seed: seed}
	}
	p.Params = secret.Of(s.Secrets, s.Parameters())
	if p.Packages, err = t.packagesOf(s.Job); err != nil {
		return lock, err
	}
	if isBuilt(s.Job) {
		if p.Build, err = writeContext(ctx, s.Job, dir); err != nil {
			return lock, fmt.Errorf("environment: %w", err)
		}
		p.Image = p.Build.Image
	}
	t.locate(&p, run)
	maps.Copy(p.Inputs, data)
	for name, in := range s.Job.Inputs {
		if _, found := data[name]; found {
			continue
		}
		if p.Inputs[name], err = t.input(ctx, s.Job, in, filepath.Join(p.Base, inputsDir, name)); err != nil {
			return lock, fmt.Errorf("inputs.%s: %w", name, err)
		}
	}
	for name, tag := range s.Versions.ETags {
		in := p.Inputs[name]
		in.ETag = tag
		p.Inputs[name] = in
	}
	if err := t.takeOver(staged, run.Info.RunID); err != nil {
		return lock, err
	}
	return lock, t.deposit(&p, dir)
}

// deposit puts what the supervisor of a run needs into the run's folder. The console output
// of a sweep that goes on stays.
func (t *Target) deposit(p *plan, dir *os.Root) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	console := path.Join(p.Artifacts, history.ConsoleLog)
	if err := cmp.Or(
		dir.WriteFile(reserve, bytes.Repeat([]byte("reserve\n"), 64<<10), 0o600),
		t.Store.Files.MkdirAll(path.Dir(console), 0o755)); err != nil {
		return err
	}
	f, err := t.Store.Files.OpenFile(console, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	return cmp.Or(f.Close(), dir.WriteFile(planFile, text, 0o600))
}

// stage copies the files of a snapshot to a folder among the copies, whose name it
// returns, from which a run takes them over by renaming.
func (t *Target) stage(ctx context.Context, s submit.Submission) (string, error) {
	copies, err := t.copies(true)
	if err != nil {
		return "", err
	}
	defer copies.Close()
	name := staging + rand.Text()
	if err := copies.Mkdir(name, 0o755); err != nil {
		return "", err
	}
	if err := fill(ctx, copies, name, s); err != nil {
		removeAll(copies, name)
		return "", err
	}
	return name, nil
}

// takeOver moves what was staged to the folder of a run.
func (t *Target) takeOver(staged, run string) error {
	copies, err := t.copies(false)
	if err != nil {
		return err
	}
	defer copies.Close()
	entries, err := fs.ReadDir(copies.FS(), staged)
	for _, e := range entries {
		err = cmp.Or(err, copies.Rename(path.Join(staged, e.Name()), path.Join(run, e.Name())))
	}
	return err
}

// loadWhile loads the data of a submission while its files wait where they were staged, which
// others do not take for abandoned as long as that lasts.
func (t *Target) loadWhile(ctx context.Context, s *submit.Submission, staged string) (map[string]input, error) {
	copies, err := t.copies(false)
	if err != nil {
		return nil, err
	}
	defer copies.Close()
	done := progress.Every(abandoned/10, func() {
		now := time.Now()
		copies.Chtimes(staged, now, now)
	})
	defer done()
	begin := time.Now()
	data, err := t.load(ctx, s)
	if s.Loading != nil {
		*s.Loading = time.Since(begin)
	}
	return data, err
}

// unstage removes what no run took over.
func (t *Target) unstage(staged string) {
	if copies, err := t.copies(false); err == nil {
		defer copies.Close()
		removeAll(copies, staged)
	}
}

// fill copies the files of a submission to a folder of that name, which is new.
func fill(ctx context.Context, copies *os.Root, name string, s submit.Submission) error {
	dir, err := home.Folder(copies, name, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	in := filepath.FromSlash(cmp.Or(s.Source(), "."))
	within := path.Join(workDir, filepath.ToSlash(in))
	if s.Snapshot == nil {
		return dir.MkdirAll(within, 0o755)
	}
	right := takeSpare(copies, name, func(path string) (plumbing.Hash, uint32, bool) {
		if f := s.Snapshot.Find(path); f != nil {
			return f.OID, uint32(f.Mode), true
		}
		return plumbing.Hash{}, 0, false
	}, in)
	if err := dir.MkdirAll(within, 0o755); err != nil {
		return err
	}
	top := filepath.Join(copies.Name(), name, workDir)
	list, err := materialise(ctx, s.Snapshot, filepath.Join(top, in), right)
	if err != nil {
		return err
	}
	if err := writeRepository(top, filepath.ToSlash(in), s, list); err != nil {
		return err
	}
	return record(dir, in, list)
}

// root is the folder of which a run's copy is one.
func root(s submit.Submission) string {
	if s.Snapshot == nil || s.Git.Root != "" {
		return s.Git.Root
	}
	return s.Snapshot.Dir
}

// staging starts the name of a folder that a run has not taken over yet.
const staging = ".new-"

// create makes the run in the history. Its id says what ran: the experiment, the
// commit and a number. MLflow's schema gives it 32 characters.
func (t *Target) create(ctx context.Context, s submit.Submission, python string) (*history.Run, error) {
	j := s.Job
	experiment, err := t.experiment(ctx, j.ExperimentName)
	if err != nil {
		return nil, err
	}
	user := currentUser()
	tags := secret.Of(s.Secrets, tagsOf(s, user, python))
	prefix := idPrefix(s)
	n, err := t.Store.CountRuns(ctx, prefix)
	if err != nil {
		return nil, err
	}
	for {
		n++
		id := fmt.Sprintf("%s%d", prefix, n)
		if j.Name != "" { // the job file names the run
			id = j.Name
		}
		name := j.DisplayName
		if name == "" {
			name = id
		}
		// Either there is a run that somebody knows of, or none.
		run, err := t.Store.CreateRun(context.WithoutCancel(ctx),
			history.NewRun{ID: id, ExperimentID: experiment, Name: name, User: user,
				Start: time.Now(), Status: "SCHEDULED", Tags: tags})
		if errors.Is(err, history.ErrRunExists) && j.Name == "" {
			continue
		}
		if errors.Is(err, history.ErrRunExists) {
			return nil, &submit.Refusal{Reason: nameTaken(j.Name)}
		}
		var refused *history.Error
		if errors.As(err, &refused) {
			err = &submit.Refusal{Reason: refused.Message}
		}
		return run, err
	}
}

// tagsOf are the tags of a new run.
func tagsOf(s submit.Submission, user, python string) []history.KeyValue {
	j := s.Job
	var tags []history.KeyValue
	for name, value := range j.Tags {
		tags = append(tags, history.KeyValue{Key: name, Value: value})
	}
	tags = append(tags, []history.KeyValue{ // after the job's own, so that these hold
		{Key: history.TagStatus, Value: string(history.Preparing)},
		{Key: history.TagUser, Value: user},
		{Key: "mlflow.source.type", Value: "JOB"},
		{Key: history.TagTarget, Value: job.Local},
		{Key: history.TagEnvironment, Value: j.Environment.Text()},
		{Key: history.TagCommand, Value: clip.Bytes(readable(s), history.MaxTagValue)},
	}...)
	add := func(key, value string) {
		if value != "" {
			tags = append(tags, history.KeyValue{Key: key, Value: clip.Bytes(value, history.MaxTagValue)})
		}
	}
	shared, properties := s.Tags()
	maps.Copy(shared, properties) // MLflow's schema has tags alone
	for name, value := range shared {
		add(name, value)
	}
	if image(j) == "" {
		add(history.TagPython, python)
	}
	if j.Sweep != nil {
		add(history.TagSeed, seedOf(j.Sweep.Sampling))
	}
	add("mlflow.source.name", j.Script())
	add("mlflow.note.content", j.Description)
	return tags
}

// idPrefix is the experiment and the commit, as far as they fit an id.
func idPrefix(s submit.Submission) string {
	slug := strings.ToLower(s.Job.ExperimentName)
	prefix := strings.Trim(slug[:min(len(slug), 18)], "-_") + "-"
	if short := s.Git.ShortCommit(); short != "" {
		prefix += short + "-"
	}
	return prefix
}

// readable is the command with its inputs as they were written, for people.
func readable(s submit.Submission) string {
	j, values := s.Job, map[string]string{}
	for name, value := range s.Parameters() {
		values["inputs."+name] = value
	}
	for name := range j.Outputs {
		values["outputs."+name] = namedDir + "/" + name
	}
	return j.Expand(values)
}

func (t *Target) experiment(ctx context.Context, name string) (string, error) {
	for range 2 {
		e, err := t.Store.ExperimentByName(ctx, name)
		if err == nil {
			if e.LifecycleStage != "active" {
				return "", &submit.Refusal{Reason: experimentArchived(name)}
			}
			return e.ID, nil
		}
		id, err := t.Store.CreateExperiment(ctx, history.NewExperiment{Name: name})
		if err == nil {
			return id, nil
		}
		// Another run may have made it in between.
	}
	return "", fmt.Errorf("the experiment %s can be neither found nor made", name)
}

func currentUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// supervisor is the process behind a run.
type supervisor struct {
	done chan struct{} // closed when it has ended
	life *os.File      // of an attached one: it ends when this is closed
}

// spawn starts the supervisor in a session of its own and hands it the lock. In
// attached mode its standard input is a pipe that this process holds open: the
// kernel closes it when this process ends, however it ends.
func (t *Target) spawn(run string, lock *os.File, attached bool, pass []string) (*supervisor, error) {
	dir, err := t.folder(run, false)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	logFile, err := dir.OpenFile(ownLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd := exec.Command(t.Supervisor[0], append(t.Supervisor[1:len(t.Supervisor):len(t.Supervisor)], run,
		t.Store.Home)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Env = scripts(os.Environ(), pass) // it needs no secret itself, and every script may look at it
	process := &supervisor{done: make(chan struct{})}
	if attached {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		cmd.Stdin, process.life = r, w
	}
	detached(cmd, lock)
	if err := cmd.Start(); err != nil {
		process.release()
		return nil, fmt.Errorf("the supervisor cannot be started: %w", err)
	}
	go func() {
		defer close(process.done)
		cmd.Wait()
	}()
	return process, nil
}

// release lets go of what keeps an attached supervisor.
func (s *supervisor) release() {
	if s.life != nil {
		s.life.Close()
	}
}

// lifeline is what stays open until this process ends: the pipes to attached
// supervisors, and in a supervisor the lock of its run.
var lifeline []*os.File
