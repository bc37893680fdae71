package history

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// travelled is a store with a completed run, and the run's record.
func travelled(t *testing.T) (*Store, *Run, []byte) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	ctx := t.Context()
	experiment, err := s.CreateExperiment(ctx, NewExperiment{Name: "iris"})
	require.NoError(t, err)
	run, err := s.CreateRun(ctx, NewRun{ID: "iris-1", ExperimentID: experiment, Name: "a name", User: "ada",
		Start: time.Now().Add(-time.Hour), Tags: []KeyValue{{TagSnapshot, strings.Repeat("a", 40)},
			{TagSource, "src"}, {"team", "ours"}, {TagTarget, "local"},
			{"mlflow.log-model.history", "[]"}}})
	require.NoError(t, err)
	for step := range 1500 {
		require.NoError(t, s.LogBatch(ctx, run.Info.RunID, []Metric{{Key: "loss", Value: Float(1 / float64(step+1)),
			Step: Int(step), Timestamp: 1}}, nil, nil))
	}
	require.NoError(t, s.LogBatch(ctx, run.Info.RunID, []Metric{{Key: "bad", Value: Float(math.NaN())}},
		[]KeyValue{{"lr", "0.1"}}, nil))
	require.NoError(t, s.putFile(folderOf(run), "outputs/metrics.json", strings.NewReader("{}")))
	require.NoError(t, s.putFile(folderOf(run), ConsoleLog, strings.NewReader("printed")))
	require.NoError(t, s.putFile(folderOf(run), "outputs/empty", strings.NewReader("")))
	require.NoError(t, s.putFile(folderOf(run), "outputs/model.bin",
		strings.NewReader(strings.Repeat("x", maxRecordFile+1))))
	require.NoError(t, s.SetStatus(ctx, run.Info.RunID, Completed, ""))
	run, err = s.Run(ctx, run.Info.RunID)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, s.WriteRecord(ctx, run, &b))
	return s, run, b.Bytes()
}

