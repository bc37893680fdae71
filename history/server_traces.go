package history

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
)

const noTraces = "traces are not kept here: this is the run history of aml-train. mlflow.tracing.disable() turns " +
	"them off"

// trace is what a client says at the end of a trace (mlflow/protos/service.proto,
// StartTraceV3), as far as it is looked at; all of it is said back.
type trace struct {
	Trace struct {
		Info map[string]json.RawMessage `json:"trace_info"`
	} `json:"trace"`
}

// traceCalls answer that there are no traces. MLflow's client warns of each one that is
// refused, which a script that traces a loop would drown in: so the first of a run is
// refused, and those after it are taken and forgotten.
func (v *Server) traceCalls() {
	handle(v, "POST /api/3.0/mlflow/traces", func(_ context.Context, q *trace) (any, error) {
		if v.firstTrace(q) {
			// Not as a path that is not there, after which the client would try its older one.
			return nil, &Error{codeNotImplemented, noTraces + ". This is said once"}
		}
		q.forget()
		return q, nil
	})
	// Each span by itself: told in these words, the client asks no more.
	v.calls.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, nil, &Error{codeNotImplemented, "REST OTLP span logging is not supported: " + noTraces})
	})
}

// maxTold bounds how many runs are remembered as told.
const maxTold = 10_000

// firstTrace tells whether nobody was told yet: the script whose run this server is for; or, of
// a server for everybody, the trace's run, or its experiment where it has none.
func (v *Server) firstTrace(q *trace) bool {
	var metadata map[string]string
	_ = json.Unmarshal(q.Trace.Info["trace_metadata"], &metadata)
	of := cmp.Or(v.access.Run, metadata["mlflow.sourceRun"], string(q.Trace.Info["trace_location"]))
	v.tell.Lock()
	defer v.tell.Unlock()
	if v.told[of] {
		return false
	}
	if v.told == nil || len(v.told) == maxTold {
		v.told = map[string]bool{}
	}
	v.told[of] = true
	return true
}

// forget says that the spans are with the trace already, so that the client sends none.
func (q *trace) forget() {
	tags := map[string]string{}
	_ = json.Unmarshal(q.Trace.Info["tags"], &tags)
	tags["mlflow.trace.spansLocation"] = "TRACKING_STORE"
	if q.Trace.Info == nil {
		q.Trace.Info = map[string]json.RawMessage{}
	}
	q.Trace.Info["tags"], _ = json.Marshal(tags)
}
