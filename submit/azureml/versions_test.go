package azureml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Whatever a job names has a version, or says that it has none; the newest of an asset is
// the one that is submitted then.
func TestVersions(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	target := target(t, w, t.TempDir())
	path := target.path()
	digest := "x@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.csv"), []byte("1"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "context"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "context/Dockerfile"), []byte("FROM x"), 0o644))
	ours := &job.Environment{Reference: "azureml:ours@latest"}
	for name, c := range map[string]struct {
		job     job.Job
		assets  map[string]string
		without string
	}{
		"newest of all": {job.Job{Environment: ours, Inputs: map[string]job.Input{"d": {Path: "azureml:flowers@latest"},
			"m": {Path: "azureml:classifier@latest", Type: job.MLflowModel}, "n": {Literal: true, Value: "1"},
			"l": {Path: "rows.csv", Type: job.URIFile}}},
			map[string]string{"": path + "/environments/ours/versions/3", "d": path + "/data/flowers/versions/4",
				"m": path + "/models/classifier/versions/2"}, ""},
		"versions": {job.Job{Code: "azureml:code:3", Environment: &job.Environment{Reference: "azureml:AzureML-new:4"},
			Inputs: map[string]job.Input{"d": {Path: "azureml:flowers:1"},
				"r": {Path: "azureml://registries/r/data/d/versions/2"}}},
			map[string]string{"": "azureml:AzureML-new:4"}, ""},
		"none": {job.Job{}, nil, "/labels/latest names no version"},
		"newest elsewhere": {job.Job{Environment: &job.Environment{Reference: "azureml:AzureML-new@latest"}},
			nil, "names no version"},
		"a tag": {job.Job{Environment: &job.Environment{Image: "x:1"}}, nil,
			"x:1, is named by a tag"},
		"a digest": {job.Job{Environment: &job.Environment{Image: digest}}, nil, ""},
		"packages on ours": {job.Job{Environment: &job.Environment{Conda: map[string]any{}}}, nil,
			baseImage + ", is named by a tag"},
		"packages on a digest": {job.Job{Environment: &job.Environment{Image: digest, Conda: map[string]any{}}},
			nil, ""},
		"a context": {job.Job{Environment: &job.Environment{Build: &job.Build{Path: "context"}}}, nil,
			""},
		"a context elsewhere": {job.Job{Environment: &job.Environment{Build: &job.Build{Path: "https://x/y"}}},
			nil, "the build context"},
		"a folder of a datastore": {job.Job{Environment: ours,
			Inputs: map[string]job.Input{"d": {Path: "azureml://datastores/s/paths/p"}}}, nil,
			"inputs.d, azureml://datastores/s/paths/p, has no version"},
		"a container": {job.Job{Environment: ours,
			Inputs: map[string]job.Input{"d": {Path: "wasbs://a@b/c?sig=s"}}}, nil, "wasbs://a@b/c, has no version"},
		"a folder over https": {job.Job{Environment: ours,
			Inputs: map[string]job.Input{"d": {Path: "https://a/b?sig=s", Type: job.URIFolder}}}, nil,
			"https://a/b, has no version"},
		"a label in a registry": {job.Job{Environment: ours,
			Inputs: map[string]job.Input{"d": {Path: "azureml://registries/r/data/d/labels/latest"}}}, nil,
			"has no version"},
		"a file that nobody offers": {job.Job{Environment: ours,
			Inputs: map[string]job.Input{"d": {Path: "https://127.0.0.1:1/b?sig=s", Type: job.URIFile}}}, nil,
			"inputs.d, https://127.0.0.1:1/b, has no version"},
		"code of git": {job.Job{Environment: ours, Code: "git+https://x/y"}, nil,
			"the code git+https://x/y names no version"},
	} {
		t.Run(name, func(t *testing.T) {
			c.job.Dir = dir
			v, err := target.Versions(t.Context(), submit.Submission{Job: &c.job})
			require.NoError(t, err)
			if c.without == "" {
				require.Empty(t, v.Without)
			} else {
				require.Len(t, v.Without, 1)
				require.Contains(t, v.Without[0], c.without)
				require.NotContains(t, v.Without[0], "sig=")
			}
			for name, id := range c.assets {
				require.Equal(t, id, v.Assets[name])
			}
			for name, in := range c.job.Inputs {
				require.True(t, in.Literal || c.without != "" || v.Inputs[name] != "", name)
			}
		})
	}
}

// Data that change between the two looks at them are not sent under the name of the first.
func TestVersionsHold(t *testing.T) {
	w, _ := double(t, testenv.Azurite(t), nil)
	target := target(t, w, t.TempDir())
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.csv"), []byte("1"), 0o644))
	s := submit.Submission{Job: &job.Job{Dir: dir, Compute: "cpu-cluster", Command: "true", ExperimentName: "e",
		Environment: &job.Environment{Reference: "azureml:ours:3"},
		Inputs:      map[string]job.Input{"d": {Path: "rows.csv", Type: job.URIFile}}}}
	var err error
	s.Versions, err = target.Versions(t.Context(), s)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.csv"), []byte("2"), 0o644))
	_, err = target.Submit(t.Context(), s)
	require.ErrorContains(t, err, "rows.csv changed while it was read")
	require.Empty(t, w.Jobs())
}

// A script can change the tags of its run; what it answers for is a property.
func TestKeyIsProperty(t *testing.T) {
	for _, name := range []string{history.TagKey, history.TagSettle} {
		testIsProperty(t, name)
	}
}

func testIsProperty(t *testing.T, name string) {
	made := armmachinelearning.JobBase{Name: to.Ptr("run"), Properties: &armmachinelearning.CommandJob{
		Tags:       map[string]*string{name: to.Ptr("main's")},
		Properties: map[string]*string{}}}
	run, err := runOf(made, &details{}, &history.Run{
		Data: history.RunData{Tags: []history.KeyValue{{Key: name, Value: "main's"}}}})
	require.NoError(t, err)
	require.Empty(t, run.Tag(name))
	made.Properties.(*armmachinelearning.CommandJob).Properties[name] = to.Ptr("its own")
	run, err = runOf(made, &details{}, nil)
	require.NoError(t, err)
	require.Equal(t, "its own", run.Tag(name))
}

// A fork's commit that a comment has train can take the mark from its run, and say that it is of
// the branch; its properties say what it is.
func TestForkIsProperty(t *testing.T) {
	of := submit.Submission{Job: &job.Job{}, Git: gitmeta.Info{Commit: strings.Repeat("b", 40), Branch: "deeper",
		Fork: "eve/x", PullRequest: "7", BaseBranch: "main"}}
	tags, properties := tagsOf(of, Sent{})
	pointers := func(m map[string]string) map[string]*string {
		out := map[string]*string{}
		for name, value := range m {
			out[name] = &value
		}
		return out
	}
	forged := map[string]string{history.TagFork: "", history.TagPullRequest: "", history.TagSeries: "another",
		gitmeta.PropCommit: strings.Repeat("a", 40), gitmeta.PropBranch: "main", history.TagBaseBranch: "easy"}
	made := armmachinelearning.JobBase{Name: to.Ptr("run"), Properties: &armmachinelearning.CommandJob{
		Tags: pointers(forged), Properties: pointers(properties)}}
	known := &history.Run{}
	run, err := runOf(made, &details{}, known.With(forged))
	require.NoError(t, err)
	for name := range forged {
		is := properties[name]
		require.NotEmpty(t, is, name)
		require.Equal(t, is, run.Tag(name), name)
		if tag := tags[name]; tag != "" {
			require.Equal(t, tag, is, name)
		}
	}
}
