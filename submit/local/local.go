// Package local answers: how does a job run on this machine?
//
// Every run has a process of its own, the supervisor, that outlives the command
// which started it: it serves the run history on loopback, starts the job's
// command in an isolated copy of the snapshot, ends it when its time is up or
// somebody cancels it, and collects ./outputs and ./logs however it ends. The
// commands that watch and cancel a run need no connection to it: the console
// output is a file, a request to cancel is a file, and a lock on a third file
// tells that the supervisor lives.
package local

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Target runs jobs on this machine. Store keeps their history.
type Target struct {
	Store *history.Store

	// Python is the interpreter that "python" in a command stands for; "" is the
	// python, else the python3, on PATH.
	Python string

	// Supervisor is the command line that calls Supervise in a process of its own;
	// the run's id and the history's folder are added to it.
	Supervisor []string

	placed sync.Once
	at     string // see place
}

var _ submit.Target = (*Target)(nil)

// History implements submit.Target.
func (t *Target) History(context.Context) (submit.History, error) { return records{t.Store}, nil }

// Archive implements submit.Target.
func (t *Target) Archive(ctx context.Context, run string, archived bool) error {
	return t.Store.ArchiveRun(ctx, run, archived)
}

// records is the run history of this machine.
type records struct{ *history.Store }

// ExperimentName implements submit.History.
func (r records) ExperimentName(ctx context.Context, run *history.Run) string {
	e, err := r.Experiment(ctx, run.Info.ExperimentID)
	if err != nil {
		return ""
	}
	return e.Name
}

// URL implements submit.History: the folder of the run's artifacts.
func (r records) URL(run *history.Run) string { return fileURL(r.ArtifactDir(run)) }

// FileURL implements submit.History.
func (r records) FileURL(run *history.Run, path string) string {
	return fileURL(filepath.Join(r.ArtifactDir(run), filepath.FromSlash(path)))
}

func fileURL(path string) string {
	return (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(path), "/")}).String()
}

// plan is what the supervisor needs to know of a job.
type plan struct {
	Run          string
	Experiment   string
	ExperimentID string
	Command      string // with its expressions
	Inputs       map[string]input
	Outputs      map[string]job.Output
	Env          map[string]string
	Timeout      time.Duration
	Python       string // absolute; "" where there is none
	Root         string // of the repository, or the source directory that is in none
	Attached     bool
	Keep         []string // patterns of files that are kept besides outputs and logs
	MaxOutputs   int64    // bytes of outputs and logs that are kept
	Pass         []string // names of variables that are passed on

	// Where its files lie: locate says that, never a file.
	Base      string `json:"-"` // the folder with the run's files, absolute
	Work      string `json:"-"` // where the command works, within Base
	Artifacts string `json:"-"` // below the history's folder, slash-separated

	Image     string // that the run gets a container of, "" for this machine's own programs
	Resources *job.Resources
	Mark      string // by which its container is known, nobody else's

	carried []string // see carry
}

type input struct {
	Literal bool
	Value   string // of a literal
	Type    string
	Path    string // absolute, or an https: URL
	Place   string // the folder that the path does not leave; "" of a URL
}

