package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// Mistake is what is wrong with what was asked for: nothing was submitted.
type Mistake struct{ Err error }

func (m *Mistake) Error() string { return m.Err.Error() }
func (m *Mistake) Unwrap() error { return m.Err }

func mistake(err error) error {
	if err == nil {
		return nil
	}
	return &Mistake{err}
}

// Submitted is what was submitted.
type Submitted struct {
	Run      *history.Run
	Job      *job.Job
	Here     bool               // on this machine
	Snapshot *snapshot.Snapshot // nil where the job sends no code
	Took     time.Duration      // from the beginning of the snapshot
}

// submission is a job on its way to its place.
type submission struct {
	submit.Submission
	here  bool
	place Place
	begin time.Time // of the snapshot
}

func (s *submission) close() {
	s.Commit.Close()
	s.Snapshot.Close()
}

// load reads the job, of the commit where one is trained.
func (t *Trainer) load(ctx context.Context, r Request, s *submission) (err error) {
	if r.Commit != "" {
		if s.Commit, err = WholeCommit(ctx, t.Git, r.Commit); err != nil {
			return mistake(err)
		}
	}
	if err := t.Admit(ctx, s.Commit); err != nil {
		return err
	}
	keep, usual, err := t.Settings(s.Commit)
	if err != nil {
		return err
	}
	file := r.File
	if file == "" && r.Options.Script == "" && r.Options.Command == "" {
		if file, err = usual(); err != nil {
			return err
		}
	}
	if r.Options.Files, err = Files(t.Git, file, s.Commit); err != nil {
		return err
	}
	if s.Job, err = job.Load(file, r.Options); err != nil {
		return err
	}
	if s.Commit == nil {
		if err := t.AdmitJob(ctx, s.Job); err != nil {
			return err
		}
	}
	s.Job.Keep = append(s.Job.Keep, keep...)
	s.here, s.place = strings.EqualFold(s.Job.Compute, job.Local), t.Elsewhere
	if s.here {
		s.place = t.Here
	}
	for name, value := range r.Pass {
		if s.Pass = append(s.Pass, name); !s.here {
			if s.Job.EnvironmentVariables == nil {
				s.Job.EnvironmentVariables = map[string]string{}
			}
			s.Job.EnvironmentVariables[name] = value
		}
	}
	return nil
}

// check asks the place whether it can do the job.
func (t *Trainer) check(s *submission) error {
	target, err := s.place.Target()
	if err != nil {
		return err
	}
	return target.Check(s.Job)
}

// identify tells which code it is.
func (t *Trainer) identify(r Request, s *submission) (err error) {
	where := cmp.Or(s.Job.SourceDirectory(), s.Job.Dir)
	if s.Commit != nil {
		where = s.Commit.Dir // the source directory need not be checked out
	}
	s.begin = time.Now()
	if s.Repository, err = t.Git.Find(where); err != nil {
		return mistake(err)
	}
	if s.Git, err = t.Code(s.Repository); err != nil {
		return mistake(err)
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
	script := s.Job.Script()
	if script == "" || s.Commit != nil || s.Snapshot.Find(script) != nil {
		return nil
	}
	if d, err := snapshot.Why(t.Git, source, script); err == nil && d.Rule != nil {
		return mistake(fmt.Errorf("the script %s does not travel: %s:%d ignores it (%s)",
			script, d.Rule.File, d.Rule.Line, d.Rule.Text))
	}
	return nil
}

// submit hands the job to its place.
func (t *Trainer) submit(ctx context.Context, s *submission) (Session, *history.Run, error) {
	at, err := s.place.Open(ctx)
	if err != nil {
		return at, nil, err
	}
	run, err := at.Target.Submit(ctx, s.Submission)
	if err != nil {
		return at, nil, err
	}
	// Told only now: standard error may be a file in the source directory, and a file
	// that grows cannot be copied as it was.
	t.Tell.Submitted(ctx, at, Submitted{run, s.Job, s.here, s.Snapshot, time.Since(s.begin)})
	return at, run, nil
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
		return inside.Place{}, mistake(err)
	}
	var files inside.Place
	for _, dir := range []string{".", filepath.Dir(at)} {
		repo, err := finder.Find(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return files, nil // the job file does not exist either
		}
		if err != nil {
			return files, mistake(err)
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
	return s, mistake(err)
}
