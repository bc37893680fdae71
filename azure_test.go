package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// blob NAME TEXT [WORD] puts a file into the workspace's blob store, - removes it. The word says
// what it is besides: gzip, whose content encoding says so, or folder, as an account with a
// hierarchical namespace marks one.
func blob(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(azure{}).(*cell).w
	if args[0] == "-" {
		ts.Check(w.Remove("workspaceblobstore", args[1]))
		return
	}
	switch text := args[1]; strings.Join(args[2:], " ") {
	case "folder":
		ts.Check(w.PutBlob("workspaceblobstore", args[0], text, azuremltest.Marker()))
	case "gzip":
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write([]byte(text))
		ts.Check(z.Close())
		encoding := "gzip"
		ts.Check(w.PutBlob("workspaceblobstore", args[0], packed.String(),
			&blockblob.UploadBufferOptions{HTTPHeaders: &azblob.HTTPHeaders{BlobContentEncoding: &encoding}}))
	default:
		ts.Check(w.Put("workspaceblobstore", args[0], text))
	}
}

// asset KIND NAME VERSION URI registers a version of data or models; shared KIND NAME VERSION
// FOLDER does in the registry meadow, of a folder of the workspace's blob store.
func asset(ts *testscript.TestScript, neg bool, args []string) {
	if args[0] == "shared" {
		ts.Value(azure{}).(*cell).w.Share(args[1], args[2], args[3], args[4])
		return
	}
	ts.Value(azure{}).(*cell).w.Register(args[0], args[1], args[2], args[3])
}

// clientPair is Microsoft's own client and ours, signed in to one workspace of the tests.
type clientPair struct {
	t       *testing.T
	w       *azuremltest.Workspace
	dir     string
	program string
	env     []string
}

func newClientPair(t *testing.T) *clientPair {
	p := &clientPair{t: t, dir: t.TempDir(), program: testenv.Program(t, "aml-train")}
	var err error
	p.w, err = azuremltest.New(testenv.Azurite(t), t.TempDir(), []string{p.program, "supervise"})
	require.NoError(t, err)
	t.Cleanup(p.w.Close)
	certificate := p.write("azure.pem", string(testenv.Certificate()))
	p.env = append(os.Environ(), "SSL_CERT_FILE="+certificate, "REQUESTS_CA_BUNDLE="+certificate, "AZURE_CREDENTIALS="+
		p.w.Creds(), "HOME="+p.dir,
		"AZUREML_ARM_SUBSCRIPTION="+azuremltest.Subscription, "AZUREML_ARM_RESOURCEGROUP="+azuremltest.Group,
		"AZUREML_ARM_WORKSPACE_NAME="+azuremltest.Name)
	return p
}

