package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/org/aml-train/internal/testing/azuremltest"
	"github.com/org/aml-train/internal/testing/testenv"
)

// The commands of scripts that concern a workspace of Azure Machine Learning.

// azure is under which a script has its workspace.
type azure struct{}

type cell struct{ w *azuremltest.Workspace }

// workspace [WORD...] starts a workspace of the script's own and signs in to it. The words
// say how far its storage account is locked down (azuremltest.Storage); or that its MLflow
// shows no tags of jobs (untagged), that its run history learns of jobs late, or that it
// knows no outputs as assets (dataset), or that who signs in has no role there (stranger).
func workspace(ts *testscript.TestScript, neg bool, args []string) {
	program := strings.TrimSpace(output(ts, "/bin/sh", "-c", "PATH='"+ts.Getenv("PATH")+"'; command -v aml-train"))
	w, err := azuremltest.New(ts.Getenv("AZURITE"), filepath.Join(ts.Getenv("HOME"), "workspace"),
		[]string{program, "supervise"})
	ts.Check(err)
	ts.Defer(w.Close)
	for _, word := range args {
		switch word {
		case "untagged":
			w.Untagged = true
		case "dataset":
			w.Outputs = word
		case "stranger":
			w.Stranger = true
		case "late":
			w.Late = time.Second
		default:
			ts.Check(w.Storage.Lock(word))
		}
	}
	ts.Value(azure{}).(*cell).w = w
	certificate := filepath.Join(ts.Getenv("HOME"), "azure.pem")
	ts.Check(os.WriteFile(certificate, testenv.Certificate(), 0o644))
	ts.Setenv("SSL_CERT_FILE", certificate)
	ts.Setenv("AZURE_CREDENTIALS", w.Creds())
}

// requests N PATTERN looks how many requests to the control plane and the workspace
// there were since it was last called.
func requests(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile(args[1])
	var found []string
	for _, r := range ts.Value(azure{}).(*cell).w.Requests() {
		if line := r.Method + " " + r.Path; re.MatchString(line) {
			found = append(found, line)
		}
	}
	if strconv.Itoa(len(found)) != args[0] {
		ts.Fatalf("%d requests match:\n%s", len(found), strings.Join(found, "\n"))
	}
}

// oidc makes what follows the steps of a workflow that may ask for a token of its
// own, as GitHub gives it out. A token is good for one exchange.
func oidc(ts *testscript.TestScript, neg bool, args []string) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer runtime-token" ||
			r.URL.Query().Get("audience") != "api://AzureADTokenExchange" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		asked++
		fmt.Fprintf(w, `{"value": "workflow-token-for-%d"}`, asked)
	}))
	ts.Defer(server.Close)
	ts.Setenv("GITHUB_ACTIONS", "true")
	ts.Setenv("GITHUB_EVENT_NAME", "push")
	ts.Setenv("GITHUB_SHA", strings.TrimSpace(output(ts, "git", "rev-parse", "HEAD")))
	ts.Setenv("GITHUB_REF", "refs/heads/main")
	ts.Setenv("GITHUB_REPOSITORY", "org/x")
	ts.Setenv("GITHUB_RUN_ID", "41")
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", server.URL+"?api-version=2.0")
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runtime-token")
	ts.Setenv("CLOUD", ts.Value(azure{}).(*cell).w.Creds())
}

// snapshots N looks how many snapshots the workspace has.
func snapshots(ts *testscript.TestScript, neg bool, args []string) {
	if list := ts.Value(azure{}).(*cell).w.Snapshots(); strconv.Itoa(len(list)) != args[0] {
		ts.Fatalf("the workspace has the snapshots %v", list)
	}
}

// models MODEL FILE writes the versions of a model in the workspace, the oldest first; none in
// place of FILE looks whether there is none.
func models(ts *testscript.TestScript, neg bool, args []string) {
	list := ts.Value(azure{}).(*cell).w.Models(args[0])
	if args[1] == "none" {
		if len(list) > 0 {
			ts.Fatalf("there are the versions %v", list)
		}
		return
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(append(list, ""), "\n")), 0o644))
}
