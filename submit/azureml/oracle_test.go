package azureml

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
)

// oracle prints what Microsoft's own client would send for each job file, before it
// has looked anything up.
const oracle = `
import json, sys, logging, warnings
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
from azure.ai.ml import load_job
from azure.ai.ml._restclient.arm_ml_service._utils.model_base import SdkJSONEncoder
class Encoder(SdkJSONEncoder):
    def default(self, o):
        try:
            return super().default(o)
        except TypeError:
            return str(o) # an environment that the job describes, which is registered first
for name in sys.argv[1:]:
    job = load_job(name)
    job = job._to_job() if hasattr(job, "_to_job") else job # a command is loaded as a component
    print(json.dumps(job._to_rest_object(), cls=Encoder, exclude_readonly=True))
`

// differences are what our body has otherwise than Microsoft's client, by the path in
// the body, with the reason. Everything else is the same.
var differences = map[string]string{
	"properties.properties":          "azure-ai-ml adds the git properties of its own working directory and client",
	"properties.codeId":              "looked up later by either",
	"properties.computeId":           "looked up later by either",
	"properties.environmentId":       "looked up later by either",
	"properties.trial.codeId":        "the same of a sweep",
	"properties.trial.environmentId": "the same of a sweep",
	"properties.tags":                "ours are added when the job is submitted",
	"properties.experimentName": "where none is given, azure-ai-ml takes the name of its working directory and we " +
		"that of the source directory",
}

// TestOracle compares the bodies of jobs with those of Microsoft's own client, field
// by field.
func TestOracle(t *testing.T) {
	python := testenv.Python(t)
	files, err := filepath.Glob("testdata/*.yml")
	require.NoError(t, err)
	require.Greater(t, len(files), 5)
	cmd := exec.Command(python, append([]string{"-c", oracle}, files...)...)
	cmd.Env = append(os.Environ(), "AZURE_TELEMETRY_DISABLED=1")
	out, err := cmd.Output()
	require.NoError(t, err, string(out))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, len(files))
	for i, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var theirs, ours any
			require.NoError(t, json.Unmarshal([]byte(lines[i]), &theirs))
			j, err := job.Load(t.Context(), file, job.Options{})
			require.NoError(t, err)
			b, _ := body(j, assetIDs{}, Workspace{"s", "g", "w"}, nil, nil)
			text, err := json.Marshal(b)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &ours))
			require.Equal(t, comparable(theirs, ""), comparable(ours, ""))
		})
	}
}

// comparable takes out what is not compared, and what is not set: null, "" and {}.
func comparable(v any, path string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			at := strings.TrimPrefix(path+"."+key, ".")
			if _, skip := differences[at]; skip || at == "name" || at == "id" {
				continue
			}
			if c := comparable(value, at); c != nil {
				out[key] = c
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case string:
		if v == "" {
			return nil
		}
		// A reference is written out by us already; azure-ai-ml does it later.
		if rest, ok := strings.CutPrefix(v,
			"/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/data/"); ok {
			name, version, _ := strings.Cut(rest, "/versions/")
			return name + ":" + version
		}
	}
	return v
}
