package history

import (
	"context"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/size"
)

type modelRef struct {
	ModelID string `json:"model_id" required:"true"`
}

func modelAnswer(m *LoggedModel, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	m.Info.ArtifactURI = modelFolder(m).uri()
	return map[string]any{"model": m}, nil
}

func (v *Server) modelCalls() {
	call(v, "POST logged-models", v.createModel)
	call(v, "POST logged-models/search", v.searchModels)
	call(v, "GET logged-models/{model_id}", v.getModel)
	call(v, "PATCH logged-models/{model_id}", v.finalizeModel)
	call(v, "DELETE logged-models/{model_id}", v.deleteModel)
	call(v, "GET logged-models/{model_id}/artifacts/directories", v.listModelArtifacts)
	call(v, "PATCH logged-models/{model_id}/tags", v.setModelTags)
	call(v, "DELETE logged-models/{model_id}/tags/{tag_key...}", v.deleteModelTag)
	call(v, "POST logged-models/{model_id}/params", v.logModelParams)
}

func (v *Server) createModel(ctx context.Context, q *struct {
	experimentRef
	Name        string          `json:"name"`
	ModelType   string          `json:"model_type"`
	SourceRunID string          `json:"source_run_id"`
	Tags        batch[KeyValue] `json:"tags"`
	Params      batch[KeyValue] `json:"params"`
}) (any, error) {
	maker, err := v.maker(ctx, q.SourceRunID)
	if err != nil {
		return nil, err
	}
	if err := v.reservedTags(q.Tags...); err != nil {
		return nil, err
	}
	return modelAnswer(v.store.createModel(ctx, LoggedModel{
		Info: LoggedModelInfo{ExperimentID: q.ExperimentID, Name: q.Name, ModelType: q.ModelType,
			SourceRunID: maker, Tags: q.Tags},
		Data: LoggedModelData{Params: q.Params}}))
}

func (v *Server) searchModels(ctx context.Context, q *struct {
	Filter        string              `json:"filter"`
	MaxResults    Int                 `json:"max_results"`
	PageToken     string              `json:"page_token"`
	ExperimentIDs experimentIDs       `json:"experiment_ids"`
	OrderBy       batch[modelOrder]   `json:"order_by"`
	Datasets      batch[modelDataset] `json:"datasets"`
}) (any, error) {
	list, token, err := v.store.searchModels(ctx, Query{ExperimentIDs: q.ExperimentIDs, Filter: q.Filter,
		MaxResults: int(q.MaxResults), PageToken: q.PageToken}, q.OrderBy, q.Datasets)
	for _, m := range list {
		m.Info.ArtifactURI = modelFolder(m).uri()
	}
	return page("models", list, token, err)
}

func (v *Server) getModel(ctx context.Context, q *modelRef) (any, error) {
	return modelAnswer(v.store.model(ctx, q.ModelID))
}

func (v *Server) finalizeModel(ctx context.Context, q *struct {
	modelRef
	Status enum `json:"status" required:"true"`
}) (any, error) {
	if err := v.mayWriteModel(ctx, q.ModelID); err != nil {
		return nil, err
	}
	return modelAnswer(v.store.finalizeModel(ctx, q.ModelID, string(q.Status)))
}

func (v *Server) deleteModel(ctx context.Context, q *modelRef) (any, error) {
	if err := v.mayWriteModel(ctx, q.ModelID); err != nil {
		return nil, err
	}
	return nil, v.store.deleteModel(ctx, q.ModelID)
}

func (v *Server) listModelArtifacts(ctx context.Context, q *struct {
	modelRef
	Path string `json:"artifact_directory_path"`
}) (any, error) {
	m, err := v.store.model(ctx, q.ModelID)
	if err != nil {
		return nil, err
	}
	return filesAnswer(modelFolder(m))(v.store.list(modelFolder(m), q.Path))
}

func (v *Server) setModelTags(ctx context.Context, q *struct {
	modelRef
	Tags batch[KeyValue] `json:"tags"`
}) (any, error) {
	if err := v.mayTagModel(ctx, q.ModelID, q.Tags...); err != nil {
		return nil, err
	}
	return nil, v.store.setModelTags(ctx, q.ModelID, q.Tags)
}

func (v *Server) deleteModelTag(ctx context.Context, q *struct {
	modelRef
	Key string `json:"tag_key"`
}) (any, error) {
	if err := v.mayTagModel(ctx, q.ModelID, KeyValue{Key: q.Key}); err != nil {
		return nil, err
	}
	return nil, v.store.deleteModelTag(ctx, q.ModelID, q.Key)
}

func (v *Server) logModelParams(ctx context.Context, q *struct {
	modelRef
	Params batch[KeyValue] `json:"params"`
}) (any, error) {
	if err := v.mayWriteModel(ctx, q.ModelID); err != nil {
		return nil, err
	}
	return nil, v.store.addModelParams(ctx, q.ModelID, q.Params)
}

