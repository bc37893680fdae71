package metricfiles

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/org/aml-train/internal/testing/testenv"
)

// read reads the files of a run, by path, and writes their metrics down in a line.
func read(files map[string]string, taken ...string) (metrics string, warnings []string) {
	at, list := fstest.MapFS{}, []File(nil)
	for name, text := range files {
		at[strings.TrimPrefix(name, "../")] = &fstest.MapFile{Data: []byte(text)}
		list = append(list, File{Path: name, FS: at, Name: strings.TrimPrefix(name, "../")})
	}
	values, warnings := Read(list, func(name string) bool { return fmt.Sprint(taken) == "["+name+"]" }, plain)
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprintf("%s=%v@%d", v.Name, v.Value, v.Step))
	}
	return strings.Join(out, " "), warnings
}

// plain stands for what the history makes of a name.
func plain(name string) string {
	return strings.Trim(strings.NewReplacer("@", "_", `"`, "_", "\x00", "").Replace(name), "/")
}

func TestJSON(t *testing.T) {
	for name, test := range map[string]struct {
		text     string
		metrics  string
		warnings int
		err      string
	}{
		"numbers": {text: `{"a": 1, "b": -2.5e3, "c": true}`, metrics: "a=1@0 b=-2500@0 c=1@0"},
		"nested": {text: `{"test": {"loss": 1, "by class": {"x": 2}}}`,
			metrics: "test/by class/x=2@0 test/loss=1@0"},
		"series":     {text: `{"loss": [3, 2, 1]}`, metrics: "loss=3@0 loss=2@1 loss=1@2"},
		"null in it": {text: `{"loss": [3, null, 1], "none": null}`, metrics: "loss=3@0 loss=1@2"},
		"not finite": {text: `{"a": NaN, "b": Infinity, "c": -Infinity, "d": "NaN"}`,
			metrics: "a=NaN@0 b=+Inf@0 c=-Inf@0 d=NaN@0"},
		"NaN in a text": {text: `{"NaN": 1, "a \"NaN": 2}`, metrics: "NaN=1@0 a _NaN=2@0", warnings: 1},
		"texts":         {text: `{"a": "x", "b": ["y", 1], "c": 1}`, metrics: "b=1@1 c=1@0", warnings: 2},
		"empty":         {text: `{}`},
		"byte order":    {text: "\xef\xbb\xbf{\"a\": 1}", metrics: "a=1@0"},
		"huge number":   {text: `{"a": 1e999}`, metrics: "a=+Inf@0"},
		"list":          {text: `[1, 2]`, err: "holds no object"},
		"cut off":       {text: "{\n\"a\": 1,\n", err: "outputs/metrics.json:3: not valid JSON"},
		"no JSON":       {text: "{\n\"a\": x}", err: "outputs/metrics.json:2: not valid JSON"},
		"nothing":       {text: "", err: "not valid JSON"},
		"lines": {text: "{\"step\": 10, \"loss\": 3}\n{\"step\": 20, \"loss\": 2}\n",
			metrics: "loss=3@10 loss=2@20"},
		"iterations": {text: "{\"iteration\": 19, \"lr\": 1, \"epoch\": 1}\n\n{\"iteration\": 39, \"lr\": 2}",
			metrics: "epoch=1@19 lr=1@19 lr=2@39"},
		"epochs": {text: "{\"epoch\": 1, \"a\": {\"b\": 1}}\n{\"epoch\": 2, \"a\": {\"b\": 2}}",
			metrics: "a/b=1@1 a/b=2@2"},
		"half epochs": {text: "{\"epoch\": 0.5, \"a\": 1}\n{\"epoch\": 1.5, \"a\": 2}",
			metrics: "a=1@0 epoch=0.5@0 a=2@1 epoch=1.5@1"},
		"one line": {text: "{\"step\": 3, \"loss\": 1}\n", metrics: "loss=1@0 step=3@0"},
		"a line cut off": {text: "{\"a\": 1}\n{\"a\": 2}\n{\"a\":", err: "outputs/metrics.json:3: after the " +
			"first value"},
		"junk after it": {text: "{\n\"a\": 1}\nhello\n", err: "outputs/metrics.json:3: after the first value stands " +
			"something that is no JSON"},
		"a number after": {text: "{\"a\": 1}\n2\n", err: "outputs/metrics.json:2: holds no object"},
		"deep":           {text: strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), warnings: 1},
		"far too deep":   {text: strings.Repeat(`{"a":`, 100_000), err: "not valid JSON"},
		"renamed":        {text: `{"mAP@0.5": 1}`, metrics: "mAP_0.5=1@0", warnings: 1},
	} {
		t.Run(name, func(t *testing.T) {
			metrics, warnings := read(map[string]string{Main: test.text})
			if test.err != "" {
				require.ErrorContains(t, fmt.Errorf("%s", strings.Join(warnings, "\n")), test.err)
				return
			}
			require.Equal(t, test.metrics, metrics)
			require.Len(t, warnings, test.warnings, "%v", warnings)
		})
	}
}

