package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/faulttest"
	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/mlflowtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// merged is a repository whose pull request has been trained and merged, with the GitHub, and the
// registry, that the workflow of the merge asks. All that it asks is counted.
type merged struct {
	t       *testing.T
	program string
	repo    string
	env     []string
	gh      *githubtest.GitHub

	asked faulttest.Requests
}

func (m *merged) git(args ...string) string {
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
	cmd.Dir = m.repo
	out, err := cmd.CombinedOutput()
	require.NoError(m.t, err, string(out))
	return strings.TrimSpace(string(out))
}

// newMerged has env say where the registry is, once the workflow of the pull request is through.
func newMerged(t *testing.T, program, job string, env ...string) *merged {
	m := &merged{t: t, program: program, repo: t.TempDir(), gh: &githubtest.GitHub{}}
	api := httptest.NewServer(m.gh)
	t.Cleanup(api.Close)
	for name, text := range map[string]string{".aml-train.yaml": "reuse: true\n", "job.yml": job,
		"src/train.py": "import os\nos.makedirs('outputs/model')\n" +
			"open('outputs/model/MLmodel', 'w').write('flavors: {}')\n" +
			"open('outputs/model/weights', 'w').write('w' * 300000)\n"} {
		file := filepath.Join(m.repo, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	m.git("init", "-q", "-b", "main")
	m.git("commit", "-q", "--allow-empty", "-m", "first")
	base := m.git("rev-parse", "HEAD")
	m.git("checkout", "-q", "-b", "deeper")
	m.git("add", "-A")
	m.git("commit", "-q", "-m", "deeper")
	head := m.git("rev-parse", "HEAD")
	m.git("checkout", "-q", "main")
	m.git("merge", "-q", "--no-ff", "-m", "deeper (#7)", "deeper")
	merge := m.git("rev-parse", "HEAD")
	m.gh.PullRequests = []githubtest.PullRequest{{Number: 7, Head: head, Repo: "org/x", Base: base}}
	m.gh.Branch("main", []string{merge, head, base})
	m.env = append(append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GITHUB_ACTIONS=true",
		"GITHUB_REPOSITORY=org/x", "GITHUB_SERVER_URL=https://github.com", "GITHUB_API_URL="+api.URL,
		"GITHUB_TOKEN="+githubtest.Workflow, "GITHUB_WORKFLOW=train", "GITHUB_JOB=train",
		"ACTIONS_RESULTS_URL="+api.URL+"/", "ACTIONS_RUNTIME_TOKEN="+githubtest.RuntimeToken), env...)
	event := func(name, commit, ref string, id int64, payload string) {
		file := filepath.Join(t.TempDir(), "event.json")
		require.NoError(t, os.WriteFile(file, []byte(payload), 0o644))
		m.env = append(m.env, "GITHUB_EVENT_NAME="+name, "GITHUB_EVENT_PATH="+file, "GITHUB_SHA="+commit,
			"GITHUB_REF="+ref, fmt.Sprint("GITHUB_RUN_ID=", id))
		branch := strings.TrimPrefix(ref, "refs/heads/")
		m.gh.Runner = githubtest.Runner{ID: id, Commit: commit, Branch: branch}
	}
	m.git("checkout", "-q", "deeper")
	event("pull_request", head, "refs/heads/deeper", 41, fmt.Sprintf(`{"pull_request": {"number": 7, "head": {"sha": %q, `+
		`"ref": "deeper", "repo": {"full_name": "org/x"}}, "base": {"sha": %q, "ref": "main"}}}`, head, base))
	out, err := m.start("").CombinedOutput()
	require.NoError(t, err, string(out))
	m.git("checkout", "-q", "main")
	event("push", merge, "refs/heads/main", 42, `{"repository": {"default_branch": "main"}}`)
	m.gh.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		return m.asked.Answer(w, func(w http.ResponseWriter) { m.gh.Obey(w, r) })
	}
	return m
}

// start is the workflow's step, on a runner that knows nothing.
func (m *merged) start(model string) *exec.Cmd {
	require.NoError(m.t, os.RemoveAll(filepath.Join(m.repo, ".aml-train")))
	cmd := exec.Command(m.program, "run", "job.yml")
	if model != "" {
		cmd.Args = append(cmd.Args, "--promote", model+"@champion")
	}
	cmd.Dir, cmd.Env = m.repo, m.env
	return cmd
}

