package azureml

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
)

// sweepAnswers are what a workspace says of a sweep: the control plane knows the job, the run
// history its state, and MLflow the trials, whose hyperparameters are tags of the sweep.
var sweepAnswers = map[string]string{
	"/jobs/s": `{"name": "s", "properties": {"jobType": "Sweep", "status": "Running", "experimentName": "flowers",
		"computeId": "/x/computes/cpu", "displayName": "a sweep", "tags": {"team": "red"},
		"trial": {"command": "python train.py ${{inputs.n}} ${{search_space.rate}}", "environmentId": "/x/environments/e/versions/1"},
		"inputs": {"n": {"jobInputType": "literal", "value": "3"}},
		"searchSpace": {"rate": ["uniform", [0, 1]]}, "samplingAlgorithm": {"samplingAlgorithmType": "Random"},
		"objective": {"goal": "Minimize", "primaryMetric": "loss"},
		"services": {"Studio": {"jobServiceType": "Studio", "endpoint": "https://ml.azure.com/runs/s"}}}}`,
	"/runs/s/details": `{"runId": "s", "status": "Completed", "logFiles": {"azureml-logs/hyperdrive.txt": "https://a/log"}}`,
	"/runs/get": `{"run": {"info": {"run_id": "s"}, "data": {"tags": [
		{"key": "_aml_system_s_0", "value": "{\"rate\": 0.5}"}, {"key": "_aml_system_s_1", "value": "{\"rate\": 0.1}"},
		{"key": "_aml_system_s_2", "value": "{\"rate\": 0.9}"}]}}}`,
	"/experiments/search": `{"experiments": [{"experiment_id": "1", "name": "flowers"}]}`,
	"/runs/search": `{"runs": [
		{"info": {"run_id": "s_0", "status": "FINISHED"}, "data": {"metrics": [{"key": "loss", "value": 2}],
			"tags": [{"key": "mlflow.parentRunId", "value": "s"}]}},
		{"info": {"run_id": "s_1", "status": "FINISHED"}, "data": {"metrics": [{"key": "loss", "value": 1}],
			"tags": [{"key": "mlflow.parentRunId", "value": "s"}]}},
		{"info": {"run_id": "s_2", "status": "FAILED"}, "data": {"metrics": [{"key": "loss", "value": 0.5}],
			"tags": [{"key": "mlflow.parentRunId", "value": "s"}]}}]}`,
}

func TestSweep(t *testing.T) {
	var hidden any
	c := offline(t, token{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			assert.Contains(t, r.URL.Path, "/experiments/flowers/runs/s")
			var body map[string]any
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			hidden = body["hidden"]
			io.WriteString(w, "{}")
			return
		}
		for end, answer := range sweepAnswers {
			if strings.HasSuffix(r.URL.Path, end) {
				io.WriteString(w, answer)
				return
			}
		}
		t.Error(r.URL)
	})
	target := &Target{Workspace: Workspace{"s", "g", "w"}, conn: c}
	target.once.Do(func() {})
	records := &records{t: target, c: c}
	run, err := records.Run(t.Context(), "s")
	require.NoError(t, err)
	require.Equal(t, history.Completed, run.Status())
	require.Equal(t, "python train.py 3 ${{search_space.rate}}", run.Tag(history.TagCommand))
	require.Equal(t, "e@1", run.Tag(history.TagEnvironment))
	require.Equal(t, "cpu", run.Tag(history.TagTarget))
	require.Equal(t, "red", run.Tag("team"))
	require.Equal(t, "https://ml.azure.com/runs/s", records.URL(run))
	trials, _, err := records.SearchRuns(t.Context(), history.Query{Owner: "s", MaxResults: 1000})
	require.NoError(t, err)
	sweep := history.SweepOf(run, trials)
	require.Equal(t, "s_1", sweep.Best.Info.RunID)
	require.Len(t, sweep.Trials, 3)
	for i, want := range []struct {
		run         string
		rate, value float64
	}{{"s_1", 0.1, 1}, {"s_0", 0.5, 2}, {"s_2", 0.9, 0.5}} { // the last failed
		require.Equal(t, want.run, sweep.Trials[i].Run.Info.RunID)
		require.Equal(t, map[string]any{"rate": want.rate}, sweep.Trials[i].Parameters)
		require.Equal(t, want.value, sweep.Trials[i].Value)
	}
	require.NoError(t, target.Archive(t.Context(), "s", true))
	require.Equal(t, true, hidden)
	require.Equal(t, []string{"azureml-logs/hyperdrive.txt"},
		streamable(map[string]string{"azureml-logs/hyperdrive.txt": "", "other.txt": ""}))
}
