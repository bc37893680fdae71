package azureml

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// TestRequirementsAsConda: a service that knows no requirements files gets a conda file.
func TestRequirementsAsConda(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"r.txt": "-r more.txt\npandas>=2 # ours\n", "more.txt": "numpy==2.0\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	text, err :=
		condaText(submit.Submission{Job: &job.Job{Dir: dir, Environment: &job.Environment{Requirements: "r.txt"}}})
	require.NoError(t, err)
	require.YAMLEq(t, "channels: [conda-forge]\ndependencies: ['python=3.11', pip, {pip: [numpy==2.0, 'pandas>=2']}]",
		text)
}
