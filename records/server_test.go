package records

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/secret"
)

// What is sent to an MLflow server signs in there alone, makes no run twice, and reads no
// answer without end.
func TestSender(t *testing.T) {
	var seen []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, "elsewhere "+r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	failing := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path+" "+r.Header.Get("Authorization"))
		switch {
		case failing > 0:
			failing--
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/away":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case r.URL.Path == "/endless":
			for chunk := strings.Repeat("x", 1<<20); r.Context().Err() == nil; {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}
	}))
	defer server.Close()
	ask := func(s signIn, path string) (*http.Response, error) {
		req, err := http.NewRequest(http.MethodPost, server.URL+path, strings.NewReader("{}"))
		require.NoError(t, err)
		return newSender(s).Do(req)
	}
	for _, test := range []struct {
		sign signIn
		want string
	}{{signIn{}, ""}, {signIn{token: "t"}, "Bearer t"}, {signIn{"ada", "p", "t"}, "Basic YWRhOnA="},
		{signIn{"ada", "", "t"}, "Bearer t"}} {
		seen = nil
		res, err := ask(test.sign, "/x")
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, []string{"/x " + test.want}, seen)
	}
	seen = nil
	_, err := ask(signIn{token: "t"}, "/away")
	require.ErrorContains(t, err, "302 Found, as a page to sign in at does")
	require.Equal(t, []string{"/away Bearer t"}, seen)
	res, err := ask(signIn{}, "/endless")
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, int64(serverAnswer), n)
	for path, times := range map[string]int{"/api/2.0/mlflow/runs/create": 1, "/api/2.0/mlflow/runs/search": 2} {
		seen, failing = nil, 1
		res, err := ask(signIn{}, path)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Len(t, seen, times, path)
	}
}

// The same repository is the same, however it is reached; another one never is.
func TestSameRepository(t *testing.T) {
	for _, same := range []string{"https://github.com/org/x", "https://github.com/Org/X.git",
		"git@github.com:org/x.git", "ssh://git@github.com/org/x", "https://token@github.com/org/x/"} {
		require.Equal(t, "github.com/org/x", sameRepository(same))
	}
	for _, other := range []string{"", "https://github.com/eve/x", "https://github.com.evil/org/x",
		"https://evil/@github.com/org/x", "https://github.com/org/x2", "git@evil:github.com/org/x"} {
		require.NotEqual(t, "github.com/org/x", sameRepository(other), other)
	}
}

// options are those of a command with these variables.
func options(variables map[string]string, said io.Writer) Options {
	var secrets secret.Redactor
	return Options{Getenv: func(name string) string { return variables[name] }, Git: &git.Finder{}, Secrets: &secrets,
		Code: func(repo *git.Repository) (gitmeta.Info, error) { return gitmeta.Of(repo, nil, os.Getenv) },
		Mask: func(texts ...string) { secrets.Add(texts...) },
		Say:  func(format string, args ...any) { fmt.Fprintf(said, format+"\n", args...) }}
}

// Of what the environment and the settings may name, a server is an address of http.
func TestServerNamed(t *testing.T) {
	for _, test := range []struct {
		uri, settings, base string
		signs               bool
	}{
		{"", "", "", false}, {"mlruns", "", "", false}, {"sqlite:///mlflow.db", "https://a", "", false},
		{"", "ref", "", false}, {`C:\mlruns`, "", "", false}, {"%zz:", "", "", false}, {"databricks", "", "", false},
		{"databricks://profile", "", "", false}, {"https://a/b/", "https://c", "https://a/b", true},
		{"", "https://c", "https://c", false}, {"https://eve:secret-other@a", "", "https://a", true},
	} {
		values := map[string]string{"MLFLOW_TRACKING_URI": test.uri, "MLFLOW_TRACKING_USERNAME": "ada",
			"MLFLOW_TRACKING_PASSWORD": "secret-password", "MLFLOW_TRACKING_TOKEN": "secret-token"}
		var said strings.Builder
		o := options(values, &said)
		o.History = test.settings
		h := newServer(o)
		require.Equal(t, test.base != "", h != nil, "%+v", test)
		if h == nil {
			require.Equal(t, strings.HasPrefix(test.uri, "databricks"), said.Len() > 0)
			continue
		}
		require.Equal(t, test.base, h.client.Base)
		require.NotContains(t, h.shown+h.needs(), "secret")
		u, err := url.Parse(test.base)
		require.NoError(t, err)
		require.Equal(t, test.signs, h.signIn(o, u) != signIn{})
		require.Contains(t, fmt.Sprint(h.told(fmt.Errorf("at %s", h.client.Base))), h.shown)
	}
	o := options(map[string]string{"MLFLOW_TRACKING_URI": "https://ada:secret-inside@a/x"}, t.Output())
	h := newServer(o)
	require.Equal(t, "https://a/x", h.client.Base)
	require.Equal(t, "***", o.Secrets.String("secret-inside"))
}

// What a server says of itself reaches a terminal as text, in one line.
func TestServerSays(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"error_code": "PERMISSION_DENIED",
			"message": "go\u001b]0;title\u0007 away\n::warning::x\u001b[2J"}`)
	}))
	defer server.Close()
	var said strings.Builder
	r := New(options(map[string]string{"MLFLOW_TRACKING_URI": server.URL}, &said))
	require.Nil(t, r.bring(t.Context(), query{experiment: "iris", key: "k"}, nil))
	require.Equal(t, 1, strings.Count(said.String(), "\n"), said.String())
	require.NotContains(t, said.String(), "\x1b")
	require.Contains(t, said.String(), "runs of other machines cannot be read: tracking server "+server.URL)
	require.Contains(t, said.String(), "away ::warning::x")
}
