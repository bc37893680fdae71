package gitmeta

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
)

// sh runs a shell script that sets a repository up, away from the configuration
// of the machine.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a",
		"GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_ALLOW_PROTOCOL=file")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

func none(string) string { return "" }

// read returns what is known of the repository around a folder.
func read(t *testing.T, dir string, getenv func(string) string) (Info, error) {
	repo, err := git.Find(dir)
	require.NoError(t, err)
	return Of(repo, nil, getenv)
}

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
		"shallow clone": {setup: "mkdir origin && cd origin && " + commit + "echo 2 > f && git commit -q -am 2 && " +
			"cd .. && git clone -q --depth 1 file://$PWD/origin clone", dir: "clone", branch: "main",
			repository: "file://DIR/origin"},
		"partial clone": {setup: "mkdir origin && cd origin && " + commit + "git config uploadpack.allowFilter " +
			"true && cd .. && git clone -q --filter=blob:none file://$PWD/origin clone", dir: "clone", branch: "main",
			repository: "file://DIR/origin"},
		"sparse checkout": {setup: commit + "git sparse-checkout init --cone", branch: "main"},
		"linked worktree": {setup: "mkdir main && cd main && " + commit +
			"git remote add origin https://example.com/x.git && git worktree add -q -b other ../linked", dir: "linked",
			branch: "other", repository: "https://example.com/x.git"},
		"submodule": {setup: "mkdir sub && cd sub && " + commit + "cd .. && mkdir top && cd top && " + commit +
			"git -c protocol.file.allow=always submodule --quiet add ../sub inner", dir: "top/inner", branch: "main",
			repository: "DIR/sub"},
		"one remote": {setup: commit + "git remote add upstream git@github.com:org/x.git", branch: "main",
			repository: "git@github.com:org/x.git"},
		"several remotes": {setup: commit + "git remote add fork https://example.com/fork && git remote add origin " +
			"https://example.com/origin", branch: "main", repository: "https://example.com/origin"},
		"branch's remote": {setup: commit + "git remote add fork https://example.com/fork && git remote add origin " +
			"https://example.com/origin && git config branch.main.remote fork", branch: "main",
			repository: "https://example.com/fork"},
		"none is origin": {setup: commit + "git remote add a https://example.com/a && git remote add b " +
			"https://example.com/b", branch: "main"},
		"credentials": {setup: commit + "git remote add origin https://user:secret@example.com/x.git",
			branch: "main", repository: "https://example.com/x.git"},
		"insteadOf": {setup: commit + "git remote add origin gh:org/x && git config " +
			"url.https://github.com/.insteadOf gh:", branch: "main", repository: "https://github.com/org/x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			sh(t, root, test.setup)
			dir := filepath.Join(root, test.dir)
			info, err := read(t, dir, none)
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
	info, err := read(t, t.TempDir(), none)
	require.NoError(t, err)
	require.Empty(t, info.Properties())
}

func TestDirtyIsSetOnce(t *testing.T) {
	info := Info{Root: "/x"}
	info.SetDirty(true)
	info.SetDirty(false)
	require.Equal(t, "True", info.Properties()[PropDirty])
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
