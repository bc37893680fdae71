// Package mlflowtest answers: what would MLflow's own server have said, where ours says no?
package mlflowtest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
)

// The beginning of the tags that our server keeps for itself, and what stands for it there.
const own, other = "aml-train.", "other."

// AnyTags is a server of ours that takes every tag from everybody, as MLflow's own does, and does not
// say that it is ours. What lies among artifacts stays as it is.
func AnyTags(ours http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, to := []byte(own), []byte(other)
		if strings.Contains(r.URL.Path, "/mlflow-artifacts/") {
			from = to
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		body = bytes.ReplaceAll(body, from, to)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		answer := httptest.NewRecorder()
		ours.ServeHTTP(answer, r)
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		w.WriteHeader(answer.Code)
		w.Write(bytes.ReplaceAll(answer.Body.Bytes(), to, from))
	})
}