// Check implements submit.Target. The local environment is the machine's own.
func (t *Target) Check(j *job.Job) error {
	refuse := func(format string, args ...any) error {
		return &submit.Refusal{Reason: fmt.Sprintf(format, args...)}
	}
	at := func(key string) string {
		if line := j.Line(key); line > 0 && j.File != "" {
			return fmt.Sprintf("%s:%d: ", j.File, line)
		}
		return ""
	}
	image := ""
	switch e := j.Environment; {
	case e == nil || e.UserManaged:
	case e.Image != "" && e.Conda == nil && e.CondaFile == "":
		image = e.Image
		if err := dockerArgs(j.Resources, &container.Config{}, &container.HostConfig{}); err != nil {
			return refuse("%sresources: %v", at("resources"), err)
		}
	case e.Image != "":
		return refuse("%sthe environment adds a conda file to the image %s, which this machine does not build; build an image that has the packages and name that (image: NAME), or name a compute target", at("environment"), e.Image)
	case e.Build != nil:
		return refuse("%sthe environment is a Docker build context, which this machine does not build; run docker build -t NAME %s and name the image (--environment docker:NAME), or name a compute target", at("environment"), e.Build.Path)
	default:
		return refuse("%sthe environment %s is one of Azure Machine Learning; add --environment docker:IMAGE to train in a container, --environment %s to use this machine's own python and packages, or name a compute target", at("environment"), e.Reference, job.UserManaged)
	}
	if j.Resources != nil && max(j.Resources.InstanceCount, j.Resources.MaxInstanceCount) > 1 {
		return refuse("%sthe job asks for %d instances, and this machine is one; name a compute target, or set instance_count to 1", at("resources"), max(j.Resources.InstanceCount, j.Resources.MaxInstanceCount))
	}
	if d := j.Distribution; d != nil && (d.ProcessCountPerInstance > 1 || d.WorkerCount > 1 || d.ParameterServerCount > 0) {
		return refuse("%sthe job is distributed (%s), and this machine runs one process; name a compute target, or remove the distribution", at("distribution"), d.Type)
	}
	for name, in := range j.Inputs {
		switch {
		case in.Literal || !job.IsRemote(in.Path):
		case strings.HasPrefix(in.Path, "https://") && in.Type == job.URIFile:
		case strings.HasPrefix(in.Path, "https://"):
			return refuse("%sinputs.%s is a %s at %s; over https only a single file can be fetched: make its type uri_file, or name a local folder", at("inputs"), name, in.Type, in.Path)
		default:
			return refuse("%sinputs.%s is %s, which only Azure Machine Learning can reach; name a local path (--input %s=PATH) or a compute target", at("inputs"), name, in.Path, name)
		}
	}
	if image != "" {
		e, err := openEngine(context.Background())
		if err != nil {
			return err
		}
		return e.Close()
	}
	if !isWindows {
		if _, err := exec.LookPath("sh"); err != nil { // the action's own image has nothing but this program
			return refuse("there is no shell here to start a command with, and no python: inside the action, name the image that the job trains in (environment: {image: NAME} in the job file, or the input environment: docker:NAME), or put aml-train on the runner itself with the action org/aml-train/setup and use aml-train run")
		}
	}
	if _, err := t.python(); err != nil && (j.Script() != "" || t.Python != "") {
		return refuse("%v", err)
	}
	return nil
}

// image is the image that a job trains in, "" for this machine's own programs.
func image(j *job.Job) string {
	if j.Environment == nil {
		return ""
	}
	return j.Environment.Image
}

// python returns the interpreter as an absolute path.
func (t *Target) python() (string, error) {
	if t.Python != "" {
		p, err := exec.LookPath(t.Python)
		if err != nil {
			return "", fmt.Errorf("--python %s: %w", t.Python, errors.Unwrap(err))
		}
		return filepath.Abs(p)
	}
	for _, name := range []string{"python", "python3"} {
		if p, err := exec.LookPath(name); err == nil {
			return filepath.Abs(p)
		}
	}
	return "", errors.New("there is no python on PATH; install Python 3, or name the interpreter with --python")
}

// Submit implements submit.Target: when it returns, the copy of the snapshot is
// complete and the supervisor runs.
func (t *Target) Submit(ctx context.Context, s submit.Submission) (*history.Run, error) {
	if err := t.Check(s.Job); err != nil {
		return nil, err
	}
	if !s.Attached && os.Getpid() == 1 {
		return nil, &submit.Refusal{Reason: "this container ends with this command, and a run in it as well; leave wait and cancel-with-workflow at true, or name a compute target"}
	}
	python, _ := t.python()
	t.forgetLeftovers()
	// The files first: where they cannot be copied, there is no run to explain.
	staged, err := t.stage(ctx, s)
	if err != nil {
		return nil, &submit.Refusal{Reason: err.Error()}
	}
	defer t.unstage(staged)
	run, err := t.create(ctx, s)
	if err != nil {
		return nil, err
	}
	id := run.Info.RunID
	fail := func(err error) (*history.Run, error) {
		t.Store.SetStatus(context.WithoutCancel(ctx), id, history.Failed, "the run could not be started: "+err.Error())
		t.remove(id)
		return nil, fmt.Errorf("run %s: %w", id, err)
	}
	lock, err := t.prepare(ctx, s, run, staged, python)
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	if err := t.spawn(id, lock, s.Attached, s.Pass); err != nil {
		return fail(err)
	}
	return run, nil
}

