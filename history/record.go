package history

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/lazyregexp"
)

// A record is a completed run that travels: a zip with record.json, which holds the run, every
// value of its metrics and its experiment's name, and the run's small files below files/.
// It comes from outside: whoever reads one checks it before anything is made of it.

const (
	recordJSON  = "record.json"
	recordFiles = "files/"
)

// What a record holds at most.
const (
	MaxRecord = 32 << 20 // bytes, compressed

	maxRecordJSON   = 16 << 20
	maxRecordFile   = 256 << 10 // of one file; a larger one is a model, or data
	maxRecordBytes  = 4 << 20   // of all files
	maxRecordFiles  = 200
	maxRecordValues = 200_000 // of metrics
	maxRecordPairs  = 500     // tags, and parameters
)

// Record is what one holds.
type Record struct {
	Experiment string   `json:"experiment"`
	Run        Run      `json:"run"`
	Metrics    []Metric `json:"metrics"` // every value, by name and step
	Left       int      `json:"left"`    // how many files were too large to travel

	files map[string][]byte // by path
}

// WriteRecord writes the record of a run to w. run can have other tags than the store says.
func (s *Store) WriteRecord(ctx context.Context, run *Run, w io.Writer) error {
	e, err := s.Experiment(ctx, run.Info.ExperimentID)
	if err != nil {
		return err
	}
	rec := Record{Experiment: e.Name, Run: *run.travelling()}
	rec.Run.Inputs, rec.Run.Outputs = RunInputs{}, RunOutputs{} // names of things that do not travel
	for _, m := range run.Data.Metrics {
		for token := ""; ; {
			values, next, err := s.MetricHistory(ctx, run.Info.RunID, m.Key, token, 0)
			if err != nil {
				return err
			}
			if rec.Metrics = append(rec.Metrics, values...); len(rec.Metrics) > maxRecordValues {
				return fmt.Errorf("run %s has more than %d values of metrics", run.Info.RunID, maxRecordValues)
			}
			if token = next; token == "" {
				break
			}
		}
	}
	if err := rec.check(); err != nil {
		return err
	}
	z := zip.NewWriter(w)
	if rec.Left, err = s.writeFiles(ctx, run, z); err != nil {
		return err
	}
	f, err := z.Create(recordJSON)
	if err == nil {
		err = json.NewEncoder(f).Encode(rec)
	}
	return errors.Join(err, z.Close())
}

// travelling is a run without the tags that mean something in its own history alone.
func (r *Run) travelling() *Run {
	without := map[string]string{}
	for _, t := range r.Data.Tags {
		if t.Key != TagFork && recordTags[t.Key] == nil && ofOurs(t.Key) {
			without[t.Key] = ""
		}
	}
	return r.With(without)
}

// ofOurs tells a tag that a program has set, and no person.
func ofOurs(tag string) bool {
	for _, prefix := range []string{reserved, "mlflow.", "azureml."} {
		if strings.HasPrefix(tag, prefix) {
			return true
		}
	}
	return false
}

// writeFiles adds the small files of a run, and returns how many it leaves out.
func (s *Store) writeFiles(ctx context.Context, run *Run, z *zip.Writer) (left int, err error) {
	files, err := s.Artifacts(ctx, run)
	if err != nil {
		return 0, err
	}
	total, count := int64(0), 0
	for _, f := range files {
		if strings.HasPrefix(f.Path, path.Dir(ConsoleLog)+"/") {
			continue // what a script printed may hold a secret, and is told elsewhere
		}
		size := int64(f.Size)
		if size > maxRecordFile || total+size > maxRecordBytes || count >= maxRecordFiles || !portable(f.Path) {
			left++
			continue
		}
		r, err := s.OpenArtifact(ctx, run, f.Path)
		if err != nil {
			return 0, err
		}
		to, err := z.Create(recordFiles + f.Path)
		if err == nil {
			_, err = io.Copy(to, io.LimitReader(r, size))
		}
		if err = errors.Join(err, r.Close()); err != nil {
			return 0, err
		}
		total, count = total+size, count+1
	}
	return left, nil
}

