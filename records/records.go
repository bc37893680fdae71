// Package records answers: how does a run outlive the machine that trained it?
//
// A run on a runner is lost with it. So the record of each run that has completed
// (history.Record: the run, its metrics, its small files) is kept in a backend that the
// repository's settings name: artifacts of the workflow, a ref of the repository, or an MLflow
// server. Before a run is compared with another one, or another one is reused in its place, the
// records that may be wanted are brought to the history on this machine.
package records

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/submit"
)

// Options are what records need of the command that keeps or wants them.
type Options struct {
	History   string           // where the settings say that runs are kept
	Workflow  *github.Workflow // nil outside a workflow
	Token     string           // of the workflow; "" for none
	Artifacts bool             // the workflow may be left artifacts

	Getenv  func(string) string
	Git     *git.Finder
	Code    func(*git.Repository) (gitmeta.Info, error) // which code a repository has
	Secrets *secret.Redactor
	Mask    func(...string) // makes texts secrets
	Say     func(format string, args ...any)

	// Store opens the history on this machine, and makes it where there is none.
	Store func(context.Context) (*history.Store, error)
}

// Records are the runs that outlive the machine that they were trained on. A nil one keeps
// nothing and knows of nothing.
type Records struct {
	Options
	backend backend         // nil where no record is kept
	outputs bool            // those of a run become an artifact of the workflow
	seen    map[string]bool // what was looked for
}

// backend is a place where records outlive the machine that made them.
type backend interface {
	// list lists the records that may be believed, the newest first.
	list(context.Context, query) ([]entry, error)
	// read reads one of them, and checks it.
	read(context.Context, entry) (*history.Record, error)
	// keep keeps the record of a run, which is given as a zip as well; of those that repeat one
	// another, repeat is its number, from 1 on.
	keep(ctx context.Context, rec *history.Record, zip []byte, repeat int) error
	// needs is what reading it takes.
	needs() string
}

// query is what is looked for: the runs of a series, or those of a key.
type query struct {
	experiment  string
	series, key string
	commit      string // of a series, the one that is wanted most; "" for none
	repeat      int    // of a series, the number of the repeat, from 2 on; 0 for the first
}

func (q query) String() string { return fmt.Sprint(q.series, q.key, q.repeat) }

// entry is a record as its backend lists it. What it says of commit and branch, the record has
// to say too.
type entry struct {
	commit, branch string
	of             any // the backend's own
}

// New says where runs outlive this machine; it returns nil where they do not.
func New(o Options) *Records {
	r := &Records{Options: o, seen: map[string]bool{}}
	if o.Workflow != nil {
		r.outputs = o.Artifacts && o.Workflow.CanWriteArtifacts()
	}
	if s := newServer(o); s != nil {
		r.backend = s
	}
	switch {
	case r.backend != nil || o.History == settings.HistoryNone:
	case o.Workflow == nil || o.Token == "":
	case o.History == settings.HistoryRef:
		r.backend = &ref{workflow: o.Workflow, token: o.Token}
	case r.outputs:
		r.backend = artifacts{o.Workflow, o.Token}
	}
	if r.backend == nil && !r.outputs {
		return nil
	}
	return r
}

// bringWithin is how long it may take to bring a record here.
const bringWithin = time.Minute

// bring looks for records, once for each query, has some of them chosen, and adds their runs to the
// history on this machine if they are what they have to be. It returns the first of those. What
// cannot be had is said, and changes nothing.
func (r *Records) bring(ctx context.Context, what query, choose func([]entry) []entry) *history.Run {
	run, err := r.look(ctx, what, choose)
	if err != nil {
		r.Say("aml-train: %v", err)
	}
	return run
}

// look is bring where somebody has to know that what there is was seen.
func (r *Records) look(ctx context.Context, what query, choose func([]entry) []entry) (run *history.Run, err error) {
	if r == nil || r.backend == nil || r.seen[what.String()] {
		return nil, nil
	}
	r.seen[what.String()] = true
	within, cancel := context.WithTimeout(ctx, bringWithin)
	defer cancel()
	run, err = r.fetch(within, what, choose)
	if err != nil && ctx.Err() != nil { // interrupted, and the last report asks again
		clear(r.seen)
		return nil, nil
	}
	if err != nil {
		whose := "earlier workflows"
		if r.Workflow == nil {
			whose = "other machines"
		}
		err = fmt.Errorf("runs of %s cannot be read: %s (%s)", whose, report.Line(err.Error()), r.backend.needs())
	}
	return run, err
}

