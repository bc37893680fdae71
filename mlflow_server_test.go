package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/org/aml-train/internal/testing/testenv"
)

// trackingServer is MLflow's own server behind a door at which one signs in.
type trackingServer struct {
	to    http.Handler
	mu    sync.Mutex
	calls []string
	loses string // part of a path, of which the next answer is lost
}

// trackingKey is under which a script has its server.
type trackingKey struct{}

const (
	trackingToken    = "mlflow-secret-token"
	trackingPassword = "mlflow-secret-password"
)

func (s *trackingServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, basic := r.BasicAuth()
	signed := basic && user == "ada" && password == trackingPassword ||
		r.Header.Get("Authorization") == "Bearer "+trackingToken
	call := r.Method + " " + strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/2.0/"), "mlflow/")
	if !signed {
		call += ", without signing in"
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	lost := s.loses != "" && strings.Contains(r.URL.Path, s.loses)
	if lost {
		s.loses = ""
	}
	s.mu.Unlock()
	switch {
	case !signed:
		w.WriteHeader(http.StatusUnauthorized)
	case lost:
		s.to.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	default:
		s.to.ServeHTTP(w, r)
	}
}

// mlflowserver [own] starts MLflow's own server: $MLFLOW is its address behind a door at which
// one signs in, $MLFLOW_OPEN the one at which nobody does. With own, the server itself has one
// sign in, at both.
func mlflowServer(ts *testscript.TestScript, neg bool, args []string) {
	home := filepath.Join(ts.Getenv("HOME"), "mlflow")
	ts.Check(os.MkdirAll(home, 0o755))
	address, end, err := testenv.StartMLflow(ts.Getenv("MLFLOW_PYTHON"), home, func(cmd *exec.Cmd) {
		if len(args) == 0 {
			return
		}
		config := filepath.Join(home, "auth.ini")
		ts.Check(os.WriteFile(config, []byte("[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///"+
			filepath.Join(home, "auth.db")+"\nadmin_username = ada\nauthorization_function = "+
			"mlflow.server.auth:authenticate_request_basic_auth\n"), 0o644))
		cmd.Args = append(cmd.Args, "--app-name", "basic-auth")
		cmd.Env = append(cmd.Env, "MLFLOW_AUTH_CONFIG_PATH="+config, "MLFLOW_AUTH_ADMIN_PASSWORD="+trackingPassword,
			"MLFLOW_FLASK_SERVER_SECRET_KEY=a-key-for-a-test")
	})
	ts.Check(err)
	ts.Defer(end)
	ts.Setenv("MLFLOW_OPEN", address)
	server, err := url.Parse(address)
	ts.Check(err)
	s := &trackingServer{to: httputil.NewSingleHostReverseProxy(server)}
	door := httptest.NewServer(s)
	ts.Defer(door.Close)
	*ts.Value(trackingKey{}).(**trackingServer) = s
	ts.Setenv("MLFLOW", door.URL)
}

var runID = regexp.MustCompile(`[0-9a-f]{32}`)

// calls FILE writes what the server behind the door was asked for since it was last called,
// with ID for the ids of runs.
func calls(ts *testscript.TestScript, neg bool, args []string) {
	s := *ts.Value(trackingKey{}).(**trackingServer)
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	for _, c := range s.calls {
		text += runID.ReplaceAllString(c, "ID") + "\n"
	}
	s.calls = nil
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// loses PATH has the next answer to a request get lost whose path has that in it.
func loses(ts *testscript.TestScript, neg bool, args []string) {
	s := *ts.Value(trackingKey{}).(**trackingServer)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loses = args[0]
}
