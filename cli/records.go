package cli

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
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
)

// records are the runs that outlive the machine that they were trained on: each is kept where
// the repository's settings say, and is brought here when a run is to be reused or compared with.
type records struct {
	a       *app
	flow    *workflow       // nil outside a workflow
	home    recordHome      // nil where none are kept
	outputs bool            // those of a run become an artifact of the workflow
	seen    map[string]bool // what was looked for
}

// recordHome is a place where records outlive the machine that made them.
type recordHome interface {
	// list lists the records that may be believed, the newest first.
	list(context.Context, sought) ([]kept, error)
	// read reads one of them, and checks it.
	read(context.Context, kept) (*history.Record, error)
	// keep keeps the record of a run, which is given as a zip as well.
	keep(ctx context.Context, rec *history.Record, zip []byte) error
	// needs is what reading it takes.
	needs() string
}

// sought is what is looked for: the runs of a series, or those of a key.
type sought struct {
	experiment  string
	series, key string
	commit      string // of a series, the one that is wanted most; "" for none
	repeat      int    // of a series, the number of the repeat, from 2 on; 0 for the first
}

func (s sought) String() string { return fmt.Sprint(s.series, s.key, s.repeat) }

// kept is a record as its home lists it. What it says of commit and branch, the record has
// to say too.
type kept struct {
	commit, branch string
	of             any // the home's own
}

// keeps sets up where runs outlive this machine; flow is nil outside a workflow.
func (a *app) keeps(flow *workflow) {
	r := &records{a: a, flow: flow, seen: map[string]bool{}}
	if flow != nil {
		r.outputs = flow.flags.artifacts && flow.CanKeep()
	}
	if server := a.server(flow); server != nil {
		r.home = server
	}
	switch {
	case r.home != nil || a.historyAt == settings.HistoryNone:
	case flow == nil || flow.flags.token == "":
	case a.historyAt == settings.HistoryRef:
		r.home = &refHome{flow: flow}
	case r.outputs:
		r.home = artifactHome{flow}
	}
	if r.home != nil || r.outputs {
		a.records = r
	}
}

// recordsWithin is how long it may take to bring a record here.
const recordsWithin = time.Minute

// bring looks for records, once, chooses of them, and adds their runs to the history if they are
// what they have to be. It returns the first of those. What cannot be had is said, and
// changes nothing.
func (r *records) bring(ctx context.Context, what sought, choose func([]kept) []kept) (run *history.Run) {
	if r == nil || r.home == nil || r.seen[what.String()] {
		return nil
	}
	r.seen[what.String()] = true
	within, cancel := context.WithTimeout(ctx, recordsWithin)
	defer cancel()
	run, err := r.fetch(within, what, choose)
	if ctx.Err() != nil { // the comment that follows a run gives up when the run ends; its report asks again
		clear(r.seen)
		return nil
	}
	if err != nil {
		whose := "earlier workflows"
		if r.flow == nil {
			whose = "other machines"
		}
		r.a.say("aml-train: runs of %s cannot be read: %s (%s)", whose, report.Line(err.Error()), r.home.needs())
	}
	return run
}

