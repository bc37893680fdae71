package git_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/testing/testenv"
)

// TestRevisionAgainstGit compares random revisions of random histories with git
// rev-parse: the same commit, or none. What git answers and we do not is counted, and
// says why.
func TestRevisionAgainstGit(t *testing.T) {
	isolateConfig(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	same, refusals := 0, 0
	cases := testenv.Cases(3000)
	for seed := testenv.Seed(); cases > 0; seed++ {
		h := newRevisionHistory(t, seed)
		repo, err := git.Find(h.dir)
		require.NoError(t, err)
		revs := make([]string, min(cases, 150))
		for i := range revs {
			revs[i] = h.revision()
		}
		cases -= len(revs)
		for i, want := range h.ask(revs) {
			got := ""
			id, err := repo.Revision(revs[i] + "^{commit}") // which is what is asked for
			if err == nil {
				got = id.String()
			}
			switch {
			case got == want && want != "":
				same++
			case got == "" && want != "":
				refusals++
				require.ErrorContains(t, err, "git rev-parse", "seed %d: %s is %s", seed, revs[i], want)
			default:
				require.Equal(t, want, got, "seed %d: %s: %v", seed, revs[i], err)
			}
		}
	}
	t.Logf("%d the same, %d refused with the reason", same, refusals)
	require.Greater(t, same, refusals)
}

type revisionHistory struct {
	t   *testing.T
	r   *rand.Rand
	dir string
	ids []string
}

func newRevisionHistory(t *testing.T, seed int) *revisionHistory {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	h := &revisionHistory{t: t, r: rand.New(rand.NewPCG(uint64(seed), 16)), dir: filepath.Join(dir, "r")}
	dir = h.dir
	require.NoError(t, os.Mkdir(dir, 0o755))
	h.git("init", "-q", "-b", "main")
	if h.r.IntN(3) == 0 { // whose objects lie in two folders
		require.NoError(t, exec.Command("git", "init", "-q", "--bare", dir+"-objects").Run())
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "objects", "info", "alternates"),
			[]byte("../../../r-objects/objects\n"), 0o644))
		defer func() {
			moved, err := filepath.Glob(filepath.Join(dir, ".git", "objects", "[0-8]*"))
			require.NoError(t, err)
			for _, from := range moved {
				require.NoError(t, os.Rename(from, filepath.Join(dir+"-objects", "objects", filepath.Base(from))))
			}
		}()
	}
	for i := range 12 {
		text := fmt.Sprint("step ", h.r.IntN(6), " ", i)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644))
		h.git("add", "f")
		h.git("commit", "-q", "--allow-empty", "-m", text)
		switch h.r.IntN(6) {
		case 0:
			h.git("tag", "-f", pick(h.r, "v1", "v2", "main", "a/b"))
		case 1:
			h.git("tag", "-f", "-a", "-m", "x", pick(h.r, "v1", "v3", "deep"))
		case 2:
			h.git("branch", "-f", pick(h.r, "side", "a/b", "v2", "abcd", "origin/x"))
		case 3:
			h.git("update-ref", "refs/remotes/origin/"+pick(h.r, "main", "side", "HEAD"), "HEAD")
		case 4:
			h.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "m", pick(h.r, "HEAD~1", "HEAD"))
		}
	}
	if h.r.IntN(2) == 0 {
		h.git("tag", "-f", "-a", "-m", "y", "deeper", pick(h.r, "HEAD", "HEAD~1"))
		h.git("tag", "-f", "-a", "-m", "z", "deepest", "deeper")
		h.git("tag", "-f", "tree", "HEAD^{tree}")
	}
	if h.r.IntN(3) == 0 {
		h.git("tag", "-f", "bare", "HEAD~3")
		h.git("update-ref", "foo", "HEAD~1")
		h.git("branch", "foo", "HEAD")
	}
	h.upstreams()
	if h.r.IntN(2) == 0 {
		h.git("pack-refs", "--all")
	}
	out, err := h.command("rev-list", "--all").Output()
	require.NoError(t, err)
	h.ids = strings.Fields(string(out))
	if h.r.IntN(4) == 0 {
		id, err := h.command("rev-parse", "HEAD~3^0").Output()
		if err == nil {
			require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "shallow"), id, 0o644))
		}
	}
	if h.r.IntN(4) == 0 {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, ".git", "refs", "tags"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "refs", "tags", "side"), []byte("damaged\n"), 0o644))
	}
	if h.r.IntN(2) == 0 {
		h.git("gc", "-q")
	}
	if h.r.IntN(3) == 0 {
		h.git("checkout", "-q", "--detach", "HEAD~1")
	}
	return h
}

