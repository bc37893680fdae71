package report

import (
	"flag"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/imports"
)

var update = flag.Bool("update", false, "write the golden files anew")

// commentLimit is what fits into a comment on GitHub.
const commentLimit = 65536

func run(status history.Status, seconds int, tags map[string]string, metrics ...history.Metric) *history.Run {
	r := &history.Run{Info: history.RunInfo{RunID: "iris-3f2a91c-1", StartTime: 1_700_000_000_000}}
	r.Info.EndTime = r.Info.StartTime + history.Int(seconds*1000)
	r.Data.Metrics = metrics
	r.Data.Tags = []history.KeyValue{{Key: history.TagStatus, Value: string(status)}, {Key: history.TagTarget, Value: "gpu-cluster"},
		{Key: history.TagCommand, Value: "python train.py --epochs 10"}, {Key: history.TagSource, Value: "src"},
		{Key: history.TagEnvironment, Value: "AzureML-sklearn-1.5@7"}, {Key: history.TagSnapshot, Value: "7c1f0b2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{Key: history.TagFiles, Value: "212 18432"}, {Key: "azureml.git.commit", Value: "3f2a91c000000000000000000000000000000000"},
		{Key: "azureml.git.branch", Value: "feature/deeper-tree"}, {Key: history.TagActor, Value: "ada"}}
	for k, v := range tags {
		r.Data.Tags = append(r.Data.Tags, history.KeyValue{Key: k, Value: v})
	}
	return r
}

func metric(key string, v float64) history.Metric {
	return history.Metric{Key: key, Value: history.Float(v)}
}

func curve(values ...float64) history.Curve {
	c := history.Curve{Count: len(values)}
	for i, v := range values {
		c.Points = append(c.Points, history.Point{Step: int64(i), Value: v})
	}
	return c
}

func states() map[string]*Report {
	base := run(history.Completed, 200, nil, metric("accuracy", 0.953), metric("loss", 0.154))
	base.Info.RunID = "iris-9d0c1e2-1"
	completed := &Report{
		Name: "iris", URL: "https://example.com/run", Base: base, BaseName: "main 9d0c1e2",
		Run:       run(history.Completed, 192, nil, metric("loss", 0.112), metric("accuracy", 0.967), metric("new", 3)),
		Curves:    map[string]history.Curve{"loss": curve(0.95, 0.71, 0.55, 0.42, 0.33, 0.27, 0.22, 0.19, 0.165, 0.15, 0.112)},
		BaseCurve: map[string]history.Curve{"loss": curve(0.99, 0.80, 0.66, 0.55, 0.47, 0.40, 0.35, 0.31, 0.28, 0.26, 0.154)},
		Files:     []history.File{{Path: "logs/events.out.tfevents", Size: 9000}, {Path: "outputs/confusion.png", Size: 84000}, {Path: "outputs/model.pkl", Size: 1_100_000}, {Path: "user_logs/std_log.txt", Size: 10}},
		FileURL:   func(p string) string { return "https://example.com/" + p },
	}
	failed := &Report{
		Name: "iris", Run: run(history.Failed, 41, map[string]string{history.TagError: "the command exited with status 1"}),
		Log: strings.Split(`Traceback (most recent call last):
  File "train.py", line 7, in <module>
    import plots
  File "plots.py", line 3, in <module>
    import seaborn
ModuleNotFoundError: No module named 'seaborn'`, "\n"),
	}
	failed.Diagnosis = Diagnose(failed.Run, failed.Log, Context{Install: func(p string) string { return "Add `" + p + "` to the conda file." }})
	limit := &Report{Name: "iris", Run: run(history.Canceled, 3600, map[string]string{history.TagError: "the maximum duration of 1h0m0s was over"}, metric("loss", 0.5))}
	limit.Diagnosis = Diagnose(limit.Run, nil, Context{})
	hostile := &Report{
		Name: "*bold* @org/team <img src=x> #1 --> ::set-output::",
		Run: run(history.Completed, 1, map[string]string{history.TagWarnings: "first @ada\n| second |\n# third <script>"},
			metric("a|b", 1), metric("`code` ```", 2), metric("[link](https://evil.example.com) www.evil.example.com", 3), metric("<!-- marker -->", 4), metric("line\nbreak\u202e", 5)),
		Files:  []history.File{{Path: "outputs/`x`](y) @team.txt", Size: 1}},
		Curves: map[string]history.Curve{"`code` ```": curve(1, 2), "a|b": curve(3, 4)},
	}
	odd := &Report{Name: "odd", Base: base, BaseName: "main", Run: run(history.Completed, 0, nil, metric("nan", math.NaN()), metric("inf", math.Inf(1)), metric("minus", math.Inf(-1)),
		metric("tiny", 1.2345e-9), metric("huge", 6.02e23), metric("whole", 1234567), metric("zero", 0), metric("loss", 0.2)),
		Curves:    map[string]history.Curve{"loss": {Points: []history.Point{{Step: 5, Value: 1e-7}, {Step: 900, Value: 2e-7}}, Count: 10, Gaps: 8}, "zero": curve(0, 0, 0)},
		BaseCurve: map[string]history.Curve{"loss": curve(1, 2, 3)}}
	lost := &Report{Name: "iris", Run: run(history.NotResponding, 100, map[string]string{history.TagError: "interrupted: aml-train was killed"}), Log: []string{"epoch 1"}}
	lost.Diagnosis = Diagnose(lost.Run, lost.Log, Context{})
	going := &Report{Name: "iris", URL: "https://example.com/run", Run: run(history.Running, 0, nil, metric("loss", 0.5)), At: time.UnixMilli(1_700_000_125_000)}
	going.Run.Info.EndTime = 0
	queued := &Report{Name: "iris", Run: run(history.Queued, 0, nil), At: time.UnixMilli(1_700_000_005_000)}
	queued.Run.Info.EndTime = 0
	canceled := &Report{Name: "iris", Run: run(history.Canceled, 3, map[string]string{history.TagError: "canceled"}), Log: []string{"epoch 1"}}
	canceled.Diagnosis = Diagnose(canceled.Run, canceled.Log, Context{})
	return map[string]*Report{"running": going, "queued": queued, "canceled": canceled, "completed": completed, "failed": failed, "limit": limit, "hostile": hostile, "odd": odd, "lost": lost}
}

// TestGolden compares every state's report, as Markdown and for a terminal, with
// testdata.
func TestGolden(t *testing.T) {
	for name, r := range states() {
		for file, got := range map[string]string{name + ".md": r.Markdown(commentLimit), name + ".txt": r.Terminal(80, false)} {
			path := filepath.Join("testdata", file)
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got, file)
		}
	}
}

