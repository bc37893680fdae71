package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
)

// records are the runs of this repository's workflows that outlive their runners: each is
// an artifact of the workflow that made it, and is brought here when a run is to be reused or
// compared with.
type records struct {
	*workflow
	seen map[string]bool // names that were looked for
}

// keeps sets up what a workflow keeps of its runs, where its step may.
func (f *workflow) keeps() {
	if f.flags.artifacts && f.CanKeep() {
		f.a.records = &records{f, map[string]bool{}}
	}
}

// recordName is under which the record of a run is kept: by its job, to be compared with, or by
// its key, to be reused.
func recordName(of, what string) string {
	sum := sha256.Sum256([]byte(what))
	return "aml-train-" + of + "-" + hex.EncodeToString(sum[:8])
}

// recordsWithin is how long GitHub may take to bring a record here.
const recordsWithin = time.Minute

// bring looks for the artifacts of a name, once, chooses one, and adds its run to the history
// if it is what it has to be. What cannot be had is said, and changes nothing.
func (r *records) bring(ctx context.Context, name string, choose func([]github.Artifact) *github.Artifact,
	is func(*history.Record) bool) {
	if r == nil || r.flags.token == "" || r.seen[name] {
		return
	}
	r.seen[name] = true
	ctx, cancel := context.WithTimeout(ctx, recordsWithin)
	defer cancel()
	if err := r.fetch(ctx, name, choose, is); err != nil {
		r.a.say("aml-train: runs of earlier workflows cannot be read: %v (the job needs the permission \"actions: "+
			"read\")", err)
	}
}

func (r *records) fetch(ctx context.Context, name string, choose func([]github.Artifact) *github.Artifact,
	is func(*history.Record) bool) error {
	list, err := github.Kept(ctx, r.Workflow, r.flags.token, name)
	if err != nil {
		return err
	}
	chosen := choose(list)
	if chosen == nil {
		return nil
	}
	text, err := github.Fetch(ctx, r.Workflow, r.flags.token, *chosen, history.MaxRecord)
	if err != nil {
		return err
	}
	rec, err := history.ReadRecord(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return fmt.Errorf("the artifact %d is no record of a run: %w", chosen.ID, err)
	}
	// What GitHub says of the workflow that wrote it counts, and not what it says itself.
	run := &rec.Run
	if run.Tag(history.TagCommit) != chosen.Commit || run.Tag(history.TagBranch) != chosen.Branch || !is(rec) {
		return fmt.Errorf("the artifact %d is of another run than its workflow's", chosen.ID)
	}
	store, err := r.a.openStore(ctx, true)
	if err != nil {
		return err
	}
	if rec.Left > 0 { // a report lists what is here
		note := fmt.Sprintf("%d of its files are not here: they are artifacts of %s", rec.Left,
			run.Tag(history.TagBuild))
		rec.Run = *run.With(map[string]string{history.TagWarnings: note})
	}
	return store.Import(ctx, rec)
}

// withKey brings the newest run of a key.
func (r *records) withKey(ctx context.Context, experiment, key string) {
	r.bring(ctx, recordName("key", key), func(list []github.Artifact) *github.Artifact {
		if len(list) == 0 {
			return nil
		}
		return &list[0] // the newest
	}, func(rec *history.Record) bool {
		return rec.Run.Tag(history.TagKey) == key && rec.Experiment == experiment
	})
}

// base brings the run that another one is compared with: of the base's own commit, else of
// the nearest commit that it is built on, else the newest of the base branch.
func (r *records) base(ctx context.Context, run *history.Run, experiment string, repo *git.Repository) {
	series, branch := run.Tag(history.TagSeries), run.Tag(history.TagBaseBranch)
	if r == nil || series == "" || run.Tag(history.TagTarget) != job.Local {
		return
	}
	r.bring(ctx, recordName("run", series), func(list []github.Artifact) *github.Artifact {
		list = slices.DeleteFunc(list, func(a github.Artifact) bool { return a.Commit == run.Tag(history.TagCommit) })
		for i, a := range list {
			if r.Base != "" && a.Commit == r.Base && a.Branch == branch {
				return &list[i]
			}
		}
		var away map[string]int
		if repo != nil {
			away = ancestors(repo, run.Tag(history.TagCommit))
		}
		var best, newest *github.Artifact
		for i, a := range list {
			n, known := away[a.Commit]
			if known && (best == nil || n < away[best.Commit]) {
				best = &list[i]
			}
			if newest == nil && a.Branch == branch {
				newest = &list[i]
			}
		}
		if best == nil {
			best = newest
		}
		return best
	}, func(rec *history.Record) bool {
		return rec.Run.Tag(history.TagSeries) == series && rec.Experiment == experiment
	})
}

// known adds to the commits that one is built on the base that the event names: a shallow
// checkout does not have it.
func (r *records) known(away map[string]int) map[string]int {
	if r == nil || r.Base == "" {
		return away
	}
	if away == nil {
		away = map[string]int{}
	}
	if _, here := away[r.Base]; !here {
		away[r.Base] = mostAncestors // what is here is nearer
	}
	return away
}

// keep keeps the record of a run that has ended, and its outputs, as artifacts of the
// workflow; link is where the outputs are.
func (r *records) keep(ctx context.Context, s session, run *history.Run) (link string) {
	if r == nil || run.Tag(history.TagTarget) != job.Local || s.store == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	say := func(what string, err error) {
		if err != nil {
			r.a.say("aml-train: %s of run %s cannot be kept as an artifact: %v", what, run.Info.RunID, err)
		}
	}
	if !r.a.answers(run) {
		var err error
		link, err = r.keepOutputs(ctx, s, run)
		say("the outputs", err)
	}
	as := r.a.asked(run)
	commit := as.Tag(history.TagCommit)
	if run.Status() != history.Completed || as.Tag(history.TagFork) != "" || commit != r.Head &&
		(r.Head != "" || commit != r.SHA) {
		return link // of a commit that is not the workflow's, nobody could believe it
	}
	as = as.With(map[string]string{history.TagBuild: run.Tag(history.TagBuild)}) // where its files are
	as.Info = run.Info                                                           // it was then that it trained
	names := []string{recordName("run", as.Tag(history.TagSeries))}
	if key := as.Tag(history.TagKey); key != "" {
		names = append(names, recordName("key", key))
	}
	var text bytes.Buffer
	err := s.store.WriteRecord(ctx, secret.Of(&s.secrets, as), &text)
	for _, name := range names {
		if err == nil {
			_, err = github.Keep(ctx, r.Workflow, name, bytes.NewReader(text.Bytes()))
		}
		if errors.Is(err, github.ErrArtifactExists) {
			err = fmt.Errorf("%w; give each job of a matrix a display-name", err)
		}
	}
	say("the record", err)
	return link
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
	return github.Keep(ctx, r.Workflow, run.Info.RunID, f)
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