// ways are those in which a request fails.
var ways = map[string]faulttest.Way{"killed": faulttest.Killed, "obeyed, killed": faulttest.ObeyedKilled,
	"obeyed, cut": faulttest.ObeyedCut, "refused": faulttest.Refused}

// faults has every request of a merge's workflow fail once in a way, and the workflow run again
// until it succeeds: then look finds exactly one version of the model, and nothing was trained.
func (m *merged) faults(way string, least int, look func(model, what string)) {
	model := func(n int) string { return fmt.Sprintf("iris-%d", n) }
	m.asked.Each(m.t, way, ways[way], least, func(n int) func() *exec.Cmd {
		return func() *exec.Cmd { return m.start(model(n)) }
	}, func(n int, what string) {
		require.NotContains(m.t, what, "Snapshot ") // nothing was trained
		look(model(n), what)
	})
}

// trackingDouble is an MLflow server that takes every tag, as MLflow's own does.
func trackingDouble(t *testing.T, m **merged) (*history.Client, string) {
	store, err := history.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	any := mlflowtest.AnyTags(history.NewServer(store, history.Access{}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counts := strings.Contains(r.UserAgent(), "aml-train") && *m != nil
		if !counts || !(*m).asked.Answer(w, func(w http.ResponseWriter) { any.ServeHTTP(w, r) }) {
			any.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return &history.Client{Base: server.URL, HTTP: http.DefaultClient}, server.URL
}

// TestPromoteFaults has every request of the workflow of a merge fail, those to GitHub and those
// to an MLflow server, before and after it was obeyed, and the program killed at each: run again,
// there is one version of the model, with the alias and the model's files, and nothing was trained.
func TestPromoteFaults(t *testing.T) {
	t.Parallel()
	testenv.Large(t, "it starts the program hundreds of times")
	program := testenv.Program(t, "aml-train")
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var m *merged
			client, address := trackingDouble(t, &m)
			made := newMerged(t, program, "command: python train.py\ncode: src\nexperiment_name: iris\n",
				"MLFLOW_TRACKING_URI="+address, "MLFLOW_TRACKING_TOKEN=a-token-of-ours")
			m = made
			m.faults(way, 15, func(model, what string) {
				all, err := client.ModelVersions(t.Context(), model)
				require.NoError(t, err)
				require.Len(t, all, 1, what)
				require.Equal(t, []string{"champion"}, all[0].Aliases, what)
				run, err := client.Run(t.Context(), all[0].RunID)
				require.NoError(t, err)
				files, err := client.Artifacts(t.Context(), run)
				require.NoError(t, err)
				sizes := map[string]int64{}
				for _, f := range files {
					sizes[f.Path] = int64(f.Size)
				}
				require.EqualValues(t, 300000, sizes["outputs/model/weights"], what)
				require.EqualValues(t, 11, sizes["outputs/model/MLmodel"], what)
				require.True(t, strings.HasSuffix(all[0].Source, "/outputs/model"), all[0].Source)
			})
		})
	}
}

// TestPromoteFaultsInWorkspace is the same of a run in a workspace, whose registry is asked.
func TestPromoteFaultsInWorkspace(t *testing.T) {
	t.Parallel()
	testenv.Large(t, "it starts the program hundreds of times")
	azurite, program := testenv.Azurite(t), testenv.Program(t, "aml-train")
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w, err := azuremltest.New(azurite, t.TempDir(), []string{program, "supervise"})
			require.NoError(t, err)
			t.Cleanup(w.Close)
			certificate := filepath.Join(t.TempDir(), "azure.pem")
			require.NoError(t, os.WriteFile(certificate, testenv.Certificate(), 0o644))
			m := newMerged(t, program, "command: python3 train.py\ncode: src\ncompute: cpu-cluster\n"+
				"environment: azureml:ours:3\nexperiment_name: iris\n", "SSL_CERT_FILE="+certificate,
				"AZURE_CREDENTIALS="+w.Creds(), "AZUREML_ARM_SUBSCRIPTION="+azuremltest.Subscription,
				"AZUREML_ARM_RESOURCEGROUP="+azuremltest.Group, "AZUREML_ARM_WORKSPACE_NAME="+azuremltest.Name)
			jobs := len(w.Jobs())
			w.Fault = func(rw http.ResponseWriter, r *http.Request, next http.Handler) bool {
				// Microsoft's fake cannot be cut off in the middle of a list.
				if strings.Contains(r.URL.Path, "/fake_page_") || strings.HasSuffix(r.URL.Path, "/jobs") ||
					!strings.Contains(r.UserAgent(), "aml-train") && !strings.Contains(r.UserAgent(), "azsdk-go") {
					return false
				}
				return m.asked.Answer(rw, func(rw http.ResponseWriter) { next.ServeHTTP(rw, r) })
			}
			told := false
			m.faults(way, 15, func(model, what string) {
				told = told || strings.Contains(what, "who is signed in may not register models in the workspace "+
					"garden; give it the role AzureML Data Scientist there")
				all := w.Models(model)
				require.Len(t, all, 1, what)
				require.Regexp(t, `^1 azureml://jobs/iris-[^ ]*/outputs/artifacts/paths/outputs/model job=iris-[^ ]* `+
					`mlflow_model alias.champion=true `, all[0], what)
				require.Len(t, w.Jobs(), jobs, what)
			})
			require.Equal(t, way == "refused", told)
		})
	}
}

