package history

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/internal/clip"
)

// A record that travels to a server of MLflow's API becomes a run there, with all that people
// look at in its pages: metrics, parameters, tags and small files. It is found by its tags, and
// counts once its status says that it has ended, which is written last. No request of the API
// makes a run that is there already: so a run is looked for before it is made, and where two
// were made for one record, all writers agree on which of them stays.

const (
	// tagRecord is of a run on a server which record it is: a digest, how many files the run
	// has where it was trained, and its id there.
	tagRecord = "aml-train.record"
	// recordFile is the record itself, among the run's artifacts.
	recordFile = "aml-train/record.zip"
)

// identity is the value of tagRecord.
func (r *Record) identity() string {
	run := &r.Run
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %d %q %q %q", run.Info.RunID, run.Info.StartTime, run.Info.EndTime,
		run.Tag(TagCommit), run.Tag(TagBranch), run.Tag(TagBuild)))
	return fmt.Sprintf("%s %d %s", hex.EncodeToString(sum[:8]), len(r.files)+r.Left, run.Info.RunID)
}

// mostCompletions is how often a run is completed in one call: another one may be the first
// each time, as others publish the same record.
const mostCompletions = 5

// Publish writes the run of a record, which is also given as the zip that it was read from, to
// an experiment of the server, and returns the run there. One that is there already is left as
// it is; one that an earlier call could not complete is completed.
func (c *Client) Publish(ctx context.Context, rec *Record, zip []byte, experiment string) (*Run, error) {
	id, err := c.makeExperiment(ctx, experiment)
	if err != nil {
		return nil, err
	}
	all, err := c.published(ctx, id, rec)
	for try := 0; err == nil && (len(all) == 0 || all[0].Info.Status != mlflowFinished); try++ {
		if try == mostCompletions {
			err = fmt.Errorf("tracking server %s: it does not find finished what it has taken as such", c.Base)
			break
		}
		var run *Run
		if len(all) > 0 { // a writer's that may never complete it
			run = all[0]
		} else if run, err = c.startPublishing(ctx, id, rec); err != nil {
			break
		}
		if err = c.complete(ctx, run, rec, zip); err == nil {
			all, err = c.published(ctx, id, rec)
		}
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("tracking server %s: it does not find the run that it has taken", c.Base)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, other := range all[1:] {
		err := c.call(ctx, "POST", "runs/delete", nil, map[string]any{"run_id": other.Info.RunID}, nil)
		if err != nil {
			return nil, err
		}
	}
	return all[0], nil
}

// complete writes what a run has; writing it again changes nothing.
func (c *Client) complete(ctx context.Context, run *Run, rec *Record, zip []byte) error {
	metrics := make([]Metric, len(rec.Metrics))
	for i, m := range rec.Metrics { // names of models and data do not travel
		metrics[i] = Metric{Key: m.Key, Value: m.Value, Timestamp: m.Timestamp, Step: m.Step}
	}
	if err := c.LogBatch(ctx, run.Info.RunID, metrics, rec.Run.Data.Params, nil); err != nil {
		return err
	}
	if c.Holds(run) {
		put := func(name string, text []byte) error {
			return c.PutFile(ctx, run, name, int64(len(text)), bytes.NewReader(text))
		}
		for _, name := range slices.Sorted(maps.Keys(rec.files)) {
			if err := put(name, rec.files[name]); err != nil {
				return err
			}
		}
		if err := put(recordFile, zip); err != nil {
			return err
		}
	}
	return c.call(ctx, "POST", "runs/update", nil, map[string]any{"run_id": run.Info.RunID, "status": mlflowFinished,
		"end_time": rec.Run.Info.EndTime}, nil)
}

// published are the runs of a record on the server, by their ids. The first one stays: all
// writers complete that one, and delete others once it is complete, so that nobody deletes the
// first of all, whatever each of them knows of the others.
func (c *Client) published(ctx context.Context, experiment string, rec *Record) ([]*Run, error) {
	filter, ok := TagFilter(tagRecord, rec.identity())
	if !ok {
		return nil, fmt.Errorf("%q is no id of a run", rec.Run.Info.RunID)
	}
	runs, _, err := c.SearchRuns(ctx, Query{ExperimentIDs: []string{experiment}, Filter: filter, MaxResults: 100})
	runs = slices.DeleteFunc(runs, func(r *Run) bool { return r == nil || r.Info.RunID == "" })
	slices.SortFunc(runs, func(a, b *Run) int { return cmp.Compare(a.Info.RunID, b.Info.RunID) })
	return runs, err
}

// makeExperiment returns the id of an experiment, which is made where there is none.
func (c *Client) makeExperiment(ctx context.Context, name string) (id string, err error) {
	var made struct {
		ID string `json:"experiment_id"`
	}
	e, err := c.ExperimentByName(ctx, name)
	if NotFound(err) {
		err = c.call(ctx, "POST", "experiments/create", nil, map[string]any{"name": name}, &made)
		if err == nil {
			return made.ID, nil
		}
		var again error
		if e, again = c.ExperimentByName(ctx, name); again == nil { // somebody else made it, or the answer was lost
			err = nil
		}
	}
	switch {
	case err != nil:
		return "", err
	case e == nil || e.ID == "":
		return "", fmt.Errorf("tracking server %s: it does not answer as MLflow does", c.Base)
	case e.LifecycleStage == "deleted":
		return "", fmt.Errorf("tracking server %s: the experiment %q was deleted there; restore it, or name another",
			c.Base, name)
	}
	return e.ID, nil
}

// startPublishing makes the run. An answer that was lost does not make another one.
func (c *Client) startPublishing(ctx context.Context, experiment string, rec *Record) (*Run, error) {
	run := &rec.Run
	tags := append(slices.Clone(run.Data.Tags), KeyValue{tagRecord, rec.identity()})
	var made struct{ Run *Run }
	err := c.call(ctx, "POST", "runs/create", nil, map[string]any{"experiment_id": experiment,
		"user_id": run.Info.UserID, "run_name": run.Info.RunName, "start_time": run.Info.StartTime, "tags": tags},
		&made)
	if err == nil && made.Run != nil && made.Run.Info.RunID != "" {
		return made.Run, nil
	}
	if found, again := c.published(ctx, experiment, rec); again == nil && len(found) > 0 {
		return found[0], nil
	}
	if err == nil {
		err = fmt.Errorf("tracking server %s: it does not say which run it made", c.Base)
	}
	return nil, err
}

// served is the path of a run's artifacts behind the server, "" where the server does not hand
// them out itself.
func (c *Client) served(run *Run) string {
	u, err := url.Parse(run.Info.ArtifactURI)
	if err != nil || u.Scheme != "mlflow-artifacts" {
		return ""
	}
	return strings.Trim(u.Path, "/")
}

// Published lists the runs of records in an experiment of the server that have all the tags,
// the newest first, at most that many. It makes two requests.
func (c *Client) Published(
	ctx context.Context, experiment string, tags map[string]string, most int,
) ([]*Run, error) {
	e, err := c.ExperimentByName(ctx, experiment)
	if NotFound(err) || err == nil && e == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	filters := []string{"attributes.status = '" + mlflowFinished + "'"}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		filter, ok := TagFilter(key, tags[key])
		if !ok {
			return nil, fmt.Errorf("MLflow cannot look for the tag %s = %q", key, tags[key])
		}
		filters = append(filters, filter)
	}
	runs, _, err := c.SearchRuns(ctx, Query{ExperimentIDs: []string{e.ID}, Filter: strings.Join(filters, " AND "),
		OrderBy: []string{"attributes.start_time DESC"}, MaxResults: most})
	return slices.DeleteFunc(runs, func(r *Run) bool { return r == nil || r.Tag(tagRecord) == "" }), err
}

