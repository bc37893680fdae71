package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// scriptRunConfig are the words of ScriptRunConfig (azureml-core 1.61, script_run_config.py)
// with the flags that say the same.
var scriptRunConfig = map[string]string{
	"source_directory": "source-directory", "script": "script", "arguments": "arguments", "command": "command",
	"compute_target": "compute-target", "environment": "environment",
	"distributed_job_config": "distributed-job-config", "resume_from": "resume-from",
	"max_run_duration_seconds": "max-run-duration-seconds", "docker_runtime_config": "docker-runtime-config",
	"run_config": "runconfig",
}

// calls are those of the article "Configure and submit training jobs" (learn.microsoft.com,
// SDK v1), and of HyperDrive (azureml.train.hyperdrive).
var calls = strings.Fields(`Workspace.from_config Experiment( Environment.get( Environment('
	user_managed_dependencies interpreter_path ScriptRunConfig( experiment.submit( run.wait_for_completion(
	run.download_file( run.get_details( experiment.archive( .amlignore MpiConfiguration( PyTorchConfiguration(
	TensorflowConfiguration( DockerConfiguration( HyperDriveConfig( RandomParameterSampling( GridParameterSampling
	BayesianParameterSampling choice( randint( uniform( loguniform( quniform( qloguniform normal( lognormal qnormal
	qlognormal BanditPolicy( MedianStoppingPolicy TruncationSelectionPolicy( NoTerminationPolicy PrimaryMetricGoal
	max_total_runs max_concurrent_runs max_duration_minutes primary_metric_name resume_child_runs
	get_best_run_by_primary_metric get_children_sorted_by_primary_metric get_hyperparameters RunDetails(`)

// TestFromSDKv1 holds docs/from-sdk-v1.md to both sides: every word and call of SDK v1 stands
// there, and every flag that it names is one.
func TestFromSDKv1(t *testing.T) {
	file, err := os.ReadFile("../docs/from-sdk-v1.md")
	require.NoError(t, err)
	page := string(file)
	run := (&app{}).run().Flags()
	for word, flag := range scriptRunConfig {
		require.NotNil(t, run.Lookup(flag), word)
		require.Regexp(t, "(?m)^\\|.*`"+word+"=.*\\|.*`[^`]*--"+flag+"\\b", page, word)
	}
	for _, call := range calls {
		require.Contains(t, page, call)
	}
	known := map[string]bool{"help": true}
	var all func(*cobra.Command)
	all = func(c *cobra.Command) {
		for _, word := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(c.UsageString(), -1) {
			known[word[2:]] = true
		}
		for _, sub := range c.Commands() {
			all(sub)
		}
	}
	all((&app{}).root())
	rows := strings.Join(regexp.MustCompile(`(?m)^\|.*`).FindAllString(page, -1), "\n")
	for _, m := range regexp.MustCompile("`([^`\n]*)`").FindAllStringSubmatch(rows, -1) {
		for _, word := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(m[1], -1) {
			if !strings.Contains(m[1], `"`+word) && !strings.Contains(m[1], "'"+word) && word != "--gpus" {
				require.True(t, known[word[2:]] || run.Lookup(word[2:]) != nil, "%s names %s", m[0], word)
			}
		}
	}
}