// fetch is look, whether or not it was looked for before.
func (r *Records) fetch(ctx context.Context, what query, choose func([]entry) []entry) (first *history.Run, err error) {
	list, err := r.backend.list(ctx, what)
	if err != nil {
		return nil, err
	}
	for _, chosen := range choose(list) {
		rec, err := r.backend.read(ctx, chosen)
		if err == nil {
			err = r.add(ctx, what, chosen, rec)
		}
		if err != nil {
			return first, err
		}
		if first == nil {
			first = &rec.Run
		}
	}
	return first, nil
}

// add adds the run of a record to the history, if it is what it has to be.
func (r *Records) add(ctx context.Context, what query, chosen entry, rec *history.Record) error {
	run := &rec.Run
	if run.Tag(history.TagCommit) != chosen.commit || run.Tag(history.TagBranch) != chosen.branch ||
		rec.Experiment != what.experiment || what.series != "" && run.Tag(history.TagSeries) != what.series ||
		what.key != "" && run.Tag(history.TagKey) != what.key {
		return fmt.Errorf("the record of run %s is of another run than was asked for", run.Info.RunID)
	}
	store, err := r.Store(ctx)
	if err != nil {
		return err
	}
	if rec.Left > 0 { // a report lists what is here
		note := fmt.Sprintf("%d of its files are not here: they are where it was trained", rec.Left)
		if build := run.Tag(history.TagBuild); build != "" {
			note = fmt.Sprintf("%d of its files are not here: they are artifacts of %s", rec.Left, build)
		}
		rec.Run = *run.With(map[string]string{history.TagWarnings: note,
			history.TagLeft: fmt.Sprint(rec.Left, " ", run.Info.RunID)})
	}
	return store.Import(ctx, rec)
}

// BringKey brings the newest run of a key (history.TagKey). The error says why nobody can tell
// whether there is one.
func (r *Records) BringKey(ctx context.Context, experiment, key string) error {
	_, err := r.look(ctx, query{experiment: experiment, key: key}, func(list []entry) []entry {
		return list[:min(len(list), 1)] // the newest
	})
	return err
}

// BringBase brings the run that another one is compared with, and those that repeat it: of the
// base's own commit, else of the nearest commit that it is built on, else the newest of the base
// branch. repo is the clone, nil for none.
func (r *Records) BringBase(ctx context.Context, run *history.Run, experiment string, repo *git.Repository) {
	series, branch := run.Tag(history.TagSeries), run.Tag(history.TagBaseBranch)
	if r == nil || series == "" || run.Tag(history.TagTarget) != job.Local {
		return
	}
	what := query{experiment: experiment, series: series, commit: r.tip()}
	var chosen entry
	_, byNumber := r.backend.(artifacts)
	most := history.MostRepeats
	if byNumber {
		most = mostRuns
	}
	found := r.bring(ctx, what, func(list []entry) []entry {
		one := r.nearest(list, run.Tag(history.TagCommit), branch, repo)
		if one == nil {
			return nil
		}
		chosen = *one
		like := slices.DeleteFunc(slices.Clone(list), func(e entry) bool { // what repeats it lies beside it
			return e.of == chosen.of || e.commit != chosen.commit || e.branch != chosen.branch
		})
		return append([]entry{chosen}, like[:min(len(like), most-1)]...)
	})
	if byNumber {
		r.repeats(ctx, what, chosen, found)
	}
}

// nearest chooses of records what a commit is compared with; nil where there is nothing to choose
// from. repo may be nil.
func (r *Records) nearest(list []entry, commit, branch string, repo *git.Repository) *entry {
	base := r.tip()
	list = slices.DeleteFunc(list, func(e entry) bool { return e.commit == commit })
	for i, e := range list {
		if base != "" && e.commit == base && e.branch == branch {
			return &list[i]
		}
	}
	var away map[string]int
	if repo != nil {
		away = gitmeta.Ancestors(repo, commit)
	}
	var best, newest *entry
	for i, e := range list {
		n, known := away[e.commit]
		if known && (best == nil || n < away[best.commit]) {
			best = &list[i]
		}
		if newest == nil && e.branch == branch {
			newest = &list[i]
		}
	}
	if best == nil {
		best = newest
	}
	return best
}

// mostRuns is of how many workflow runs of one commit artifacts are read, with two requests
// each.
const mostRuns = 10

// repeats brings the runs that repeat one that was found, where each is kept by its number.
func (r *Records) repeats(ctx context.Context, what query, chosen entry, found *history.Run) {
	if found == nil {
		return
	}
	tag := found.Tag(history.TagRepeats)
	most, err := strconv.Atoi(tag)
	if err != nil {
		most = history.AtMost(tag)
	}
	for what.repeat = 2; what.repeat <= min(most, history.MostRepeats); what.repeat++ {
		if r.bring(ctx, what, func(list []entry) []entry {
			i := slices.IndexFunc(list, func(e entry) bool {
				return e.commit == chosen.commit && e.branch == chosen.branch
			})
			if i < 0 {
				return nil
			}
			return list[i : i+1]
		}) == nil {
			return
		}
	}
}

