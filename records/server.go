package records

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
	"github.com/org/aml-train/internal/pipeline"
)

// server keeps records as runs on an MLflow server. Who may write there is believed, as far as
// its runs say that they are of this repository's own branches.
type server struct {
	client     *history.Client
	say        func(format string, args ...any)
	shown      string // the address, as far as it is told
	experiment string // in place of a job's; "" for none
	repository string // of which runs are believed
	foreign    bool   // this is for a fork's pull request
	settings   bool   // on this person's machine, the settings alone name it
	open       bool   // whoever opens a pull request may write there
}

// newServer is the MLflow server that the environment names (mlflow.org, "Environment
// variables"), else the settings; nil where neither does.
func newServer(o Options) *server {
	named := o.Getenv("MLFLOW_TRACKING_URI")
	address := cmp.Or(named, o.History)
	u, err := url.Parse(address)
	switch {
	case address == "databricks" || err == nil && u.Scheme == "databricks":
		o.Say("aml-train: MLFLOW_TRACKING_URI is databricks, so the run is not kept there; give the workspace's " +
			"address instead, https://HOST, and a token in MLFLOW_TRACKING_TOKEN")
		return nil
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil // artifacts, ref; a folder, or a database, at which its owner looks
	}
	w := o.Workflow
	s := &server{say: o.Say, shown: u.Scheme + "://" + u.Host, experiment: o.Getenv("MLFLOW_EXPERIMENT_NAME"),
		foreign: w != nil && w.Foreign(), settings: w == nil && named == ""}
	as := s.signIn(o, u)
	// To a server that asks nobody who he is, the pull request of a public repository's fork
	// can write what it likes.
	s.open = w != nil && !w.Private && as == signIn{}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	s.client = &history.Client{Base: strings.TrimSuffix(u.String(), "/"), HTTP: newSender(as)}
	if repo, err := o.Git.Find("."); err == nil && repo != nil {
		if info, err := o.Code(repo); err == nil {
			s.repository = sameRepository(info.Repository)
		}
	}
	return s
}

// signIn returns what the environment has to sign in with. A fork's pull request signs in
// nowhere; and where this person's token goes is not for a repository's settings to say, but for
// this person, or for those of the branch that a workflow's change is to be merged into.
func (s *server) signIn(o Options, u *url.URL) (as signIn) {
	password, given := u.User.Password()
	if given {
		o.Mask(password)
	}
	if s.foreign || s.settings {
		return as
	}
	as = signIn{o.Getenv("MLFLOW_TRACKING_USERNAME"), o.Getenv("MLFLOW_TRACKING_PASSWORD"),
		o.Getenv("MLFLOW_TRACKING_TOKEN")}
	if given && as.password == "" {
		as.user, as.password = u.User.Username(), password
	}
	o.Mask(as.password, as.token)
	return as
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

func (s *server) list(ctx context.Context, q query) (out []entry, err error) {
	if s.open {
		return nil, errors.New("the pull request of a fork could write to a server at which nobody signs in")
	}
	tags := map[string]string{history.TagKey: q.key}
	if q.key == "" {
		tags = map[string]string{history.TagSeries: q.series}
	}
	for _, commit := range slices.Compact([]string{q.commit, ""}) {
		if delete(tags, history.TagCommit); commit != "" {
			tags[history.TagCommit] = commit
		}
		runs, err := s.client.Published(ctx, cmp.Or(s.experiment, q.experiment), tags, 100)
		if errors.Is(err, errOurs) {
			return nil, nil
		}
		if err != nil {
			return nil, s.told(err)
		}
		for _, run := range runs {
			if s.believes(run) {
				out = append(out, entry{run.Tag(history.TagCommit), run.Tag(history.TagBranch), publishedRun{run, q}})
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
	of query
}

// believes tells whether a run is of one of this repository's own commits: of no fork, and
// not of what only a person's working tree had.
func (s *server) believes(run *history.Run) bool {
	return run.Tag(history.TagFork) == "" && run.Tag(history.TagCommit) != "" &&
		sameRepository(run.Tag(gitmeta.PropRepository)) == s.repository &&
		(run.Tag(gitmeta.PropDirty) != "True" || run.Tag(history.TagBuild) != "")
}

func (s *server) read(ctx context.Context, k entry) (*history.Record, error) {
	run := k.of.(publishedRun)
	rec, err := s.client.ReadPublished(ctx, run.Run, run.of.experiment)
	if err == nil && !s.believes(&rec.Run) {
		err = errors.New("its record is of another repository")
	}
	if err != nil {
		return nil, fmt.Errorf("run %s of %s: %w", run.Info.RunID, s.shown, s.told(err))
	}
	return rec, nil
}

// publishTries is how often a run is published before it is given up.
const publishTries = 3

func (s *server) keep(ctx context.Context, rec *history.Record, zip []byte, _ int) error {
	if s.foreign {
		return nil
	}
	run, err := s.publish(ctx, rec, zip)
	switch {
	case err == nil:
		s.say("Kept as run %s on %s", run.Info.RunID, s.shown)
		return nil
	case errors.Is(err, errOurs):
		return nil
	case refused(err):
		err = fmt.Errorf("%w; %s", err, s.needs())
	}
	return s.told(err)
}

// publish publishes a run, and tries again where that may help.
func (s *server) publish(ctx context.Context, rec *history.Record, zip []byte) (run *history.Run, err error) {
	for range publishTries {
		run, err = s.client.Publish(ctx, rec, zip, cmp.Or(s.experiment, rec.Experiment))
		if err == nil || errors.Is(err, errOurs) || refused(err) || ctx.Err() != nil {
			break
		}
	}
	return run, err
}

// refused tells an error that the next try has, too, as who asks may not.
func refused(err error) bool {
	return strings.Contains(err.Error(), "answered 401") || strings.Contains(err.Error(), "answered 403")
}

func (s *server) needs() string {
	of := "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, sign in"
	if s.settings {
		of += " where MLFLOW_TRACKING_URI names the server, too"
	}
	return of
}

// told is an error as it is told: of the address only the host.
func (s *server) told(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), s.client.Base, s.shown))
}

// signIn is how MLflow's clients sign in: with a user and a password, else with a token.
type signIn struct{ user, password, token string }

// sender sends requests to an MLflow server.
type sender struct{ pipeline runtime.Pipeline }

// errOurs tells that a server is that of a history of this program: a script's, that runs
// another job, or of history serve. Runs of this machine are there already.
var errOurs = errors.New("the server is that of a run history of aml-train")

// serverAnswer is the most that is read of an answer, in bytes.
const serverAnswer = 64 << 20

func newSender(s signIn) sender {
	sign := pipeline.Policy(func(req *policy.Request) (*http.Response, error) {
		switch {
		case s.user != "" && s.password != "":
			req.Raw().SetBasicAuth(s.user, s.password)
		case s.token != "":
			req.Raw().Header.Set("Authorization", "Bearer "+s.token)
		}
		return req.Next()
	})
	stays := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // to a page to sign in at
	way := &http.Client{Transport: debuglog.Transport(http.DefaultTransport), CheckRedirect: stays}
	return sender{pipeline.New(pipeline.Options(retries(time.Minute), way), sign)}
}

// retries is how a request is sent again, each try within a time.
func retries(within time.Duration) policy.RetryOptions {
	o := pipeline.Retries(2, 10*time.Second)
	o.TryTimeout = within
	return o
}

func (d sender) Do(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/runs/create") || strings.HasSuffix(r.URL.Path, "/model-versions/create") {
		// twice, it makes two
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