const trainerState = `{"global_step": %d, "log_history": [
 {"epoch": 0.5, "learning_rate": 1e-05, "loss": 2.5, "step": 10},
 {"epoch": 1.0, "eval_loss": 2.25, "eval_runtime": 1.5, "step": 20}]}`

// Each framework's file as the framework writes it, and what becomes of its names.
func TestFrameworks(t *testing.T) {
	for name, test := range map[string]struct {
		files   map[string]string
		metrics string
		warning string
	}{
		"Hydra": {files: map[string]string{"outputs/2026-01-02/03-04-05/metrics.json": `{"acc": 1}`},
			metrics: "acc=1@0"},
		"Hydra twice": {files: map[string]string{"outputs/2026-01-02/03-04-05/metrics.json": `{"acc": 1}`,
			"outputs/2026-01-02/03-05-00/metrics.json": `{"acc": 2}`},
			metrics: "2026-01-02/03-04-05/acc=1@0 2026-01-02/03-05-00/acc=2@0"},
		"Hydra multirun": {files: map[string]string{"multirun/2026-01-02/03-04-05/0/metrics.json": `{"acc": 1}`,
			"multirun/2026-01-02/03-04-05/1/metrics.json": `{"acc": 2}`},
			metrics: "0/acc=1@0 1/acc=2@0"},
		"by folder": {files: map[string]string{Main: `{"acc": 1}`, "outputs/eval/metrics.json": `{"acc": 2}`},
			metrics: "acc=1@0 eval/acc=2@0"},
		"Lightning": {
			files: map[string]string{"lightning_logs/version_0/metrics.csv": "epoch,step,train_loss,val_loss\n" +
				"0,9,2.5,\n0,9,,2.25\n1,19,nan,\n"},
			metrics: "train_loss=2.5@9 val_loss=2.25@9 train_loss=NaN@19"},
		"Lightning twice": {files: map[string]string{"lightning_logs/version_0/metrics.csv": "step,a\n1,1\n",
			"lightning_logs/version_1/metrics.csv": "step,a\n1,2\n"},
			metrics: "version_0/a=1@1 version_1/a=2@1"},
		"a table without steps": {files: map[string]string{"outputs/metrics.csv": "name,a\nx,1\ny,2\n"},
			metrics: "a=1@0 a=2@1"},
		"Trainer, the last checkpoint": {
			files: map[string]string{
				"results/checkpoint-10/trainer_state.json": `{"log_history": [{"loss": 9, "step": 1}]}`,
				"results/checkpoint-20/trainer_state.json": fmt.Sprintf(trainerState, 20),
				"results/checkpoint-9/trainer_state.json":  "{}"},
			metrics: "learning_rate=1e-05@10 loss=2.5@10 eval_loss=2.25@20 eval_runtime=1.5@20"},
		"Trainer, its own": {
			files: map[string]string{
				"results/checkpoint-20/trainer_state.json": `{"log_history": [{"loss": 9, "step": 1}]}`,
				"results/trainer_state.json":               fmt.Sprintf(trainerState, 20)},
			metrics: "learning_rate=1e-05@10 loss=2.5@10 eval_loss=2.25@20 eval_runtime=1.5@20"},
		"DVC": {files: map[string]string{"dvc.yaml": "stages:\n  train:\n    cmd: x\n    metrics:\n" +
			"    - scores.json:\n        cache: false\n", "scores.json": `{"auc": 0.5}`}, metrics: "auc=0.5@0"},
		"DVC, several": {files: map[string]string{"dvc.yaml": "metrics: [train.yaml, test.json, gone.json]\n",
			"train.yaml": "acc: 0.75\nby:\n  class: 1\n", "test.json": `{"acc": 0.5}`},
			metrics: "test/acc=0.5@0 train/acc=0.75@0 train/by/class=1@0"},
		"DVC, a folder": {files: map[string]string{"p/dvc.yaml": "stages: {a: {wdir: ../q, metrics: [m.json]}}\n",
			"q/m.json": `{"a": 1}`}, metrics: "a=1@0"},
		"DVC, damaged": {files: map[string]string{"dvc.yaml": "metrics: ["}, warning: "dvc.yaml: "},
		"two of them": {files: map[string]string{Main: `{"loss": 1}`,
			"lightning_logs/version_0/metrics.csv": "step,loss,acc\n1,2,3\n",
			"outputs/trainer_state.json":           `{"log_history": [{"acc": 4, "step": 1}]}`},
			metrics: "loss=1@0 acc=3@1"},
		"damaged CSV": {files: map[string]string{"outputs/metrics.csv": "step,a\n1,\"2\n"},
			warning: "outputs/metrics.csv: "},
		"damaged Trainer": {files: map[string]string{"outputs/trainer_state.json": "{"},
			warning: "outputs/trainer_state.json:1: not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			metrics, warnings := read(test.files)
			require.Equal(t, test.metrics, metrics, "%v", warnings)
			if test.warning == "" {
				require.Empty(t, warnings)
			} else {
				require.Contains(t, strings.Join(warnings, "\n"), test.warning)
			}
		})
	}
	metrics, _ := read(map[string]string{Main: `{"a": 1, "b": 2}`}, "a")
	require.Equal(t, "b=2@0", metrics, "what the script logged itself")
}

