package github

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// refHome is a GitHub with a real repository, and a workflow there that may write to it.
func refHome(t *testing.T) (*githubtest.GitHub, *Workflow) {
	g, api := gitHubDouble(t)
	require.NoError(t, g.MakeGit(filepath.Join(t.TempDir(), "x.git")))
	w := pushed(api, 50, newHead)
	w.Server = api
	return g, w
}

// record is one that ended that many minutes before now.
func record(branch string, n int) RefRecord {
	return RefRecord{Ended: time.UnixMilli(time.Now().UnixMilli()).Add(-time.Duration(n) * time.Minute),
		Commit: fmt.Sprintf("%040x", n), Branch: branch, Series: fmt.Sprintf("%016x", n%3),
		Key: fmt.Sprintf("%016x", n)}
}

func inGit(t *testing.T, g *githubtest.GitHub, args ...string) string {
	out, err := exec.Command("git", append([]string{"-C", g.Git}, args...)...).Output()
	require.NoError(t, err, "git %v", args)
	return strings.TrimSpace(string(out))
}

// A record is found with three requests, ten times out of ten, whatever else is on the ref, and
// is what was written.
func TestRef(t *testing.T) {
	g, w := refHome(t)
	none, err := ListRef(t.Context(), w, githubtest.Workflow)
	require.NoError(t, err)
	require.Empty(t, none)
	rng := rand.New(rand.NewPCG(1, uint64(testenv.Seed())))
	for n := range 10 {
		r := record([]string{"main", "feature/ä b", "100%", "-x"}[n%4], 10-n) // each is newer than the one before
		text := make([]byte, rng.IntN(20_000))
		for i := range text {
			text[i] = byte(rng.IntN(256))
		}
		asked := 0
		g.Seen = func(*http.Request, []byte) { asked++ }
		require.NoError(t, WriteRef(t.Context(), w, githubtest.Workflow, r, text))
		require.LessOrEqual(t, asked, 3)
		asked = 0
		found, err := ListRef(t.Context(), w, githubtest.Fork) // who may read may
		require.NoError(t, err)
		require.Len(t, found, n+1)
		newest := found[0]
		got, err := ReadRef(t.Context(), w, githubtest.Fork, newest, 1<<20)
		require.NoError(t, err)
		require.True(t, bytes.Equal(text, got))
		require.Equal(t, 3, asked)
		newest.id, newest.size = r.id, r.size
		require.Equal(t, r, newest)
		g.Seen = nil
		if len(text) > 0 {
			_, err = ReadRef(t.Context(), w, githubtest.Workflow, found[0], int64(len(text)-1))
			require.ErrorContains(t, err, "more than")
		}
	}
	require.Equal(t, "1", inGit(t, g, "rev-list", "--count", HistoryRef)) // what was dropped is forgotten
	require.Empty(t, inGit(t, g, "fsck", "--strict", "--no-dangling"))
	require.Equal(t, HistoryRef, inGit(t, g, "for-each-ref", "--format=%(refname)"))
}

