package pipeline

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/require"
)

// A request is sent again where that can help, as often as is said, each time through the steps of
// its pipeline; an answer that says to come back later than anybody waits is a refusal.
func TestRetries(t *testing.T) {
	Delay = time.Millisecond
	for answers, want := range map[string]int{"200": 200, "503 200": 200, "cut 429 200": 200, "500 502 504 200": 504,
		"403 200": 403, "404 200": 404, "late 200": 503} {
		left, sent := strings.Fields(answers), 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next := left[0]
			left = left[1:]
			switch next {
			case "cut":
				panic(http.ErrAbortHandler)
			case "late":
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				w.WriteHeader(map[string]int{"200": 200, "403": 403, "404": 404, "429": 429, "500": 500, "502": 502,
					"503": 503, "504": 504}[next])
			}
		}))
		req, err := runtime.NewRequest(t.Context(), http.MethodGet, server.URL)
		require.NoError(t, err)
		count := Policy(func(r *policy.Request) (*http.Response, error) { sent++; return r.Next() })
		res, err := New(Options(Retries(2, time.Minute), nil), count).Do(req)
		require.NoError(t, err, answers)
		require.Equal(t, want, res.StatusCode, answers)
		require.Equal(t, len(strings.Fields(answers))-len(left), sent, answers)
		require.NoError(t, res.Body.Close())
		server.Close()
	}
}
