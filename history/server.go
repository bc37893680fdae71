package history

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/org/aml-train/internal/clip"
)

// Version is the MLflow whose REST API the server offers. Clients ask for it and
// leave out what an older server does not know.
const Version = "3.0.0"

// ServerName is what the server calls itself in the header Server of every answer.
const ServerName = "aml-train"

// Access says who may do what.
type Access struct {
	// Token is what a client sends as "Authorization: Bearer TOKEN"
	// (MLFLOW_TRACKING_TOKEN); "" asks for none.
	Token string

	// Run is the run whose script has the token: it may change that run and what it made,
	// and read the rest. "" may change everything.
	Run string

	// Room is how many bytes of artifacts clients may put, and MaxArtifacts how many; 0 is
	// any number.
	Room         int64
	MaxArtifacts int64
}

// Server offers a store through the MLflow tracking REST API. It is for programs on the
// same machine: it answers requests for a loopback name only, none that a page in a
// browser makes, and where a token is set, only with it.
type Server struct {
	store  *Store
	access Access
	calls  *http.ServeMux
	turns  chan struct{} // one for each request that is held in memory

	bytes, files atomic.Int64 // of the artifacts that were put

	tell sync.Mutex
	told map[string]bool // the runs whose script knows that traces are not kept
}

// NewServer returns the handler.
func NewServer(s *Store, a Access) *Server {
	v := &Server{store: s, access: a, calls: http.NewServeMux(), turns: make(chan struct{}, 16)}
	v.calls.HandleFunc("GET /health", say("OK"))
	v.calls.HandleFunc("GET /version", say(Version))
	v.experimentCalls()
	v.runCalls()
	v.modelCalls()
	v.registryCalls()
	v.artifactCalls()
	v.traceCalls()
	return v
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// Limits of one server. MLflow's clients keep a connection for each thread.
const (
	maxConnections = 512
	headerTime     = 10 * time.Second
	requestTime    = 30 * time.Second // for a request of JSON
	answerTime     = 2 * time.Minute  // a busy database is waited for
	idleTime       = 2 * time.Minute
	stallTime      = time.Minute // without one byte of an artifact
)

// Serve listens on a loopback address such as 127.0.0.1:0 until stop is called,
// which waits for the requests under way.
func (v *Server) Serve(addr string) (base string, stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: v, ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: answerTime,
		IdleTimeout: idleTime, MaxHeaderBytes: 64 << 10}
	go srv.Serve(netutil.LimitListener(l, maxConnections))
	return "http://" + l.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	}, nil
}

func (v *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", ServerName)
	err := v.admit(r)
	if err == nil {
		err = plain(r.URL.Path)
	}
	if err == nil {
		// A method that a path does not have is told as a path that is not there: MLflow's
		// clients read JSON. So is one that would be sent on to another path.
		h, pattern := v.calls.Handler(r)
		if _, ours := h.(http.HandlerFunc); pattern == "" || !ours {
			err = noEndpoint(r)
		}
	}
	if err != nil {
		respond(w, nil, err)
		return
	}
	v.calls.ServeHTTP(w, r)
}

// plain refuses a path that means another one: the client would be sent there.
func plain(p string) error {
	for part := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if part == "" && p != "/" || part == "." || part == ".." {
			return invalid("Invalid path: '%s'", clip.Bytes(p, maxKey))
		}
	}
	return nil
}

func noEndpoint(r *http.Request) error {
	if strings.Contains(r.URL.Path, "trace") {
		return &Error{codeNoEndpoint, noTraces}
	}
	return &Error{codeNoEndpoint, fmt.Sprintf("%s %s is no part of the tracking API that aml-train offers (MLflow %s: "+
		"experiments, runs, metrics, logged and registered models, artifacts)",
		r.Method, clip.Bytes(r.URL.Path, 200), Version)}
}

// admit tells whether a request is answered at all.
func (v *Server) admit(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return &Error{codeForbidden, "this server answers to localhost only"} // a name of somebody's own may lead here
	}
	// A browser says for whom it asks. No page is for this server: it has none. An address
	// that a person typed is "none".
	if site := r.Header.Get("Sec-Fetch-Site"); r.Header.Get("Origin") != "" || site != "" && site != "none" {
		return &Error{codeForbidden, "this server answers no page in a browser; it is for MLflow's client"}
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return &Error{codeInvalid, "a request with Content-Encoding is not read; send it as it is"}
	}
	if v.access.Token == "" {
		return nil
	}
	given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(given), []byte(v.access.Token)) != 1 {
		return &Error{codeSignIn, "the token in MLFLOW_TRACKING_TOKEN is missing or not that of this server"}
	}
	return nil
}

// httpStatus is MLflow's (mlflow/exceptions.py). Its clients send a request again after
// 408, 429 and 5xx, so that only what may pass is one of these.
var httpStatus = map[string]int{
	codeInvalid: 400, codeExists: 400, codeNotFound: 404, codeNoEndpoint: 404,
	codeInternal: 500, codeNotImplemented: 501, codeUnavailable: 503, codeForbidden: 403, codeSignIn: 401,
}

