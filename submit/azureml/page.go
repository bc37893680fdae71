package azureml

import (
	"net/url"
	"strings"
)

// studios are the pages of workspaces in Microsoft's clouds, by the scope of their API
// (learn.microsoft.com, "Azure Machine Learning in sovereign clouds").
var studios = map[string]string{
	clouds["azurecloud"].ml:        "https://ml.azure.com",
	clouds["azureusgovernment"].ml: "https://ml.azure.us",
	clouds["azurechinacloud"].ml:   "https://studio.ml.azure.cn",
}

// Page is where the studio shows the workspace's runs, "" in a cloud whose studio is not
// known. Nobody is asked.
func (t *Target) Page() string {
	env, creds, err := t.SignIn.environment()
	if err != nil || env.custom || studios[env.ml] == "" || len(t.Missing()) > 0 {
		return ""
	}
	page := studios[env.ml] + "/experiments?wsid=" + t.path()
	tenant := t.SignIn.Tenant
	if tenant == "" {
		tenant = creds.TenantID
	}
	if tenant = strings.TrimSpace(tenant); tenant != "" {
		page += "&tid=" + url.QueryEscape(tenant)
	}
	return page
}
