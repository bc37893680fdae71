package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/faulttest"
	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// unattended is a run in a workspace that its workflow did not wait for, with GitHub as the
// workflow left it. Both count what they are asked.
type unattended struct {
	t       *testing.T
	program string
	dir     string
	env     []string
	w       *azuremltest.Workspace
	gh      *githubtest.GitHub
	head    string
	run     string
	left    githubtest.GitHub

	asked faulttest.Requests
}

const baseCommit = "0123456789012345678901234567890123456789"

func newUnattended(t *testing.T, azurite, program string) *unattended {
	u := &unattended{t: t, program: program, dir: t.TempDir(), gh: &githubtest.GitHub{}}
	var err error
	u.w, err = azuremltest.New(azurite, t.TempDir(), []string{program, "supervise"})
	require.NoError(t, err)
	t.Cleanup(u.w.Close)
	server := httptest.NewServer(u.gh)
	t.Cleanup(server.Close)
	home := t.TempDir()
	certificate := filepath.Join(home, "azure.pem")
	require.NoError(t, os.WriteFile(certificate, testenv.Certificate(), 0o644))
	for name, text := range map[string]string{"repo/src/train.sh": "mkdir outputs; echo '{\"accuracy\": 0.9}' > " +
		"outputs/metrics.json\n", "repo/job.yml": "command: sh train.sh\ncode: src\ncompute: cpu-cluster\n" +
		"environment: azureml:ours:3\nexperiment_name: iris\n", "event.json": "{}", "elsewhere/.keep": ""} {
		file := filepath.Join(u.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	u.env = append(os.Environ(), "SSL_CERT_FILE="+certificate, "AZURE_CREDENTIALS="+u.w.Creds(), "HOME="+home,
		"AZUREML_ARM_SUBSCRIPTION="+azuremltest.Subscription, "AZUREML_ARM_RESOURCEGROUP="+azuremltest.Group,
		"AZUREML_ARM_WORKSPACE_NAME="+azuremltest.Name, "GIT_CONFIG_NOSYSTEM=1",
		"GITHUB_ACTIONS=true", "GITHUB_EVENT_PATH="+filepath.Join(u.dir, "event.json"), "GITHUB_REPOSITORY=org/x",
		"GITHUB_SERVER_URL=https://github.com", "GITHUB_API_URL="+server.URL, "GITHUB_TOKEN="+githubtest.Workflow,
		"GITHUB_WORKFLOW=train", "GITHUB_JOB=train", "GITHUB_RUN_ID=41", "GITHUB_EVENT_NAME=schedule")
	u.submit()
	return u
}

// submit is the workflow of the pull request.
func (u *unattended) submit() {
	repo := filepath.Join(u.dir, "repo")
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		cmd.Dir = repo
		out, err := cmd.CombinedOutput()
		require.NoError(u.t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "deeper")
	git("add", "-A")
	git("commit", "-q", "-m", "first")
	u.head = git("rev-parse", "HEAD")
	rules := map[string]string{".aml-train.yaml": "rules: [accuracy >= 0.8]\n"}
	u.gh.PullRequests = []githubtest.PullRequest{{Number: 7, Head: u.head, Repo: "org/x", Base: baseCommit}}
	u.gh.Files = map[string]map[string]string{baseCommit: rules, u.head: rules}
	event := fmt.Sprintf(`{"pull_request": {"number": 7, "head": {"sha": %q, "ref": "deeper", "repo": {"full_name": `+
		`"org/x"}}, "base": {"sha": %q, "ref": "main"}}}`, u.head, baseCommit)
	require.NoError(u.t, os.WriteFile(filepath.Join(u.dir, "pull.json"), []byte(event), 0o644))
	start := func(args ...string) string {
		cmd := exec.Command(u.program, args...)
		cmd.Dir, cmd.Env = repo, append(u.env, "GITHUB_EVENT_NAME=pull_request", "GITHUB_EVENT_PATH="+
			filepath.Join(u.dir, "pull.json"))
		var says strings.Builder
		cmd.Stderr = &says
		out, err := cmd.Output()
		require.NoError(u.t, err, "%s", &says)
		return strings.TrimSpace(string(out))
	}
	// Microsoft's fake cannot be cut off while it lists jobs, as is done to find a baseline.
	u.run = start("run", "job.yml", "--wait=false", "--baseline", "none")
	start("watch", u.run)
	u.left = githubtest.GitHub{Statuses: u.gh.Statuses, Comments: u.gh.Comments}
	require.Len(u.t, u.left.Statuses, 2)
	require.Len(u.t, u.left.Comments, 1)
	u.gh.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		return u.asked.Answer(w, func(w http.ResponseWriter) { u.gh.Obey(w, r) })
	}
	u.w.Fault = func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !strings.Contains(r.UserAgent(), "aml-train") && !strings.Contains(r.UserAgent(), "azsdk-go") {
			return false
		}
		return u.asked.Answer(w, func(w http.ResponseWriter) { next.ServeHTTP(w, r) })
	}
}

// again makes GitHub what the workflow left.
func (u *unattended) again() {
	u.gh.Statuses = append([]githubtest.Status{}, u.left.Statuses...)
	u.gh.Comments = append([]githubtest.Comment{}, u.left.Comments...)
}

// settle is the command, without a checkout.
func (u *unattended) settle() *exec.Cmd {
	cmd := exec.Command(u.program, "settle")
	cmd.Dir, cmd.Env = filepath.Join(u.dir, "elsewhere"), u.env
	return cmd
}

