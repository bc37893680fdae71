package history

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of the traces of a run the first is refused, and those after it are taken with nothing more
// to send: the client warns of each one that is refused.
func TestTracesAreRefusedOnce(t *testing.T) {
	server := NewServer(open(t), Access{})
	send := func(path, body string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	of := func(run, experiment string) (int, string) {
		return send("/api/3.0/mlflow/traces", fmt.Sprintf(`{"trace": {"trace_info": {"trace_id": "tr-1", "trace_metadata":
			{"mlflow.sourceRun": %q}, "trace_location": {"mlflow_experiment": {"experiment_id": %q}}, "tags": {"a": "b"}}}}`,
			run, experiment))
	}
	for _, from := range [][2]string{{"first", "1"}, {"second", "1"}, {"", "1"}, {"", "2"}} {
		code, answer := of(from[0], from[1])
		require.Equal(t, 501, code, answer) // which no client sends again
		require.Contains(t, answer, "traces are not kept here")
		for range 3 {
			code, answer = of(from[0], from[1])
			require.Equal(t, 200, code, answer)
			require.Contains(t, answer, `"a":"b"`)
			require.Contains(t, answer, `"mlflow.trace.spansLocation":"TRACKING_STORE"`)
			require.Contains(t, answer, `"trace_id":"tr-1"`)
		}
	}
	for i := range maxTold + 10 {
		of(fmt.Sprint("run ", i), "1")
	}
	require.LessOrEqual(t, len(server.told), maxTold)
	for _, strange := range []string{`{}`, `{"trace": {}}`, `{"trace": {"trace_info": {"tags": 1, "trace_metadata": []}}}`} {
		code, answer := send("/api/3.0/mlflow/traces", strange)
		require.Contains(t, []int{200, 501}, code, answer)
	}
	code, answer := send("/v1/traces", "spans")
	require.Equal(t, 501, code)
	require.Contains(t, answer, "REST OTLP span logging is not supported: traces are not kept here")
	code, answer = send("/api/3.0/mlflow/traces/search", "{}")
	require.Equal(t, 404, code)
	require.Contains(t, answer, "traces are not kept here")
}
