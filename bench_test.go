//go:build unix

package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// binary is the program as it is released: make bench builds it.
func binary(b *testing.B) string {
	path := os.Getenv("AML_TRAIN_BINARY")
	if path == "" {
		b.Fatal("AML_TRAIN_BINARY names no program; run make bench")
	}
	return path
}

// repository makes a git repository of n source files of about 2 kB in folders
// of 100, with a clean working tree.
func repository(b *testing.B, n int) string {
	dir := b.TempDir()
	for i := range n {
		sub := filepath.Join(dir, "src", fmt.Sprintf("d%03d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		text := bytes.Repeat(fmt.Appendf(nil, "line %d of a file\n", i), 110)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%d.py", i)), text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"},
		{"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatal(string(out))
		}
	}
	time.Sleep(1100 * time.Millisecond) // past the second in which git calls its index racy
	cmd := exec.Command("git", "status", "--porcelain")
	cmd.Dir = dir
	cmd.Run()
	return dir
}

func timed(b *testing.B, dir, name string, args ...string) time.Duration {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %s", err, out.String())
	}
	return time.Since(start)
}

// BenchmarkRun is everything that run adds to a command that does nothing,
// beside git's own status and archive of the same files.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{100, 20000} {
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			dir := repository(b, n)
			program := binary(b)
			first := timed(b, dir, program, "run", "--command", "true")
			var run, snapshot, status, archive time.Duration
			for b.Loop() {
				run += timed(b, dir, program, "run", "--command", "true")
				snapshot += timed(b, dir, program, "snapshot", "--json")
				status += timed(b, dir, "git", "status", "--porcelain")
				archive += timed(b, dir, "sh", "-c", "git archive HEAD | tar -x -C $(mktemp -d)")
			}
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
			b.ReportMetric(float64(first.Milliseconds()), "first-run-ms")
			b.ReportMetric(ms(run), "run-ms")
			b.ReportMetric(ms(snapshot), "snapshot-ms")
			b.ReportMetric(ms(status), "git-status-ms")
			b.ReportMetric(ms(archive), "git-archive|tar-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkDistributed is what eight processes in place of one add to a run.
func BenchmarkDistributed(b *testing.B) {
	dir := repository(b, 100)
	program := binary(b)
	timed(b, dir, program, "run", "--command", "true")
	var one, eight time.Duration
	for b.Loop() {
		one += timed(b, dir, program, "run", "--command", "true")
		eight += timed(b, dir, program, "run", "--command", "true", "--distribution", "pytorch", "--process-count", "8")
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
	b.ReportMetric(ms(one), "run-ms")
	b.ReportMetric(ms(eight-one), "added-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEviction is what it takes from the end of an attempt that is evicted to the start
// of the next one, of a command that ends at once when it is told to.
func BenchmarkEviction(b *testing.B) {
	dir := repository(b, 100)
	program := binary(b)
	const evictions, each = 10, 20 * time.Millisecond
	after := strings.Repeat(each.String()+",", evictions)
	last := "echo . >>$AML_TRAIN_CHECKPOINTS/n; test $(wc -l <$AML_TRAIN_CHECKPOINTS/n) -gt 10 || exec sleep 60"
	timed(b, dir, program, "run", "--command", "true", "--checkpoints")
	var one, all time.Duration
	for b.Loop() {
		one += timed(b, dir, program, "run", "--command", "true", "--checkpoints")
		all += timed(b, dir, program, "run", "--command", last, "--checkpoints",
			"--preempt-after", after[:len(after)-1])
	}
	took := all - one - time.Duration(b.N)*evictions*each
	b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N)/evictions, "eviction-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSweep is what a trial of a sweep costs besides its command: 1,000 trials that log
// nothing and do nothing.
func BenchmarkSweep(b *testing.B) {
	dir := repository(b, 100)
	program := binary(b)
	job := "type: sweep\ntrial: {command: \"true ${{search_space.x}}\", code: .}\n" +
		"search_space: {x: {type: uniform, min_value: 0, max_value: 1}}\n" +
		"objective: {goal: maximize, primary_metric: x}\nlimits: {max_total_trials: 1000}\n"
	if err := os.WriteFile(filepath.Join(dir, "sweep.yml"), []byte(job), 0o644); err != nil {
		b.Fatal(err)
	}
	var took time.Duration
	for b.Loop() {
		start := time.Now()
		cmd := exec.Command(program, "run", "sweep.yml")
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		took += time.Since(start)
		if !bytes.Contains(out, []byte("1000 trials:")) { // all of which completed
			b.Fatalf("%s", out[max(0, len(out)-4000):])
		}
	}
	b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N)/1000, "trial-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEnvironment is what an environment that is built already adds to a run.
func BenchmarkEnvironment(b *testing.B) {
	dir := repository(b, 100)
	program := binary(b)
	if err := os.WriteFile(filepath.Join(dir, "requirements.txt"), nil, 0o644); err != nil {
		b.Fatal(err)
	}
	packages := []string{"run", "--command", "true", "--environment", "pip:requirements.txt"}
	timed(b, dir, program, packages...)
	var without, with time.Duration
	for b.Loop() {
		without += timed(b, dir, program, "run", "--command", "true")
		with += timed(b, dir, program, packages...)
	}
	b.ReportMetric(float64((with-without).Microseconds())/1000/float64(b.N), "added-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHelp is how long the program takes to say what it can.
func BenchmarkHelp(b *testing.B) {
	program := binary(b)
	info, err := os.Stat(program)
	if err != nil {
		b.Fatal(err)
	}
	var help, git time.Duration
	n := 0
	for b.Loop() {
		for range 10 {
			help += timed(b, ".", program, "--help")
			git += timed(b, ".", "git", "--version")
			n++
		}
	}
	b.ReportMetric(float64(help.Microseconds())/1000/float64(n), "help-ms")
	b.ReportMetric(float64(git.Microseconds())/1000/float64(n), "git-version-ms")
	b.ReportMetric(float64(info.Size())/(1<<20), "binary-MB")
	b.ReportMetric(0, "ns/op")
}

// largeHistory asks MLflow's own store for the page that "runs" shows, and times it.
const largeHistory = `
import sys, time, warnings
warnings.filterwarnings("ignore")
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.entities import ViewType
store = SqlAlchemyStore("sqlite:///" + sys.argv[1], sys.argv[2])
best = 1e9
for _ in range(3):
    start = time.time()
    found = store.search_runs([str(i) for i in range(1, 2001)], "", ViewType.ACTIVE_ONLY, max_results=30)
    assert len(found) == 30
    best = min(best, time.time() - start)
print("milliseconds", best * 1000)
`

// BenchmarkLargeHistory is how long commands take in a history of 10,000 runs with
// 100,000 children in 2,000 experiments, beside one page of MLflow's own store on a copy
// of the same file.
func BenchmarkLargeHistory(b *testing.B) {
	python, program, dir := testenv.Python(b), binary(b), b.TempDir()
	home := filepath.Join(dir, ".aml-train")
	s, err := history.Open(home)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	text, err := os.ReadFile("history/testdata/large.sql")
	if err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(home, "history.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	file := filepath.Join(dir, "theirs.db")
	for _, do := range []string{string(text), "VACUUM INTO '" + file + "'"} {
		if _, err := db.Exec(do); err != nil {
			b.Fatal(err)
		}
	}
	commands := map[string][]string{"show": {"show"}, "show-run": {"show", "job-00077"}, "runs": {"runs"},
		"children":   {"runs", "--children"},
		"download":   {"download", "job-00077", "--to", filepath.Join(dir, "got")},
		"completion": {"__complete", "show", "job-007"}}
	took := map[string]time.Duration{}
	for b.Loop() {
		for name, args := range commands {
			took[name] += timed(b, dir, program, args...)
		}
	}
	for name, t := range took {
		b.ReportMetric(float64(t.Microseconds())/1000/float64(b.N), name+"-ms")
	}
	if out, err := exec.Command(python, "-m", "mlflow", "db", "upgrade",
		"sqlite:///"+file).CombinedOutput(); err != nil {
		b.Fatal(string(out))
	}
	out, err := exec.Command(python, "-c", largeHistory, file, dir).CombinedOutput()
	var theirs float64
	if _, scan := fmt.Sscanf(string(out[max(0, bytes.LastIndex(out, []byte("milliseconds"))):]), "milliseconds %f",
		&theirs); err != nil || scan != nil {
		b.Fatal(string(out))
	}
	b.ReportMetric(theirs, "mlflow-page-ms")
	b.ReportMetric(float64(took["runs"].Microseconds())/1000/float64(b.N)/theirs, "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHistory reads and draws a metric of a million points: aml-train show,
// as a whole.
func BenchmarkHistory(b *testing.B) {
	program, home := binary(b), b.TempDir()
	s, err := history.Open(home)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx := b.Context()
	run, err := s.CreateRun(ctx, history.NewRun{ID: "a", ExperimentID: "0", Start: time.Now()})
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]history.Metric, 1000)
	start := time.Now()
	const points = 1_000_000
	for i := 0; i < points; i += len(batch) {
		for j := range batch {
			batch[j] = history.Metric{Key: "loss", Value: history.Float(1 / float64(i+j+1)), Step: history.Int(i + j),
				Timestamp: history.Int(i + j)}
		}
		if err := s.LogBatch(ctx, "a", batch, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(points/time.Since(start).Seconds(), "stored/s")
	if err := s.SetStatus(ctx, run.Info.RunID, history.Completed, ""); err != nil {
		b.Fatal(err)
	}
	start = time.Now()
	n, peak := 0, int64(0)
	for b.Loop() {
		cmd := exec.Command(program, "show", "--markdown", "-")
		cmd.Env = append(os.Environ(), "AML_TRAIN_HOME="+home)
		out, err := cmd.Output()
		if err != nil || !bytes.Contains(out, []byte("xychart-beta")) {
			b.Fatal(err, string(out))
		}
		peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
		n++
	}
	b.ReportMetric(float64(time.Since(start).Milliseconds())/float64(n), "drawn-ms")
	b.ReportMetric(float64(peak)/1024, "drawn-MB")
	b.ReportMetric(0, "ns/op")
}

// waitForRuns waits until n runs have ended.
func waitForRuns(b *testing.B, program, dir string, n int) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		cmd := exec.Command(program, "runs", "--json")
		cmd.Dir = dir
		out, _ := cmd.Output()
		if bytes.Count(out, []byte(`"status": "Completed"`)) >= n {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("%d runs have not ended:\n%s", n, out)
		}
	}
}

// BenchmarkHook is how long a push of a new commit takes with the pre-push hook and
// without, in a repository of 20,000 files.
func BenchmarkHook(b *testing.B) {
	program, dir, remote := binary(b), repository(b, 20000), filepath.Join(b.TempDir(), "remote.git")
	if err := os.WriteFile(filepath.Join(dir, "job.yml"), []byte("command: echo trained\ncode: src/d000\n"),
		0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".aml-train.yaml"), []byte("hook:\n  paths: [src/d000/]\n"),
		0o644); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, "src", "d000", "f0.py")
	commit := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
		timed(b, dir, "git", "add", "-A")
		timed(b, dir, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", text)
	}
	timed(b, dir, "git", "init", "-q", "--bare", remote)
	timed(b, dir, "git", "remote", "add", "origin", remote)
	commit("first")
	timed(b, dir, "git", "push", "-q", "origin", "HEAD:refs/heads/main")
	timed(b, dir, program, "hook", "install")
	var with, without time.Duration
	n := 0
	for b.Loop() {
		for range 5 {
			commit(fmt.Sprint("without ", n))
			without += timed(b, dir, "git", "push", "-q", "--no-verify", "origin", "HEAD:refs/heads/main")
			commit(fmt.Sprint("with ", n))
			with += timed(b, dir, "git", "push", "-q", "origin", "HEAD:refs/heads/main")
			n++
			waitForRuns(b, program, dir, n) // the training itself is not what is measured
		}
	}
	b.ReportMetric(float64(with.Microseconds())/1000/float64(n), "with-ms")
	b.ReportMetric(float64(without.Microseconds())/1000/float64(n), "without-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAzure is how long it takes until a workspace has accepted the job of a
// folder of 20,000 files that it has already. The workspace is the double, on this
// machine. Beside it, Microsoft's own client with the same job and workspace (the time
// of Python to start is left out), and what the snapshot alone takes.
func BenchmarkAzure(b *testing.B) {
	program, dir, python := binary(b), repository(b, 20000), testenv.Python(b)
	job := "command: python d000/f0.py\ncode: src\ncompute: azureml:cpu-cluster\nenvironment: azureml:ours:3\n"
	if err := os.WriteFile(filepath.Join(dir, "job.yml"), []byte(job), 0o644); err != nil {
		b.Fatal(err)
	}
	w, err := azuremltest.New(testenv.Azurite(b), b.TempDir(), []string{"true"})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	certificate := filepath.Join(b.TempDir(), "azure.pem")
	if err := os.WriteFile(certificate, testenv.Certificate(), 0o644); err != nil {
		b.Fatal(err)
	}
	env := append(os.Environ(), "SSL_CERT_FILE="+certificate, "REQUESTS_CA_BUNDLE="+certificate,
		"AZURE_CREDENTIALS="+w.Creds(), "AML_TRAIN_HOME="+b.TempDir())
	submit := func() float64 {
		cmd := exec.Command(program, "submit", "job.yml", "--subscription-id", azuremltest.Subscription,
			"--resource-group", azuremltest.Group, "--workspace-name", azuremltest.Name)
		cmd.Dir, cmd.Env = dir, env
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatal(string(out))
		}
		return time.Since(start).Seconds()
	}
	peer := func(args ...string) string {
		cmd := exec.Command(python, append([]string{"testdata/azure/peer.py", filepath.Join(dir, "job.yml")},
			args...)...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	tree, err := exec.Command("git", "-C", dir, "rev-parse", "HEAD:src").Output()
	if err != nil {
		b.Fatal(err)
	}
	w.Know(strings.TrimSpace(string(tree)), peer())
	for b.Loop() {
		ours := (submit() + submit() + submit()) / 3
		var theirs float64
		if _, err := fmt.Sscanf(peer("1"), "%g", &theirs); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(ours*1000, "unchanged-ms")
		b.ReportMetric(theirs*1000, "unchanged-peer-ms")
		b.ReportMetric(ours/theirs, "ratio")
	}
	b.ReportMetric(float64(timed(b, filepath.Join(dir, "src"), program, "snapshot").Microseconds())/1000, "snapshot-ms")
	b.ReportMetric(0, "ns/op")
}