// What is no file of its own is not read: a link to a secret, a folder, a device.
func TestHostile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret.json"), []byte(`{"secret": 1}`), 0o644))
	in := filepath.Join(dir, "in")
	require.NoError(t, os.MkdirAll(filepath.Join(in, "a.tfevents.1"), 0o755))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(in, "metrics.csv")))
	require.NoError(t, os.Symlink("../secret.json", filepath.Join(in, "metrics.json")))
	root, err := os.OpenRoot(in)
	require.NoError(t, err)
	defer root.Close()
	var files []File
	for _, name := range []string{"metrics.csv", "metrics.json", "a.tfevents.1", "gone/trainer_state.json"} {
		files = append(files, File{name, root.FS(), name})
	}
	values, warnings := Read(files, func(string) bool { return false }, plain)
	require.Empty(t, values)
	require.Len(t, warnings, 4)
}

// record is a TFRecord.
func record(b []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
	out = binary.LittleEndian.AppendUint32(out, masked(out))
	return binary.LittleEndian.AppendUint32(append(out, b...), masked(b))
}

// event is an Event with one scalar.
func event(tag string, step int64, v float32) []byte {
	value := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), tag)
	value = protowire.AppendFixed32(protowire.AppendTag(value, 2, protowire.Fixed32Type), math.Float32bits(v))
	summary := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), value)
	b := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(1.7e9))
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(step))
	return protowire.AppendBytes(protowire.AppendTag(b, 5, protowire.BytesType), summary)
}

