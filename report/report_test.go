package report

import (
	"bytes"
	"encoding/json"
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
	"github.com/org/aml-train/judge"
)

var update = flag.Bool("update", false, "write the golden files anew")

// commentLimit is what fits into a comment on GitHub.
const commentLimit = 65536

func run(status history.Status, seconds int, tags map[string]string, metrics ...history.Metric) *history.Run {
	r := &history.Run{Info: history.RunInfo{RunID: "iris-3f2a91c-1", StartTime: 1_700_000_000_000}}
	r.Info.EndTime = r.Info.StartTime + history.Int(seconds*1000)
	r.Data.Metrics = metrics
	r.Data.Tags = []history.KeyValue{{Key: history.TagStatus, Value: string(status)},
		{Key: history.TagTarget, Value: "gpu-cluster"},
		{Key: history.TagCommand, Value: "python train.py --epochs 10"}, {Key: history.TagSource, Value: "src"},
		{Key: history.TagEnvironment, Value: "AzureML-sklearn-1.5@7"},
		{Key: history.TagSnapshot, Value: "7c1f0b2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
		{Key: history.TagFiles, Value: "212 18432"},
		{Key: "azureml.git.commit", Value: "3f2a91c000000000000000000000000000000000"},
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

// state is a case of testdata: the report in testdata/NAME.json, with a run as MLflow's API
// gives it out, stands in NAME.md as Markdown, and in NAME.txt as on a terminal.
type state struct {
	Report
	FilesAt string // what comes before the path of a file in its link
	Install string // says where a package is added, whose name stands for %s
}

// states reads those of testdata, by name.
func states(t *testing.T) map[string]*Report {
	all := map[string]*Report{}
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var s state
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&s), file)
		for _, curves := range []map[string]history.Curve{s.Curves, s.BaseCurve} {
			for key, c := range curves {
				c.Count = max(c.Count, len(c.Points))
				curves[key] = c
			}
		}
		s.Sweep = history.SweepOf(s.Run, s.Children)
		if s.FilesAt != "" {
			s.FileURL = func(path string) string { return s.FilesAt + path }
		}
		if status := s.Run.Status(); status.Terminal() && status != history.Completed {
			about := Context{}
			if s.Install != "" {
				about.Install = func(pkg string) string { return fmt.Sprintf(s.Install, pkg) }
			}
			s.Diagnosis = Diagnose(s.Run, s.Log, about)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = &s.Report
	}
	return all
}

// TestGolden compares every state's report, as Markdown and for a terminal, with
// testdata.
func TestGolden(t *testing.T) {
	for name, r := range states(t) {
		for file, got := range map[string]string{name + ".md": r.Markdown(commentLimit),
			name + ".txt": r.Terminal(80, false)} {
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
	r := &Report{Name: "big", Run: run(history.Failed, 1,
		map[string]string{history.TagError: "the command exited with status 1"}), Curves: map[string]history.Curve{}}
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
		r.Files = append(r.Files, history.File{Path: fmt.Sprintf("outputs/%s/%d.bin", strings.Repeat("d", 200), i),
			Size: 1})
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
	for v, want := range map[float64]string{0: "0", 1: "1", 0.9666666: "0.9667", 0.97: "0.97", 1234567: "1234567",
		0.00012345: "0.0001234", 1e-9: "1e-09", 6.02e23: "6.02e+23", 123.456: "123.5", 99999.5: "100000",
		-0.5: "-0.5"} {
		require.Equal(t, want, Number(v))
	}
}

func TestChange(t *testing.T) {
	for _, test := range []struct {
		now, before float64
		want        string
	}{
		{0.967, 0.953, "▲ 0.014 (1.5 %)"}, {0.112, 0.154, "▼ 0.042 (27 %)"}, {1, 1, "="}, {1, 0, "▲ 1"}, {-1, 0, "▼ 1"},
		{math.NaN(), 1, ""}, {math.Inf(1), 1, ""}, {5000, 1, "▲ 4999"}, {-2, -1, "▼ 1 (100 %)"},
		{1e-7, 2e-7, "▼ 1e-07 (50 %)"},
	} {
		require.Equal(t, test.want, Change(test.now, test.before), "%v %v", test.now, test.before)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", 840 * time.Millisecond: "840 ms",
		9900 * time.Millisecond: "9.9 s", 41 * time.Second: "41 s", 192 * time.Second: "3 min 12 s",
		125 * time.Minute: "2 h 5 min", -1: "0 s"} {
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
		Repo: &imports.Repository{Source: "jobs/a", Script: ".",
			FS: fstest.MapFS{"jobs/a/src/lib.py": {}, "jobs/a/own.py": {}, "jobs/a/data/x.csv": {},
				"configs/base.json": {}, "jobs/shared/x.json": {}}},
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
		"module": {trace("ModuleNotFoundError: No module named 'cv2'", context.Work+"/train.py"),
			"ModuleNotFoundError: No module named 'cv2'", "`train.py:3` imports `cv2`, which the environment does " +
				"not have. pip install opencv-python-headless", "train.py"},
		"submodule": {trace("ModuleNotFoundError: No module named 'google.protobuf'", context.Work+"/train.py"), "",
			"pip install protobuf", "train.py"},
		"own module": {trace("ModuleNotFoundError: No module named 'own'", context.Work+"/train.py"), "",
			"which is your own: `own.py` did not travel", "train.py"},
		"python path": {trace("ModuleNotFoundError: No module named 'lib'", context.Work+"/train.py"), "",
			"`PYTHONPATH=src`", "train.py"},
		"file": {trace("FileNotFoundError: [Errno 2] No such file or directory: 'data/x.csv'",
			context.Work+"/a/b.py", "/usr/lib/python3.11/io.py"), "",
			"`a/b.py:3` opens `data/x.csv`, which did not travel, because of `.gitignore:1`", "a/b.py"},
		"absolute": {trace("FileNotFoundError: [Errno 2] No such file or directory: '/home/ada/x'",
			context.Work+"/train.py"), "", "a path of one machine", "train.py"},
		"outside": {trace("FileNotFoundError: [Errno 2] No such file or directory: '../x'",
			context.Work+"/train.py"), "", "lies outside the source directory", "train.py"},
		"at the root": {trace("FileNotFoundError: [Errno 2] No such file or directory: 'configs/base.json'",
			context.Work+"/train.py"), "", "opens `configs/base.json`, which lies in `../../configs/base.json`, " +
			"outside the source directory: widen `code` (`--source-directory`) to the repository's root", "train.py"},
		"above": {trace("FileNotFoundError: [Errno 2] No such file or directory: 'shared/x.json'",
			context.Work+"/train.py"), "", "to the folder `jobs`", "train.py"},
		"nowhere": {trace("FileNotFoundError: [Errno 2] No such file or directory: 'shared/y.json'",
			context.Work+"/train.py"), "", "`shared/y.json`, which is not in the source directory.", "train.py"},
		"outputs": {trace("FileNotFoundError: [Errno 2] No such file or directory: 'outputs/m.pkl'",
			context.Work+"/train.py"), "", "os.makedirs", "train.py"},
		"library": {trace("ValueError: bad", context.Work+"/train.py", context.Work+"/model.py",
			"/venv/lib/python3.11/site-packages/torch/nn.py"), "ValueError: bad", "`model.py:3` raised it: `code()`",
			"model.py"},
		"dotted": {trace("torch.cuda.OutOfMemoryError: CUDA out of memory.", context.Work+"/train.py"),
			"torch.cuda.OutOfMemoryError: CUDA out of memory.", "the GPU's memory", "train.py"},
		"no text": {trace("KeyError", context.Work+"/train.py"), "KeyError", "raised it", "train.py"},
		"chained": {trace("KeyError: 1", context.Work+"/first.py") + "\n\nDuring handling of the above " +
			"exception, another exception occurred:\n\n" + trace("RuntimeError: 2", context.Work+"/second.py"),
			"RuntimeError: 2", "raised it", "second.py"},
		"after it": {trace("ValueError: x", context.Work+"/train.py") + "\nsome more output", "ValueError: x",
			"raised it", "train.py"},
		"on azure": {trace("ValueError: x", "/mnt/azureml/cr/j/1/exe/wd/train.py"), "ValueError: x", "`train.py:3`",
			"train.py"},
		"below": {trace("ValueError: x", "/home/ada/.cache/aml-train/0a/runs/a-1/wd/jobs/a/train.py"),
			"ValueError: x", "`train.py:3`", "train.py"},
		"syntax": {"  File \"" + context.Work + "/train.py\", line 2\n    def (\n        ^\nSyntaxError: " +
			"invalid syntax", "SyntaxError: invalid syntax", "`train.py:2` raised it: `def (`", "train.py"},
		"-m": {"/usr/bin/python: No module named mod", "/usr/bin/python: No module named mod",
			"pip install mod", ""},
		"shell": {"loading\nsegmentation fault", "the command exited with status 1",
			"The last line it printed: `segmentation fault`", ""},
		"silent": {"", "the command exited with status 1", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log []string
			if test.log != "" {
				log = strings.Split(test.log, "\n")
			}
			d := Diagnose(run(history.Failed, 1,
				map[string]string{history.TagError: "the command exited with status 1"}), log, context)
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
		r := &Report{Name: log, Run: run(history.Failed, 1, map[string]string{history.TagError: log}, metric(log, 1)),
			Log:    strings.Split(Plain(log), "\n"),
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
	for _, text := range []string{"GH-1", "gh-12 x", "#1", "org/x#1", "@ada", "@org/team", "0123456",
		"0123456789abcdef0123456789abcdef01234567", "org/x@0123456", "https://x.example", "www.x.example",
		"(deadbeef)"} {
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

// What a change means, by the metric's name and by what is judged.
func TestVerdict(t *testing.T) {
	var r Report
	require.Equal(t, "worse", r.Verdict("loss", 2, 1))
	require.Equal(t, "better", r.Verdict("loss", 1, 2))
	require.Equal(t, "", r.Verdict("loss", 1, 1))
	require.Equal(t, "", r.Verdict("loss", math.NaN(), 1))
	require.Equal(t, "better", r.Verdict("f1", 2, 1))
	require.Equal(t, "better", r.Verdict("neg_log_loss", 2, 1))
	require.Equal(t, "", r.Verdict("epoch", 2, 1))
	r.Judgement = &Judgement{Findings: []judge.Finding{{Metric: judge.Metric{Name: "loss"}, Verdict: judge.Same},
		{Metric: judge.Metric{Name: "f1"}, Verdict: judge.Worse},
		{Metric: judge.Metric{Name: "auc"}, Verdict: judge.Undecided}}}
	require.Equal(t, "within noise", r.Verdict("loss", 2, 1))
	require.Equal(t, "worse beyond noise", r.Verdict("f1", 1, 2))
	require.Equal(t, "better", r.Verdict("auc", 2, 1))
}

// Runs that agree to the last digit have no change, whatever the last digit of their sum is.
func TestRepeatsThatAgree(t *testing.T) {
	for _, value := range []float64{0.76, 0.1, -1.6244} {
		one := run(history.Completed, 1, nil, metric("accuracy", value))
		r := Report{Name: "iris", Run: one, Base: one, BaseName: "main"}
		for range 12 {
			r.BaseRepeats = append(r.BaseRepeats, one)
			for _, text := range []string{r.Markdown(commentLimit), r.Terminal(80, false)} {
				require.NotRegexp(t, "[▲▼]|better|worse", text, "%d runs of %v", len(r.BaseRepeats), value)
			}
		}
	}
}

// Of many metrics, the key ones stand first and the rest is folded; none is lost.
func TestManyMetrics(t *testing.T) {
	r := &Report{Name: "x", Run: run(history.Completed, 1, nil), Key: []string{"z/9", "nothing"}}
	for i := range 65 {
		r.Run.Data.Metrics = append(r.Run.Data.Metrics, metric(fmt.Sprintf("z/%d", i), float64(i)))
	}
	shown, folded, ok := strings.Cut(r.Markdown(commentLimit), "<details><summary>64 metrics more</summary>")
	require.True(t, ok)
	require.Contains(t, shown, "| z/9 | **9** |")
	require.Equal(t, 1, strings.Count(shown, "| z/"))
	require.Equal(t, 64, strings.Count(folded, "| z/"))
	r.Key = nil
	shown, _, ok = strings.Cut(r.Markdown(commentLimit), "<details><summary>57 metrics more</summary>")
	require.True(t, ok)
	require.Equal(t, unfolded, strings.Count(shown, "| z/"))
}

// TestPullRequestStates: each state that a pull request's report can be in is among those of
// testdata, and says in words what it is.
func TestPullRequestStates(t *testing.T) {
	all := states(t)
	for name, says := range map[string]string{
		"better":    "Better than main 9d0c1e2 beyond noise: accuracy",
		"judged":    "Worse than main 9d0c1e2 beyond noise: accuracy; within noise: loss (1 run against 5; ",
		"noise":     "a difference of two standard deviations is seen in 18 % of cases",
		"undecided": "Whether it is better than noise cannot be judged: 1 run of main 9d0c1e2, 3 are needed.",
		"first":     "Nothing to compare with: neither main nor a commit that this one is built on has",
		"compared":  "the newest of main stands in",
		"renamed":   "has none of these metrics",
		"reused":    "Reused: this run has trained the same files",
		"running":   "### ⏳ iris · running for ",
		"repeats":   "| accuracy | **0.8703** ± 0.0025 | 0.9004 ± 0.0011 | ▼ 0.03 (3.3 %) | worse beyond noise |",
		"decided":   "3 of at most 3 runs against 5; ",
	} {
		require.Contains(t, all, name)
		require.Contains(t, all[name].Markdown(commentLimit), says, name)
	}
	require.Contains(t, all["judged"].Markdown(commentLimit), "❌ **broken** | accuracy is 0.87")
	require.Contains(t, all["repeats"].Markdown(commentLimit), "1.44 USD for 3 runs")
}

// A base without a commit is called by its id, and once.
func TestComparedWithoutACommit(t *testing.T) {
	base := &history.Run{Info: history.RunInfo{RunID: "iris-1"}}
	r := &Report{Run: &history.Run{}, Base: base, BaseName: Label(base)}
	require.Equal(t, "  compared with iris-1\n", strings.SplitAfter(r.comparisonText(80), "\n")[0])
	r.BaseName = "main 3f2a91c"
	require.Equal(t, "  compared with iris-1 (main 3f2a91c)\n", strings.SplitAfter(r.comparisonText(80), "\n")[0])
}
