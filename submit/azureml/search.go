package azureml

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
)

// SearchExperiments implements submit.History.
func (r *records) SearchExperiments(ctx context.Context, q history.Query) ([]*history.Experiment, string, error) {
	if q.Name == "" {
		return r.c.mlflow.SearchExperiments(ctx, q)
	}
	e, err := r.c.mlflow.ExperimentByName(ctx, q.Name) // no filter by name is promised
	if history.NotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	return []*history.Experiment{e}, "", nil
}

// lately is a list that a command asks for several times, and one that waits hears news of.
type lately[T any] struct {
	mu    sync.Mutex
	list  T
	until time.Time
}

// fresh is how long a list is taken for the whole one.
const fresh = 30 * time.Second

func (l *lately[T]) get(ask func() (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		return l.list, nil
	}
	list, err := ask()
	if err == nil {
		l.list, l.until = list, time.Now().Add(fresh)
	}
	return list, err
}

// experiments returns the names of all experiments, by their ids.
func (r *records) experiments(ctx context.Context) (map[string]string, error) {
	return r.names.get(func() (map[string]string, error) { return r.listExperiments(ctx) })
}

func (r *records) listExperiments(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for q := (history.Query{MaxResults: 1000}); ; {
		list, next, err := r.c.mlflow.SearchExperiments(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			out[e.ID] = e.Name
		}
		if next == "" || next == q.PageToken {
			return out, nil
		}
		q.PageToken = next
	}
}

// SearchRuns implements submit.History. MLflow is asked for what the workspace promises
// of it: comparisons of tags by "=", joined by AND, the newest runs first
// (learn.microsoft.com, "Query & compare experiments and runs with MLflow"); everything
// else is looked at here, so that what is looked for may lie behind any number of runs that
// scripts made: mostPages are read. What tags a workspace's MLflow shows of a job is written
// nowhere: where it finds no run by them, or not enough in those pages, the control plane's
// jobs are looked through. Those alone tell which are archived, too.
func (r *records) SearchRuns(ctx context.Context, q history.Query) ([]*history.Run, string, error) {
	if q.View == "DELETED_ONLY" {
		runs, err := r.searchJobs(ctx, q)
		return runs, "", err
	}
	ask, names, err := r.ask(ctx, q)
	if err != nil {
		return nil, "", err
	}
	var out []*history.Run
	for pages := 1; ; pages++ {
		runs, next, err := r.c.mlflow.SearchRuns(ctx, ask)
		if err != nil {
			return nil, "", err
		}
		for _, run := range runs {
			rename(run, names[run.Info.ExperimentID])
			if fits(run, q) {
				out = append(out, run)
			}
		}
		if next == ask.PageToken {
			next = ""
		}
		switch {
		case next == "" && len(out) == 0 && q.PageToken == "" && (q.Commit != "" || len(q.Tags) > 0):
			out, err = r.searchJobs(ctx, q)
			return out, "", err
		case next == "" || len(out) >= max(q.MaxResults, 1):
			return out, next, nil
		case pages == mostPages && q.PageToken == "":
			out, err = r.andJobs(ctx, q, out)
			return out, "", err
		}
		ask.PageToken = next
	}
}

// mostPages is how many pages of runs a search reads.
const mostPages = 20

// ask is what MLflow is asked for of a query; names are those of the experiments, where all
// are searched.
func (r *records) ask(ctx context.Context, q history.Query) (ask history.Query, names map[string]string, err error) {
	ask = history.Query{ExperimentIDs: q.ExperimentIDs, View: q.View, PageToken: q.PageToken,
		MaxResults: q.MaxResults, Filter: q.Filter}
	if q.Submitted || q.Completed || q.Before != 0 || q.Commit != "" { // most of a page may be left out
		ask.MaxResults = max(q.MaxResults, 200)
	}
	tags := maps.Clone(q.Tags)
	if q.Owner != "" {
		tags = map[string]string{history.TagParent: q.Owner}
		maps.Copy(tags, q.Tags)
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		is, ok := history.TagFilter(key, tags[key])
		if !ok { // no filter can say it: it is looked at here
			ask.MaxResults = max(q.MaxResults, 200)
			continue
		}
		if ask.Filter != "" {
			ask.Filter += " AND "
		}
		ask.Filter += is
	}
	if ask.ExperimentIDs != nil {
		return ask, nil, nil
	}
	names, err = r.experiments(ctx) // MLflow wants them named
	ask.ExperimentIDs = slices.Sorted(maps.Keys(names))
	return ask, names, err
}

