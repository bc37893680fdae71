package azureml

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// experiments returns the names of all experiments, by their ids.
func (r *records) experiments(ctx context.Context) (map[string]string, error) {
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
// else is looked at here. What tags a workspace's MLflow shows of a job is written
// nowhere: where it finds no run by them, the control plane's jobs are looked through.
// Those alone tell which are archived, too.
func (r *records) SearchRuns(ctx context.Context, q history.Query) ([]*history.Run, string, error) {
	if q.View == "DELETED_ONLY" {
		runs, err := r.searchJobs(ctx, q)
		return runs, "", err
	}
	ask := history.Query{ExperimentIDs: q.ExperimentIDs, View: q.View, PageToken: q.PageToken,
		MaxResults: q.MaxResults, Filter: q.Filter}
	if q.Completed || q.Before != 0 || q.Commit != "" { // most of a page may be left out
		ask.MaxResults = max(q.MaxResults, 100)
	}
	tags := maps.Clone(q.Tags)
	if q.Owner != "" {
		tags = map[string]string{history.TagParent: q.Owner}
		maps.Copy(tags, q.Tags)
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		is, ok := history.TagFilter(key, tags[key])
		if !ok { // no filter can say it: it is looked at here
			ask.MaxResults = max(q.MaxResults, 100)
			continue
		}
		if ask.Filter != "" {
			ask.Filter += " AND "
		}
		ask.Filter += is
	}
	var all map[string]string
	if ask.ExperimentIDs == nil { // MLflow wants them named
		var err error
		if all, err = r.experiments(ctx); err != nil {
			return nil, "", err
		}
		ask.ExperimentIDs = slices.Sorted(maps.Keys(all))
	}
	var out []*history.Run
	for {
		runs, next, err := r.c.mlflow.SearchRuns(ctx, ask)
		if err != nil {
			return nil, "", err
		}
		for _, run := range runs {
			rename(run, all[run.Info.ExperimentID])
			if fits(run, q) {
				out = append(out, run)
			}
		}
		if next == ask.PageToken {
			next = ""
		}
		if next == "" && len(out) == 0 && q.PageToken == "" && (q.Commit != "" || len(q.Tags) > 0) {
			out, err = r.searchJobs(ctx, q)
			return out, "", err
		}
		if next == "" || len(out) >= max(q.MaxResults, 1) {
			return out, next, nil
		}
		ask.PageToken = next
	}
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
	experiments, err := r.experiments(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for id, name := range experiments {
		ids[name] = id
	}
	view := armmachinelearning.ListViewTypeActiveOnly
	switch q.View {
	case "DELETED_ONLY":
		view = armmachinelearning.ListViewTypeArchivedOnly
	case "ALL":
		view = armmachinelearning.ListViewTypeAll
	}
	var out []*history.Run
	add := func(run *history.Run) {
		run.Info.ExperimentID = ids[run.Tag(tagExperiment)]
		if fits(run, q) && (q.ExperimentIDs == nil || slices.Contains(q.ExperimentIDs, run.Info.ExperimentID)) {
			out = append(out, run)
		}
	}
	for _, kind := range []armmachinelearning.JobType{armmachinelearning.JobTypeCommand, armmachinelearning.JobTypeSweep} {
		if err := r.jobs(ctx, kind, view, add); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b *history.Run) int { return int(b.Info.StartTime - a.Info.StartTime) })
	return out[:min(len(out), cmp.Or(q.MaxResults, most))], nil
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