// portable tells a path that can be written below a folder on every system.
func portable(name string) bool {
	clean, err := cleanArtifact(name)
	return err == nil && clean == name && name != "" && fs.ValidPath(name) &&
		filepath.IsLocal(filepath.FromSlash(name)) &&
		len(name) <= 500 && !strings.ContainsAny(name, "\\:\x00")
}

// ReadRecord reads a record and checks all of it. The error says what is wrong with it.
func ReadRecord(r io.ReaderAt, size int64) (*Record, error) {
	if size > MaxRecord {
		return nil, fmt.Errorf("it has %d bytes, more than the %d of a record", size, MaxRecord)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, err
	}
	rec := &Record{files: map[string][]byte{}}
	if len(z.File) > maxRecordFiles+1 {
		return nil, fmt.Errorf("it has %d files", len(z.File))
	}
	seen, left := false, int64(maxRecordBytes)
	for _, f := range z.File {
		switch name, is := strings.CutPrefix(f.Name, recordFiles); {
		case f.Name == recordJSON && !seen:
			seen = true
			var text []byte
			if text, err = unpack(f, maxRecordJSON); err == nil {
				err = json.Unmarshal(text, rec)
			}
		case is && portable(name) && f.Mode().IsRegular() && rec.files[name] == nil:
			var text []byte
			text, err = unpack(f, min(left, maxRecordFile))
			left -= int64(len(text))
			rec.files[name] = append([]byte{}, text...)
		default:
			err = fmt.Errorf("it holds %q, which no record does", clip.Bytes(f.Name, 100))
		}
		if err != nil {
			return nil, err
		}
	}
	if !seen {
		return nil, errors.New("it holds no " + recordJSON)
	}
	return rec, rec.check()
}

// unpack reads a file of a zip, of at most that many bytes, whatever its header says.
func unpack(f *zip.File, most int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%q is larger than it may be", clip.Bytes(f.Name, 100))
	}
	return text, err
}

// recordTags are the tags of ours and of MLflow's that a record may have, and what they
// look like. The others of these names are what a history makes itself.
var recordTags = map[string]*lazyregexp.Regexp{
	TagStatus: lazyregexp.New(`^Completed$`), TagWarnings: anything, TagReport: anything, TagCommand: anything,
	TagPython: anything, TagTarget: anything, TagEnvironment: anything, TagActor: anything, TagJobFile: anything,
	TagScript: anything, TagBaseBranch: anything, TagBranch: anything, "azureml.git.branch": anything,
	TagSnapshot: digits(40), TagCommit: digits(40), "azureml.git.commit": digits(40), TagJob: digits(64),
	TagSeries: digits(16), TagKey: lazyregexp.New(`^v1 [a-z]+=[a-z0-9]*( [a-z]+=[a-z0-9]*)*$`),
	TagNodes: lazyregexp.New(`^[0-9]{1,5}$`), TagRepeats: lazyregexp.New(`^(decided )?[0-9]{1,3}$`), TagFiles: pairOfNumbers, TagSent: pairOfNumbers, TagSource: lazyregexp.New(`^[^/\\:][^\\:]*$`),
	TagPullRequest: lazyregexp.New(`^[0-9]{1,10}$`), TagBuild: lazyregexp.New(`^https://[^\s]+$`),
	"azureml.git.dirty": lazyregexp.New(`^(True|False)$`), "azureml.git.repository_uri": anything,
	"azureml.git.build_id": anything, "azureml.git.build_uri": lazyregexp.New(`^https://[^\s]+$`),
	"mlflow.source.git.repoURL": anything, TagDisplayName: anything, TagUser: anything, "mlflow.source.name": anything,
	"mlflow.source.type": anything, "mlflow.note.content": anything,
}

var (
	anything      = lazyregexp.New(`(?s)^.*$`)
	pairOfNumbers = lazyregexp.New(`^[0-9]{1,12} [0-9]{1,18}$`)
)

func digits(n int) *lazyregexp.Regexp { return lazyregexp.New(fmt.Sprintf(`^[0-9a-f]{%d}$`, n)) }