// upstreams configures what branches are merged with, and checks some of them out.
func (h *revisionHistory) upstreams() {
	r := h.r
	for range r.IntN(5) {
		branch := "branch." + pick(r, "main", "side", "a/b", "origin/x")
		h.git("config", branch+".remote", pick(r, "origin", "origin", "origin", ".", "up", "https://example.com/x"))
		h.git("config", pick(r, "--add", "--replace-all"), branch+".merge",
			pick(r, "refs/heads/main", "refs/heads/side", "refs/heads/none", "main"))
	}
	for range r.IntN(4) {
		h.git("config", "--add", "remote."+pick(r, "origin", "origin", "up")+".fetch",
			pick(r, "+refs/heads/*:refs/remotes/origin/*", "refs/heads/main:refs/remotes/origin/side",
				"refs/heads/main", "^refs/heads/side", "refs/heads/s*e:refs/heads/s*e", "+refs/heads/*:refs/tags/*",
				"refs/heads/m*:refs/remotes/origin/m*"))
	}
	for range r.IntN(6) {
		h.git("checkout", "-q", pick(r, "main", "side", "a/b", "v2", "HEAD~1", "--detach", "abcd", "-"))
	}
	switch r.IntN(8) {
	case 0:
		h.git("reflog", "expire", "--expire=now", "--all")
	case 1:
		h.git("reflog", "delete", pick(r, "HEAD@{1}", "HEAD@{0}", "main@{1}"))
	case 2:
		h.git("update-ref", "-d", "refs/heads/side")
	}
	if r.IntN(3) == 0 { // another working tree, which is at another commit
		h.git("worktree", "add", "-q", "--detach", h.dir+"-w", "HEAD~1")
		if r.IntN(2) == 0 {
			h.dir += "-w"
			h.git("commit", "-q", "--allow-empty", "-m", "there")
			h.git("checkout", "-q", pick(h.r, "side", "a/b", "HEAD~1"))
		}
	}
}

func (h *revisionHistory) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@b",
		"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	return cmd
}

func (h *revisionHistory) git(args ...string) { h.command(args...).Run() }

// revision makes one up.
func (h *revisionHistory) revision() string {
	r := h.r
	id := pick(r, h.ids...)
	name := pick(r, "HEAD", "@", "main", "side", "v1", "v2", "v3", "a/b", "deep", "deeper", "deepest", "tree", "abcd",
		"origin", "origin/main", "origin/side", "origin/x", "heads/main", "tags/v1",
		"refs/heads/main", "refs/tags/v1", "remotes/origin/main", "none", "ORIG_HEAD", "config", "foo", "bare",
		"FETCH_1", "index", "refs", "", "master", "v1-3-g"+id[:7], "x-g"+id[:5], "v1-g", id, id[:4], id[:5], id[:7],
		id[:12], id[:39], strings.ToUpper(id[:8]),
		"main@{yesterday}", "main@{push}", "main-worktree/HEAD", "main-worktree/ORIG_HEAD",
		"main-worktree/refs/heads/main",
		fmt.Sprintf("worktrees/%s/HEAD", filepath.Base(h.dir)), "worktrees/none/HEAD",
		":/step", "HEAD^{/step}", "..", "HEAD..main", "0000000", "zzzz", "main.lock", "../main", "heads//main", "-q",
		"--all")
	if r.IntN(3) == 0 { // what it was, was before, or follows
		name = pick(r, "", "", "HEAD", "@", "main", "side", "a/b", "v1", "none", "refs/heads/main", "heads/main",
			"origin/main", "@{-1}", "main@{u}") +
			pick(r, "@{0}", "@{1}", "@{2}", "@{5}", "@{40}", "@{-1}", "@{-2}", "@{-3}", "@{-0}", "@{u}", "@{U}",
				"@{upstream}", "@{u}", "@{-1}@{u}", "@{u}@{1}", "@{01}", "@{", "@{}", "@{-x}", "@{1}@{1}", "@{u}@{u}")
	}
	for range r.IntN(3) {
		name += pick(r, "^", "~", "^0", "^1", "^2", "^3", "~0", "~2", "~3", "~20", "^{}", "^{commit}", "^{tree}",
			"^{tag}", "^{object}", "^{blob}", "^{x}", "^^", "~1^2", "^-", "^!", "^@", "~x", "^{", "^{/step 3}")
	}
	return name
}

