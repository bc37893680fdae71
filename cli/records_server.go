package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/version"
)

// serverHome keeps records as runs on an MLflow server. Who may write there is believed, as
// far as its runs say that they are of this repository's own branches.
type serverHome struct {
	client     *history.Client
	say        func(format string, args ...any)
	shown      string // the address, as far as it is told
	experiment string // in place of a job's; "" for none
	repository string // of which runs are believed
	foreign    bool   // this is for a fork's pull request
	settings   bool   // on this person's machine, the settings alone name it
	open       bool   // whoever opens a pull request may write there
}

// server is the MLflow server that the environment names (mlflow.org, "Environment variables"),
// else the settings; nil where neither does.
func (a *app) server(flow *workflow) *serverHome {
	named := a.getenv("MLFLOW_TRACKING_URI")
	address := cmp.Or(named, a.historyAt)
	u, err := url.Parse(address)
	switch {
	case address == "databricks" || err == nil && u.Scheme == "databricks":
		a.say("aml-train: MLFLOW_TRACKING_URI is databricks, so the run is not kept there; give the workspace's " +
			"address instead, https://HOST, and a token in MLFLOW_TRACKING_TOKEN")
		return nil
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil // artifacts, ref; a folder, or a database, at which its owner looks
	}
	h := &serverHome{say: a.say, shown: u.Scheme + "://" + u.Host, experiment: a.getenv("MLFLOW_EXPERIMENT_NAME"),
		foreign: flow != nil && flow.Foreign(), settings: flow == nil && named == ""}
	s := a.signIn(h, u)
	// To a server that asks nobody who he is, the pull request of a public repository's fork
	// can write what it likes.
	h.open = flow != nil && !flow.Private && s == signIn{}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	h.client = &history.Client{Base: strings.TrimSuffix(u.String(), "/"), HTTP: newDoor(s)}
	if repo, err := a.git.Find("."); err == nil && repo != nil {
		if info, err := a.codeOf(repo); err == nil {
			h.repository = sameRepository(info.Repository)
		}
	}
	return h
}

// signIn returns what the environment has to sign in with. A fork's pull request signs in
// nowhere; and where this person's token goes is not for a repository's settings to say, but for
// this person, or for those of the branch that a workflow's change is to be merged into.
func (a *app) signIn(h *serverHome, u *url.URL) (s signIn) {
	password, given := u.User.Password()
	if given {
		a.mask(password)
	}
	if h.foreign || h.settings {
		return s
	}
	s = signIn{a.getenv("MLFLOW_TRACKING_USERNAME"), a.getenv("MLFLOW_TRACKING_PASSWORD"),
		a.getenv("MLFLOW_TRACKING_TOKEN")}
	if given && s.password == "" {
		s.user, s.password = u.User.Username(), password
	}
	a.mask(s.password, s.token)
	return s
}

// sameRepository is a remote's address without what differs between ways to reach it.
func sameRepository(address string) string {
	address = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(address), "/"), ".git")
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	} else {
		address = strings.Replace(address, ":", "/", 1) // HOST:PATH, as of scp
	}
	host, path, _ := strings.Cut(address, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	return host + "/" + path
}

