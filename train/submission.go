package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// Submitted is what was submitted.
type Submitted struct {
	Run      *history.Run
	Job      *job.Job
	Here     bool               // on this machine
	Snapshot *snapshot.Snapshot // nil where the job sends no code
	Took     time.Duration      // from the beginning of the snapshot, without loading data
}

// submission is a job on its way to its place.
type submission struct {
	submit.Submission
	here  bool
	to    Place
	begin time.Time // of the snapshot

	reuse   bool    // say the settings
	keyed   bool    // what it has trained is noted, whether or not it may be another one's
	repeats Repeats // is asked for, or say they

	versioned bool // Versions are known
	quiet     bool // nothing is said of why it is trained

	done func() // lets go of an earlier run's files

	at  Session      // of run
	run *history.Run // that there is already, where one is enough
}

func newSubmission(t *Trainer, r Request) *submission {
	return &submission{Submission: submit.Submission{
		Attached: r.Wait && r.Cancel, Secrets: t.Secrets, MaxOutputs: r.MaxOutputs, Resume: r.Resume,
		Evictions: r.Evictions,
	}}
}

func (s *submission) close() {
	s.Commit.Close()
	s.Snapshot.Close()
	if s.done != nil {
		s.done()
	}
}

// Refused is all that is wrong with what was asked for: job.Problems, mistakes, and what
// else stands in the way. Nothing was submitted.
type Refused []error

func (r Refused) Error() string {
	texts := make([]string, len(r))
	for i, err := range r {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "\n")
}

func (r Refused) Unwrap() []error { return r }

// refused is nil for no error, and a single one as it is. Problems are one list, each
// once, and come first.
func refused(found []error) error {
	var all job.Problems
	var rest Refused
	for _, err := range found {
		var problems job.Problems
		if errors.As(err, &problems) {
			for _, p := range problems {
				if !slices.Contains(all, p) {
					all = append(all, p)
				}
			}
		} else if err != nil && !slices.ContainsFunc(rest, func(r error) bool { return r.Error() == err.Error() }) {
			rest = append(rest, err)
		}
	}
	if len(all) > 0 {
		rest = slices.Insert(rest, 0, error(all.Sorted()))
	}
	switch len(rest) {
	case 0:
		return nil
	case 1:
		return rest[0]
	}
	return rest
}

// Check finds all that is wrong with a request before anything is submitted, or sent, or
// made: what it returns an error for, Train refuses with the same one. The job is what
// could be read of it, nil where that is nothing.
func (t *Trainer) Check(ctx context.Context, r Request) (*job.Job, error) {
	var s submission
	defer s.close()
	err := t.check(ctx, r, &s)
	return s.Job, err
}

// check makes a submission of a request, or finds what is wrong with it. A step is left
// out where it needs what an earlier one found wrong, so that each error is one of its own.
func (t *Trainer) check(ctx context.Context, r Request, s *submission) (err error) {
	if r.Commit != "" {
		if s.Commit, err = WholeCommit(ctx, t.Git, r.Commit); err != nil {
			return mistake.Of(err)
		}
	}
	if err := t.Admit(ctx, s.Commit); err != nil {
		return err
	}
	found := slices.Clone(r.Wrong)
	if r.Options.RunConfig && r.File == "" { // it was not found, and no other job stands in
		return refused(found)
	}
	if err := t.load(ctx, r, s); err != nil {
		found = append(found, err)
	}
	if s.Job == nil {
		return refused(found)
	}
	if s.Commit == nil {
		if err := t.AdmitJob(ctx, s.Job); err != nil {
			return refused(append(found, err))
		}
	}
	t.place(r, s)
	if r.Resume {
		found = append(found, resumable(s))
	}
	if len(r.Evictions) > 0 && !s.here {
		found = append(found, mistake.Errorf("--preempt-after rehearses an eviction on this machine; a cluster of "+
			"low priority evicts by itself"))
	}
	found = append(found, t.earlier(ctx, s), s.repeatable(r))
	if r.Leave != nil && s.here && !s.mayReuse(r) {
		found = append(found, mistake.Of(errEndsWithJob))
	}
	if s.Job.Sound("compute") {
		found = append(found, t.ask(ctx, s))
	}
	if s.Job.Sound("code") {
		found = append(found, t.code(ctx, r, s, refused(found) == nil))
	}
	return refused(found)
}