// A report never exceeds its limit, keeps what matters most, and says what it
// left out.
func TestLimit(t *testing.T) {
	r := &Report{Name: "big", Run: run(history.Failed, 1, map[string]string{history.TagError: "the command exited with status 1"}), Curves: map[string]history.Curve{}}
	for i := range 500 {
		key := fmt.Sprintf("metric %03d %s", i, strings.Repeat("_", 230))
		r.Run.Data.Metrics = append(r.Run.Data.Metrics, metric(key, float64(i)))
		var values []float64
		for s := range 600 {
			values = append(values, float64(s)/7)
		}
		r.Curves[key] = curve(values...)
	}
	for i := range 5000 {
		r.Files = append(r.Files, history.File{Path: fmt.Sprintf("outputs/%s/%d.bin", strings.Repeat("d", 200), i), Size: 1})
	}
	for range 1000 {
		r.Log = append(r.Log, strings.Repeat("x", 5000))
	}
	for _, limit := range []int{1 << 20, commentLimit, 20000, 5000, 1000, 100, 1, 0} {
		text := r.Markdown(limit)
		require.LessOrEqual(t, len(text), limit)
		if limit >= 5000 {
			require.Contains(t, text, "### ❌ big")
			require.Contains(t, text, "Left out to fit: ")
			require.Zero(t, strings.Count(text, "```")%2, "a fence is open")
			require.Equal(t, strings.Count(text, "<details>"), strings.Count(text, "</details>"))
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1: "1", 0.9666666: "0.9667", 0.97: "0.97", 1234567: "1234567", 0.00012345: "0.0001234", 1e-9: "1e-09", 6.02e23: "6.02e+23", 123.456: "123.5", 99999.5: "100000", -0.5: "-0.5"} {
		require.Equal(t, want, Number(v))
	}
}

func TestChange(t *testing.T) {
	for _, test := range []struct {
		now, before float64
		want        string
	}{
		{0.967, 0.953, "▲ 0.014 (1.5 %)"}, {0.112, 0.154, "▼ 0.042 (27 %)"}, {1, 1, "="}, {1, 0, "▲ 1"}, {-1, 0, "▼ 1"},
		{math.NaN(), 1, ""}, {math.Inf(1), 1, ""}, {5000, 1, "▲ 4999"}, {-2, -1, "▼ 1 (100 %)"}, {1e-7, 2e-7, "▼ 1e-07 (50 %)"},
	} {
		require.Equal(t, test.want, Change(test.now, test.before), "%v %v", test.now, test.before)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", 840 * time.Millisecond: "840 ms", 9900 * time.Millisecond: "9.9 s", 41 * time.Second: "41 s", 192 * time.Second: "3 min 12 s", 125 * time.Minute: "2 h 5 min", -1: "0 s"} {
		require.Equal(t, want, Duration(d))
	}
}

func TestPlain(t *testing.T) {
	for s, want := range map[string]string{
		"\x1b[31mred\x1b[0m":                     "red",
		"\x1b]0;title\x07text":                   "text",
		"10%\r20%\r100%\nnext":                   "100%\nnext",
		"windows\r\nline":                        "windows\nline",
		"bell\a \x00null":                        "bell null",
		"bad \xff":                               "bad �",
		"\x1b]8;;https://x\x1b\\l\x1b]8;;\x1b\\": "l",
	} {
		require.Equal(t, want, Plain(s))
	}
}

func TestDiagnose(t *testing.T) {
	context := Context{Work: "/x/.aml-train/runs/a-1/wd", Source: "jobs/a",
		Why: func(p string) string {
			return map[string]string{"data/x.csv": "`.gitignore:1` (`data/`)", "own.py": "`.gitignore:2` (`own.py`)"}[p]
		},
		Repo:    &imports.Repository{Source: "jobs/a", Script: ".", FS: fstest.MapFS{"jobs/a/src/lib.py": {}, "jobs/a/own.py": {}, "jobs/a/data/x.csv": {}}},
		Install: func(p string) string { return "pip install " + p }}
	trace := func(last string, frames ...string) string {
		s := "before\nTraceback (most recent call last):\n"
		for _, f := range frames {
			s += "  File \"" + f + "\", line 3, in f\n    code()\n    ~~~~^^\n"
		}
		return s + last
	}
	for name, test := range map[string]struct {
		log, title, advice, file string
	}{
		"module":      {trace("ModuleNotFoundError: No module named 'cv2'", context.Work+"/train.py"), "ModuleNotFoundError: No module named 'cv2'", "`train.py:3` imports `cv2`, which the environment does not have. pip install opencv-python-headless", "train.py"},
		"submodule":   {trace("ModuleNotFoundError: No module named 'google.protobuf'", context.Work+"/train.py"), "", "pip install protobuf", "train.py"},
		"own module":  {trace("ModuleNotFoundError: No module named 'own'", context.Work+"/train.py"), "", "which is your own: `own.py` did not travel", "train.py"},
		"python path": {trace("ModuleNotFoundError: No module named 'lib'", context.Work+"/train.py"), "", "`PYTHONPATH=src`", "train.py"},
		"file":        {trace("FileNotFoundError: [Errno 2] No such file or directory: 'data/x.csv'", context.Work+"/a/b.py", "/usr/lib/python3.11/io.py"), "", "`a/b.py:3` opens `data/x.csv`, which did not travel, because of `.gitignore:1`", "a/b.py"},
		"absolute":    {trace("FileNotFoundError: [Errno 2] No such file or directory: '/home/ada/x'", context.Work+"/train.py"), "", "a path of one machine", "train.py"},
		"outside":     {trace("FileNotFoundError: [Errno 2] No such file or directory: '../x'", context.Work+"/train.py"), "", "lies outside the source directory", "train.py"},
		"outputs":     {trace("FileNotFoundError: [Errno 2] No such file or directory: 'outputs/m.pkl'", context.Work+"/train.py"), "", "os.makedirs", "train.py"},
		"library":     {trace("ValueError: bad", context.Work+"/train.py", context.Work+"/model.py", "/venv/lib/python3.11/site-packages/torch/nn.py"), "ValueError: bad", "`model.py:3` raised it: `code()`", "model.py"},
		"dotted":      {trace("torch.cuda.OutOfMemoryError: CUDA out of memory.", context.Work+"/train.py"), "torch.cuda.OutOfMemoryError: CUDA out of memory.", "the GPU's memory", "train.py"},
		"no text":     {trace("KeyError", context.Work+"/train.py"), "KeyError", "raised it", "train.py"},
		"chained":     {trace("KeyError: 1", context.Work+"/first.py") + "\n\nDuring handling of the above exception, another exception occurred:\n\n" + trace("RuntimeError: 2", context.Work+"/second.py"), "RuntimeError: 2", "raised it", "second.py"},
		"after it":    {trace("ValueError: x", context.Work+"/train.py") + "\nsome more output", "ValueError: x", "raised it", "train.py"},
		"on azure":    {trace("ValueError: x", "/mnt/azureml/cr/j/1/exe/wd/train.py"), "ValueError: x", "`train.py:3`", "train.py"},
		"below":       {trace("ValueError: x", "/home/ada/.cache/aml-train/0a/runs/a-1/wd/jobs/a/train.py"), "ValueError: x", "`train.py:3`", "train.py"},
		"syntax":      {"  File \"" + context.Work + "/train.py\", line 2\n    def (\n        ^\nSyntaxError: invalid syntax", "SyntaxError: invalid syntax", "`train.py:2` raised it: `def (`", "train.py"},
		"-m":          {"/usr/bin/python: No module named mod", "/usr/bin/python: No module named mod", "pip install mod", ""},
		"shell":       {"loading\nsegmentation fault", "the command exited with status 1", "The last line it printed: `segmentation fault`", ""},
		"silent":      {"", "the command exited with status 1", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log []string
			if test.log != "" {
				log = strings.Split(test.log, "\n")
			}
			d := Diagnose(run(history.Failed, 1, map[string]string{history.TagError: "the command exited with status 1"}), log, context)
			require.NotNil(t, d)
			if test.title != "" {
				require.Equal(t, test.title, d.Title)
			}
			require.Contains(t, d.Advice, test.advice)
			require.Equal(t, test.file, d.File)
		})
	}
	require.Nil(t, Diagnose(run(history.Completed, 1, nil), nil, context))
	require.Nil(t, Diagnose(run(history.Running, 1, nil), nil, context))
}