func (r *records) fetch(ctx context.Context, what sought, choose func([]kept) []kept) (first *history.Run, err error) {
	list, err := r.home.list(ctx, what)
	if err != nil {
		return nil, err
	}
	for _, chosen := range choose(list) {
		rec, err := r.home.read(ctx, chosen)
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
func (r *records) add(ctx context.Context, what sought, chosen kept, rec *history.Record) error {
	run := &rec.Run
	if run.Tag(history.TagCommit) != chosen.commit || run.Tag(history.TagBranch) != chosen.branch ||
		rec.Experiment != what.experiment || what.series != "" && run.Tag(history.TagSeries) != what.series ||
		what.key != "" && run.Tag(history.TagKey) != what.key {
		return fmt.Errorf("the record of run %s is of another run than was asked for", run.Info.RunID)
	}
	store, err := r.a.openStore(ctx, true)
	if err != nil {
		return err
	}
	if rec.Left > 0 { // a report lists what is here
		note := fmt.Sprintf("%d of its files are not here: they are where it was trained", rec.Left)
		if build := run.Tag(history.TagBuild); build != "" {
			note = fmt.Sprintf("%d of its files are not here: they are artifacts of %s", rec.Left, build)
		}
		rec.Run = *run.With(map[string]string{history.TagWarnings: note})
	}
	return store.Import(ctx, rec)
}

// withKey brings the newest run of a key.
func (r *records) withKey(ctx context.Context, experiment, key string) {
	r.bring(ctx, sought{experiment: experiment, key: key}, func(list []kept) []kept {
		return list[:min(len(list), 1)] // the newest
	})
}

// base brings the run that another one is compared with: of the base's own commit, else of
// the nearest commit that it is built on, else the newest of the base branch.
func (r *records) base(ctx context.Context, run *history.Run, experiment string, repo *git.Repository) {
	series, branch := run.Tag(history.TagSeries), run.Tag(history.TagBaseBranch)
	if r == nil || series == "" || run.Tag(history.TagTarget) != job.Local {
		return
	}
	base := r.tip()
	what := sought{experiment: experiment, series: series, commit: base}
	var chosen kept
	choose := func(list []kept) *kept {
		list = slices.DeleteFunc(list, func(k kept) bool { return k.commit == run.Tag(history.TagCommit) })
		for i, k := range list {
			if base != "" && k.commit == base && k.branch == branch {
				return &list[i]
			}
		}
		var away map[string]int
		if repo != nil {
			away = ancestors(repo, run.Tag(history.TagCommit))
		}
		var best, newest *kept
		for i, k := range list {
			n, known := away[k.commit]
			if known && (best == nil || n < away[best.commit]) {
				best = &list[i]
			}
			if newest == nil && k.branch == branch {
				newest = &list[i]
			}
		}
		if best == nil {
			best = newest
		}
		return best
	}
	_, byNumber := r.home.(artifactHome)
	most := mostRepeats
	if byNumber {
		most = mostRuns
	}
	found := r.bring(ctx, what, func(list []kept) []kept {
		one := choose(list)
		if one == nil {
			return nil
		}
		chosen = *one
		like := slices.DeleteFunc(slices.Clone(list), func(k kept) bool { // what repeats it lies beside it
			return k.of == chosen.of || k.commit != chosen.commit || k.branch != chosen.branch
		})
		return append([]kept{chosen}, like[:min(len(like), most-1)]...)
	})
	if byNumber {
		r.repeats(ctx, what, chosen, found)
	}
}

// mostRuns is of how many workflow runs of one commit artifacts are read, with two requests
// each.
const mostRuns = 10

// repeats brings the runs that repeat one that was found, where each is kept by its number.
func (r *records) repeats(ctx context.Context, what sought, chosen kept, found *history.Run) {
	if found == nil {
		return
	}
	tag := found.Tag(history.TagRepeats)
	most, err := strconv.Atoi(tag)
	if err != nil {
		most = history.AtMost(tag)
	}
	for what.repeat = 2; what.repeat <= min(most, mostRepeats); what.repeat++ {
		if r.bring(ctx, what, func(list []kept) []kept {
			i := slices.IndexFunc(list, func(k kept) bool {
				return k.commit == chosen.commit && k.branch == chosen.branch
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
func (r *records) tip() string {
	if r == nil || r.flow == nil {
		return ""
	}
	return r.flow.Base
}

// known adds to the commits that one is built on the base that the event names: a shallow
// checkout does not have it.
func (r *records) known(away map[string]int) map[string]int {
	base := r.tip()
	if base == "" {
		return away
	}
	if away == nil {
		away = map[string]int{}
	}
	if _, here := away[base]; !here {
		away[base] = mostAncestors // what is here is nearer
	}
	return away
}

// keep keeps the record of a run that has ended, and its outputs as an artifact of the
// workflow; link is where the outputs are.
func (r *records) keep(ctx context.Context, s session, run *history.Run) (link string) {
	if r == nil || run.Tag(history.TagTarget) != job.Local || s.store == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	if r.outputs && !r.a.answers(run) {
		var err error
		if link, err = r.keepOutputs(ctx, s, run); err != nil {
			r.a.say("aml-train: the outputs of run %s cannot be kept as an artifact: %v", run.Info.RunID, err)
		}
	}
	as := r.a.asked(run)
	if r.home == nil || run.Status() != history.Completed || as.Tag(history.TagFork) != "" || !r.own(as) {
		return link
	}
	as = as.With(map[string]string{history.TagBuild: run.Tag(history.TagBuild)}) // where its files are
	as.Info = run.Info                                                           // it was then that it trained
	as = secret.Of(&s.secrets, as)
	var text bytes.Buffer
	err := s.store.WriteRecord(ctx, as, &text)
	var rec *history.Record
	if err == nil { // as everybody will read it
		rec, err = history.ReadRecord(bytes.NewReader(text.Bytes()), int64(text.Len()))
	}
	if err == nil {
		err = r.home.keep(ctx, rec, text.Bytes())
	}
	if err != nil {
		r.a.say("aml-train: the record of run %s cannot be kept: %s", run.Info.RunID, report.Line(err.Error()))
	}
	return link
}

// own tells whether a run is of the commit that the workflow was started for: of another one,
// nobody could believe it.
func (r *records) own(run *history.Run) bool {
	if r.flow == nil {
		return true
	}
	return run.Tag(history.TagCommit) == cmp.Or(r.flow.Head, r.flow.SHA)
}

// keepOutputs keeps all files of a run as one artifact, which has the run's name.
func (r *records) keepOutputs(ctx context.Context, s session, run *history.Run) (link string, err error) {
	files, err := s.History.Artifacts(ctx, run)
	if err != nil || len(files) == 0 {
		return "", err
	}
	f, err := os.CreateTemp(s.store.Home, ".artifact-")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	z := zip.NewWriter(f)
	for _, file := range files {
		if err := pack(ctx, s, run, file, z); err != nil {
			return "", err
		}
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return github.Keep(ctx, r.flow.Workflow, run.Info.RunID, f)
}

func pack(ctx context.Context, s session, run *history.Run, file history.File, z *zip.Writer) error {
	from, err := s.History.OpenArtifact(ctx, run, file.Path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := z.Create(file.Path)
	if err != nil {
		return err
	}
	if file.Path == history.ConsoleLog { // as the workflow's log has it: nobody masks what is in an artifact
		masked := secret.NewWriter(to, &s.secrets)
		_, err = io.Copy(masked, from)
		return errors.Join(err, masked.Flush())
	}
	_, err = io.Copy(to, from)
	return err
}
