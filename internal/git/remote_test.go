package git_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestRemoteURLAgainstGit compares the address of random remotes, rewritten by random
// rules of the person and of the repository, with git ls-remote --get-url.
func TestRemoteURLAgainstGit(t *testing.T) {
	isolateConfig(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	require.NoError(t, os.Mkdir(home, 0o755))
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	require.NoError(t, exec.Command("git", "init", "-q", "-b", "main", repo).Run())
	found := 0
	for i := range testenv.Cases(2000) {
		seed := testenv.Seed() + i
		r := rand.New(rand.NewPCG(uint64(seed), 15))
		urls := []string{"https://github.com/org/x.git", "git@github.com:org/x.git", "gh:org/x", "/srv/x", "../x",
			"ssh://h/x", "file:///srv/x", "gh:", "x"}
		var local, global strings.Builder
		for range r.IntN(3) {
			fmt.Fprintf(&local, "[remote \"%s\"]\n\t%s\n", pick(r, "origin", "fork", "up/stream", "a.b"),
				pick(r, "url = "+pick(r, urls...), "url = "+pick(r, urls...), "url = "+pick(r, urls...)+
					"\n\turl = /other", "fetch = +refs/heads/*:refs/remotes/y/*", "pushurl = /p"))
		}
		for range r.IntN(4) {
			fmt.Fprintf(pick(r, &local, &global), "[url \"%s\"]\n\t%s = %s\n",
				pick(r, "https://github.com/", "git@github.com:", "/mirror/", ""),
				pick(r, "insteadOf", "insteadof", "pushInsteadOf"), pick(r, "gh:", "https://github.com/", "https://",
					"git@github.com:", "g", "/srv", "."))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(pick(r, &local, &global), "[branch \"%s\"]\n\tremote = %s\n\tmerge = %s\n",
				pick(r, "main", "main", "other"), pick(r, "origin", "fork", ".", "https://github.com/y", "gh:y",
					"../y", "none"), pick(r, "refs/heads/main", "nonsense"))
		}
		require.NoError(t, os.WriteFile(filepath.Join(repo, ".git", "config"),
			[]byte("[core]\n\trepositoryformatversion = 0\n"+local.String()), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(global.String()), 0o644))
		for _, name := range []string{"remotes", "branches"} {
			file := filepath.Join(repo, ".git", name, pick(r, "origin", "fork"))
			require.NoError(t, os.RemoveAll(filepath.Dir(file)))
			if r.IntN(6) == 0 {
				require.NoError(t, os.Mkdir(filepath.Dir(file), 0o755))
				text := map[string]string{"remotes": "URL: gh:old/" + name + "\nPull: refs/heads/main\n",
					"branches": "gh:old#main\n"}[name]
				require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
			}
		}
		cmd := exec.Command("git", "ls-remote", "--get-url")
		cmd.Dir = repo
		out, err := cmd.Output()
		if strings.Contains(stderr(err), "No remote configured") {
			err = nil
		}
		require.NoError(t, err, "seed %d: %s\n%s\n%s", seed, stderr(err), local.String(), global.String())
		want := strings.TrimSuffix(string(out), "\n")
		at, err := git.Find(repo)
		require.NoError(t, err, "seed %d", seed)
		got := at.RemoteURL("main")
		if want != "" {
			found++
		}
		require.Equal(t, want, got, "seed %d\n%s\n%s", seed, local.String(), global.String())
	}
	require.Positive(t, found)
}

func stderr(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}
