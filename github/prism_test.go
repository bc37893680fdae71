package github

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/githubtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// prism starts Prism with GitHub's own description of its API and returns its
// address. It refuses every request that does not fit.
func prism(t *testing.T) string {
	modules := testenv.Node(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command(filepath.Join(modules, ".bin/prism"), "mock", "-h", "127.0.0.1", "-p", fmt.Sprint(port),
		"--errors",
		filepath.Join(modules, "@octokit/openapi/generated/api.github.com.json"))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	started := make(chan string, 1) // why it does not, or nothing
	go func() {
		var said strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "Prism is listening") {
				started <- ""
			}
			fmt.Fprintln(&said, lines.Text())
		}
		started <- "Prism does not start: " + said.String()
	}()
	select {
	case why := <-started:
		require.Empty(t, why)
	case <-time.After(5 * time.Minute):
		t.Fatal("Prism does not start, and says nothing")
	}
	return fmt.Sprintf("http://127.0.0.1:%d", port)
}

// described shows a request to Prism, and returns what is wrong with it.
func described(mock string, r *http.Request, body []byte) error {
	address := r.URL.RequestURI()
	// The description has this parameter span several parts of a path (x-multi-segment), which
	// Prism does not know.
	if before, ref, ok := strings.Cut(address, "/git/ref/"); ok {
		address = before + "/git/ref/" + strings.ReplaceAll(ref, "/", "%2F")
	}
	req, err := http.NewRequest(r.Method, mock+address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = r.Header.Clone()
	// The description names the answers' plain type, not GitHub's own names for it
	// (docs.github.com, "Getting started with the REST API", Media types).
	if accept := req.Header.Get("Accept"); !strings.Contains(accept, "application/vnd.github.") {
		return fmt.Errorf("it accepts %q", accept)
	}
	req.Header.Set("Accept", "application/json")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	// The description's own example of an answer does not always fit it: what counts is
	// the request.
	var violations struct{ Validation []struct{ Location []string } }
	if res.StatusCode == 500 && json.Unmarshal(text, &violations) == nil && len(violations.Validation) > 0 {
		for _, v := range violations.Validation {
			if v.Location[0] != "response" {
				return fmt.Errorf("%s", text)
			}
		}
		return nil
	}
	if res.StatusCode >= 300 && res.StatusCode != http.StatusFound { // to where an artifact lies
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return nil
}

// TestPrism shows every request that we make to GitHub to Prism as well.
func TestPrism(t *testing.T) {
	mock := prism(t)
	seen := map[string]bool{}
	g, api := gitHubDouble(t)
	g.Seen = func(r *http.Request, body []byte) {
		if r.URL.Path == "/graphql" || strings.HasPrefix(r.URL.Path, "/twirp/") ||
			strings.HasPrefix(r.URL.Path, "/blob/") || strings.HasPrefix(r.URL.Path, "/org/x.git/") {
			// the description is of the REST API
			return
		}
		if err := described(mock, r, body); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		parts := strings.Split(r.URL.Path, "/")
		seen[r.Method+" "+strings.Trim(strings.Join(parts[min(4, len(parts)-1):], "/"), "0123456789")] = true
	}
	for run, token := range []string{githubtest.Workflow, githubtest.Person} {
		for range 120 { // two pages
			g.Write(7, githubtest.User{Login: "eve", Type: "User"}, "talk")
		}
		c := comment(t, pushed(api, int64(run), oldHead), token, "iris")
		require.NoError(t, write(t, c, "one", false))
		require.NoError(t, write(t, c, "two", true))
		g.Write(7, githubtest.Bot, "<!-- aml-train "+c.key+" 0.1 running -->\ndouble")
	}
	require.NoError(t, write(t, comment(t, pushed(api, 9, oldHead), githubtest.Workflow, "iris"), "three", true))
	w := pushed(api, 9, "")
	_, _, _, err := PullRequestHead(t.Context(), w, githubtest.Workflow)
	require.NoError(t, err)
	g.Branches, g.Forks = map[string][]string{"main": {newHead}}, []string{oldHead}
	own, err := OnBranch(t.Context(), w, githubtest.Workflow, oldHead)
	require.NoError(t, err)
	require.False(t, own)
	base, err := BaseOf(t.Context(), w, githubtest.Workflow)
	require.NoError(t, err)
	toMain := *w
	toMain.BaseRef = "main"
	tip, err := BaseOf(t.Context(), &toMain, githubtest.Workflow)
	require.NoError(t, err)
	require.Equal(t, newHead, tip)
	g.Files = map[string]map[string]string{base: {"a file.yaml": "rules: [ä]\n"}}
	text, err := ReadFile(t.Context(), w, githubtest.Workflow, base, "a file.yaml")
	require.NoError(t, err)
	require.Equal(t, "rules: [ä]\n", string(text))
	_, err = ReadFile(t.Context(), w, githubtest.Workflow, base, "none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = ReadFile(t.Context(), w, githubtest.Workflow, oldHead, "none")
	require.Error(t, err)
	require.NotErrorIs(t, err, fs.ErrNotExist)
	g.Runner = githubtest.Runner{ID: 8, Commit: newHead, Branch: "main"}
	_, err = WriteArtifact(t.Context(), keeping(api, 8), "a record", strings.NewReader("zip"))
	require.NoError(t, err)
	kept, err := ListArtifacts(t.Context(), keeping(api, 9), githubtest.Workflow, "a record")
	require.NoError(t, err)
	require.Len(t, kept, 1)
	_, err = ReadArtifact(t.Context(), keeping(api, 9), githubtest.Workflow, kept[0], 100)
	require.NoError(t, err)
	s := statusesOf(t, api, githubtest.Workflow)
	require.NoError(t, s.Set(t.Context(), trains))
	require.NoError(t, s.Set(t.Context(), Status{Commit: oldHead, Context: "aml-train/no link", State: Error}))
	done, err := s.Complete(t.Context(), trains, better)
	require.NoError(t, err)
	require.True(t, done)
	require.True(t, seen["POST statuses/"] && seen["GET commits/"+oldHead+"/status"], "%v", seen)
	require.True(t, seen["GET actions/artifacts"], "%v", seen)
	require.NoError(t, g.MakeGit(filepath.Join(t.TempDir(), "x.git")))
	w.Server = api
	require.NoError(t, WriteRef(t.Context(), w, githubtest.Workflow, record("main", 1), []byte("a record")))
	onRef, err := ListRef(t.Context(), w, githubtest.Workflow)
	require.NoError(t, err)
	require.Len(t, onRef, 1)
	_, err = ReadRef(t.Context(), w, githubtest.Workflow, onRef[0], 100)
	require.NoError(t, err)
	g.Permit("mia", githubtest.Collaborator{Role: "write"})
	_, head, err := asks(t, g, api, "mia", "/train", nil)
	require.NoError(t, err)
	answer, err := head.Answer(githubtest.Workflow, "")
	require.NoError(t, err)
	require.NoError(t, write(t, answer, "an offer", true))
	for _, want := range []string{"GET collaborators/mia/permission",
		"POST issues/comments/" + fmt.Sprint(head.Said.ID) + "/reactions",
		"GET contents/none", "GET git/trees/", "GET user", "GET pulls/",
		"GET issues/7/comments", "POST issues/7/comments", "GET issues/comments/", "PATCH issues/comments/",
		"DELETE issues/comments/",
		"GET commits/" + oldHead + "/branches-where-head", "GET compare/HEAD...", "GET git/ref/aml-train/history",
		"GET git/blobs/" + strings.TrimRight(onRef[0].id.String(), "0123456789"),
		"GET git/trees/" + strings.TrimRight(inGit(t, g, "rev-parse", HistoryRef), "0123456789")} {
		require.True(t, seen[want], "%s is not among %v", want, seen)
	}
	// Prism does refuse what does not fit.
	req := httptest.NewRequest(http.MethodPost, mock+"/repos/org/x/issues/7/comments", strings.NewReader(`{"text": "no body"}`))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode)
}
