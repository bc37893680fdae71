package history

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
)

// Baseline is the run that another one is compared with.
type Baseline struct {
	Run  *Run   // nil where there is none
	Note string // why there is none, or what a reader has to know of it; may be ""

	// Repeats are all completed runs of the same commit with the same parameters, Run
	// among them: they show what chance makes.
	Repeats []*Run
	// Seeded tells that they have different seeds; of each seed there is one then.
	Seeded bool
	// This are the completed runs that repeat the run itself, it among them where it has
	// completed.
	This []*Run
}

// Baselines are the runs that a run may be compared with: the completed ones of the same
// job, the newest first. A run of another pull request is one only of a commit that has
// its files: where a run was reused, no other was made of that commit.
type Baselines struct {
	run    *Run
	list   []*Run
	others []*Run // of other pull requests of the repository's own
}

// Others are the runs of other pull requests.
func (b Baselines) Others() []*Run { return b.others }

// StandIns adds the runs of other pull requests that trained what a commit holds; of is
// that commit by the snapshot. The run's own files are compared with nothing of the same.
func (b Baselines) StandIns(of map[string]string) Baselines {
	b.list = slices.Clone(b.list)
	for _, r := range b.others {
		id := r.Tag(TagSnapshot)
		if commit := of[id]; commit != "" && id != b.run.Tag(TagSnapshot) {
			b.list = append(b.list, r.With(map[string]string{tagStands: commit}))
		}
	}
	return b
}

// tagStands, of a run in a list of baselines, is the commit that it stands for.
const tagStands = "aml-train.stands"

// Runs is where runs are looked for.
type Runs interface {
	SearchRuns(context.Context, Query) ([]*Run, string, error)
}

// mostBaselines is how many runs are looked at, the newest of the job and the newest of it
// on the branch that the code is meant for.
const mostBaselines = 50

// FindBaselines looks for the runs that a run may be compared with among those that started
// before it.
func FindBaselines(ctx context.Context, runs Runs, run *Run) (Baselines, error) {
	b := Baselines{run: run}
	err := b.find(ctx, runs, Query{Before: run.Info.StartTime}, nil)
	if base := run.Tag(TagBaseBranch); err == nil && base != "" && len(b.list)+len(b.others) > 0 {
		err = b.find(ctx, runs, Query{Before: run.Info.StartTime}, map[string]string{TagBranch: base})
	}
	return b, err
}

// FindBaselinesWith looks for those of a query, of which the commit and the tags count,
// whenever they started.
func FindBaselinesWith(ctx context.Context, runs Runs, run *Run, q Query) (Baselines, error) {
	b := Baselines{run: run}
	return b, b.find(ctx, runs, Query{Commit: q.Commit}, q.Tags)
}

func (b *Baselines) find(ctx context.Context, runs Runs, q Query, tags map[string]string) error {
	series := b.run.Tag(TagSeries)
	if series == "" || b.run.Info.ExperimentID == "" { // somebody else's, or a job that waits
		return nil
	}
	known := map[string]bool{b.run.Info.RunID: true}
	for _, r := range b.list {
		known[r.Info.RunID] = true
	}
	q.ExperimentIDs, q.Completed, q.Submitted, q.MaxResults = []string{b.run.Info.ExperimentID}, true, true,
		mostBaselines
	q.Tags = map[string]string{TagSeries: series}
	maps.Copy(q.Tags, tags)
	for seen := 0; seen < mostBaselines; {
		page, next, err := runs.SearchRuns(ctx, q)
		if err != nil {
			return err
		}
		seen += max(len(page), 1)
		for _, r := range page {
			switch {
			case known[r.Info.RunID]:
			case b.may(r):
				b.list = append(b.list, r)
			case r.Tag(TagFork) == "" && r.Tag(TagSnapshot) != "":
				b.others = append(b.others, r)
			}
		}
		if next == "" || next == q.PageToken {
			break
		}
		q.PageToken = next
	}
	slices.SortStableFunc(b.list, func(x, y *Run) int { return cmp.Compare(y.Info.StartTime, x.Info.StartTime) })
	return nil
}

// may tells whether a run is of nobody else's change: of no pull request and of no fork, or
// of the run's own pull request.
func (b *Baselines) may(r *Run) bool {
	pr := r.Tag(TagPullRequest)
	return pr == "" && r.Tag(TagFork) == "" || pr != "" && pr == b.run.Tag(TagPullRequest)
}

// Of returns the same runs, for another state of the run.
func (b Baselines) Of(run *Run) Baselines {
	b.run = run
	return b
}

// Without leaves out a run.
func (b Baselines) Without(run *Run) Baselines {
	is := func(r *Run) bool { return r.Info.RunID == run.Info.RunID }
	b.list = slices.DeleteFunc(slices.Clone(b.list), is)
	b.others = slices.DeleteFunc(slices.Clone(b.others), is)
	return b
}