func (v *Server) mayTagModel(ctx context.Context, id string, tags ...KeyValue) error {
	if err := v.reservedTags(tags...); err != nil {
		return err
	}
	return v.mayWriteModel(ctx, id)
}

// artifactCalls are MLflow's proxied access to artifacts (mlflow_artifacts.proto): PUT,
// GET and DELETE of one file, and the listing of a folder.
func (v *Server) artifactCalls() {
	for _, prefix := range []string{"/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/"} {
		v.calls.HandleFunc("GET "+prefix+"artifacts", v.artifact(v.listFolder))
		v.calls.HandleFunc("GET "+prefix+"artifacts/{path...}", v.artifact(v.getArtifact))
		v.calls.HandleFunc("PUT "+prefix+"artifacts/{path...}", v.artifact(v.putArtifact))
		v.calls.HandleFunc("DELETE "+prefix+"artifacts/{path...}", v.artifact(v.deleteArtifact))
		v.calls.HandleFunc("POST "+prefix+"mpu/{path...}",
			v.artifact(func(http.ResponseWriter, *http.Request) (any, error) {
				// On this answer MLflow's client sends the file in one piece.
				return nil, &Error{codeNotImplemented,
					"Multipart upload is not supported for the current artifact repository"}
			}))
	}
}

func (v *Server) artifact(f func(http.ResponseWriter, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := f(w, r)
		if err != nil || answer != nil {
			respond(w, answer, err)
		}
	}
}

func (v *Server) listFolder(_ http.ResponseWriter, r *http.Request) (any, error) {
	f, within, err := v.store.findFolder(r.Context(), r.URL.Query().Get("path"))
	if err != nil {
		return nil, err
	}
	files, err := v.store.list(f, within)
	for i := range files { // relative to the folder that was asked for
		files[i].Path = path.Base(files[i].Path)
	}
	return map[string]any{"files": files}, err
}

func (v *Server) getArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	f, name, err := v.store.findFolder(r.Context(), r.PathValue("path"))
	if err != nil {
		return nil, err
	}
	file, err := v.store.openFile(f, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	// What a script made is data, never a page of this server.
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Disposition", "attachment")
	http.ServeContent(patientWriter{w, http.NewResponseController(w)}, r, "", info.ModTime(), file)
	return nil, nil
}

func (v *Server) putArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	f, name, err := v.store.findFolder(r.Context(), r.PathValue("path"))
	if err == nil && (name == "" || strings.HasSuffix(r.PathValue("path"), "/")) {
		err = invalid("Artifact path must include a filename (cannot end with '/').")
	}
	if err == nil {
		err = v.mayWriteArtifact(r.Context(), f, name)
	}
	if err != nil {
		return nil, err
	}
	if most := v.access.MaxArtifacts; v.files.Add(1) > most && most > 0 {
		return nil, invalid("The run has put %d artifacts, the most that are kept of one: put them into an archive",
			most)
	}
	c := http.NewResponseController(w)
	err = v.store.putFile(f, name, &roomReader{patientReader{r.Body, c}, v})
	c.SetWriteDeadline(time.Now().Add(stallTime))
	return struct{}{}, err
}

func (v *Server) deleteArtifact(w http.ResponseWriter, r *http.Request) (any, error) {
	f, name, err := v.store.findFolder(r.Context(), r.PathValue("path"))
	if err == nil && name == "" {
		err = invalid("'%s' is the folder of a whole run or model", clip.Bytes(r.PathValue("path"), maxKey))
	}
	if err == nil {
		err = v.mayWriteArtifact(r.Context(), f, name)
	}
	if err != nil {
		return nil, err
	}
	return struct{}{}, v.store.removeFile(f, name)
}

// roomReader ends with an error where clients have put more than there is room for. What
// is written over counts again.
type roomReader struct {
	io.Reader
	v *Server
}

func (r *roomReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if room := r.v.access.Room; r.v.bytes.Add(int64(n)) > room && room > 0 {
		return 0, invalid("The artifacts of the run are more than the %s that are kept (--max-outputs-size moves that)",
			size.Limit(room))
	}
	return n, err
}

// patientReader and patientWriter let an artifact take as long as it needs, as long as
// some of it comes or goes.
type patientReader struct {
	io.Reader
	c *http.ResponseController
}

func (p patientReader) Read(b []byte) (int, error) {
	p.c.SetReadDeadline(time.Now().Add(stallTime)) // what has no connection has no deadline either
	return p.Reader.Read(b)
}

type patientWriter struct {
	http.ResponseWriter
	c *http.ResponseController
}

func (p patientWriter) Write(b []byte) (int, error) {
	p.c.SetWriteDeadline(time.Now().Add(stallTime))
	return p.ResponseWriter.Write(b)
}