// andJobs adds the jobs that are older than the runs that were found.
func (r *records) andJobs(ctx context.Context, q history.Query, found []*history.Run) ([]*history.Run, error) {
	if q.Owner != "" || len(found) > 0 && len(q.Tags) > 0 { // no job, or the pages held all such runs
		return found, nil
	}
	jobs, err := r.searchJobs(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, run := range jobs {
		if !slices.ContainsFunc(found, func(f *history.Run) bool { return f.Info.RunID == run.Info.RunID }) {
			found = append(found, run)
		}
	}
	return found[:min(len(found), cmp.Or(q.MaxResults, most))], nil
}

// rename gives a run the tags of ours that MLflow has under names of its own, and the name
// of its experiment where that is known.
func rename(run *history.Run, experiment string) {
	if experiment != "" && run.Tag(tagExperiment) == "" {
		run.Data.Tags = append(run.Data.Tags, history.KeyValue{Key: tagExperiment, Value: experiment})
	}
	for name, from := range map[string]string{gitmeta.PropCommit: gitmeta.PropMLflowCommit,
		gitmeta.PropBranch: gitmeta.PropMLflowBranch} {
		if run.Tag(name) == "" && run.Tag(from) != "" {
			run.Data.Tags = append(run.Data.Tags, history.KeyValue{Key: name, Value: run.Tag(from)})
		}
	}
}

// fits tells whether a run is one that is looked for.
func fits(run *history.Run, q history.Query) bool {
	for key, value := range q.Tags {
		if run.Tag(key) != value {
			return false
		}
	}
	return strings.HasPrefix(run.Tag(history.TagCommit), q.Commit) &&
		(!q.Completed || run.Status() == history.Completed) &&
		(q.Before == 0 || run.Info.StartTime < q.Before) &&
		(q.Owner == "" || run.Tag(history.TagParent) == q.Owner) &&
		(!q.Submitted || run.Tag(history.TagParent) == "")
}

// most is how many jobs are looked through at most.
const most = 1000

// searchJobs finds runs among the control plane's jobs, which are in no experiment's
// order. They have no metrics, and of the times that when they were submitted.
func (r *records) searchJobs(ctx context.Context, q history.Query) ([]*history.Run, error) {
	view := armmachinelearning.ListViewTypeActiveOnly
	switch q.View {
	case "DELETED_ONLY":
		view = armmachinelearning.ListViewTypeArchivedOnly
	case "ALL":
		view = armmachinelearning.ListViewTypeAll
	}
	l, _ := r.newest.LoadOrStore(view, &lately[[]*history.Run]{})
	jobs, err := l.(*lately[[]*history.Run]).get(func() ([]*history.Run, error) { return r.listJobs(ctx, view) })
	if err != nil {
		return nil, err
	}
	var out []*history.Run
	for _, run := range jobs {
		if fits(run, q) && (q.ExperimentIDs == nil || slices.Contains(q.ExperimentIDs, run.Info.ExperimentID)) {
			out = append(out, run)
		}
	}
	return out[:min(len(out), cmp.Or(q.MaxResults, most))], nil
}

// listJobs returns the newest jobs of a view.
func (r *records) listJobs(ctx context.Context, view armmachinelearning.ListViewType) ([]*history.Run, error) {
	experiments, err := r.experiments(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for id, name := range experiments {
		ids[name] = id
	}
	var out []*history.Run
	for _, kind := range []armmachinelearning.JobType{armmachinelearning.JobTypeCommand,
		armmachinelearning.JobTypeSweep} {
		err := r.jobs(ctx, kind, view, func(run *history.Run) {
			run.Info.ExperimentID = ids[run.Tag(tagExperiment)]
			out = append(out, run)
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b *history.Run) int { return int(b.Info.StartTime - a.Info.StartTime) })
	return out, nil
}

// jobs hands over the control plane's newest jobs of a kind.
func (r *records) jobs(ctx context.Context, kind armmachinelearning.JobType, view armmachinelearning.ListViewType,
	add func(*history.Run)) error {
	pager := r.c.clients.NewJobsClient().NewListPager(r.c.group, r.c.name, &armmachinelearning.JobsClientListOptions{
		JobType: to.Ptr(string(kind)), ListViewType: &view})
	for seen := 0; seen < most && pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("the workspace's jobs cannot be listed: %w", short(err))
		}
		seen += len(page.Value)
		for _, j := range page.Value {
			if run, err := runOf(*j, accepted(*j), nil); err == nil { // else of another kind
				add(run)
			}
		}
	}
	return nil
}