// Belies tells whether a run is of other code than that as which a search has found it. A script
// can change the tags of its run in a workspace, by which that searches, and none of the
// properties, which the run itself has in their place.
func (r *Run) Belies(found *Run) bool {
	for _, name := range []string{TagSeries, TagCommit, TagBranch, TagSnapshot} {
		if was := found.Tag(name); was != "" && was != r.Tag(name) {
			return true
		}
	}
	return r.Tag(TagFork) != found.Tag(TagFork) || r.Tag(TagPullRequest) != found.Tag(TagPullRequest)
}

// Nearest returns the one on the branch that the run's code is meant for which is nearest
// to what the code is built on; else the one of the nearest ancestor of the run's commit.
// away is how many commits each ancestor is away, as far as that is known.
func (b Baselines) Nearest(away map[string]int) Baseline {
	commit, base := b.run.Tag(TagCommit), b.run.Tag(TagBaseBranch)
	distance := func(r *Run) int {
		c := cmp.Or(r.Tag(tagStands), r.Tag(TagCommit))
		if n, ok := away[c]; ok {
			return n
		}
		if c == commit { // without a repository, neither has one
			return 0
		}
		return math.MaxInt
	}
	ofBase := b.those(func(r *Run) bool { return base != "" && (onBranch(r, base) || r.Tag(tagStands) != "") })
	ofAncestors := b.those(func(r *Run) bool { return distance(r) < math.MaxInt })
	order := [][]*Run{ofBase, ofAncestors}
	if onBranch(b.run, base) {
		order = [][]*Run{ofAncestors, ofBase}
	}
	for _, list := range order {
		if len(list) == 0 {
			continue
		}
		best := b.nearest(list, distance)
		if distance(best) == math.MaxInt {
			return Baseline{Run: best, Note: "no run of this job is known here of a commit that this one is built " +
				"on: the newest of " + base + " stands in"}
		}
		if c := best.Tag(tagStands); c != "" {
			return Baseline{Run: best, Note: "it trained the files of commit " + c[:min(len(c), 7)] +
				", of which there is no run"}
		}
		return Baseline{Run: best}
	}
	switch {
	case commit == "":
		return Baseline{Note: "this is the first completed run of this job"}
	case base != "" && !onBranch(b.run, base):
		return Baseline{Note: "neither " + base +
			" nor a commit that this one is built on has a completed run of this job"}
	}
	return Baseline{Note: "no commit that this one is built on has a completed run of this job"}
}

// onBranch tells whether a run trained what lies on a branch, and not what a pull request
// would have brought there: a fork's branch may be called the same.
func onBranch(r *Run, branch string) bool {
	return r.Tag(TagBranch) == branch && r.Tag(TagPullRequest) == "" && r.Tag(TagFork) == ""
}

// those leaves out what repeats the run itself with another seed.
func (b Baselines) those(are func(*Run) bool) (list []*Run) {
	for _, r := range b.list {
		if are(r) && !b.repeated(r) {
			list = append(list, r)
		}
	}
	return list
}

// repeated tells whether another run is one more of the same commit, with another seed.
func (b Baselines) repeated(r *Run) bool {
	s := seeds(r)
	return s != "" && s != seeds(b.run) && r.Tag(TagCommit) == b.run.Tag(TagCommit) && repeats(r, b.run)
}

// nearest returns the run whose commit is nearest; of one commit's, the one whose
// parameters differ least, which tells the jobs of a matrix apart; then the newest.
func (b Baselines) nearest(list []*Run, distance func(*Run) int) *Run {
	return slices.MinFunc(list, func(x, y *Run) int {
		return cmp.Or(cmp.Compare(distance(x), distance(y)),
			cmp.Compare(len(Differing(b.run, x)), len(Differing(b.run, y))))
	})
}

// OnBranch returns the newest one on a branch.
func (b Baselines) OnBranch(branch string) Baseline {
	list := b.those(func(r *Run) bool { return onBranch(r, branch) })
	if len(list) == 0 {
		return Baseline{Note: "there is no completed run of this job on the branch " + branch}
	}
	return Baseline{Run: list[0]}
}

// OfCommit returns the one of a commit, whose id begins with id, that is most like the run.
func (b Baselines) OfCommit(id string) Baseline {
	list := b.those(func(r *Run) bool { return strings.HasPrefix(r.Tag(TagCommit), id) })
	if len(list) == 0 {
		return Baseline{Note: "there is no completed run of this job of the commit " + id[:min(7, len(id))]}
	}
	return Baseline{Run: b.nearest(list, func(*Run) int { return 0 })}
}

// MostRepeats is how many runs of one side are judged: more tell hardly more.
const MostRepeats = 30

