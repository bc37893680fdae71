package azureml

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
)

// Computes are named in every way that Microsoft's client takes.
func TestComputeNames(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	target := target(t, w, t.TempDir())
	c, err := target.connect(t.Context())
	require.NoError(t, err)
	cluster := target.path() + "/computes/cpu-cluster"
	other := "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/virtualclusters/vc"
	for name, want := range map[string]string{
		"cpu-cluster": cluster, cluster: cluster, strings.ToUpper(target.path()) + "/Computes/cpu-cluster": cluster,
		"serverless": "", "Serverless": "", target.path() + "/computes/k8s": target.path() + "/computes/k8s",
		other: other, "//subscriptions/s/resourceGroups/g/virtualclusters/vc": other,
	} {
		got, err := target.compute(t.Context(), c, name)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	for name, want := range map[string]string{
		"cpu-clustr": "did you mean cpu-cluster?", target.path() + "/computes/bricks": "is of the kind Databricks",
		target.path() + "/computes/none": "no compute target none",
		"//virtualclusters/vc":           "write its resource id",
	} {
		_, err := target.compute(t.Context(), c, name)
		require.ErrorContains(t, err, want, name)
	}
}

// So are environments and data.
func TestAssetNames(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	target := target(t, w, t.TempDir())
	c, err := target.connect(t.Context())
	require.NoError(t, err)
	ours := target.path() + "/environments/ours/versions/3"
	const latest = "azureml://registries/azureml/environments/x/labels/latest"
	for name, want := range map[string]string{
		"azureml:ours:3": ours, "azureml:ours@latest": ours, "azureml:" + ours: ours,
		latest: latest,
		// not listed there, and known everywhere
		"azureml:AzureML-pytorch:4":      "azureml:AzureML-pytorch:4",
		"azureml:AzureML-pytorch@latest": "azureml:AzureML-pytorch@latest",
	} {
		got, err := target.environmentReference(t.Context(), c, name)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	for name, want := range map[string]string{"azureml:ours:4": "no such version",
		"azureml:" + target.path() + "/environments/ours/versions/4": "no such version"} {
		_, err := target.environmentReference(t.Context(), c, name)
		require.ErrorContains(t, err, want, name)
	}
	s := submission(t)
	s.Job.Environment = &job.Environment{Reference: "azureml:ours"}
	s.Job.Inputs = map[string]job.Input{"data": {Type: job.URIFolder, Path: "azureml:flowers"}}
	err = target.Check(t.Context(), s.Job)
	require.ErrorContains(t, err, "azureml:ours names no version; write azureml:ours:VERSION, or azureml:ours@latest")
	require.ErrorContains(t, err, "inputs.data: azureml:flowers names no version")
}

// Whatever names and values a job has, it is refused before anything is sent, with the key
// that is at fault, or the service takes it.
func TestLimits(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	target := target(t, w, t.TempDir())
	random := rand.New(rand.NewPCG(uint64(testenv.Seed()), 1))
	s := submission(t)
	s.Job.Inputs, s.Job.Command = nil, "true"
	text := func(most int) string { // around the limit
		return strings.Repeat([]string{"x", "ü", "語"}[random.IntN(3)], max(0, most-2+random.IntN(4)))
	}
	taken, refused := 0, map[string]int{}
	for range testenv.Cases(2000) / 10 {
		j := *s.Job
		j.Tags, j.Properties = map[string]string{}, map[string]string{}
		switch random.IntN(6) {
		case 0:
			j.Name = text(255)
		case 1:
			j.DisplayName, j.ExperimentName = text(256), "e"+text(255)
		case 2:
			j.Description = text(5000)
		case 3, 4:
			kind := []map[string]string{j.Tags, j.Properties}[random.IntN(2)]
			kind["a"+text(99)] = text(1000)
		case 5:
			for i := range 32 + random.IntN(6) {
				j.Tags[fmt.Sprint("t", i)] = ""
			}
			j.Properties = maps.Clone(j.Tags)
		}
		one := s
		one.Job = &j
		_, err := target.Submit(t.Context(), one)
		if err == nil {
			taken++
			continue
		}
		var problems job.Problems
		require.ErrorAs(t, err, &problems)
		require.NotContains(t, err.Error(), "the workspace refuses", "what the service refuses is known before")
		refused[strings.FieldsFunc(err.Error(), func(r rune) bool { return r == ' ' || r == '.' || r == ':' })[0]]++
	}
	require.Greater(t, taken, 10)
	require.Greater(t, len(refused), 4, refused)
}