// load reads the job, of the commit where one is trained.
func (t *Trainer) load(ctx context.Context, r Request, s *submission) error {
	settings, err := t.Settings(s.Commit)
	s.reuse, s.keyed, s.repeats = settings.Reuse, settings.Reuse || settings.Keyed, settings.Repeats
	if r.Repeats != nil {
		s.repeats.Seeds, s.repeats.AtMost = r.Repeats.Seeds, r.Repeats.AtMost
	}
	s.Repeats = s.repeats.String()
	found := []error{err}
	file := r.File
	if file == "" && r.Options.Script == "" && r.Options.Command == "" {
		if err != nil {
			return err // they may name the job file
		}
		if file, err = settings.File(); err != nil {
			return err
		}
	}
	if r.Options.Files, err = Files(t.Git, file, s.Commit); err != nil {
		return refused(append(found, err))
	}
	if s.Job, err = job.Read(ctx, file, r.Options); s.Job != nil {
		s.Job.Keep = append(s.Job.Keep, settings.Keep...)
	}
	return refused(append(found, err))
}

// place says where the job runs, and what it gets there of this machine's variables.
func (t *Trainer) place(r Request, s *submission) {
	s.here, s.to = strings.EqualFold(s.Job.Compute, job.Local), t.Elsewhere
	if s.here {
		s.to = t.Here
	}
	for name, value := range r.Pass {
		if s.Pass = append(s.Pass, name); !s.here {
			if s.Job.EnvironmentVariables == nil {
				s.Job.EnvironmentVariables = map[string]string{}
			}
			s.Job.EnvironmentVariables[name] = value
		}
	}
}

// errEndsWithJob is the mistake of a run that nobody waits for where nothing outlives the job.
var errEndsWithJob = errors.New("the run would be on this runner, which ends it together with the job (--wait=false, " +
	"wait: false); wait for it, or name a compute target of a workspace")

// errUnknown is the mistake of a job that nobody has trained, where nothing is to be trained.
var errUnknown = errors.New("no run has trained these files with this job, environment and inputs, and nothing is " +
	"trained for a pull request that was merged; the workflow of the push to the branch may train it")

// resumable tells whether a job is one that can go on where it stood.
func resumable(s *submission) error {
	switch {
	case s.Job.Sweep == nil:
		return mistake.Errorf("--resume goes on with a sweep (type: sweep), and this job is none")
	case !s.here:
		return mistake.Errorf("--resume goes on with a sweep on this machine; one in a workspace goes on by " +
			"itself: aml-train watch shows it")
	}
	return nil
}

// earlier finds the files of the earlier run that a job goes on from.
func (t *Trainer) earlier(ctx context.Context, s *submission) error {
	name, run := s.Job.Earlier()
	if name == "" {
		return nil
	}
	in, done, err := t.Earlier(ctx, run, s.here)
	if err != nil {
		return err
	}
	s.done = done
	s.Job.Found(name, in)
	return nil
}

// ask asks the place whether it can do the job.
func (t *Trainer) ask(ctx context.Context, s *submission) error {
	target, err := s.to.Target(ctx)
	if target == nil {
		return err
	}
	return refused([]error{err, target.Check(ctx, s.Job)})
}

// code tells which code it is, and takes its snapshot unless there is a run of it already
// that is wanted once.
func (t *Trainer) code(ctx context.Context, r Request, s *submission, well bool) error {
	if err := t.identify(r, s); err != nil {
		return err
	}
	if r.Once && well {
		if s.at, s.run = t.same(ctx, s); s.run != nil {
			return nil
		}
	}
	return t.take(ctx, r, s)
}

// identify tells which code it is.
func (t *Trainer) identify(r Request, s *submission) (err error) {
	where := cmp.Or(s.Job.SourceDirectory(), s.Job.Dir)
	if s.Commit != nil {
		where = s.Commit.Dir // the source directory need not be checked out
	}
	s.begin = time.Now()
	if s.Repository, err = t.Git.Find(where); err != nil {
		return mistake.Of(err)
	}
	if s.Git, err = t.Code(s.Repository); err != nil {
		return mistake.Of(err)
	}
	if s.Commit != nil {
		s.Git.SetCommit(s.Commit.Commit, r.Branch)
	}
	return nil
}