func TestSparkline(t *testing.T) {
	require.Equal(t, "▁▂▃▄▅▆▇█", Sparkline(curve(0, 1, 2, 3, 4, 5, 6, 7).Points, 8))
	require.Equal(t, "▁▁", Sparkline(curve(5, 5).Points, 8))
	require.Empty(t, Sparkline(curve(1).Points, 8))
}

func FuzzDiagnose(f *testing.F) {
	f.Add("Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: x")
	f.Add("  File \"a\", line 99999999999999999999\nSyntaxError")
	f.Fuzz(func(t *testing.T, log string) {
		r := &Report{Name: log, Run: run(history.Failed, 1, map[string]string{history.TagError: log}, metric(log, 1)), Log: strings.Split(Plain(log), "\n"),
			Curves: map[string]history.Curve{log: curve(1, 2)}}
		r.Diagnosis = Diagnose(r.Run, r.Log, Context{})
		text := r.Markdown(commentLimit)
		// The heading stays one line, and nothing notifies anybody.
		title := strings.SplitN(text, "\n", 2)[0]
		if strings.Contains(strings.ReplaceAll(title, "@<!-- -->", ""), "@") {
			t.Fatalf("a mention in %q", title)
		}
		r.Terminal(80, true)
	})
}

// What a script wrote makes no reference on GitHub: each is taken apart in a way that
// nobody sees.
func TestEscapeReferences(t *testing.T) {
	for _, text := range []string{"GH-1", "gh-12 x", "#1", "org/x#1", "@ada", "@org/team", "0123456", "0123456789abcdef0123456789abcdef01234567", "org/x@0123456", "https://x.example", "www.x.example", "(deadbeef)"} {
		escaped := Escape(text)
		require.Contains(t, escaped, "<!-- -->", text)
		require.Equal(t, text, html.UnescapeString(strings.NewReplacer("<!-- -->", "", "\\", "").Replace(escaped)))
	}
	for _, text := range []string{"accuracy", "f1", "GH", "abcdef", strings.Repeat("ab", 40), "light-1"} {
		require.Equal(t, text, Escape(text))
	}
}

// A run that is paused has not failed.
func TestPaused(t *testing.T) {
	r := &Report{Name: "iris", Run: run(history.Paused, 3, nil, metric("loss", 0.5))}
	r.Diagnosis = Diagnose(r.Run, []string{"epoch 1"}, Context{})
	require.Equal(t, "paused", r.Title())
	require.Equal(t, "⏳", Icon(r.Run.Status()))
	require.Equal(t, "warning", r.Annotations(Places{JobFile: "job.yml"})[0].Level)
}

// A report changes nothing of the run that it is about.
func TestMarkdownKeepsTheRun(t *testing.T) {
	r := &Report{Name: "iris", Run: run(history.Completed, 3, nil)}
	r.Run.Data.Params = []history.KeyValue{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}
	require.Contains(t, r.Markdown(65536), "a=2 b=1")
	require.Equal(t, "b", r.Run.Data.Params[0].Key)
}