// A run that has travelled is the run that it was, but for its large files.
func TestRecord(t *testing.T) {
	from, run, text := travelled(t)
	rec, err := ReadRecord(bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	require.Equal(t, 1, rec.Left)
	to, err := Open(t.TempDir())
	require.NoError(t, err)
	defer to.Close()
	for range 2 { // the second time it is there
		require.NoError(t, to.Import(t.Context(), rec))
	}
	got, err := to.Run(t.Context(), run.Info.RunID)
	require.NoError(t, err)
	require.Equal(t, Completed, got.Status())
	want, err := json.Marshal(run.travelling().Data)
	require.NoError(t, err)
	have, err := json.Marshal(got.Data)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(have))
	require.Equal(t, run.Info.StartTime, got.Info.StartTime)
	require.Equal(t, run.Info.EndTime, got.Info.EndTime)
	for _, key := range []string{"loss", "bad"} {
		a, err := from.Curve(t.Context(), run.Info.RunID, key, 2000)
		require.NoError(t, err)
		b, err := to.Curve(t.Context(), run.Info.RunID, key, 2000)
		require.NoError(t, err)
		require.Equal(t, a, b)
	}
	files, err := to.Artifacts(t.Context(), got)
	require.NoError(t, err)
	require.Len(t, files, 2)
	list, _, err := to.SearchRuns(t.Context(), Query{Completed: true, Submitted: true})
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// Machines that know nothing of each other call their runs the same: each is there, once.
func TestImportOfTheSameName(t *testing.T) {
	_, _, text := travelled(t)
	to := open(t)
	for range 2 {
		for n := range 3 {
			rec, err := ReadRecord(bytes.NewReader(text), int64(len(text)))
			require.NoError(t, err)
			rec.Run.Info.EndTime += Int(n)
			require.NoError(t, to.Import(t.Context(), rec))
		}
	}
	list, _, err := to.SearchRuns(t.Context(), Query{Completed: true, Submitted: true})
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.NoError(t, func() error { _, err := to.Run(t.Context(), "iris-1"); return err }())
}

// A run of a fork's has no record.
func TestRecordOfFork(t *testing.T) {
	s, run, _ := travelled(t)
	require.Error(t, s.WriteRecord(t.Context(), run.With(map[string]string{TagFork: "eve/x"}), &bytes.Buffer{}))
}

// pack writes a zip.
func pack(t *testing.T, files map[string]string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		f, err := z.Create(name)
		require.NoError(t, err)
		if !strings.HasSuffix(name, "/") { // a folder
			_, err = f.Write([]byte(text))
			require.NoError(t, err)
		}
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

// A record is input from outside: none that says what no run of ours has is read.
func TestRecordChecks(t *testing.T) {
	_, run, text := travelled(t)
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	f, err := z.Open(recordJSON)
	require.NoError(t, err)
	var good Record
	require.NoError(t, json.NewDecoder(f).Decode(&good))
	tag := func(key, value string) func(*Record) {
		return func(r *Record) { r.Run = *run.With(map[string]string{key: value}) }
	}
	for name, change := range map[string]func(*Record){
		"":          func(*Record) {},
		"id":        func(r *Record) { r.Run.Info.RunID = "../../victim" },
		"long id":   func(r *Record) { r.Run.Info.RunID = strings.Repeat("a", 300) },
		"status":    tag(TagStatus, "Failed"),
		"mlflow":    func(r *Record) { r.Run.Info.Status = "RUNNING" },
		"deleted":   func(r *Record) { r.Run.Info.LifecycleStage = "deleted" },
		"times":     func(r *Record) { r.Run.Info.EndTime = 1 },
		"future":    func(r *Record) { r.Run.Info.EndTime += 1 << 40 },
		"name":      func(r *Record) { r.Experiment = "" },
		"fork":      tag(TagFork, "eve/x"),
		"owner":     tag(tagOwner, "other"),
		"parent":    tag(TagParent, "other"),
		"stands":    tag(tagStands, strings.Repeat("a", 40)),
		"unknown":   tag("aml-train.new", "x"),
		"snapshot":  tag(TagSnapshot, "short"),
		"source":    tag(TagSource, "../outside"),
		"absolute":  tag(TagSource, "/etc"),
		"link":      tag(TagBuild, "javascript:alert(1)"),
		"key":       tag(TagKey, "v1 files=a\nfiles=b"),
		"twice":     func(r *Record) { r.Run.Data.Tags = append(r.Run.Data.Tags, r.Run.Data.Tags[0]) },
		"parameter": func(r *Record) { r.Run.Data.Params = []KeyValue{{"a", "1"}, {"a", "2"}} },
		"metric":    func(r *Record) { r.Metrics = []Metric{{Key: "../../x"}} },
		"many":      func(r *Record) { r.Run.Data.Params = make([]KeyValue, maxRecordPairs+1) },
	} {
		r := good
		change(&r)
		text, err := json.Marshal(r)
		require.NoError(t, err)
		b := pack(t, map[string]string{recordJSON: string(text)})
		_, err = ReadRecord(bytes.NewReader(b), int64(len(b)))
		require.Equal(t, name == "", err == nil, "%s: %v", name, err)
	}
	whole, err := json.Marshal(good)
	require.NoError(t, err)
	for name, ok := range map[string]bool{"files/outputs/x": true, "files/../../x": false, "files//x": false,
		"x":      false,
		"files/": false, "files/a/../b": false, "files/C:\\x": false, "files/%2e%2e/x": false, "files/a/": false} {
		b := pack(t, map[string]string{recordJSON: string(whole), name: "x"})
		_, err := ReadRecord(bytes.NewReader(b), int64(len(b)))
		require.Equal(t, ok, err == nil, "%s: %v", name, err)
	}
	bomb := map[string]string{recordJSON: string(whole)}
	for _, name := range []string{"a", "b"} {
		bomb["files/"+name] = strings.Repeat("0", maxRecordFile+1)
		b := pack(t, bomb)
		_, err := ReadRecord(bytes.NewReader(b), int64(len(b)))
		require.ErrorContains(t, err, "larger than it may be")
	}
	b := pack(t, map[string]string{recordJSON: strings.Repeat(" ", maxRecordJSON+1)})
	require.Less(t, len(b), 100<<10)
	_, err = ReadRecord(bytes.NewReader(b), int64(len(b)))
	require.ErrorContains(t, err, "larger than it may be")
	_, err = ReadRecord(bytes.NewReader(b), MaxRecord+1)
	require.Error(t, err)
}

// Whatever a record is made of, reading it ends, and what is imported lies below the history.
func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(`{}`), "files/x")
	f.Add([]byte(`{"experiment": "e", "run": {"info": {"run_id": "a"}}}`), "files/../x")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		b := pack(t, map[string]string{recordJSON: string(text), name: "x"})
		rec, err := ReadRecord(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		dir := t.TempDir()
		s, err := Open(dir + "/home")
		require.NoError(t, err)
		defer s.Close()
		s.Import(t.Context(), rec)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	})
}
