package azureml

import (
	"context"
	"net/url"
	"strings"

	"github.com/org/aml-train/history"
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

// RunOfPage returns the run whose page in the studio a link is; ok is false where it is no such
// page, or one of another workspace. The page of a job is .../runs/NAME?wsid=WORKSPACE&tid=...
// (azure-ai-ml prints it as "Web View").
func (w Workspace) RunOfPage(link string) (run string, ok bool) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" {
		return "", false
	}
	of := map[string]string{}
	parts := strings.Split(strings.ToLower(u.Query().Get("wsid")), "/")
	for i := 1; i+1 < len(parts); i += 2 {
		of[parts[i]] = parts[i+1]
	}
	run, found := strings.CutPrefix(u.Path, "/runs/")
	same := func(a, b string) bool { return a != "" && a == strings.ToLower(b) }
	ok = found && run != "" && !strings.Contains(run, "/") && same(of["subscriptions"], w.Subscription) &&
		same(of["resourcegroups"], w.ResourceGroup) && same(of["workspaces"], w.Name)
	if !ok {
		return "", false
	}
	return run, true
}

// State asks for the state of a run alone, with one request. The error of a run that the
// workspace does not have is ErrNoRun.
func (t *Target) State(ctx context.Context, run string) (history.Status, error) {
	c, err := t.connect(ctx)
	if err != nil {
		return "", err
	}
	d, err := (&records{t: t, c: c}).state(ctx, run)
	if err != nil {
		return "", err
	}
	return d.Status, nil
}