// TestPromoteTogether has two workflows of one merge, one started again while the other goes on,
// promote at once: one version.
func TestPromoteTogether(t *testing.T) {
	t.Parallel()
	var m *merged
	client, address := trackingDouble(t, &m)
	m = newMerged(t, testenv.Program(t, "aml-train"), "command: python train.py\ncode: src\nexperiment_name: iris\n",
		"MLFLOW_TRACKING_URI="+address, "MLFLOW_TRACKING_TOKEN=a-token-of-ours")
	for n := range testenv.Cases(5) {
		model := fmt.Sprintf("together-%d", n)
		var cmds []*exec.Cmd
		var says [2]bytes.Buffer
		for i := range says {
			cmd := m.start(model)
			cmd.Env = append(cmd.Env, "AML_TRAIN_HOME="+t.TempDir())
			cmd.Stderr = &says[i]
			cmds = append(cmds, cmd)
			require.NoError(t, cmd.Start())
		}
		for i, cmd := range cmds {
			require.NoError(t, cmd.Wait(), says[i].String())
		}
		all, err := client.ModelVersions(t.Context(), model)
		require.NoError(t, err)
		text, err := json.Marshal(all)
		require.NoError(t, err)
		require.Len(t, all, 1, string(text))
		require.Equal(t, []string{"champion"}, all[0].Aliases)
	}
}

// TestMicrosoftsModel has Microsoft's own client read a version that a run of ours has become, and
// register the same run: what either sends of a model is the same but for the tags.
func TestMicrosoftsModel(t *testing.T) {
	t.Parallel()
	python := testenv.Python(t)
	p := newClientPair(t)
	p.write("repo/src/train.sh", "mkdir -p outputs/model; echo 'flavors: {}' > outputs/model/MLmodel\n")
	p.write("repo/job.yml", "command: sh train.sh\ncode: src\ncompute: cpu-cluster\nenvironment: azureml:ours:3\n"+
		"experiment_name: both\n")
	p.run(p.program, "run", "job.yml")
	id := p.w.Jobs()[0]
	ours := p.run(p.program, "promote", id, "--model", "ours", "--alias", "best")
	theirs := p.run(python, "testdata/azure/model.py", id, "ours")
	body := func(requests []azuremltest.Request) any {
		for _, r := range requests {
			if r.Method == http.MethodPut && strings.Contains(r.Path, "/models/") {
				var body map[string]map[string]any
				require.NoError(t, json.Unmarshal(r.Body, &body))
				delete(body["properties"], "tags")
				delete(body["properties"], "jobName")     // which theirs leaves to the service
				delete(body["properties"], "isAnonymous") // both of which are the defaults
				delete(body["properties"], "isArchived")
				return bare(map[string]any(body["properties"]))
			}
		}
		t.Fatal("no model was registered")
		return nil
	}
	require.Equal(t, body(theirs), body(ours))

	// What it has registered besides is the next version's base.
	p.write("repo/src/train.sh", "mkdir -p outputs/model; echo 'flavors: {a: {}}' > outputs/model/MLmodel\n")
	p.run(p.program, "run", "job.yml")
	p.run(p.program, "promote", p.newest(id), "--model", "ours", "--alias", "best")
	all := p.w.Models("ours")
	require.Len(t, all, 3)
	require.Contains(t, all[2], "alias.best=true")
	require.NotContains(t, all[0], "alias.best=true")
}

// newest is the job that there is besides another one.
func (p *clientPair) newest(other string) string {
	for _, name := range p.w.Jobs() {
		if name != other {
			return name
		}
	}
	return ""
}