func TestEvents(t *testing.T) {
	two := string(record(event("loss", 1, 0.5))) + string(record(event("loss", 2, 0.25)))
	metrics, warnings := read(map[string]string{"logs/events.out.tfevents.1.host": two})
	require.Equal(t, "loss=0.5@1 loss=0.25@2", metrics)
	require.Empty(t, warnings)
	metrics, warnings = read(map[string]string{"logs/train/events.out.tfevents.1.host": two,
		"logs/validation/events.out.tfevents.1.host": two})
	require.Equal(t, "train/loss=0.5@1 train/loss=0.25@2 validation/loss=0.5@1 validation/loss=0.25@2", metrics)
	require.Empty(t, warnings)
	// A run that was killed while it wrote, and a disk that lies.
	metrics, warnings = read(map[string]string{"logs/events.out.tfevents.1.host": two[:len(two)-3]})
	require.Equal(t, "loss=0.5@1", metrics)
	require.Empty(t, warnings)
	metrics, warnings = read(map[string]string{"logs/events.out.tfevents.1.host": two[:len(two)-8] + "x" +
		two[len(two)-7:]})
	require.Equal(t, "loss=0.5@1", metrics)
	require.Contains(t, warnings[0], "damaged at byte 42")
	// A large image on the way.
	metrics, _ = read(map[string]string{"logs/events.out.tfevents.1.host": string(record(make([]byte, maxRecord+1))) +
		two})
	require.Equal(t, "loss=0.5@1 loss=0.25@2", metrics)
}

// TensorBoard's own reader sees the same in what tensorboardX and TensorBoard's writer,
// which is PyTorch's, have written.
func TestEventsAgainstTensorBoard(t *testing.T) {
	python := filepath.Join(testenv.Layouts(t), "bin", "python")
	for seed := range 5 {
		dir := t.TempDir()
		out, err := exec.Command(python, "events_test.py", dir, strconv.Itoa(seed)).Output()
		require.NoError(t, err)
		var want map[string][][3]any
		require.NoError(t, json.Unmarshal(out[strings.LastIndexByte(strings.TrimSpace(string(out)), '\n')+1:], &want))
		require.Len(t, want, 6)
		var files []File
		require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, File{filepath.Base(name), os.DirFS(dir), name})
			}
			return err
		}))
		values, warnings := Read(files, func(string) bool { return false }, func(name string) string { return name })
		require.Empty(t, warnings)
		got := map[string][]string{}
		for _, v := range values {
			got[v.Name] = append(got[v.Name], fmt.Sprintf("%d %v %d", v.Step, v.Value, v.Time))
		}
		require.Len(t, got, len(want))
		for tag, points := range want {
			var lines []string
			for _, p := range points {
				v, err := strconv.ParseFloat(p[1].(string), 64)
				require.NoError(t, err)
				lines = append(lines, fmt.Sprintf("%d %v %d", int64(p[0].(float64)), v, int64(p[2].(float64)*1000)))
			}
			require.Equal(t, lines, got[tag], tag)
		}
	}
}

// scalars is an event file of n values.
func scalars(n int) []File {
	var file []byte
	for i := range n {
		file = append(file, record(event("loss", int64(i), float32(i)))...)
	}
	return []File{{"logs/events.out.tfevents.1", fstest.MapFS{"e": {Data: file}}, "e"}}
}

func TestManyScalars(t *testing.T) {
	values, warnings := Read(scalars(100_000), func(string) bool { return false }, plain)
	require.Empty(t, warnings)
	require.Len(t, values, 100_000)
	require.True(t, sort.SliceIsSorted(values, func(i, j int) bool { return values[i].Step < values[j].Step }))
}

