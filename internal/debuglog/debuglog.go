// Package debuglog answers: what does the program do, and how long does it take?
//
// With --debug each step is a line: a request with its answer, what was found of a git
// repository, how long a snapshot took. A line names what was asked for, never what signs
// in: no header, no body, of an address neither user nor password, nor the values of its
// query but for those of a few names that are known to hold no secret.
package debuglog

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sink is where lines go; nil while nobody asked for them.
var sink atomic.Pointer[output]

type output struct {
	mu sync.Mutex
	w  io.Writer
}

// To has each step written to w, in whole lines. nil ends that.
func To(w io.Writer) {
	if w == nil {
		sink.Store(nil)
		return
	}
	sink.Store(&output{w: w})
}

// Step writes what was done since begin.
func Step(begin time.Time, format string, args ...any) {
	to := sink.Load()
	if to == nil {
		return
	}
	took := time.Since(begin)
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	to.mu.Lock()
	defer to.mu.Unlock()
	fmt.Fprintf(to.w, "debug: %8.1f ms  %s\n", float64(took.Microseconds())/1000, text)
}

// shownValues are the names in a query whose values are shown.
var shownValues = []string{"api-version", "comp", "restype", "page", "per_page", "max_results", "view_type"}

// Address is an address as it is shown.
func Address(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	text := shown.String()
	var query []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, given := strings.Cut(part, "=")
		switch {
		case part == "":
		case slices.Contains(shownValues, name):
			query = append(query, part)
		case given:
			query = append(query, name+"=...")
		default:
			query = append(query, "...") // a word without a name may be anything
		}
	}
	if len(query) > 0 {
		text += "?" + strings.Join(query, "&")
	}
	return text
}

// Transport is base with a line for each request.
func Transport(base http.RoundTripper) http.RoundTripper { return transport{base} }

type transport struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if sink.Load() == nil {
		return t.base.RoundTrip(r)
	}
	begin := time.Now()
	res, err := t.base.RoundTrip(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its text holds the whole address
		}
		Step(begin, "%s %s: %v", r.Method, Address(r.URL), err)
		return res, err
	}
	id := ""
	for _, name := range []string{"x-ms-request-id", "x-github-request-id"} {
		if v := res.Header.Get(name); v != "" && len(v) < 80 {
			id = ", request " + v
		}
	}
	Step(begin, "%s %s: %s%s", r.Method, Address(r.URL), res.Status, id)
	return res, err
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the base.
func (t transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
