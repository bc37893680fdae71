// Package pipeline answers: how is a request sent to a service, and sent again?
//
// Through azcore's pipeline, whichever service it is: a workspace, its storage, the runner's results,
// an MLflow server, a server of data. It is sent again after a broken connection and the answers 408,
// 429, 500, 502, 503 and 504, as soon as Retry-After says, else after a time that doubles. GitHub's
// REST API has limits of its own, which its client knows, and requests of which the second must look
// first what the first has done: that is in github/retry.go.
package pipeline

import (
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/version"
)

// Delay is how long it takes until a request is first sent again, about. Tests shorten it.
var Delay = 200 * time.Millisecond

// Retries is the policy by which a request is sent again, so often at most: for what somebody waits
// for twice, for what a run depends on five times, which takes some ten seconds. An answer that says
// to come back later than after longest is taken for a refusal.
func Retries(most int32, longest time.Duration) policy.RetryOptions {
	return policy.RetryOptions{MaxRetries: most, RetryDelay: Delay, MaxRetryDelay: longest}
}

// Options are those of a client by whose way requests go. nil is one of its own, whose requests
// --debug tells.
func Options(retry policy.RetryOptions, way policy.Transporter) *policy.ClientOptions {
	if way == nil {
		way = &http.Client{Transport: debuglog.Transport(http.DefaultTransport)}
	}
	return &policy.ClientOptions{Retry: retry, Transport: way,
		Telemetry: policy.TelemetryOptions{ApplicationID: "aml-train"}}
}

// New returns a pipeline; each is what happens to a request each time that it is sent.
func New(o *policy.ClientOptions, each ...policy.Policy) runtime.Pipeline {
	return runtime.NewPipeline("aml-train", version.String(), runtime.PipelineOptions{PerRetry: each}, o)
}

// Policy is a step of a pipeline as a function.
type Policy func(*policy.Request) (*http.Response, error)

// Do implements policy.Policy.
func (f Policy) Do(r *policy.Request) (*http.Response, error) { return f(r) }