func respond(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{codeInternal, err.Error()}
			if errors.Is(err, ErrRunExists) {
				e.Code = codeExists
			}
		}
		w.WriteHeader(httpStatus[e.Code])
		json.NewEncoder(w).Encode(e)
		return
	}
	if answer == nil {
		answer = struct{}{}
	}
	json.NewEncoder(w).Encode(answer)
}

// call registers a call of the API under both of its prefixes; the second is that of
// MLflow's own page. Q is the request: a struct whose fields have the names of the
// protocol (mlflow/protos/service.proto).
func call[Q any](v *Server, pattern string, f func(context.Context, *Q) (any, error)) {
	method, name, _ := strings.Cut(pattern, " ")
	for _, prefix := range []string{"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"} {
		handle(v, method+" "+prefix+name, f)
	}
}

func handle[Q any](v *Server, pattern string, f func(context.Context, *Q) (any, error)) {
	v.calls.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v.turns <- struct{}{}
		defer func() { <-v.turns }()
		q := new(Q)
		err := decode(w, r, q)
		var answer any
		if err == nil {
			answer, err = f(r.Context(), q)
		}
		respond(w, answer, err)
	})
}

// maxBody bounds a request of JSON; artifacts are streamed. The largest that MLflow
// takes is a dataset's profile of 16 million characters.
const maxBody = 20 << 20

// decode reads a request: GET carries it in the query, the others as JSON, and the path
// has fields too. A field with the tag required has to be there.
func decode(w http.ResponseWriter, r *http.Request, q any) error {
	fields := reflect.VisibleFields(reflect.TypeOf(q).Elem())
	if r.Method == http.MethodGet {
		if err := decodeQuery(r.URL.Query(), fields, q); err != nil {
			return err
		}
	} else if err := decodeBody(w, r, q); err != nil {
		return err
	}
	value := reflect.ValueOf(q).Elem()
	for _, f := range fields {
		name, field := f.Tag.Get("json"), value.FieldByIndex(f.Index)
		if s := r.PathValue(name); name != "" && s != "" {
			field.SetString(s)
		}
		if f.Tag.Get("required") != "" && field.IsZero() {
			return invalid("Missing value for required parameter '%s'. See the API docs for more information about "+
				"request parameters.", name)
		}
	}
	if c, ok := q.(interface{ check() error }); ok {
		return c.check()
	}
	return nil
}

func decodeQuery(query url.Values, fields []reflect.StructField, q any) error {
	object := map[string]any{}
	for _, f := range fields {
		name := f.Tag.Get("json")
		switch {
		case name == "" || !query.Has(name):
		case f.Type.Kind() == reflect.Slice:
			object[name] = query[name]
		default:
			object[name] = query.Get(name)
		}
	}
	text, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(text, q)
	}
	return badRequest(err)
}

func decodeBody(w http.ResponseWriter, r *http.Request, q any) error {
	if r.Method == http.MethodDelete && r.ContentLength == 0 {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		// The one kind that no form of a page can send.
		return invalid("Bad Request. Content-Type must be one of ['application/json'].")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return invalid("the request cannot be read: %v", err)
	}
	if len(body) == 0 {
		return nil
	}
	return badRequest(json.Unmarshal(body, q))
}

func badRequest(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		return invalid("the request is none of the tracking API: %s cannot be a JSON %s",
			cmp.Or(t.Field, "its body"), t.Value)
	}
	return invalid("the request is none of the tracking API: %v", err)
}

// batch is a list of a request. It holds at most 1,000 elements, as many as any of
// MLflow's lists: two bytes of a request can be an element of many.
type batch[T any] []T

func (b *batch[T]) UnmarshalJSON(text []byte) (err error) {
	*b, err = elements[T](text, maxBatchEntities)
	return err
}

// experimentIDs are the experiments that a search is of, all of a history perhaps: MLflow sets
// no limit to them, and SQLite takes 32,766 values in a statement.
type experimentIDs []string

const maxExperiments = 30_000

func (b *experimentIDs) UnmarshalJSON(text []byte) (err error) {
	*b, err = elements[string](text, maxExperiments)
	return err
}

// elements are those of a list, at most so many.
func elements[T any](text []byte, most int) (list []T, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		if err == nil && start == nil {
			return nil, nil
		}
		return nil, invalid("the request has something else in the place of a list")
	}
	for d.More() {
		if len(list) == most {
			return nil, invalid("A batch logging request can contain at most %d values. Please split them up across "+
				"multiple requests and try again.", most)
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// enum is an enum, which protocol buffers' JSON writes as its name or number.
type enum string

func (e *enum) UnmarshalJSON(text []byte) error {
	if s := unquote(text); s != "null" {
		*e = enum(s)
	}
	return nil
}

// named is the name of an enum's value, of which names has those from 1 on.
func (e enum) named(names ...string) string {
	if n, err := strconv.Atoi(string(e)); err == nil && n >= 1 && n <= len(names) {
		return names[n-1]
	}
	return string(e)
}

func (e enum) view() string { return e.named("ACTIVE_ONLY", "DELETED_ONLY", "ALL") }

// page writes a list as the API does: without the field where it is empty.
func page[T any](name string, list []T, token string, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if len(list) > 0 {
		out[name] = list
	}
	if token != "" {
		out["next_page_token"] = token
	}
	return out, nil
}