// Two machines write at once, at random: nothing is lost.
func TestRefTogether(t *testing.T) {
	g, w := refHome(t)
	each := testenv.Cases(20)
	var wg sync.WaitGroup
	for writer := range 2 {
		wg.Go(func() {
			for i := range each {
				n := i*2 + writer
				err := WriteRef(t.Context(), w, githubtest.Workflow, record("main", n), fmt.Append(nil, n))
				if err != nil {
					t.Errorf("record %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	found, err := ListRef(t.Context(), w, githubtest.Workflow)
	require.NoError(t, err)
	require.Len(t, found, 2*each)
	for n, r := range found {
		got, err := ReadRef(t.Context(), w, githubtest.Workflow, r, 100)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%040x", n), r.Commit)
		require.Equal(t, fmt.Sprint(n), string(got))
	}
	require.Empty(t, inGit(t, g, "fsck", "--strict", "--no-dangling"))
}

// Between each two requests of a writer another one is faster, and each answer gets lost once:
// every record is there, once.
func TestRefFaults(t *testing.T) {
	for request := range 3 {
		for _, fault := range []string{"before", "after", "overtaken"} {
			g, w := refHome(t)
			require.NoError(t, WriteRef(t.Context(), w, githubtest.Workflow, record("main", 3), []byte("3")))
			var count atomic.Int64
			inner := &githubtest.GitHub{Git: g.Git}
			g.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if count.Add(1) != int64(request+1) {
					return false
				}
				switch fault {
				case "overtaken":
					other := httptest.NewServer(inner)
					defer other.Close()
					faster := *w
					faster.API, faster.Server = other.URL, other.URL
					err := WriteRef(t.Context(), &faster, githubtest.Workflow, record("main", 2), []byte("2"))
					if err != nil {
						t.Error(err)
					}
					return false
				case "after":
					inner.ServeHTTP(httptest.NewRecorder(), r)
				}
				panic(http.ErrAbortHandler)
			}
			require.NoError(t, WriteRef(t.Context(), w, githubtest.Workflow, record("main", 1), []byte("1")))
			found, err := ListRef(t.Context(), w, githubtest.Workflow)
			require.NoError(t, err)
			var names []string
			for _, r := range found {
				names = append(names, strings.TrimLeft(r.Commit, "0"))
			}
			want := "1 3"
			if fault == "overtaken" {
				want = "1 2 3"
			}
			require.Equal(t, want, strings.Join(names, " "), "%s %d", fault, request)
		}
	}
}

// The ref does not grow without bound: records go as artifacts do, and the oldest first. What
// is no record stays.
func TestRefForgets(t *testing.T) {
	now := time.Now()
	var records []RefRecord
	for i := range 1500 {
		records = append(records, RefRecord{Ended: now.Add(-time.Duration(i) * 2 * time.Hour),
			Commit: fmt.Sprintf("%040x", i), Branch: "main", Series: strings.Repeat("0", 16),
			Key: strings.Repeat("0", 16), size: 1000})
	}
	drop := outdated(records, RefRecord{size: 1}, now)
	require.Len(t, drop, 1500-999)
	require.True(t, drop[records[999].name()])
	require.False(t, drop[records[998].name()])
	for i := range records {
		records[i].Ended = now.Add(-time.Duration(i) * 5 * time.Hour)
	}
	require.Len(t, outdated(records, RefRecord{}, now), 1500-90*24/5-1)
	for i := range records {
		records[i].size, records[i].Ended = 1<<20, now
	}
	require.Len(t, outdated(records, RefRecord{size: 1}, now), 1500-199)
	for i := range records { // half of them end in years to come, and are large
		records[i].size, records[i].Ended = int64(1+i%2*(1<<30)), now.Add(time.Duration(i%2)*10000*time.Hour)
	}
	slices.SortStableFunc(records, func(a, b RefRecord) int { return b.Ended.Compare(a.Ended) })
	drop = outdated(records, RefRecord{size: 1}, now)
	require.Len(t, drop, 750)
	for _, r := range records {
		require.Equal(t, r.Ended.After(now), drop[r.name()])
	}

	g, w := refHome(t)
	old := record("main", 91*24*60)
	require.NoError(t, WriteRef(t.Context(), w, githubtest.Workflow, old, []byte("old")))
	tree := inGit(t, g, "rev-parse", HistoryRef+"^{tree}")
	listing := inGit(t, g, "ls-tree", tree) + "\n040000 tree " + tree + "\tREADME"
	cmd := exec.Command("git", "-C", g.Git, "mktree")
	cmd.Stdin = strings.NewReader(listing + "\n")
	out, err := cmd.Output()
	require.NoError(t, err)
	commit := inGit(t, g, "-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", "-m", "x",
		strings.TrimSpace(string(out)))
	inGit(t, g, "update-ref", HistoryRef, commit)
	require.NoError(t, WriteRef(t.Context(), w, githubtest.Workflow, record("main", 1), []byte("new")))
	names := inGit(t, g, "ls-tree", "--name-only", HistoryRef)
	require.Contains(t, names, "README")
	require.NotContains(t, names, old.name())
	require.Len(t, strings.Split(names, "\n"), 2)
	require.Empty(t, inGit(t, g, "fsck", "--strict", "--no-dangling"))
}

// A token that may not write is told what it lacks, at once; what a repository refuses is not
// tried without end, and no secret is told.
func TestRefRefused(t *testing.T) {
	g, w := refHome(t)
	asked := 0
	g.Seen = func(*http.Request, []byte) { asked++ }
	for _, token := range []string{githubtest.Fork, "ghs_unknowntoken"} {
		asked = 0
		err := WriteRef(t.Context(), w, token, record("main", 1), []byte("x"))
		require.ErrorContains(t, err, "contents: write")
		require.NotContains(t, err.Error(), token)
		require.Equal(t, 1, asked)
	}
	inGit(t, g, "config", "receive.hideRefs", "refs/aml-train")
	asked = 0
	err := WriteRef(t.Context(), w, githubtest.Workflow, record("main", 1), []byte("x"))
	require.ErrorContains(t, err, "did not take it")
	require.LessOrEqual(t, asked, 3*refRefused)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, WriteRef(ctx, w, githubtest.Workflow, record("main", 1), []byte("x")))
}

// Nothing but the name of a record is taken for one.
func FuzzRefRecord(f *testing.F) {
	f.Add(record("main", 1).name())
	f.Add(strings.Repeat("0", 13) + "-" + strings.Repeat("0", 40) + "-" + strings.Repeat("0", 16) + "-" +
		strings.Repeat("0", 16) + "-%2e")
	f.Fuzz(func(t *testing.T, name string) {
		if r, ok := refRecord(name); ok {
			require.Equal(t, name, r.name())
			require.NotContains(t, name, "/")
			require.NotContains(t, name, "\x00")
		}
	})
}
