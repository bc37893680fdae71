package azuremltest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/aml-train/history"
)

// runHistory is the workspace's own API beside MLflow: the run history, and the data
// planes that know where an asset is (azure-ai-ml, _restclient/runhistory,
// dataset_dataplane, model_dataplane).
func (w *Workspace) runHistory() http.Handler {
	mux := http.NewServeMux()
	base := "/history/v1.0" + root
	run := base + "/experiments/{experiment}/runs/{run}"
	mux.HandleFunc("GET "+base+"/runs/{run}/details", w.known(w.details))
	mux.HandleFunc("PATCH "+run, w.known(w.modify))
	mux.HandleFunc("GET "+run+"/artifacts", w.known(w.artifacts))
	mux.HandleFunc("GET "+run+"/artifacts/contentinfo", w.known(w.contentInfo))
	mux.HandleFunc("GET "+run+"/artifacts/prefix/contentinfo", w.known(w.prefixInfo))
	mux.HandleFunc("POST "+base+"/rundata", w.runData)
	mux.HandleFunc("POST /data/v1.0"+root+"/dataversion/batchGetResolvedUris", w.resolve)
	mux.HandleFunc("POST /modelregistry/v1.0"+root+"/models/batchGetResolvedUris", w.resolve)
	return mux
}

// known hands over the run that an address names, with its experiment where it names one.
// The run history learns of a job some time after the control plane.
func (w *Workspace) known(next func(http.ResponseWriter, *http.Request, string, *submitted)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		id := r.PathValue("run")
		w.mu.Lock()
		s := w.jobs[id]
		late := s != nil && time.Since(s.created) < w.Late
		w.mu.Unlock()
		if experiment := r.PathValue("experiment"); s == nil || late || experiment != "" &&
			experiment != *s.command.ExperimentName {
			refuse(rw, http.StatusNotFound, "UserError", "Run "+id+" was not found")
			return
		}
		next(rw, r, id, s)
	}
}

func respond(rw http.ResponseWriter, answer any) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(answer)
}

// details is the run history's answer about a run.
func (w *Workspace) details(rw http.ResponseWriter, _ *http.Request, id string, s *submitted) {
	w.mu.Lock()
	status := s.status
	w.mu.Unlock()
	out := map[string]any{"runId": id, "status": status, "createdTimeUtc": s.created.UTC().Format(time.RFC3339Nano)}
	logs := map[string]string{}
	if run, err := w.store.Run(context.Background(), id); err == nil {
		out["startTimeUtc"] = run.Started().UTC().Format(time.RFC3339Nano)
		if status.Terminal() && !run.Ended().IsZero() {
			out["endTimeUtc"] = run.Ended().UTC().Format(time.RFC3339Nano)
		}
		logs[history.ConsoleLog] = w.URL + "/log/" + id + "/" + history.ConsoleLog + "?sig=" + sasSecret
		if d := run.Tag(history.TagError); d != "" && status == history.Failed {
			out["error"] = map[string]any{"error": map[string]string{"code": "UserError",
				"message": "Execution failed. " + d}}
		}
	}
	if status == history.Queued {
		out["queueingInfo"] = map[string]string{"code": "Queued", "message": "Waiting for 1 node of the cluster"}
	}
	out["logFiles"] = logs
	respond(rw, out)
}

// modify hides a run, or shows it again.
func (w *Workspace) modify(rw http.ResponseWriter, r *http.Request, id string, s *submitted) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		refuse(rw, http.StatusBadRequest, "UserError", err.Error())
		return
	}
	hidden, ok := body["hidden"].(bool)
	if !ok || len(body) != 1 {
		refuse(rw, http.StatusBadRequest, "UserError", "Only hidden can be changed")
		return
	}
	w.mu.Lock()
	s.command.IsArchived = &hidden
	w.mu.Unlock()
	respond(rw, map[string]any{"runId": id, "hidden": hidden})
}

// Archived tells whether a job is hidden from lists.
func (w *Workspace) Archived(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return deref(w.jobs[id].command.IsArchived)
}

// pageSize is small, so that every list has several pages.
const pageSize = 2