func (p *clientPair) write(name, text string) string {
	file := filepath.Join(p.dir, name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(p.t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// run runs a client, and returns what it asked of the workspace.
func (p *clientPair) run(name string, args ...string) []azuremltest.Request {
	p.w.Requests()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = filepath.Join(p.dir, "repo"), p.env
	if name != p.program {
		cmd.Dir = ""
	}
	out, err := cmd.CombinedOutput()
	require.NoError(p.t, err, string(out))
	return p.w.Requests()
}

// names of jobs and experiments, which differ.
var names = regexp.MustCompile(`/(jobs|runs|experiments)/[^/?]+`)

// dataPlane are the requests to the workspace's own API, each once: method, address without
// names, query, and what else is sent.
func dataPlane(requests []azuremltest.Request) map[string]bool {
	out := map[string]bool{}
	for _, r := range requests {
		if !strings.HasPrefix(r.Path, "/subscriptions/") && !strings.Contains(r.Path, "/mlflow/") &&
			strings.Contains(r.Path, "/subscriptions/") {
			out[r.Method+" "+names.ReplaceAllString(r.Path, "/$1/NAME")+"?"+r.Query] = true
		}
	}
	return out
}

// TestMicrosoftsClient has Microsoft's own client, azure-ai-ml, do everything that it shares
// with us in the workspace that the other tests use, which takes it from both; and compares
// what either asks.
func TestMicrosoftsClient(t *testing.T) {
	t.Parallel()
	python := testenv.Python(t)
	p := newClientPair(t)
	p.write("repo/src/train.sh", "mkdir outputs; printf model > outputs/model.txt; printf weights > $1/w.txt; "+
		"echo done\n")
	job := p.write("repo/job.yml", "command: sh train.sh ${{outputs.weights}}\ncode: src\n"+
		"compute: azureml:cpu-cluster\nenvironment: azureml:ours:3\nexperiment_name: both\ndisplay_name: of both\n"+
		"outputs: {weights: {type: uri_folder}}\nidentity: {type: user_identity}\n")
	theirs := p.run(python, "testdata/azure/verbs.py", job, filepath.Join(p.dir, "got"))

	ours := p.run(p.program, "run", "job.yml")
	id := ""
	for _, name := range p.w.Jobs() {
		if strings.HasPrefix(name, "both-") {
			id = name
		}
	}
	for _, args := range [][]string{{"archive", id}, {"archive", "--restore", id}, {"show", id},
		{"download", id, "--to", filepath.Join(p.dir, "ours")}} {
		ours = append(ours, p.run(p.program, args...)...)
	}
	for _, file := range []string{"outputs/model.txt", "named_outputs/weights/w.txt"} {
		require.FileExists(t, filepath.Join(p.dir, "ours", file))
	}
	asked := dataPlane(theirs)
	require.Greater(t, len(asked), 3)
	for request := range dataPlane(ours) {
		require.Contains(t, asked, request)
	}
	require.Equal(t, submitted(t, theirs), submitted(t, ours))
}

// TestMicrosoftsPlugin has Microsoft's own plugin for MLflow read a run of ours, whose files
// no storage account gives out: both find them by way of the run history.
func TestMicrosoftsPlugin(t *testing.T) {
	t.Parallel()
	python := testenv.AzureMLflow(t)
	p := newClientPair(t)
	require.NoError(t, p.w.Storage.Lock("unlisted", "none"))
	p.write("repo/src/train.sh", `mkdir outputs; echo '{"accuracy": 0.9}' > outputs/metrics.json`)
	p.write("repo/job.yml", "command: sh train.sh\ncode: src\ncompute: cpu-cluster\nexperiment_name: plugged\n")
	ours := p.run(p.program, "run", "job.yml")
	id := p.w.Jobs()[0]
	ours = append(ours, p.run(p.program, "download", id, "--to", filepath.Join(p.dir, "ours"))...)
	require.FileExists(t, filepath.Join(p.dir, "ours/outputs/metrics.json"))
	theirs := p.run(python, "testdata/azure/plugin.py", id, "plugged")
	shape := func(requests []azuremltest.Request) map[string]bool {
		out := map[string]bool{}
		for _, r := range requests {
			if strings.Contains(r.Path, "/artifacts") || strings.Contains(r.Path, "/mlflow/") {
				out[r.Method+" "+names.ReplaceAllString(r.Path, "/$1/NAME")] = true
			}
		}
		return out
	}
	asked, mine := shape(theirs), shape(ours)
	require.Greater(t, len(asked), 4)
	for request := range asked { // what it asks, we ask: of metrics, a list of files, and each of them
		require.Contains(t, mine, request)
	}
}

// asked counts what a command asks of the workspace: pages of runs, of experiments and of jobs,
// and everything else.
func (p *clientPair) asked(ok bool, args ...string) (pages map[string]int, out string) {
	p.w.Requests()
	cmd := exec.Command(p.program, args...)
	cmd.Dir, cmd.Env = filepath.Join(p.dir, "repo"), p.env
	text, err := cmd.CombinedOutput()
	require.Equal(p.t, ok, err == nil, "%v: %s", args, text)
	pages = map[string]int{}
	for _, r := range p.w.Requests() {
		kind := "else"
		for _, k := range []string{"runs/search", "experiments/search", "/jobs"} {
			if strings.HasSuffix(r.Path, k) || strings.Contains(r.Path, k+"/page_") {
				kind = k
			}
		}
		pages[kind]++
	}
	return pages, string(text)
}

// TestAzureLookupsAreBounded looks runs up in a workspace with 10,000 jobs and 100,000 runs that
// their scripts made, which are newer than the jobs, in 2,000 experiments. docs/azure.md has the
// numbers.
func TestAzureLookupsAreBounded(t *testing.T) {
	t.Parallel()
	testenv.Large(t, "it makes 110,000 runs")
	p := newClientPair(t)
	p.write("repo/src/train.sh", `mkdir outputs; echo '{"accuracy": 0.9}' > outputs/metrics.json`)
	p.write("repo/job.yml", "command: sh train.sh\ncode: src\ncompute: cpu-cluster\nexperiment_name: old\n")
	must := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		cmd.Dir = filepath.Join(p.dir, "repo")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	must("init", "-q", "-b", "main")
	must("add", "-A")
	must("commit", "-q", "-m", "first")
	p.run(p.program, "run", "job.yml")
	base := p.w.Jobs()[0]
	past, err := os.ReadFile("history/testdata/large.sql")
	require.NoError(t, err)
	beside := strings.NewReplacer("SELECT i, 'experiment '", "SELECT i + 1, 'experiment-'", "INSERT INTO tags",
		"INSERT OR IGNORE INTO tags", "INSERT INTO latest_metrics", "INSERT OR IGNORE INTO latest_metrics",
		"source_name != ''", "name = 'child'")
	require.NoError(t, p.w.Age(beside.Replace(string(past))))
	p.run(p.program, "run", "job.yml")
	type bounds struct{ runs, experiments, jobs, rest int }
	for _, c := range []struct {
		args string
		most bounds
		says string
	}{
		{"show", bounds{5, 3, 11, 20}, "compared with " + base},
		{"show " + base, bounds{3, 3, 11, 20}, "nothing to compare with"},
		{"runs", bounds{20, 3, 11, 8}, "job-09973 "}, // the 30th
		{"runs --commit 0123456", bounds{20, 3, 11, 8}, "No runs match"},
		{"runs --status Failed", bounds{20, 3, 11, 8}, "No runs match"},
		{"runs --experiment experiment-77", bounds{1, 0, 0, 8}, "job-08077 "},
		{"runs --children --limit 3", bounds{23, 3, 11, 8}, "  child "},
		{"compare " + base + " job-00077", bounds{0, 0, 0, 20}, "accuracy  0.9"},
		{"download job-00077", bounds{0, 0, 0, 12}, "0 files"},
		{"show job-0", bounds{0, 0, 0, 8}, "has no run job-0"}, // a beginning of an id
	} {
		asked, out := p.asked(c.says != "has no run job-0", strings.Fields(c.args)...)
		require.Contains(t, out, c.says, c.args)
		got := bounds{asked["runs/search"], asked["experiments/search"], asked["/jobs"], asked["else"]}
		t.Log(c.args, got)
		require.True(t, got.runs <= c.most.runs && got.experiments <= c.most.experiments && got.jobs <= c.most.jobs &&
			got.rest <= c.most.rest, "%s asks for %+v pages", c.args, got)
	}
}

// submitted is the request that makes the job: its version, headers and body, without what
// differs by nature.
func submitted(t *testing.T, requests []azuremltest.Request) map[string]any {
	for _, r := range requests {
		if r.Method != "PUT" || !strings.Contains(r.Path, "/jobs/") {
			continue
		}
		var body struct{ Properties map[string]any }
		require.NoError(t, json.Unmarshal(r.Body, &body))
		query, err := url.ParseQuery(r.Query)
		require.NoError(t, err)
		out := map[string]any{"content": strings.Split(r.Header.Get("Content-Type"), ";")[0],
			"accept": r.Header.Get("Accept"), "versioned": len(query) == 1 && query.Has("api-version"),
			"user's token": strings.Count(r.Header.Get("x-azureml-token"), ".") == 2,
			"bearer":       strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey")}
		for key, value := range body.Properties {
			// Ours are named by the snapshot, and have tags; theirs have the properties of their
			// working directory.
			if key != "codeId" && key != "tags" && key != "properties" {
				out[key] = value
			}
		}
		return bare(out).(map[string]any)
	}
	t.Fatal("no job was submitted")
	return nil
}

// bare takes out what is not set: null, "" and {}.
func bare(value any) any {
	m, ok := value.(map[string]any)
	if !ok {
		return value
	}
	for key, v := range m {
		if m[key] = bare(v); v == nil || v == "" {
			delete(m, key)
		} else if inner, ok := m[key].(map[string]any); ok && len(inner) == 0 {
			delete(m, key)
		}
	}
	return m
}

// Each row of the table of roles names a test that there is.
func TestAzureTable(t *testing.T) {
	text, err := os.ReadFile("docs/azure.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "| what | needs |")
	require.True(t, found)
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "submit/azureml/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			tests.Write(text)
		}
	}
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, " where") {
			continue
		}
		named := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[4], -1)
		require.NotEmpty(t, named, line)
		for _, name := range named {
			if strings.HasPrefix(name[1], "azure/") {
				require.FileExists(t, "testdata/script/"+name[1])
				continue
			}
			require.Contains(t, tests.String(), "func "+name[1]+"(t *testing.T)", line)
		}
		rows++
	}
	require.Greater(t, rows, 8)
}
