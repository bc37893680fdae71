package githubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Runner is the workflow run that writes artifacts.
type Runner struct {
	ID             int64
	Commit, Branch string // of the head that started it
	Fork           bool   // the head is another repository's
}

// Artifact is what a workflow run has kept.
type Artifact struct {
	ID      int64
	Name    string
	Zip     []byte
	By      Runner
	Expired bool
}

const (
	results  = "/twirp/github.actions.results.api.v1.ArtifactService/"
	backends = "run-backend:job-backend"
	ours     = 77 // the id of org/x
)

// RuntimeToken is what the runner signs in to its results service with: a JSON Web Token, of
// which clients read the scopes.
var RuntimeToken = "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"scp": "Actions.GenericRead:0 Actions.Results:`+
	backends+`"}`)) + ".c2ln"

// artifacts answers for the runner's results service, for the storage that it names, and for
// the REST API that reads what is there; ok is false for other requests.
func (g *GitHub) artifacts(w http.ResponseWriter, r *http.Request, body []byte) (ok bool) {
	method, twirp := strings.CutPrefix(r.URL.Path, results)
	rest, api := strings.CutPrefix(r.URL.Path, "/repos/org/x/actions/artifacts")
	blob, stored := strings.CutPrefix(r.URL.Path, "/blob/")
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case twirp:
		g.results(w, r, method, body)
	case stored:
		g.blob(w, r, blob, body)
	case api && r.Method == http.MethodGet:
		g.readArtifacts(w, r, rest)
	}
	return twirp || stored || api
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (g *GitHub) results(w http.ResponseWriter, r *http.Request, method string, body []byte) {
	refuse := func(status int, code, why string) { answer(w, status, map[string]string{"code": code, "msg": why}) }
	if r.Header.Get("Authorization") != "Bearer "+RuntimeToken {
		refuse(http.StatusUnauthorized, "unauthenticated", "no token")
		return
	}
	var q struct {
		Run     string `json:"workflow_run_backend_id"`
		Job     string `json:"workflow_job_run_backend_id"`
		Name    string `json:"name"`
		Version int    `json:"version"`
		Size    string `json:"size"`
		Hash    string `json:"hash"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil || q.Run+":"+q.Job != backends || q.Name == "" ||
		strings.ContainsAny(q.Name, "\":<>|*?\r\n\\/") {
		refuse(http.StatusBadRequest, "malformed", fmt.Sprint(err))
		return
	}
	at := slices.IndexFunc(g.pending, func(a Artifact) bool { return a.Name == q.Name })
	switch method {
	case "CreateArtifact":
		if q.Version != 4 {
			refuse(http.StatusBadRequest, "malformed", "version")
			return
		}
		if slices.ContainsFunc(g.Artifacts, func(a Artifact) bool {
			return a.Name == q.Name &&
				a.By.ID == g.Runner.ID
		}) {
			refuse(http.StatusConflict, "already_exists",
				"an artifact with this name already exists on the workflow run")
			return
		}
		g.next++
		g.pending = append(g.pending, Artifact{ID: g.next, Name: q.Name, By: g.Runner})
		answer(w, http.StatusOK, map[string]any{"ok": true,
			"signed_upload_url": fmt.Sprintf("http://%s/blob/%d?sig=signature", r.Host, g.next)})
	case "FinalizeArtifact":
		if at < 0 || q.Size != strconv.Itoa(len(g.pending[at].Zip)) ||
			q.Hash != fmt.Sprintf("sha256:%x", sha256.Sum256(g.pending[at].Zip)) {
			refuse(http.StatusBadRequest, "malformed", "that was not uploaded")
			return
		}
		g.Artifacts = append(g.Artifacts, g.pending[at])
		g.pending = slices.Delete(g.pending, at, at+1)
		answer(w, http.StatusOK, map[string]any{"ok": true,
			"artifact_id": fmt.Sprint(g.Artifacts[len(g.Artifacts)-1].ID)})
	default:
		refuse(http.StatusNotFound, "bad_route", method)
	}
}

// blob is the storage: blocks and lists of them (learn.microsoft.com, "Put Block", "Put Block
// List"), by their signed address alone.
func (g *GitHub) blob(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	if r.URL.Query().Get("sig") != "signature" || r.Header.Get("Authorization") != "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	id, _ := strconv.ParseInt(name, 10, 64)
	if r.Method == http.MethodGet {
		if at := slices.IndexFunc(g.Artifacts, func(a Artifact) bool { return a.ID == id }); at >= 0 {
			w.Write(g.Artifacts[at].Zip)
			return
		}
	}
	at := slices.IndexFunc(g.pending, func(a Artifact) bool { return a.ID == id })
	if at < 0 || r.Method != http.MethodPut {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if g.blocks == nil {
		g.blocks = map[string][]byte{}
	}
	switch r.URL.Query().Get("comp") {
	case "block":
		g.blocks[name+" "+r.URL.Query().Get("blockid")] = body
	case "blocklist":
		var list struct{ Latest []string }
		if xml.Unmarshal(body, &list) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, block := range list.Latest {
			g.pending[at].Zip = append(g.pending[at].Zip, g.blocks[name+" "+block]...)
		}
	default:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (g *GitHub) readArtifacts(w http.ResponseWriter, r *http.Request, rest string) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, known := users[token]; !known || g.NoArtifacts {
		answer(w, http.StatusForbidden, map[string]string{"message": "Resource not accessible by integration"})
		return
	}
	if id, ok := strings.CutSuffix(strings.TrimPrefix(rest, "/"), "/zip"); ok {
		w.Header().Set("Location", fmt.Sprintf("http://%s/blob/%s?sig=signature", r.Host, id))
		w.WriteHeader(http.StatusFound)
		return
	}
	list := []any{}
	for _, a := range slices.Backward(g.Artifacts) {
		if a.Name != r.URL.Query().Get("name") {
			continue
		}
		head := int64(ours)
		if a.By.Fork {
			head++
		}
		list = append(list, map[string]any{"id": a.ID, "name": a.Name, "size_in_bytes": len(a.Zip),
			"expired": a.Expired,
			"workflow_run": map[string]any{"id": a.By.ID, "repository_id": ours, "head_repository_id": head,
				"head_branch": a.By.Branch, "head_sha": a.By.Commit}})
	}
	answer(w, http.StatusOK, map[string]any{"total_count": len(list), "artifacts": list})
}
