// Package azureml answers: how does a job run in an Azure Machine Learning
// workspace?
//
// It speaks the REST API of today (api-version 2024-04-01) as Microsoft's own
// clients do. The control plane (Azure Resource Manager) knows code, environments,
// computes and jobs; the workspace's own API tells of a run's state and logs (run
// history) and its metrics (MLflow); its storage account holds the files.
//
// Sources, named where a rule is taken from them: the Go module armmachinelearning,
// Microsoft's azure-ai-ml for Python (the paths are those in its package), and
// learn.microsoft.com.
package azureml

import (
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/org/aml-train/submit"
)

// Workspace names a workspace.
type Workspace struct {
	Subscription  string `json:"subscription_id" yaml:"subscription_id"`
	ResourceGroup string `json:"resource_group" yaml:"resource_group"`
	Name          string `json:"workspace_name" yaml:"workspace_name"`
}

// Missing names what is not known of a workspace, in the words of the flags.
func (w Workspace) Missing() []string {
	var out []string
	for name, value := range map[string]string{"subscription-id": w.Subscription, "resource-group": w.ResourceGroup,
		"workspace-name": w.Name} {
		if value == "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Or returns the workspace with what it lacks taken from another.
func (w Workspace) Or(other Workspace) Workspace {
	for _, f := range []struct {
		to   *string
		from string
	}{{&w.Subscription, other.Subscription}, {&w.ResourceGroup, other.ResourceGroup}, {&w.Name, other.Name}} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	return w
}

// path is the workspace's resource id.
func (w Workspace) path() string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.MachineLearningServices/workspaces/%s",
		url.PathEscape(w.Subscription), url.PathEscape(w.ResourceGroup), url.PathEscape(w.Name))
}

// Target runs jobs in a workspace.
type Target struct {
	Workspace
	SignIn SignIn

	// Home is a folder that outlives this process: what was about to be submitted is
	// remembered there, so that a submission that was cut off is taken up again.
	Home string
	// Attempt tells one submission of the same job and files from another: the
	// workflow run, its attempt and step. It is "" outside a workflow, where Home
	// does.
	Attempt string
	// Say prints progress.
	Say func(format string, args ...any)

	saying sync.Mutex

	Poll time.Duration // between two looks at a run; 0 is the default

	once sync.Once
	err  error
	conn *connection
}

var _ submit.Target = (*Target)(nil)

func (t *Target) say(format string, args ...any) {
	if t.Say != nil {
		t.saying.Lock() // code, data and environment are sent at once
		defer t.saying.Unlock()
		t.Say(format, args...)
	}
}
