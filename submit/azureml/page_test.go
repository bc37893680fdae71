package azureml

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A link names a run of this workspace or none.
func TestRunOfPage(t *testing.T) {
	w := Workspace{Subscription: "S1", ResourceGroup: "flowers", Name: "garden"}
	const page = "https://ml.azure.com/runs/iris-1?wsid=/subscriptions/s1/resource"
	const ours = page + "groups/flowers/workspaces/garden"
	for link, want := range map[string]string{
		ours + "&tid=t": "iris-1",
		page + "Groups/Flowers/providers/Microsoft.MachineLearningServices/workspaces/Garden": "iris-1",

		ours + "2":                                          "",
		page + "groups/flower/workspaces/garden":            "",
		page + "groups/flowers":                             "",
		strings.Replace(ours, "s1", "s2", 1):                "",
		strings.Replace(ours, "https", "http", 1):           "",
		strings.Replace(ours, "iris-1", "a/b", 1):           "",
		strings.Replace(ours, "iris-1", "", 1):              "",
		strings.Replace(ours, "/runs/", "/experiments/", 1): "",
		"https://github.com/org/x/actions/runs/1":           "",
		"::": "", "": "",
	} {
		run, ok := w.RunOfPage(link)
		require.Equal(t, want, run, link)
		require.Equal(t, want != "", ok, link)
	}
	_, ok := Workspace{}.RunOfPage("https://ml.azure.com/runs/a?wsid=/subscriptions//resourcegroups//workspaces/")
	require.False(t, ok)
}

// Whatever somebody writes as a link, what it names is a single name, and of this workspace.
func FuzzRunOfPage(f *testing.F) {
	w := Workspace{Subscription: "S1", ResourceGroup: "flowers", Name: "garden"}
	f.Add("https://ml.azure.com/runs/iris-1?wsid=/subscriptions/s1/resourcegroups/flowers/workspaces/garden")
	f.Add("https://ml.azure.com/runs/%2e%2e%2fa?wsid=%2Fsubscriptions%2Fs1")
	f.Fuzz(func(t *testing.T, link string) {
		run, ok := w.RunOfPage(link)
		if !ok {
			require.Empty(t, run)
			return
		}
		require.NotContains(t, run, "/")
		unescaped, err := url.QueryUnescape(strings.ToLower(link))
		require.NoError(t, err)
		for _, of := range []string{"https:", "s1", "flowers", "garden"} {
			require.Contains(t, unescaped, of)
		}
	})
}

// A workspace's page is the studio's of its cloud, and nobody is asked for it.
func TestPage(t *testing.T) {
	w := Workspace{Subscription: "s", ResourceGroup: "r g", Name: "w"}
	const of = "/experiments?wsid=/subscriptions/s/resourceGroups/r%20g/providers/" +
		"Microsoft.MachineLearningServices/workspaces/w"
	for cloud, studio := range map[string]string{"": "https://ml.azure.com", "AzureCloud": "https://ml.azure.com",
		"AzureUSGovernment": "https://ml.azure.us", "AzureChinaCloud": "https://studio.ml.azure.cn"} {
		require.Equal(t, studio+of, (&Target{Workspace: w, SignIn: SignIn{Cloud: cloud}}).Page())
	}
	require.Equal(t, "https://ml.azure.com"+of+"&tid=t%26u",
		(&Target{Workspace: w, SignIn: SignIn{Tenant: "t&u"}}).Page())
	for _, unknown := range []string{"nowhere", `{"resourceManagerEndpointUrl": "https://own.example", "activeDirectoryEndpointUrl": "https://own.example"}`} {
		require.Empty(t, (&Target{Workspace: w, SignIn: SignIn{Cloud: unknown}}).Page())
	}
	require.Empty(t, (&Target{}).Page())
}