// same returns the newest run of the same job and commit on this machine, nil where there
// is none.
func (t *Trainer) same(ctx context.Context, s *submission) (Session, *history.Run) {
	at, ok := t.Here.Existing(ctx)
	if !ok {
		return at, nil
	}
	runs, _, err := at.History.SearchRuns(ctx, history.Query{Submitted: true, MaxResults: 1,
		Tags: map[string]string{history.TagJob: s.Job.Digest(), gitmeta.PropCommit: s.Git.Commit}})
	if err != nil || len(runs) == 0 {
		return at, nil
	}
	return at, runs[0]
}

// take takes the snapshot.
func (t *Trainer) take(ctx context.Context, r Request, s *submission) (err error) {
	source := s.Job.SourceDirectory()
	if source == "" {
		return nil
	}
	if s.Snapshot, err = TakeSnapshot(ctx, t.Git, source, r.Commit, r.MaxSnapshot); err != nil {
		return err
	}
	s.Git.SetDirty(s.Snapshot.Dirty)
	script := s.Job.Started()
	if script == "" || !s.Job.Sound("command") || s.Commit != nil || s.Snapshot.Find(path.Clean(script)) != nil {
		return nil
	}
	if d, err := snapshot.Why(ctx, t.Git, source, script); err == nil && d.Rule != nil {
		return mistake.Errorf("the script %s does not travel: %s:%d ignores it (%s)",
			script, d.Rule.File, d.Rule.Line, d.Rule.Text)
	}
	return nil
}

// submit hands the job to its place.
func (t *Trainer) submit(ctx context.Context, s *submission, at Session) (*history.Run, error) {
	var loading time.Duration
	s.Loading = &loading
	run, err := at.Target.Submit(ctx, s.Submission)
	if err != nil {
		return nil, err
	}
	// Told only now: standard error may be a file in the source directory, and a file
	// that grows cannot be copied as it was.
	t.Tell.Submitted(ctx, at, Submitted{run, s.Job, s.here, s.Snapshot, time.Since(s.begin) - loading})
	return run, nil
}

// Files says which files a job may name: those of the repository around the working
// directory where the job file lies in it, else of the one around the job file; without a
// repository, those below the working directory or beside the job file. Of a commit it is
// the commit's.
func Files(finder *git.Finder, file string, commit *snapshot.Snapshot) (inside.Place, error) {
	if commit != nil {
		return inside.Place{Dir: commit.Dir, FS: commit.FS()}, nil
	}
	at, err := filepath.Abs(file)
	if err != nil {
		return inside.Place{}, mistake.Of(err)
	}
	var files inside.Place
	for _, dir := range []string{".", filepath.Dir(at)} {
		repo, err := finder.Find(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return files, nil // the job file does not exist either
		}
		if err != nil {
			return files, mistake.Of(err)
		}
		if repo != nil {
			files = inside.Place{Dir: repo.Root}
			if files.Has(at) {
				return files, nil
			}
		}
	}
	return inside.Place{}, nil
}

// WholeCommit returns all files of a commit of the repository around the working
// directory. It is to be closed.
func WholeCommit(ctx context.Context, finder *git.Finder, rev string) (*snapshot.Snapshot, error) {
	repo, err := finder.Find(".")
	if err != nil {
		return nil, err
	}
	if repo == nil {
		return nil, fmt.Errorf("--commit %s: there is no git repository here", rev)
	}
	return snapshot.Commit(ctx, finder, repo.Root, rev)
}

// TakeSnapshot takes the snapshot of a source directory, as it is, or as it is in a
// commit; most is that of a Request.
func TakeSnapshot(
	ctx context.Context, finder *git.Finder, source, commit string, most int64,
) (s *snapshot.Snapshot, err error) {
	o := snapshot.Options{MaxBytes: most, Git: finder}
	if commit != "" {
		s, err = snapshot.TakeCommit(ctx, source, commit, o)
	} else {
		s, err = snapshot.Take(ctx, source, o)
	}
	return s, mistake.Of(err)
}