// settled looks whether all has been told, once.
func (u *unattended) settled(what string) {
	history := u.gh.History(u.head, "aml-train/iris")
	require.Len(u.t, history, 3, what)
	require.Equal(u.t, "success accuracy 0.9", history[2].State+" "+*history[2].Description, what)
	bodies := u.gh.Bodies(7, githubtest.Bot)
	require.Len(u.t, bodies, 1, what)
	require.Regexp(u.t, `^<!-- aml-train [0-9a-f]{16} 41.1 ended -->\n### ✅ iris · accuracy 0.9\n`, bodies[0], what)
}

// TestSettleFaults has every request of settle fail once, before and after it was obeyed, and
// settle killed at each and started again: each time one comment and one final status tell of
// the run.
func TestSettleFaults(t *testing.T) {
	t.Parallel()
	azurite, program := testenv.Azurite(t), testenv.Program(t, "aml-train")
	for name, way := range map[string]faulttest.Way{
		"killed": faulttest.Killed, "obeyed, killed": faulttest.ObeyedKilled,
		"obeyed, cut": faulttest.ObeyedCut, "unwell": faulttest.Unwell} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUnattended(t, azurite, program)
			u.asked.Each(t, name, way, 15, func(int) func() *exec.Cmd {
				u.again()
				return u.settle
			}, func(_ int, what string) { u.settled(what) })
		})
	}
}

// TestSettleTogether starts two settles at once: what they tell is the same, and is told once
// or twice.
func TestSettleTogether(t *testing.T) {
	t.Parallel()
	u := newUnattended(t, testenv.Azurite(t), testenv.Program(t, "aml-train"))
	for range testenv.Cases(10) {
		u.again()
		cmds := []*exec.Cmd{u.settle(), u.settle()}
		for _, cmd := range cmds {
			require.NoError(t, cmd.Start())
		}
		for _, cmd := range cmds {
			require.NoError(t, cmd.Wait())
		}
		history := u.gh.History(u.head, "aml-train/iris")[2:]
		require.NotEmpty(t, history)
		for _, s := range history {
			require.Equal(t, "success accuracy 0.9", s.State+" "+*s.Description)
		}
		require.Len(t, u.gh.Bodies(7, githubtest.Bot), 1)
	}
}

// TestSettleGone settles a run that the workspace does not have any more: its status and its
// comment, of which nothing but its link is known, say so.
func TestSettleGone(t *testing.T) {
	t.Parallel()
	u := newUnattended(t, testenv.Azurite(t), testenv.Program(t, "aml-train"))
	u.again()
	u.w.Fault = func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !strings.Contains(r.URL.Path, "/"+u.run) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error": {"code": "ResourceNotFound", "message": "not found"}}`)
		return true
	}
	for range 2 { // the second has nothing left to do
		out, err := u.settle().CombinedOutput()
		require.NoError(t, err, string(out))
		history := u.gh.History(u.head, "aml-train/iris")
		require.Len(t, history, 3, string(out))
		why := "the workspace garden does not have run " + u.run + " any more"
		require.Equal(t, "error "+why, history[2].State+" "+*history[2].Description)
		require.Equal(t, "https://github.com/org/x/actions/runs/41", *history[2].TargetURL)
		bodies := u.gh.Bodies(7, githubtest.Bot)
		require.Len(t, bodies, 1)
		body := strings.ReplaceAll(bodies[0], "<!-- -->", "") // so that GitHub links nothing in it
		require.Regexp(t, `^<!-- aml-train [0-9a-f]{16} 41.1 ended -->\n### ❌ iris · no result\n\n`+
			`\*\*Not known\*\* · commit `+u.head[:7]+`\n\n`+why+`\n$`, body)
	}
}

// TestSettleOfMany settles 50 runs that go on: docs/settle.md has the number of requests.
// None of them writes.
func TestSettleOfMany(t *testing.T) {
	t.Parallel()
	u := newUnattended(t, testenv.Azurite(t), testenv.Program(t, "aml-train"))
	u.gh.PullRequests, u.gh.Statuses = nil, nil
	link := *u.left.Statuses[1].TargetURL
	require.Contains(t, link, "/"+u.run+"?")
	const many = 50
	for n := range many {
		commit := fmt.Sprintf("%040d", n)
		u.gh.PullRequests = append(u.gh.PullRequests, githubtest.PullRequest{Number: n + 1, Head: commit})
		u.gh.SetStatus(commit, "aml-train/iris", "pending", "trains",
			strings.Replace(link, u.run, fmt.Sprint("job-", n), 1), time.Hour)
	}
	state := regexp.MustCompile(`/runs/job-\d+/details$`)
	states, wrote := 0, 0
	u.w.Fault = func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		u.asked.Answer(w, nil)
		if !state.MatchString(r.URL.Path) {
			return false
		}
		states++
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"status": "Running"})
		return true
	}
	u.gh.Answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet && r.URL.Path != "/graphql" {
			wrote++
		}
		return u.asked.Answer(w, nil)
	}
	u.asked.Asked()
	out, err := u.settle().CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, many, strings.Count(string(out), ": Running\n"), string(out))
	require.Equal(t, many, states)
	require.Zero(t, wrote)
	require.Len(t, u.gh.Statuses, many)
	text, err := os.ReadFile("docs/settle.md")
	require.NoError(t, err)
	asked := u.asked.Asked()
	t.Logf("%d requests", asked)
	require.LessOrEqual(t, asked, 60)
	require.Contains(t, string(text), fmt.Sprintf("50 runs that go on cost %d requests in all", asked))
}
