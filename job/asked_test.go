package job

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAsked: a comment gives an input of the job another value, and names nothing else.
func TestAsked(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "job.yml")
	require.NoError(t, os.WriteFile(file, []byte("command: train ${{inputs.rate}} ${{inputs.other}}\n"+
		"environment: azureml:ours:3\ninputs:\n  rate: 0.1\n  other: 1\n  data: {type: uri_folder, path: .}\n"), 0o644))
	for asked, wrong := range map[string]string{
		"rate=0.5":              "",
		"rate=":                 "",
		"rate=org/model:1":      "",
		"rat=1":                 "/train rat=1: the job declares no input of that name; did you mean rate?",
		"data=x":                "/train data=x: the input data is data",
		"rate=./x":              "the value names data",
		"rate=/etc":             "the value names data",
		"rate=azureml://a/b":    "the value names data",
		"rate=https://x.org/a":  "the value names data",
		"rate=$(id)":            "a shell would interpret",
		"rate=1 other=2":        "a shell would interpret",
		"environment=azureml:x": "the job declares no input of that name",
	} {
		j, err := Load(t.Context(), file, Options{Asked: []string{asked}})
		if wrong == "" {
			require.NoError(t, err, asked)
			require.Equal(t, Input{Literal: true, Value: asked[len("rate="):]}, j.Inputs["rate"])
			require.Equal(t, "1", j.Inputs["other"].Value)
			continue
		}
		require.ErrorContains(t, err, wrong, asked)
	}
}