// BenchmarkMillionScalars reads what has to take at most two seconds.
func BenchmarkMillionScalars(b *testing.B) {
	files := scalars(1_000_000)
	for b.Loop() {
		Read(files, func(string) bool { return false }, plain)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("outputs/metrics.json", []byte(`{"a": [1, NaN, {"b": "Infinity"}], "c": {"d": 1e400}}`))
	f.Add("outputs/metrics.json", []byte("{\"step\": 1, \"a\": 1}\n{\"step\": 2}"))
	f.Add("x/metrics.csv", []byte("step,a\n1,2\n\"3"))
	f.Add("checkpoint-1/trainer_state.json", []byte(fmt.Sprintf(trainerState, 1)))
	f.Add("dvc.yaml", []byte("metrics: [a.yaml, {b.json: {cache: false}}]\nstages: {x: {metrics: [c.yml]}}"))
	f.Add("a.yaml", []byte("a: 1\nb: [1, x]"))
	f.Add("events.out.tfevents.1", append(record(event("a", 1, 2)), record([]byte{0x2a, 2, 8, 1})...))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		if !fs.ValidPath(name) || name == "." {
			return
		}
		at := fstest.MapFS{name: {Data: text}, "d/dvc.yaml": {Data: []byte("metrics: [../" + "a.yaml]")}}
		values, _ := Read([]File{{name, at, name}, {"d/dvc.yaml", at, "d/dvc.yaml"}},
			func(string) bool { return false }, plain)
		for _, v := range values {
			if v.Name == "" {
				t.Fatal("a value without a name")
			}
		}
	})
}

// What stands for more values than are read is refused before they are in memory, in
// whatever file, and files that can be read still are.
func TestTooMuch(t *testing.T) {
	bomb := "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
	for c := 'b'; c < 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10),
			", "))
	}
	csv := "step,loss\n" + strings.Repeat("1,2\n", 1_000_000)
	for name, files := range map[string]map[string]string{
		"brackets": {"dvc.yaml": "metrics: " + strings.Repeat("[", 100_000)},
		"aliases":  {"dvc.yaml": "metrics: [m.yaml]", "m.yaml": bomb},
		"numbers":  {"outputs/metrics.json": `{"a": [` + strings.Repeat("0,", 5_000_000) + `0]}`},
		"braces":   {"outputs/metrics.json": strings.Repeat(`{"a":`, 2_000_000)},
		"several": {"outputs/v0/metrics.csv": csv, "outputs/v1/metrics.csv": csv, "outputs/v2/metrics.csv": csv,
			"outputs/v3/metrics.csv": csv},
		"wide columns": {"outputs/metrics.csv": "a" + strings.Repeat(",b", 3_000_000) + "\n1" +
			strings.Repeat(",1", 3_000_000)},
	} {
		files["outputs/other/metrics.json"] = `{"fine": 1}`
		var warnings []string
		var metrics string
		got := testenv.Allocated(func() { metrics, warnings = read(files) })
		require.NotEmpty(t, warnings, name)
		require.Contains(t, metrics, "fine=1@0", name)
		require.Less(t, got, int64(1<<30), name)
	}
}

// Where there is no more room, the first values of an event file count, and a warning
// says so; a file of text that may hold more is not read.
func TestRoom(t *testing.T) {
	csv := fstest.MapFS{"x": {Data: []byte("step,loss\n1,4\n2,3\n")}}
	for _, c := range []struct {
		kind, room, want int
		files            []File
	}{
		{4, 5, 5, scalars(5)}, {4, 3, 3, scalars(5)}, {4, 0, 0, scalars(5)},
		{2, 4, 2, []File{{"a/metrics.csv", csv, "x"}}}, {2, 2, 0, []File{{"a/metrics.csv", csv, "x"}}},
	} {
		r := &reading{files: map[string]File{}, last: map[string]int64{}, done: map[string]bool{}, room: c.room}
		n := 0
		for _, g := range r.groups(readers[c.kind], c.files) {
			n += len(g.values)
		}
		require.Equal(t, c.want, n, "%s with room for %d", readers[c.kind].kind, c.room)
		require.Equal(t, c.room-n, r.room)
		lost := c.want < 5 && c.kind == 4 || c.want == 0
		require.Equal(t, lost, len(r.warnings) > 0)
	}
}
