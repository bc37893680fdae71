package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/sethvargo/go-githubactions"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit/azureml"
	"github.com/org/aml-train/submit/local"
)

// azureFlags name the workspace, and who signs in.
type azureFlags struct {
	azureml.Workspace
	azureml.SignIn
	attempt string
}

func (f *azureFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	under("Azure Machine Learning", s, func() { f.define(s) })
}

func (f *azureFlags) define(s *pflag.FlagSet) {
	s.StringVar(&f.Subscription, "subscription-id", "", "the subscription of the Azure Machine Learning workspace")
	s.StringVar(&f.ResourceGroup, "resource-group", "", "the workspace's resource group")
	s.StringVar(&f.Workspace.Name, "workspace-name", "",
		"the workspace (default: workspace in .aml-train.yaml, else Azure ML's config.json)")
	s.StringVar(&f.Tenant, "tenant-id", "", "the directory to sign in to")
	s.StringVar(&f.Client, "client-id", "", "the application to sign in as, with the workflow's own token "+
		"(permissions: id-token: write)")
	s.StringVar(&f.Creds, "creds", "", "JSON of \"az ad sp create-for-rbac --sdk-auth\", to sign in with a secret")
	s.StringVar(&f.Cloud, "cloud", "", "AzureCloud (the default), AzureUSGovernment, AzureChinaCloud, or JSON with "+
		"the endpoints of another")
}

// creds are the credentials in a secret: the flag's, else the environment's.
func (a *app) creds() string { return cmp.Or(a.azure.Creds, a.getenv("AZURE_CREDENTIALS")) }

// workspace returns the target that is an Azure Machine Learning workspace: what
// flags say of it, then the environment, then the settings of the team, then Azure
// ML's own config.json. With an error that is job.Problems, of the settings, there is a
// target all the same; where flags and the environment say all of it, settings cannot be wrong.
func (a *app) workspace() (*azureml.Target, error) {
	f := a.azure
	f.Creds = a.creds()
	f.Cloud = cmp.Or(f.Cloud, a.getenv("AZUREML_CURRENT_CLOUD")) // Microsoft's own client reads it
	// Azure ML's own jobs find their workspace under these names.
	f.Workspace = f.Workspace.Or(azureml.Workspace{Subscription: a.getenv("AZUREML_ARM_SUBSCRIPTION"),
		ResourceGroup: a.getenv("AZUREML_ARM_RESOURCEGROUP"), Name: a.getenv("AZUREML_ARM_WORKSPACE_NAME")})
	in, wrong := a.readSettings(".", nil)
	var problems job.Problems
	if len(f.Missing()) == 0 {
		wrong = nil
	}
	if wrong != nil && !errors.As(wrong, &problems) {
		return nil, wrong
	}
	f.Workspace = f.Workspace.Or(in.Workspace)
	if len(f.Missing()) > 0 {
		found, err := a.findConfig()
		if err != nil {
			return nil, mistake.Of(err)
		}
		f.Workspace = f.Workspace.Or(found)
	}
	home, err := a.homeDir()
	if err != nil {
		return nil, mistake.Of(err)
	}
	t := &azureml.Target{Workspace: f.Workspace, SignIn: f.SignIn, Home: home, Attempt: f.attempt, Say: a.say}
	w, err := github.ReadWorkflow(a.getenv)
	if err != nil {
		return nil, mistake.Of(err)
	}
	if w == nil {
		return t, wrong
	}
	if t.Attempt == "" {
		t.Attempt = fmt.Sprintf("%s %d.%d %s %s", w.Repository, w.RunID, w.Attempt, w.Job, w.Step)
	}
	if w.CanIdentify {
		t.SignIn.IDToken = func(ctx context.Context) (string, error) {
			of := &http.Client{Transport: debuglog.Transport(http.DefaultTransport), Timeout: 30 * time.Second}
			return githubactions.New(githubactions.WithGetenv(a.getenv),
				githubactions.WithHTTPClient(of)).GetIDToken(ctx, "api://AzureADTokenExchange")
		}
		t.SignIn.Subject = w.Subject()
	}
	return t, wrong
}

// dataFrom is the workspace in which runs on this machine find data. It is signed in to once.
func (a *app) dataFrom() (local.Elsewhere, error) {
	if a.data != nil {
		return a.data, nil
	}
	t, err := a.workspace()
	if t == nil {
		return nil, err
	}
	if missing := t.Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("no workspace is known (%s missing); give --subscription-id, --resource-group and "+
			"--workspace-name, write them under workspace in .aml-train.yaml, or put the config.json of Azure ML's "+
			"studio here", strings.Join(missing, ", "))
	}
	a.data = t
	return t, nil
}

// findConfig looks for Azure ML's own config.json around the working directory.
func (a *app) findConfig() (azureml.Workspace, error) {
	root, err := filepath.Abs(".")
	if err != nil {
		return azureml.Workspace{}, err
	}
	repo, err := a.git.Find(root)
	if err != nil {
		return azureml.Workspace{}, err
	}
	if repo != nil {
		root = repo.Root
	}
	return azureml.FindConfig(".", root)
}