// ReadPublished reads the record of a run that Published listed, and checks it: with one
// request where the server hands out artifacts, else with one for each metric, and without
// files. experiment is the one that the run was trained in.
func (c *Client) ReadPublished(ctx context.Context, run *Run, experiment string) (*Record, error) {
	if c.Holds(run) {
		body, err := c.OpenArtifact(ctx, run, recordFile)
		if err == nil {
			defer body.Close()
			text, err := io.ReadAll(io.LimitReader(body, MaxRecord+1))
			if err != nil {
				return nil, err
			}
			rec, err := ReadRecord(bytes.NewReader(text), int64(len(text)))
			if err == nil && rec.identity() != run.Tag(tagRecord) {
				err = errors.New("its record is another run's")
			}
			return rec, err
		}
		if !NotFound(err) {
			return nil, err
		}
	}
	of := strings.SplitN(run.Tag(tagRecord), " ", 3)
	files, err := strconv.Atoi(of[min(1, len(of)-1)])
	if len(of) != 3 || err != nil || files < 0 {
		return nil, fmt.Errorf("the tag %s is %q", tagRecord, clip.Bytes(run.Tag(tagRecord), 100))
	}
	rec := &Record{Experiment: experiment, Run: *run.travelling(), Left: files}
	rec.Run.Inputs, rec.Run.Outputs = RunInputs{}, RunOutputs{}
	info := &rec.Run.Info
	info.RunID, info.RunUUID, info.ExperimentID, info.ArtifactURI = of[2], of[2], "", ""
	if len(run.Data.Metrics) > maxRecordPairs {
		return nil, fmt.Errorf("it has %d metrics", len(run.Data.Metrics))
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for _, m := range run.Data.Metrics {
		err := c.MetricHistory(ctx, run.Info.RunID, m.Key, func(v Metric) {
			if len(rec.Metrics) == maxRecordValues { // the server may have pages without end
				stop(fmt.Errorf("it has more than %d values of metrics", maxRecordValues))
				return
			}
			rec.Metrics = append(rec.Metrics, v)
		})
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if err != nil {
			return nil, err
		}
	}
	return rec, rec.check()
}
