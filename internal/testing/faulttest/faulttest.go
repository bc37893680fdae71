// Package faulttest answers: what becomes of a program of which a request fails?
//
// A test asks it at each request: Client fails one where a client sends it, Requests where
// servers get it, and there the program may be killed as well.
package faulttest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// Fault is a way in which one of a client's requests fails. Of the zero value, the server is not
// reached.
type Fault struct {
	After bool // the server does what it is asked, and the answer is lost
	Sick  bool // the server says that it is unwell
	Dies  bool // every later request fails, too: this is the last that its program does
}

// Client sends requests, but for the one that is to fail. It may be used by several goroutines.
type Client struct {
	Fault
	At int // which one fails, from 1; 0 for none

	mu    sync.Mutex
	asked []string
}

// Do sends a request, or fails.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.asked = append(c.asked, r.Method+" "+r.URL.Path)
	n := len(c.asked)
	c.mu.Unlock()
	switch fails := c.At > 0 && (n == c.At || c.Dies && n > c.At); {
	case !fails:
		return http.DefaultClient.Do(r)
	case c.Sick:
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Status: "503 Service Unavailable",
			Body: http.NoBody}, nil
	case c.After && n == c.At:
		if res, err := http.DefaultClient.Do(r); err == nil {
			res.Body.Close()
		}
		return nil, errors.New("connection reset")
	}
	return nil, errors.New("connection refused")
}

// Asked are the requests so far, each a method and a path.
func (c *Client) Asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// Way is how one request to a server fails: obey has the server do what it is asked, and kill
// kills the program that asks. It tells whether it has answered, and may panic with
// http.ErrAbortHandler instead, which cuts the connection.
type Way func(kill func(), w http.ResponseWriter, obey func(http.ResponseWriter)) (answered bool)

// Killed kills the program before its request is obeyed.
func Killed(kill func(), _ http.ResponseWriter, _ func(http.ResponseWriter)) bool {
	kill()
	panic(http.ErrAbortHandler)
}

// ObeyedKilled kills the program after its request was obeyed.
func ObeyedKilled(kill func(), _ http.ResponseWriter, obey func(http.ResponseWriter)) bool {
	obey(httptest.NewRecorder())
	kill()
	panic(http.ErrAbortHandler)
}

// ObeyedCut loses the answer.
func ObeyedCut(_ func(), _ http.ResponseWriter, obey func(http.ResponseWriter)) bool {
	obey(httptest.NewRecorder())
	panic(http.ErrAbortHandler)
}

// Refused answers that it is not allowed, as GitHub and as Azure do.
func Refused(_ func(), w http.ResponseWriter, _ func(http.ResponseWriter)) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprint(w, `{"message": "not now", "error": {"code": "AuthorizationFailed", "message": "not now"}}`)
	return true
}

// Unwell answers that it is unwell, and may be asked again at once.
func Unwell(_ func(), w http.ResponseWriter, _ func(http.ResponseWriter)) bool {
	w.Header().Set("Retry-After", "0")
	w.WriteHeader(http.StatusServiceUnavailable)
	return true
}

// Requests counts what servers are asked, of which one may fail.
type Requests struct {
	mu    sync.Mutex
	asked int
	fault func(n int, w http.ResponseWriter, obey func(http.ResponseWriter)) bool
}

// Answer counts a request, and answers it where it is the one that fails.
func (r *Requests) Answer(w http.ResponseWriter, obey func(http.ResponseWriter)) (answered bool) {
	r.mu.Lock()
	r.asked++
	n, fault := r.asked, r.fault
	r.mu.Unlock()
	return fault != nil && fault(n, w, obey)
}

// Asked is how many requests there were since it was last asked for.
func (r *Requests) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.asked
	r.asked = 0
	return n
}

// failAt has the n-th request from now on fail; it returns whether it has happened, once the
// requests are over, and lets all later ones pass.
func (r *Requests) failAt(n int, way Way, kill func()) (end func() (happened bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	happened := false
	r.asked = 0
	r.fault = func(i int, w http.ResponseWriter, obey func(http.ResponseWriter)) bool {
		if i != n {
			return false
		}
		r.mu.Lock()
		happened = true
		r.mu.Unlock()
		return way(kill, w, obey)
	}
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fault = nil
		return happened
	}
}

// Each has each of a program's requests fail, or those of testenv.Each: begin prepares for the n-th, and returns
// the command, which runs with the fault, and once more without one where it has failed: then it
// must not. look is told what happened. It ends at a command that makes fewer requests than n,
// which has to be more than least.
func (r *Requests) Each(t *testing.T, name string, way Way, least int, begin func(n int) (command func() *exec.Cmd),
	look func(n int, what string)) {
	for n := range testenv.Each(1) {
		command := begin(n)
		cmd := command()
		var says bytes.Buffer
		cmd.Stdout, cmd.Stderr = &says, &says
		started := make(chan struct{})
		end := r.failAt(n, way, func() {
			<-started // the request may be one that a killed program before has left
			cmd.Process.Kill()
		})
		err := cmd.Start()
		close(started)
		require.NoError(t, err)
		err = cmd.Wait()
		happened := end()
		if err != nil {
			var out []byte
			out, err = command().CombinedOutput()
			says.Write(out)
		}
		what := fmt.Sprintf("%s at request %d: %s", name, n, &says)
		require.NoError(t, err, what)
		look(n, what)
		if !happened {
			require.Greater(t, n, least)
			t.Logf("%s: %d requests", name, n-1)
			return
		}
	}
}
