package azureml

import (
	"testing"

	"github.com/stretchr/testify/require"
)

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