// input says where an input is. What a commit has is written below dir first.
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
	if to.Path, to.Place = j.Local(in.Path), tree.Place; tree.Disk {
		return to, nil
	}
	to.Place = dir
	to.Path, err = tree.Copy(ctx, dir)
	return to, err
}

// prepare makes the folder of a run, with all that its supervisor needs, and returns the
// lock on it.
func (t *Target) prepare(ctx context.Context, s submit.Submission, run *history.Run, staged, python string) (lock *os.File, err error) {
	id := run.Info.RunID
	dir, err := t.folder(id, true)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if lock, err = waitLock(ctx, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	// Of a run of that id whose history is gone.
	empty(dir, lockFile)
	base, err := t.openBase(id, true)
	if err != nil {
		return lock, err
	}
	defer base.Close()
	empty(base, lockFile)
	p := plan{
		Experiment: s.Job.ExperimentName, Command: s.Job.Command, Outputs: s.Job.Outputs, Env: s.Job.EnvironmentVariables,
		Timeout: s.Job.MaxDuration(), Python: python, Attached: s.Attached, Keep: s.Job.Keep, Root: root(s), Inputs: map[string]input{},
		Image: image(s.Job), Resources: s.Job.Resources, Mark: rand.Text(), MaxOutputs: s.MaxOutputs, Pass: s.Pass,
	}
	t.locate(&p, run)
	for name, in := range s.Job.Inputs {
		if p.Inputs[name], err = t.input(ctx, s.Job, in, filepath.Join(p.Base, inputsDir, name)); err != nil {
			return lock, fmt.Errorf("inputs.%s: %w", name, err)
		}
	}
	if err := t.takeOver(staged, id); err != nil {
		return lock, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return lock, err
	}
	console := path.Join(p.Artifacts, history.ConsoleLog)
	return lock, cmp.Or(
		dir.WriteFile(reserve, bytes.Repeat([]byte("reserve\n"), 64<<10), 0o600),
		t.Store.Files.MkdirAll(path.Dir(console), 0o755),
		t.Store.Files.WriteFile(console, nil, 0o644),
		dir.WriteFile(planFile, text, 0o600))
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
	right := takeSpare(copies, name, s.Snapshot, in)
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
func (t *Target) create(ctx context.Context, s submit.Submission) (*history.Run, error) {
	j := s.Job
	experiment, err := t.experiment(ctx, j.ExperimentName)
	if err != nil {
		return nil, err
	}
	user := currentUser()
	var tags []history.KeyValue
	for name, value := range j.Tags {
		tags = append(tags, history.KeyValue{Key: name, Value: value})
	}
	tags = append(tags, []history.KeyValue{ // after the job's own, so that these hold
		{Key: history.TagStatus, Value: string(history.Preparing)},
		{Key: history.TagUser, Value: user},
		{Key: "mlflow.source.type", Value: "JOB"},
		{Key: history.TagTarget, Value: job.Local},
		{Key: history.TagEnvironment, Value: cmp.Or(image(j), job.UserManaged)},
		{Key: history.TagCommand, Value: clip(readable(j))},
	}...)
	add := func(key, value string) {
		if value != "" {
			tags = append(tags, history.KeyValue{Key: key, Value: clip(value)})
		}
	}
	shared, properties := s.Tags()
	for _, m := range []map[string]string{shared, properties} {
		for name, value := range m {
			add(name, value)
		}
	}
	add("mlflow.source.name", j.Script())
	add("mlflow.note.content", j.Description)
	short := s.Git.ShortCommit()
	slug := strings.ToLower(j.ExperimentName)
	slug = strings.Trim(slug[:min(len(slug), 18)], "-_")
	prefix := slug + "-"
	if short != "" {
		prefix += short + "-"
	}
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
		run, err := t.Store.CreateRun(ctx, history.NewRun{ID: id, ExperimentID: experiment, Name: name, User: user,
			Start: time.Now(), Status: "SCHEDULED", Tags: secret.Of(s.Secrets, tags)})
		if errors.Is(err, history.ErrRunExists) && j.Name == "" {
			continue
		}
		if errors.Is(err, history.ErrRunExists) {
			return nil, &submit.Refusal{Reason: fmt.Sprintf("there is a run %s already; take name out of the job file, or change it", j.Name)}
		}
		var refused *history.Error
		if errors.As(err, &refused) {
			err = &submit.Refusal{Reason: refused.Message}
		}
		return run, err
	}
}

// readable is the command with its inputs as they were written, for people.
func readable(j *job.Job) string {
	values := map[string]string{}
	for name, in := range j.Inputs {
		values["inputs."+name] = in.Value
		if !in.Literal {
			path, _, _ := strings.Cut(in.Path, "?") // a signature is a secret
			values["inputs."+name] = path
		}
	}
	for name := range j.Outputs {
		values["outputs."+name] = namedDir + "/" + name
	}
	return j.Expand(values)
}

// clip keeps a tag within MLflow's limit.
func clip(s string) string {
	if len(s) > 8000 {
		s = strings.ToValidUTF8(s[:7990], "") + " ..."
	}
	return s
}

func (t *Target) experiment(ctx context.Context, name string) (string, error) {
	for range 2 {
		e, err := t.Store.ExperimentByName(ctx, name)
		if err == nil {
			if e.LifecycleStage != "active" {
				return "", &submit.Refusal{Reason: fmt.Sprintf("the experiment %s is archived; aml-train archive --restore --experiment %s brings it back, or choose another with --experiment-name", name, name)}
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

// spawn starts the supervisor in a session of its own and hands it the lock. In
// attached mode its standard input is a pipe that this process holds open: the
// kernel closes it when this process ends, however it ends.
func (t *Target) spawn(run string, lock *os.File, attached bool, pass []string) error {
	dir, err := t.folder(run, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	logFile, err := dir.OpenFile(ownLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	cmd := exec.Command(t.Supervisor[0], append(t.Supervisor[1:len(t.Supervisor):len(t.Supervisor)], run, t.Store.Home)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Env = scripts(os.Environ(), pass) // it needs no secret itself, and every script may look at it
	if attached {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		cmd.Stdin = r
		lifeline = append(lifeline, w)
	}
	detached(cmd, lock)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("the supervisor cannot be started: %w", err)
	}
	go cmd.Wait()
	return nil
}

// lifeline is what stays open until this process ends: the pipes to attached
// supervisors, and in a supervisor the lock of its run.
var lifeline []*os.File

// Cancel implements submit.Target.
func (t *Target) Cancel(ctx context.Context, id string) error {
	run, err := t.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	if s := run.Status(); s.Terminal() {
		return fmt.Errorf("run %s: %w: %s", id, history.ErrEnded, s)
	}
	if run.Tag(history.TagTarget) != job.Local {
		return fmt.Errorf("run %s was not started by aml-train on this machine", id)
	}
	reason := "canceled"
	if user := currentUser(); user != "" { // the action's container has none
		reason += " by " + user
	}
	return t.cancel(ctx, id, reason)
}

// cancel records the request; the supervisor acts on it.
func (t *Target) cancel(ctx context.Context, id, reason string) error {
	if err := t.Store.SetStatus(ctx, id, history.CancelRequested, ""); err != nil {
		return err
	}
	dir, err := t.folder(id, false)
	if err != nil {
		return fmt.Errorf("run %s: %w", id, err)
	}
	defer dir.Close()
	return dir.WriteFile(cancelFile, []byte(reason), 0o644)
}

// supervised tells whether a supervisor holds the run's lock. Where none does, the
// lock is returned, to be closed; it is nil where the run's folder is gone.
func (t *Target) supervised(run string) (bool, *os.File) {
	dir, err := t.folder(run, false)
	if err != nil {
		return false, nil
	}
	defer dir.Close()
	if !isFile(dir, lockFile) {
		return false, nil
	}
	lock, err := tryLock(dir)
	return err == nil && lock == nil, lock
}

// starting tells whether Submit is still about to start the supervisor of a run. A
// minute later it has been killed. With the lock in hand, which Submit holds when
// it writes the plan, a plan says that the supervisor was there already; without
// it, what is seen now may be different in a moment.
func (t *Target) starting(run *history.Run, lock *os.File) bool {
	if dir, err := t.folder(run.Info.RunID, false); err == nil {
		defer dir.Close()
		if lock != nil && isFile(dir, planFile) {
			return false
		}
	}
	return time.Since(run.Started()) < time.Minute
}

// waitLock takes a lock that others hold for moments only: whoever looks at the
// run tries it.
func waitLock(ctx context.Context, dir *os.Root) (*os.File, error) {
	for {
		lock, err := tryLock(dir)
		if lock != nil || err != nil {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// Reconcile ends the runs whose supervisor is gone without having done so: the
// machine went down, or somebody killed it. What they had produced is collected,
// and they are shown as interrupted, never as running for ever.
func (t *Target) Reconcile(ctx context.Context) error {
	runs, err := t.Store.Unfinished(ctx, job.Local)
	var all error
	for _, id := range runs {
		all = errors.Join(all, t.reconcile(ctx, id))
	}
	t.sweepPlaces()
	return errors.Join(err, all)
}

// reconcile ends a run that has no supervisor any more; one that has, or is about to
// get one, it leaves alone.
func (t *Target) reconcile(ctx context.Context, id string) error {
	held, lock := t.supervised(id)
	if lock != nil {
		defer lock.Close()
	}
	if held {
		return nil
	}
	run, err := t.Store.Run(ctx, id)
	if err != nil || run.Status().Terminal() || t.starting(run, lock) {
		return err
	}
	return t.interrupted(ctx, run)
}

func (t *Target) interrupted(ctx context.Context, run *history.Run) error {
	id := run.Info.RunID
	killMarked(marker(t.runDir(id)))
	p, err := t.readPlan(run)
	var warnings []string
	if err == nil {
		if p.Image != "" {
			warnings = t.rescue(ctx, p)
		}
		notes, lost := t.collect(ctx, p, run)
		if warnings = append(warnings, notes...); lost != nil {
			warnings = append(warnings, lost.Error())
		}
	}
	reason := "interrupted: aml-train was killed, or the machine went down, before the run ended"
	if dir, err := t.folder(id, false); err == nil {
		if text := strings.TrimSpace(tail(dir, ownLog, 2000)); text != "" {
			reason += ": " + text
		}
		dir.Close()
	}
	t.note(ctx, id, warnings)
	if err := t.Store.SetStatus(ctx, id, history.NotResponding, reason); err != nil && !errors.Is(err, history.ErrEnded) {
		return err
	}
	t.remove(id)
	return nil
}

// marker is the environment variable by which the processes of a run are known:
// when its supervisor is killed, the kernel takes the command along, but not what
// the command had started.
func marker(runDir string) string { return "AML_TRAIN_RUN_DIR=" + runDir }

// Watch implements submit.Target.
func (t *Target) Watch(ctx context.Context, id string, out io.Writer) (*history.Run, error) {
	run, err := t.Store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = io.Discard
	}
	var log io.ReadCloser
	defer func() {
		if log != nil {
			log.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	drain := func() error {
		if log == nil {
			f, err := t.Store.OpenArtifact(ctx, run, history.ConsoleLog)
			if err != nil {
				return nil // not there yet
			}
			log = f
		}
		_, err := io.CopyBuffer(out, struct{ io.Reader }{log}, buf)
		return err
	}
	for wait := 5 * time.Millisecond; ; wait = min(wait*5/4, 100*time.Millisecond) {
		held, lock := t.supervised(id)
		if lock != nil {
			lock.Close()
		}
		if !held {
			// The supervisor records the end before it lets go of the lock.
			if err := t.reconcile(ctx, id); err != nil {
				return nil, err
			}
			if run, err = t.Store.Run(ctx, id); err != nil {
				return nil, err
			}
		}
		if err := drain(); err != nil {
			return nil, err
		}
		if !held && run.Status().Terminal() {
			return run, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// isWindows is where commands run in Git's bash, else in cmd.
const isWindows = runtime.GOOS == "windows"