func (h *serverHome) list(ctx context.Context, what sought) (out []kept, err error) {
	if h.open {
		return nil, errors.New("the pull request of a fork could write to a server at which nobody signs in")
	}
	tags := map[string]string{history.TagKey: what.key}
	if what.key == "" {
		tags = map[string]string{history.TagSeries: what.series}
	}
	for _, commit := range slices.Compact([]string{what.commit, ""}) {
		if delete(tags, history.TagCommit); commit != "" {
			tags[history.TagCommit] = commit
		}
		runs, err := h.client.Published(ctx, cmp.Or(h.experiment, what.experiment), tags, 100)
		if errors.Is(err, errOurs) {
			return nil, nil
		}
		if err != nil {
			return nil, h.told(err)
		}
		for _, run := range runs {
			if h.believes(run) {
				out = append(out, kept{run.Tag(history.TagCommit), run.Tag(history.TagBranch), publishedRun{run, what}})
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out, nil
}

// publishedRun is a run on a server, and what it was found for.
type publishedRun struct {
	*history.Run
	what sought
}

// believes tells whether a run is of one of this repository's own commits: of no fork, and
// not of what only a person's working tree had.
func (h *serverHome) believes(run *history.Run) bool {
	return run.Tag(history.TagFork) == "" && run.Tag(history.TagCommit) != "" &&
		sameRepository(run.Tag(gitmeta.PropRepository)) == h.repository &&
		(run.Tag(gitmeta.PropDirty) != "True" || run.Tag(history.TagBuild) != "")
}

func (h *serverHome) read(ctx context.Context, k kept) (*history.Record, error) {
	run := k.of.(publishedRun)
	rec, err := h.client.ReadPublished(ctx, run.Run, run.what.experiment)
	if err == nil && !h.believes(&rec.Run) {
		err = errors.New("its record is of another repository")
	}
	if err != nil {
		return nil, fmt.Errorf("run %s of %s: %w", run.Info.RunID, h.shown, h.told(err))
	}
	return rec, nil
}

// publishTries is how often a run is published before it is given up.
const publishTries = 3

func (h *serverHome) keep(ctx context.Context, rec *history.Record, zip []byte) error {
	if h.foreign {
		return nil
	}
	var run *history.Run
	var err error
	refused := false
	for try := 0; try < publishTries && !refused && ctx.Err() == nil; try++ {
		if run, err = h.client.Publish(ctx, rec, zip, cmp.Or(h.experiment, rec.Experiment)); err == nil {
			h.say("Kept as run %s on %s", run.Info.RunID, h.shown)
			return nil
		}
		refused = errors.Is(err, errOurs) || strings.Contains(err.Error(), "answered 401") ||
			strings.Contains(err.Error(), "answered 403")
	}
	switch {
	case errors.Is(err, errOurs):
		return nil
	case refused:
		err = fmt.Errorf("%w; %s", err, h.needs())
	}
	return h.told(cmp.Or(err, ctx.Err()))
}

func (h *serverHome) needs() string {
	of := "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, sign in"
	if h.settings {
		of += " where MLFLOW_TRACKING_URI names the server, too"
	}
	return of
}

// told is an error as it is told: of the address only the host.
func (h *serverHome) told(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), h.client.Base, h.shown))
}

// signIn is how MLflow's clients sign in: with a user and a password, else with a token.
type signIn struct{ user, password, token string }

// door sends requests to an MLflow server.
type door struct{ pipeline runtime.Pipeline }

// errOurs tells that a server is that of a history of this program: a script's, that runs
// another job, or of history serve. Runs of this machine are there already.
var errOurs = errors.New("the server is that of a run history of aml-train")

// serverAnswer is the most that is read of an answer, in bytes.
const serverAnswer = 64 << 20

func newDoor(s signIn) door {
	sign := policyFunc(func(req *policy.Request) (*http.Response, error) {
		switch {
		case s.user != "" && s.password != "":
			req.Raw().SetBasicAuth(s.user, s.password)
		case s.token != "":
			req.Raw().Header.Set("Authorization", "Bearer "+s.token)
		}
		return req.Next()
	})
	stays := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // to a page to sign in at
	return door{runtime.NewPipeline("aml-train", version.String(), runtime.PipelineOptions{
		PerRetry: []policy.Policy{sign}}, &policy.ClientOptions{
		Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 10 * time.Second,
			TryTimeout: time.Minute},
		Transport: &http.Client{Transport: debuglog.Transport(http.DefaultTransport), CheckRedirect: stays},
		Telemetry: policy.TelemetryOptions{ApplicationID: "aml-train"},
	})}
}

type policyFunc func(*policy.Request) (*http.Response, error)

func (f policyFunc) Do(r *policy.Request) (*http.Response, error) { return f(r) }

func (d door) Do(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/runs/create") { // twice, it makes two
		r = r.WithContext(policy.WithRetryOptions(r.Context(), policy.RetryOptions{MaxRetries: -1}))
	}
	req, err := runtime.NewRequestFromRequest(r)
	if err != nil {
		return nil, err
	}
	runtime.SkipBodyDownload(req) // it has a limit
	res, err := d.pipeline.Do(req)
	var at *url.Error
	if errors.As(err, &at) { // its text holds the whole address
		err = at.Err
	}
	if err != nil {
		return nil, err
	}
	if res.Header.Get("Server") == history.ServerName {
		res.Body.Close()
		return nil, errOurs
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		res.Body.Close()
		return nil, fmt.Errorf("the server answered %s, as a page to sign in at does", res.Status)
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, serverAnswer), res.Body}
	return res, nil
}