// check looks at what a record says.
func (r *Record) check() error {
	run := &r.Run
	if err := checkExperimentName(r.Experiment); err != nil {
		return err
	}
	switch {
	case !ValidID(run.Info.RunID):
		return fmt.Errorf("%q is no id of a run", clip.Bytes(run.Info.RunID, 80))
	case run.Status() != Completed || run.Info.Status != mlflowFinished || run.Info.LifecycleStage != "active":
		return errors.New("the run has not completed")
	case run.Info.StartTime <= 0 || run.Info.EndTime < run.Info.StartTime ||
		run.Ended().After(time.Now().Add(time.Hour)):
		return errors.New("its times are none of a run that has ended")
	case len(run.Data.Tags) > maxRecordPairs || len(run.Data.Params) > maxRecordPairs ||
		len(r.Metrics) > maxRecordValues:
		return errors.New("it has more tags, parameters or values than a record may have")
	}
	names := map[string]bool{}
	for _, t := range run.Data.Tags {
		is, known := recordTags[t.Key]
		if ofOurs(t.Key) && !known || known && !is.MatchString(t.Value) || names[t.Key] ||
			len(t.Value) > 4*MaxTagValue {
			return fmt.Errorf("no run has the tag %q with the value %q", clip.Bytes(t.Key, 100), clip.Bytes(t.Value,
				100))
		}
		names[t.Key] = true
	}
	if source := run.Tag(TagSource); source != "" && !filepath.IsLocal(filepath.FromSlash(source)) {
		return fmt.Errorf("%q is no source directory", clip.Bytes(source, 100))
	}
	for part := range slices.Chunk(run.Data.Params, maxBatchParams) {
		if err := checkBatch(nil, part, nil); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(r.Metrics, maxBatchMetrics) {
		if err := checkBatch(part, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// Import adds the run of a record to the history. It is a run like any other once it is there
// in whole. Where the history has it already, nothing is done; where another run has its id,
// as two machines make the same one of a commit, it gets a longer one.
func (s *Store) Import(ctx context.Context, rec *Record) error {
	run := &rec.Run
	id := run.Info.RunID
	for _, name := range []string{id, id[:min(len(id), 240)] + "-" + rec.identity()[:6]} {
		there, err := s.Run(ctx, name)
		if NotFound(err) {
			return s.importAs(ctx, name, rec)
		}
		if err != nil || there.Info.StartTime == run.Info.StartTime && there.Info.EndTime == run.Info.EndTime {
			return err
		}
	}
	return fmt.Errorf("run %s is here only in part", id)
}

func (s *Store) importAs(ctx context.Context, id string, rec *Record) error {
	run := &rec.Run
	experiment, err := s.experimentOf(ctx, rec.Experiment)
	if err != nil {
		return err
	}
	made, err := s.CreateRun(ctx, NewRun{ID: id, ExperimentID: experiment, Name: run.Info.RunName,
		User:  run.Info.UserID,
		Start: run.Started(), Status: mlflowScheduled})
	if errors.Is(err, ErrRunExists) {
		return nil
	}
	if err != nil {
		return err
	}
	for name, text := range rec.files {
		if err := s.putFile(folderOf(made), name, strings.NewReader(string(text))); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(rec.Metrics, maxBatchMetrics) {
		for i := range part { // names of models and data do not travel
			part[i] = Metric{Key: part[i].Key, Value: part[i].Value, Timestamp: part[i].Timestamp, Step: part[i].Step}
		}
		if err := s.LogBatch(ctx, id, part, nil, nil); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(run.Data.Params, maxBatchParams) {
		if err := s.LogBatch(ctx, id, nil, part, nil); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(run.Data.Tags, maxBatchParams) {
		if err := s.LogBatch(ctx, id, nil, nil, part); err != nil {
			return err
		}
	}
	_, err = s.UpdateRun(ctx, id, mlflowFinished, run.Ended(), "") // from here on it counts
	return err
}

func (s *Store) experimentOf(ctx context.Context, name string) (string, error) {
	e, err := s.ExperimentByName(ctx, name)
	if err == nil {
		return e.ID, nil
	}
	if !NotFound(err) {
		return "", err
	}
	return s.CreateExperiment(ctx, NewExperiment{Name: name})
}
