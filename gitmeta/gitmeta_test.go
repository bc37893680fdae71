package gitmeta

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/github"
)

// sh runs a shell script that sets a repository up, away from the configuration
// of the machine.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_ALLOW_PROTOCOL=file")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

func none(string) string { return "" }

const commit = "git init -q -b main . && echo 1 > f && git add . && git commit -q -m 1; "

func TestRead(t *testing.T) {
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	tests := map[string]struct {
		setup      string
		dir        string
		branch     string
		repository string
		noCommit   bool
	}{
		"branch":           {setup: commit, branch: "main"},
		"folder below":     {setup: commit + "mkdir -p a/b", dir: "a/b", branch: "main"},
		"branch in folder": {setup: commit + "git checkout -q -b feature/deeper-tree", branch: "feature/deeper-tree"},
		"detached":         {setup: commit + "git checkout -q --detach"},
		"no commit yet":    {setup: "git init -q -b main .", branch: "main", noCommit: true},
		"packed refs":      {setup: commit + "git pack-refs --all", branch: "main"},
		"shallow clone":    {setup: "mkdir origin && cd origin && " + commit + "echo 2 > f && git commit -q -am 2 && cd .. && git clone -q --depth 1 file://$PWD/origin clone", dir: "clone", branch: "main", repository: "file://DIR/origin"},
		"partial clone":    {setup: "mkdir origin && cd origin && " + commit + "git config uploadpack.allowFilter true && cd .. && git clone -q --filter=blob:none file://$PWD/origin clone", dir: "clone", branch: "main", repository: "file://DIR/origin"},
		"sparse checkout":  {setup: commit + "git sparse-checkout init --cone", branch: "main"},
		"linked worktree":  {setup: "mkdir main && cd main && " + commit + "git remote add origin https://example.com/x.git && git worktree add -q -b other ../linked", dir: "linked", branch: "other", repository: "https://example.com/x.git"},
		"submodule":        {setup: "mkdir sub && cd sub && " + commit + "cd .. && mkdir top && cd top && " + commit + "git -c protocol.file.allow=always submodule --quiet add ../sub inner", dir: "top/inner", branch: "main", repository: "DIR/sub"},
		"one remote":       {setup: commit + "git remote add upstream git@github.com:org/x.git", branch: "main", repository: "git@github.com:org/x.git"},
		"several remotes":  {setup: commit + "git remote add fork https://example.com/fork && git remote add origin https://example.com/origin", branch: "main", repository: "https://example.com/origin"},
		"branch's remote":  {setup: commit + "git remote add fork https://example.com/fork && git remote add origin https://example.com/origin && git config branch.main.remote fork", branch: "main", repository: "https://example.com/fork"},
		"none is origin":   {setup: commit + "git remote add a https://example.com/a && git remote add b https://example.com/b", branch: "main"},
		"credentials":      {setup: commit + "git remote add origin https://user:secret@example.com/x.git", branch: "main", repository: "https://example.com/x.git"},
		"insteadOf":        {setup: commit + "git remote add origin gh:org/x && git config url.https://github.com/.insteadOf gh:", branch: "main", repository: "https://github.com/org/x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			sh(t, root, test.setup)
			dir := filepath.Join(root, test.dir)
			info, err := Read(dir, none)
			require.NoError(t, err)
			require.Equal(t, test.branch, info.Branch)
			require.Equal(t, strings.ReplaceAll(test.repository, "DIR", root), info.Repository)
			want := ""
			if !test.noCommit {
				want = sh(t, dir, "git rev-parse HEAD")
			}
			require.Equal(t, want, info.Commit)
		})
	}
}

func TestReadOutsideARepository(t *testing.T) {
	info, err := Read(t.TempDir(), none)
	require.NoError(t, err)
	require.Empty(t, info.Properties())
}

func TestDirtyIsSetOnce(t *testing.T) {
	info := Info{Root: "/x"}
	info.SetDirty(true)
	info.SetDirty(false)
	require.Equal(t, "True", info.Properties()[PropDirty])
}

