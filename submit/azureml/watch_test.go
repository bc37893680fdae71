package azureml

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
)

// A workspace that is out of reach, or for which no token can be had, is waited for, from
// the first look to the last; each byte of the log is asked for once.
func TestWatchOutage(t *testing.T) {
	const text = "one\ntwo\nthree\n"
	cut := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	answers := func(code int) func(http.ResponseWriter) { return func(w http.ResponseWriter) { w.WriteHeader(code) } }
	for name, out := range map[string]func(http.ResponseWriter){"cut": cut, "bad gateway": answers(502),
		"unwell": answers(503), "too many": answers(429),
		"a proxy's page": func(w http.ResponseWriter) { io.WriteString(w, "<html>") }, "no token": nil} {
		for _, at := range []string{"first", "between", "last"} {
			t.Run(name+" "+at, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					away := func() bool { // nine minutes
						since := time.Since(start)
						from := map[string]time.Duration{"first": time.Millisecond, "between": time.Minute,
							"last": 3 * time.Minute}[at]
						return since >= from && since < from+9*time.Minute
					}
					cred := token{}
					if out == nil {
						cred.err = func() error {
							if away() {
								return errors.New("AADSTS50196")
							}
							return nil
						}
					}
					ended := func() bool { return time.Since(start) >= 3*time.Minute-time.Second }
					read := 0
					c := offline(t, cred, func(w http.ResponseWriter, r *http.Request) {
						switch {
						case out != nil && away():
							out(w)
						case strings.HasSuffix(r.URL.Path, "/details"):
							status := "Running"
							if ended() {
								status = "Completed"
							}
							fmt.Fprintf(w,
								`{"status": %q, "logFiles": {"user_logs/std_log.txt": "https://a.blob.core.windows.net/log?sig=secret"}}`,
								status)
						case r.URL.Path == "/log":
							shown := min(int(time.Since(start)/(4*time.Second)), len(text))
							if ended() {
								shown = len(text)
							}
							from := 0
							fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
							if from >= shown {
								w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
								return
							}
							read += shown - from
							w.WriteHeader(http.StatusPartialContent)
							io.WriteString(w, text[from:shown])
						case strings.Contains(r.URL.Path, "/jobs/"):
							io.WriteString(w, `{"name": "run", "properties": {"jobType": "Command"}}`)
						case strings.HasSuffix(r.URL.Path, "/runs/get"):
							w.WriteHeader(http.StatusNotFound)
						}
					})
					target := &Target{Say: t.Logf}
					target.once.Do(func() { target.conn = c })
					time.Sleep(time.Millisecond)
					var printed strings.Builder
					run, err := target.Watch(t.Context(), "run", &printed)
					require.NoError(t, err)
					require.Equal(t, history.Completed, run.Status())
					require.Equal(t, text, printed.String())
					require.Equal(t, len(text), read)
				})
			})
		}
	}
}

// An outage ends the watch after ten minutes, and what will never pass ends it at once.
func TestWatchGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		within time.Duration
		want   string
	}{
		"away": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 15 * time.Minute,
			"unexpected EOF"},
		"no run": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, time.Second,
			"the workspace w has no run run"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, time.Second,
			"Azure answers 403"},
		"led away": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"status": "Running", "logFiles": {"user_logs/std_log.txt": "http://169.254.169.254/"}}`)
		}, time.Second, "no address of the cloud"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				target := &Target{}
				c := offline(t, token{}, test.answer)
				target.once.Do(func() { target.conn = c })
				start := time.Now()
				_, err := target.Watch(t.Context(), "run", io.Discard)
				require.ErrorContains(t, err, test.want)
				require.Less(t, time.Since(start), test.within)
			})
		})
	}
}

// Just after a submission the run history does not know the run, nor does MLflow: what
// the control plane says counts.
func TestDetailsNotYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := offline(t, token{}, func(w http.ResponseWriter, r *http.Request) {
			late := time.Since(start) > time.Minute
			switch {
			case strings.HasSuffix(r.URL.Path, "/details") && late:
				io.WriteString(w, `{"status": "Completed"}`)
			case strings.Contains(r.URL.Path, "/jobs/"):
				io.WriteString(w, `{"name": "run", "properties": {"jobType": "Command", "status": "Queued"}}`)
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		})
		run, err := (&records{t: &Target{}, c: c}).Run(t.Context(), "run")
		require.NoError(t, err)
		require.Equal(t, history.Queued, run.Status())
		target := &Target{}
		target.once.Do(func() { target.conn = c })
		run, err = target.Watch(t.Context(), "run", io.Discard)
		require.NoError(t, err)
		require.Equal(t, history.Completed, run.Status())
	})
}

// A run that waits for long says what for, once in each state.
func TestWatchSaysWhatFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := offline(t, token{}, func(w http.ResponseWriter, r *http.Request) {
			switch at := time.Since(start); {
			case strings.Contains(r.URL.Path, "/jobs/"):
				io.WriteString(w, `{"name": "run", "properties": {"jobType": "Command"}}`)
			case !strings.HasSuffix(r.URL.Path, "/details"):
				w.WriteHeader(http.StatusNotFound)
			case at < 8*time.Minute:
				io.WriteString(w, `{"status": "Queued"}`)
			case at < 30*time.Minute:
				io.WriteString(w, `{"status": "Preparing"}`)
			case at < 40*time.Minute:
				io.WriteString(w, `{"status": "Running"}`)
			default:
				io.WriteString(w, `{"status": "Completed"}`)
			}
		})
		var said []string
		target := &Target{Say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
		target.once.Do(func() { target.conn = c })
		_, err := target.Watch(t.Context(), "run", io.Discard)
		require.NoError(t, err)
		require.Len(t, said, 2)
		require.Contains(t, said[0], "Queued for 5 minutes now. It waits for a node of the compute target")
		require.Contains(t, said[1], "Preparing for 5 minutes now. It waits for the image of its environment")
		require.Contains(t, said[1], "Basic tier")
	})
}