// FindRepeats fills in what repeats a run and its base, of the runs that started before the
// run, or at any time where later is set. A series are runs that were trained with the run, the
// newest first: they are its repeats, also where a search does not know them yet, and none of
// the base's, which may be of the same commit.
func FindRepeats(
	ctx context.Context, runs Runs, run *Run, base Baseline, later bool, series []*Run,
) (Baseline, error) {
	b, q := Baselines{run: run}, Query{Before: run.Info.StartTime}
	if later {
		q.Before = 0
	}
	for _, of := range []*Run{base.Run, run} {
		if of == nil || of == run && run.Status() != Completed || of.Tag(TagSnapshot) == "" {
			continue
		}
		if err := b.find(ctx, runs, q, map[string]string{TagSnapshot: of.Tag(TagSnapshot)}); err != nil {
			return base, err
		}
	}
	return b.withRepeats(base, series), nil
}

// withRepeats fills in what repeats the run and its base. Runs of the same files are repeats
// whichever pull request of the repository's own they are of.
func (b Baselines) withRepeats(base Baseline, series []*Run) Baseline {
	all := slices.Concat(b.list, b.others)
	slices.SortStableFunc(all, func(x, y *Run) int { return cmp.Compare(y.Info.StartTime, x.Info.StartTime) })
	if base.Run != nil {
		ofBase := all
		if commit := b.run.Tag(TagCommit); commit != base.Run.Tag(TagCommit) { // a commit may have left the files alone
			ofBase = slices.DeleteFunc(slices.Clone(all), func(r *Run) bool { return r.Tag(TagCommit) == commit })
		}
		ofBase = slices.DeleteFunc(slices.Clone(ofBase), func(r *Run) bool { return holds(series, r) })
		base.Repeats = repetitions(base.Run, nil, ofBase)
		base.Seeded = seeds(base.Run) != ""
	}
	others := slices.DeleteFunc(slices.Clone(all), func(r *Run) bool { return holds(base.Repeats, r) })
	if b.run.Status() == Completed {
		base.This = repetitions(b.run, series, others)
	}
	return base
}

// repetitions are a run, those that were trained with it, and those of a list that repeat it.
// Where they have seeds, a second run with the same one shows nothing new.
func repetitions(run *Run, series, list []*Run) []*Run {
	out, seen := []*Run{run}, map[string]bool{seeds(run): true}
	for _, r := range series {
		if r.Info.RunID != run.Info.RunID {
			out, seen[seeds(r)] = append(out, r), true
		}
	}
	for _, r := range list {
		if s := seeds(r); !holds(out, r) && repeats(r, run) && (s == "" || !seen[s]) {
			out, seen[s] = append(out, r), true
		}
	}
	return out
}

func holds(list []*Run, run *Run) bool {
	return slices.ContainsFunc(list, func(r *Run) bool { return r.Info.RunID == run.Info.RunID })
}

// seeds are the parameters of a run that set chance, as one text.
func seeds(r *Run) string {
	var out []string
	for _, p := range r.Data.Params {
		if IsSeed(p.Key) {
			out = append(out, p.Key+"="+p.Value)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// repeats tells whether two runs of one job trained the same files with the same
// parameters, a seed aside.
func repeats(a, b *Run) bool {
	if snapshot := a.Tag(TagSnapshot); snapshot == "" || snapshot != b.Tag(TagSnapshot) {
		return false
	}
	for _, d := range Differing(a, b) {
		if !IsSeed(d.Name) {
			return false
		}
	}
	return true
}

// seed is the name of a parameter that only sets chance.
var seed = lazyregexp.New(`(?i)(^|[/._-])(seed|random_state)$`)

// RepeatsDecided is what TagRepeats says of a run that others are added to until the verdict
// is decided, most at most.
func RepeatsDecided(most int) string { return fmt.Sprintf("decided %d", most) }

// AtMost is the number in what RepeatsDecided has made, 0 in any other text.
func AtMost(tag string) (most int) {
	if n, ok := strings.CutPrefix(tag, "decided "); ok {
		most, _ = strconv.Atoi(n)
	}
	return most
}

// IsSeed tells whether a parameter of that name only sets chance.
func IsSeed(name string) bool { return seed.MatchString(name) }

// Difference is a parameter in which two runs differ; "" is what a run does not have.
type Difference struct{ Name, This, Base string }

// Differing are the parameters in which a run and its base differ, by name.
func Differing(run, base *Run) (out []Difference) {
	values := map[string]*Difference{}
	for _, p := range run.Data.Params {
		values[p.Key] = &Difference{Name: p.Key, This: p.Value}
	}
	for _, p := range base.Data.Params {
		if values[p.Key] == nil {
			values[p.Key] = &Difference{Name: p.Key}
		}
		values[p.Key].Base = p.Value
	}
	for _, d := range values {
		if d.This != d.Base {
			out = append(out, *d)
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