// page answers one page of a list.
func page[T any](rw http.ResponseWriter, r *http.Request, list []T) {
	from, _ := strconv.Atoi(r.URL.Query().Get("continuationToken"))
	from = min(max(from, 0), len(list))
	to := min(from+pageSize, len(list))
	out := map[string]any{"value": list[from:to]}
	if to < len(list) {
		out["continuationToken"] = strconv.Itoa(to)
	}
	respond(rw, out)
}

type artifact struct {
	Origin     string `json:"origin"`
	Container  string `json:"container"`
	Path       string `json:"path"`
	ContentURI string `json:"contentUri,omitempty"`
}

func (w *Workspace) filesOf(id string, s *submitted, under string, signed bool) []artifact {
	w.mu.Lock()
	files := slices.Sorted(slices.Values(s.files))
	w.mu.Unlock()
	var out []artifact
	for _, name := range files {
		if !strings.HasPrefix(name, under) {
			continue
		}
		a := artifact{Origin: "ExperimentRun", Container: "dcid." + id, Path: name}
		if signed {
			in, blob := w.containers["workspaceartifactstore"], "ExperimentRun/dcid."+id+"/"+name
			a.ContentURI = w.blob + "/" + in + "/" + (&url.URL{Path: blob}).EscapedPath() + "?" + w.delegate(in, blob)
		}
		out = append(out, a)
	}
	return out
}

func (w *Workspace) artifacts(rw http.ResponseWriter, r *http.Request, id string, s *submitted) {
	page(rw, r, w.filesOf(id, s, "", false))
}

func (w *Workspace) prefixInfo(rw http.ResponseWriter, r *http.Request, id string, s *submitted) {
	if r.URL.Query().Get("path") == "" {
		refuse(rw, http.StatusBadRequest, "UserError", "path is required")
		return
	}
	page(rw, r, w.filesOf(id, s, r.URL.Query().Get("path"), true))
}

func (w *Workspace) contentInfo(rw http.ResponseWriter, r *http.Request, id string, s *submitted) {
	for _, a := range w.filesOf(id, s, r.URL.Query().Get("path"), true) {
		if a.Path == r.URL.Query().Get("path") {
			respond(rw, a)
			return
		}
	}
	refuse(rw, http.StatusNotFound, "UserError", "There is no artifact "+r.URL.Query().Get("path"))
}

// runData tells what a run has beside its details: its named outputs, as assets.
func (w *Workspace) runData(rw http.ResponseWriter, r *http.Request) {
	var body struct {
		RunID             string
		SelectRunMetadata bool
	}
	json.NewDecoder(r.Body).Decode(&body)
	w.mu.Lock()
	s := w.jobs[body.RunID]
	w.mu.Unlock()
	if s == nil || !body.SelectRunMetadata {
		refuse(rw, http.StatusNotFound, "UserError", "Run "+body.RunID+" was not found")
		return
	}
	outputs := map[string]any{}
	for name, o := range s.command.Outputs {
		if name != "default" && w.Outputs == "" {
			outputs[name] = map[string]string{"assetId": "asset-" + body.RunID + "-" + name, "type": assetType(o)}
		}
	}
	respond(rw, map[string]any{"runMetadata": map[string]any{"runId": body.RunID, "outputs": outputs}})
}

// resolve tells where assets are.
func (w *Workspace) resolve(rw http.ResponseWriter, r *http.Request) {
	var body struct{ Values []string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Values) == 0 {
		refuse(rw, http.StatusBadRequest, "UserError", "values is required")
		return
	}
	models := strings.Contains(r.URL.Path, "/models/")
	values := map[string]any{}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, s := range w.jobs {
		for name, o := range s.command.Outputs {
			asset := "asset-" + id + "-" + name
			if !slices.Contains(body.Values, asset) || models != strings.HasSuffix(assetType(o), "Model") {
				continue
			}
			at := "azureml://subscriptions/" + Subscription + "/resourcegroups/" + Group + "/workspaces/" + Name +
				"/datastores/workspaceblobstore/paths/azureml/" + id + "/" + name + "/"
			if values[asset] = map[string]string{"uri": at, "type": assetType(o)}; models {
				values[asset] = map[string]string{"path": at}
			}
		}
	}
	respond(rw, map[string]any{"values": values})
}