// ask has git say which commits revisions are, "" for none.
func (h *revisionHistory) ask(revs []string) []string {
	out := make([]string, len(revs))
	for i, rev := range revs {
		text, err := h.command("rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}").Output()
		if err == nil {
			out[i] = strings.TrimSpace(string(text))
		}
	}
	return out
}

// Where git replace or grafts make a commit stand for another, none is named.
func TestRevisionRewritten(t *testing.T) {
	isolateConfig(t)
	t.Setenv("HOME", t.TempDir())
	for name, rewrite := range map[string]func(h *revisionHistory){
		"loose":  func(h *revisionHistory) { h.git("replace", "HEAD", "HEAD~1") },
		"packed": func(h *revisionHistory) { h.git("replace", "HEAD", "HEAD~1"); h.git("pack-refs", "--all") },
		"grafts": func(h *revisionHistory) {
			require.NoError(t, os.WriteFile(filepath.Join(h.dir, ".git", "info", "grafts"), []byte(h.ids[0]+"\n"),
				0o644))
		},
	} {
		h := newRevisionHistory(t, 1)
		repo, err := git.Find(h.dir)
		require.NoError(t, err)
		_, err = repo.Revision("HEAD")
		require.NoError(t, err)
		rewrite(h)
		for _, rev := range []string{"HEAD", "HEAD~1", h.ids[0]} {
			_, err = repo.Revision(rev)
			require.ErrorContains(t, err, "stands for other commits", name)
		}
	}
}

// TestAncestorsAgainstGit compares how far the ancestors of a commit are with what git
// rev-list tells of their parents, in random histories, whole and shallow ones.
func TestAncestorsAgainstGit(t *testing.T) {
	isolateConfig(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	merges, deepest := 0, 0
	for seed := range testenv.Cases(2000) / 200 {
		h := newRevisionHistory(t, testenv.Seed()+seed)
		for i := range 15 { // merges of anything with anything
			args := []string{"commit-tree", "-m", fmt.Sprint(i), "HEAD^{tree}"}
			for range h.r.IntN(4) {
				args = append(args, "-p", h.ids[h.r.IntN(len(h.ids))])
			}
			id, err := h.command(args...).Output()
			require.NoError(t, err)
			h.ids = append(h.ids, strings.TrimSpace(string(id)))
		}
		out, err := h.command(append([]string{"rev-list", "--parents"}, h.ids...)...).Output()
		require.NoError(t, err)
		parents := map[string][]string{}
		for line := range strings.Lines(string(out)) {
			ids := strings.Fields(line)
			parents[ids[0]] = ids[1:]
			merges += max(len(ids)-2, 0)
		}
		repo, err := git.Find(h.dir)
		require.NoError(t, err)
		for id := range parents {
			want := map[string]int{id: 0}
			for n, level := 1, []string{id}; len(level) > 0; n++ {
				var next []string
				for _, at := range level {
					for _, p := range parents[at] {
						if _, seen := want[p]; !seen {
							want[p], next = n, append(next, p)
							deepest = max(deepest, n)
						}
					}
				}
				level = next
			}
			got, err := repo.Ancestors(plumbing.NewHash(id), 1000)
			require.NoError(t, err)
			for at, n := range got {
				require.Equal(t, want[at.String()], n, "seed %d: from %s to %s", seed, id, at)
			}
			require.Len(t, got, len(want))
			few, err := repo.Ancestors(plumbing.NewHash(id), 2)
			require.NoError(t, err)
			require.Len(t, few, min(len(want), 2))
		}
	}
	require.Positive(t, merges)
	require.Greater(t, deepest, 2)
}
