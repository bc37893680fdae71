package github

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBaseAfterFaults asks for what a change is judged by where GitHub fails: one or two bad
// answers in a row change nothing, and a third is told. "No" is an answer, and is not asked again.
func TestBaseAfterFaults(t *testing.T) {
	answers := map[string]string{
		"/repos/org/x/git/ref/heads/main":       `{"ref": "refs/heads/main", "object": {"sha": "aa", "type": "commit"}}`,
		"/repos/org/x/pulls/7":                  `{"base": {"sha": "bb"}}`,
		"/repos/org/x/contents/.aml-train.yaml": `{"type": "file", "encoding": "base64", "content": "cnVsZXM6IFtd"}`,
	}
	for bad := range 4 {
		asked, left := 0, 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			if left--; left >= 0 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			if answers[r.URL.Path] == "" {
				w.WriteHeader(http.StatusForbidden)
			}
			w.Write([]byte(answers[r.URL.Path]))
		}))
		w := &Workflow{API: server.URL, Repository: "org/x", BaseRef: "main"}
		for name, ask := range map[string]func() (string, error){
			"aa": func() (string, error) { return BaseOf(t.Context(), w, "t") },
			"bb": func() (string, error) {
				return BaseOf(t.Context(), &Workflow{API: server.URL, Repository: "org/x", PullRequest: 7}, "t")
			},
			"rules: []": func() (string, error) {
				text, err := ReadFile(t.Context(), w, "t", "aa", ".aml-train.yaml")
				return string(text), err
			},
		} {
			asked, left = 0, bad
			got, err := ask()
			require.Equal(t, min(bad+1, 3), asked)
			if bad < 3 {
				require.NoError(t, err)
				require.Equal(t, name, got)
			} else {
				require.ErrorContains(t, err, "502")
			}
		}
		asked, left = 0, 0
		_, err := ReadFile(t.Context(), w, "t", "aa", "other.yaml")
		require.ErrorContains(t, err, "403")
		require.Equal(t, 1, asked)
		server.Close()
	}
}