// tip is the commit that the event names as the tip of the base branch, "" where none does.
func (r *Records) tip() string {
	if r == nil || r.Workflow == nil {
		return ""
	}
	return r.Workflow.Base
}

// WithBase adds to the commits that one is built on (gitmeta.Ancestors) the base that the event
// names: a shallow checkout does not have it.
func (r *Records) WithBase(away map[string]int) map[string]int {
	base := r.tip()
	if base == "" {
		return away
	}
	if away == nil {
		away = map[string]int{}
	}
	if _, here := away[base]; !here {
		away[base] = gitmeta.MostAncestors // what is here is nearer
	}
	return away
}

// Ended is a run that has ended, on this machine or in a workspace.
type Ended struct {
	Run     *history.Run
	For     *history.Run   // Run, or where it answers for another commit, a copy that is of that
	Repeat  int            // its number among those that repeat one another, from 1 on
	Store   *history.Store // that it is in
	History submit.History // of its target
}

// Keep keeps the record of a run on this machine, and its outputs as an artifact of the
// workflow; link is where the outputs are. What cannot be kept is said.
func (r *Records) Keep(ctx context.Context, e Ended) (link string) {
	run := e.Run
	if r == nil || run.Tag(history.TagTarget) != job.Local || e.Store == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	if r.outputs && e.For == run {
		var err error
		if link, err = r.keepOutputs(ctx, e); err != nil {
			r.Say("aml-train: the outputs of run %s cannot be kept as an artifact: %v", run.Info.RunID, err)
		}
	}
	as := e.For
	if r.backend == nil || run.Status() != history.Completed || as.Tag(history.TagFork) != "" || !r.own(as) {
		return link
	}
	rec, zip, err := r.record(ctx, e)
	if err == nil {
		err = r.backend.keep(ctx, rec, zip, e.Repeat)
	}
	if err != nil {
		r.Say("aml-train: the record of run %s cannot be kept: %s", run.Info.RunID, report.Line(err.Error()))
	}
	return link
}

// record is that of a run as everybody will read it, and as a zip.
func (r *Records) record(ctx context.Context, e Ended) (*history.Record, []byte, error) {
	as := e.For.With(map[string]string{history.TagBuild: e.Run.Tag(history.TagBuild)}) // where its files are
	as.Info = e.Run.Info                                                               // it was then that it trained
	var text bytes.Buffer
	if err := e.Store.WriteRecord(ctx, secret.Of(r.Secrets, as), &text); err != nil {
		return nil, nil, err
	}
	rec, err := history.ReadRecord(bytes.NewReader(text.Bytes()), int64(text.Len()))
	return rec, text.Bytes(), err
}

// own tells whether a run is of the commit that the workflow was started for: of another one,
// nobody could believe it.
func (r *Records) own(run *history.Run) bool {
	if r.Workflow == nil {
		return true
	}
	return run.Tag(history.TagCommit) == cmp.Or(r.Workflow.Head, r.Workflow.SHA)
}

// keepOutputs keeps all files of a run as one artifact, which has the run's name.
func (r *Records) keepOutputs(ctx context.Context, e Ended) (link string, err error) {
	if recordNames.MatchString(e.Run.Info.RunID) { // whose content would be the script's to choose
		return "", errors.New("a run of that name would be taken for the record of another one; give it another name")
	}
	files, err := e.History.Artifacts(ctx, e.Run)
	if err != nil || len(files) == 0 {
		return "", err
	}
	f, err := os.CreateTemp(e.Store.Home, ".artifact-")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	z := zip.NewWriter(f)
	for _, file := range files {
		if err := r.pack(ctx, e, file, z); err != nil {
			return "", err
		}
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return github.WriteArtifact(ctx, r.Workflow, e.Run.Info.RunID, f)
}

// pack adds a file of a run to a zip.
func (r *Records) pack(ctx context.Context, e Ended, file history.File, z *zip.Writer) error {
	from, err := e.History.OpenArtifact(ctx, e.Run, file.Path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := z.Create(file.Path)
	if err != nil {
		return err
	}
	if file.Path == history.ConsoleLog { // as the workflow's log has it: nobody masks what is in an artifact
		masked := secret.NewWriter(to, r.Secrets)
		_, err = io.Copy(masked, from)
		return errors.Join(err, masked.Flush())
	}
	_, err = io.Copy(to, from)
	return err
}