func TestWorkflow(t *testing.T) {
	root := t.TempDir()
	sh(t, root, commit)
	head := sh(t, root, "git rev-parse HEAD")
	pushed := strings.Repeat("1", 40)
	env := func(pairs ...string) func(string) string {
		m := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_SHA": head, "GITHUB_RUN_ID": "42", "GITHUB_SERVER_URL": "https://github.com",
			"GITHUB_REPOSITORY": "org/x", "GITHUB_ACTOR": "ada", "GITHUB_REF": "refs/heads/main"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return func(name string) string { return m[name] }
	}
	sh(t, root, "git checkout -q --detach")
	elsewhere := strings.Repeat("2", 40)
	from := func(repository string) string {
		return `{"number": 7, "pull_request": {"number": 7, "head": {"sha": "` + pushed + `", "ref": "deeper", "repo": ` + repository + `}}}`
	}
	ours, fork, gone := `{"full_name": "org/x"}`, `{"full_name": "eve/x"}`, `null`
	for _, c := range []struct {
		name, event, payload, sha, ref string
		commit, branch, pull           string
		privileged, foreign            bool
	}{
		{"push", "push", `{}`, head, "refs/heads/main", head, "main", "", true, false},
		{"tag", "push", `{}`, head, "refs/tags/v1", head, "", "", true, false},
		{"by hand", "workflow_dispatch", `{"inputs": {}}`, head, "refs/heads/try", head, "try", "", true, false},
		{"every night", "schedule", `{"schedule": "0 3 * * *"}`, head, "refs/heads/main", head, "main", "", true, false},
		// The merge commit is checked out, which nobody wrote.
		{"pull request", "pull_request", from(ours), head, "refs/pull/7/merge", pushed, "deeper", "7", false, false},
		{"of a fork", "pull_request", from(fork), head, "refs/pull/7/merge", pushed, "deeper", "7", false, true},
		{"another repository is checked out", "pull_request", from(ours), elsewhere, "refs/pull/7/merge", head, "", "7", false, false},
		// The base is checked out, unless the workflow asks for something else.
		{"target", "pull_request_target", from(ours), head, "refs/heads/main", head, "main", "7", true, false},
		{"target of a fork", "pull_request_target", from(fork), head, "refs/heads/main", head, "main", "7", true, true},
		{"target of a deleted fork", "pull_request_target", from(gone), head, "refs/heads/main", head, "main", "7", true, true},
		{"comment", "issue_comment", `{"issue": {"number": 8, "pull_request": {"url": "x"}}, "comment": {"body": "/train"}}`, head, "refs/heads/main", head, "main", "8", true, true},
		{"comment of an issue", "issue_comment", `{"issue": {"number": 8}}`, head, "refs/heads/main", head, "main", "", true, false},
		{"after a workflow", "workflow_run", `{"workflow_run": {"head_sha": "` + head + `", "head_branch": "deeper", "head_repository": ` + ours + `, "pull_requests": [{"number": 9}]}}`, elsewhere, "refs/heads/main", head, "deeper", "9", true, false},
		{"after a fork's workflow", "workflow_run", `{"workflow_run": {"head_sha": "` + pushed + `", "head_branch": "main", "head_repository": ` + fork + `, "pull_requests": []}}`, head, "refs/heads/main", head, "main", "", true, true},
		{"merge queue", "merge_group", `{"merge_group": {"head_sha": "` + head + `", "head_ref": "refs/heads/gh-readonly-queue/main/pr-104-` + pushed + `"}}`, head, "refs/heads/gh-readonly-queue/main/pr-104-" + pushed, head, "gh-readonly-queue/main/pr-104-" + pushed, "104", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "event.json")
			require.NoError(t, os.WriteFile(file, []byte(c.payload), 0o644))
			env := env("GITHUB_EVENT_NAME", c.event, "GITHUB_EVENT_PATH", file, "GITHUB_SHA", c.sha, "GITHUB_REF", c.ref, "GITHUB_RUN_ATTEMPT", "2", "GITHUB_TRIGGERING_ACTOR", "bob")
			info, err := Read(root, env)
			require.NoError(t, err)
			require.Equal(t, c.commit, info.Commit)
			require.Equal(t, c.branch, info.Branch)
			require.Equal(t, c.pull, info.PullRequest)
			require.Equal(t, "bob", info.Actor)
			require.Equal(t, "https://github.com/org/x/actions/runs/42/attempts/2", info.BuildURL)
			if c.sha != elsewhere {
				require.Equal(t, "https://github.com/org/x", info.Repository)
			}
			w, err := github.ReadWorkflow(env)
			require.NoError(t, err)
			require.Equal(t, c.privileged, w.Privileged())
			require.Equal(t, c.foreign, w.Foreign())
		})
	}
	t.Run("event is no JSON", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "event.json")
		require.NoError(t, os.WriteFile(bad, []byte("{"), 0o644))
		_, err := Read(root, env("GITHUB_EVENT_PATH", bad))
		require.ErrorContains(t, err, "is not a webhook payload")
	})
}

func TestStripCredentials(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                       "",
		"https://github.com/org/x.git":           "https://github.com/org/x.git",
		"https://ghp_token@github.com/org/x.git": "https://github.com/org/x.git",
		"https://user:p%40ss@github.com/org/x.git":          "https://github.com/org/x.git",
		"HTTPS://user:pass@github.com/org/x.git":            "https://github.com/org/x.git",
		"https://github.com/org/x.git?access_token=secret":  "https://github.com/org/x.git",
		"https://user:pa%zzss@github.com/org/x.git":         "https://github.com/org/x.git",
		"https://user:pa@ss@github.com/org/x.git?token=abc": "https://github.com/org/x.git",
		"ssh://git@github.com:22/org/x.git":                 "ssh://git@github.com:22/org/x.git",
		"ssh://git:secret@github.com/org/x.git":             "ssh://git@github.com/org/x.git",
		"git@github.com:org/x.git":                          "git@github.com:org/x.git",
		"/srv/git/x.git":                                    "/srv/git/x.git",
		"../x":                                              "../x",
		`C:\git\x`:                                          `C:\git\x`,
		"ftp://user:secret@example.com/x":                   "ftp://user@example.com/x",
		"https://user:sec\nret@example.com/x":               "https://example.com/x",
	} {
		got := StripCredentials(raw)
		require.Equal(t, want, got, raw)
		require.NotContains(t, got, "secret")
	}
}

func TestHome(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	sh(t, root, commit+"mkdir -p a/b")
	home, err := Home(nil, filepath.Join(root, "a/b"), none)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, ".aml-train"), home)
	outside := t.TempDir()
	home, err = Home(nil, outside, none)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(outside, ".aml-train"), home)
	home, err = Home(nil, root, func(string) string { return "/elsewhere" })
	require.NoError(t, err)
	require.Equal(t, "/elsewhere", home)
}
