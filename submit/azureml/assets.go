package azureml

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/submit"
)

// reference turns "azureml:NAME:VERSION" into a resource id. Everything else that
// names something, an address in a registry or a datastore say, stays as it is.
func reference(ref, kind string, w Workspace) string {
	rest, ok := strings.CutPrefix(ref, "azureml:")
	if !ok || strings.HasPrefix(rest, "//") {
		return ref
	}
	if strings.HasPrefix(rest, "/") {
		return rest // a resource id already
	}
	name, version, ok := strings.Cut(rest, ":")
	if !ok {
		return ref
	}
	return w.path() + "/" + kind + "/" + name + "/versions/" + version
}

// belowID returns what of a resource id is below another one. Case does not count in them.
func belowID(id, parent string) (string, bool) {
	if len(id) < len(parent) || !strings.EqualFold(id[:len(parent)], parent) {
		return "", false
	}
	return id[len(parent):], true
}

// latest tells "azureml:NAME@latest", the newest of the versions of an asset. Check has
// seen that there is no other label.
func latest(ref string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(ref, "azureml:")
	if !ok || strings.HasPrefix(rest, "/") {
		return "", false
	}
	name, _, ok = strings.Cut(rest, "@")
	return name, ok
}

// labelled returns the resource id of the newest version of an asset.
func (t *Target) labelled(ctx context.Context, c *connection, kind, name string) (string, error) {
	order, one := to.Ptr("createdtime desc"), to.Ptr(int32(1))
	id := ""
	var err error
	if kind == "models" {
		var page armmachinelearning.ModelVersionsClientListResponse
		if page, err = c.clients.NewModelVersionsClient().NewListPager(c.group, c.name, name,
			&armmachinelearning.ModelVersionsClientListOptions{OrderBy: order, Top: one}).NextPage(ctx); err == nil &&
			len(page.Value) > 0 {
			id = deref(page.Value[0].ID)
		}
	} else {
		var page armmachinelearning.DataVersionsClientListResponse
		if page, err = c.clients.NewDataVersionsClient().NewListPager(c.group, c.name, name,
			&armmachinelearning.DataVersionsClientListOptions{OrderBy: order, Top: one}).NextPage(ctx); err == nil &&
			len(page.Value) > 0 {
			id = deref(page.Value[0].ID)
		}
	}
	switch {
	case id != "":
		return id, nil
	case err == nil, status(err) == http.StatusNotFound:
		return "", &submit.Refusal{Reason: fmt.Sprintf("the workspace has no %s asset %s",
			strings.TrimSuffix(kind, "s"), name)}
	}
	return "", fmt.Errorf("%s: %w", name, short(err))
}

// trains are the kinds of compute that run command jobs. Azure Databricks does not,
// although a workspace may have it attached.
var trains = []armmachinelearning.ComputeType{armmachinelearning.ComputeTypeAmlCompute,
	armmachinelearning.ComputeTypeComputeInstance,
	armmachinelearning.ComputeTypeKubernetes, armmachinelearning.ComputeTypeVirtualMachine,
	armmachinelearning.ComputeTypeSynapseSpark}

// virtualCluster is the full name of one (azure-ai-ml, SINGULARITY_FULL_NAME_REGEX_FORMAT).
var virtualCluster = lazyregexp.New(`(?i)^(subscriptions/[^/]+/resourceGroups/[^/]+)/(virtualclusters/[^/]+)$`)

// compute returns the resource id of a compute target, "" for serverless.
func (t *Target) compute(ctx context.Context, c *connection, name string) (string, error) {
	if strings.EqualFold(name, "serverless") {
		return "", nil
	}
	if full, ok := strings.CutPrefix(name, "//"); ok { // azureml://subscriptions/.../virtualclusters/NAME
		m := virtualCluster.FindStringSubmatch(full)
		if m == nil {
			return "", &submit.Refusal{Reason: inShort(name)}
		}
		return "/" + m[1] + "/providers/Microsoft.MachineLearningServices/" + m[2], nil
	}
	if rest, ours := belowID(name, t.path()+"/computes/"); ours {
		name = rest
	} else if strings.HasPrefix(name, "/") {
		return name, nil // a virtual cluster, or elsewhere: its own service knows it
	}
	client := c.clients.NewComputeClient()
	found, err := client.Get(ctx, c.group, c.name, name, nil)
	switch {
	case status(err) == http.StatusNotFound:
		var names []string
		pager := client.NewListPager(c.group, c.name, nil)
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				break
			}
			for _, one := range page.Value {
				names = append(names, deref(one.Name))
			}
		}
		return "", &submit.Refusal{Reason: fmt.Sprintf("the workspace has no compute target %s%s", name,
			suggest.Among(name, names, "there are"))}
	case err != nil:
		return "", fmt.Errorf("compute target %s: %w", name, short(err))
	}
	if found.Properties != nil {
		if kind := deref(found.Properties.GetCompute().ComputeType); !slices.Contains(trains, kind) {
			return "", &submit.Refusal{Reason: fmt.Sprintf("the compute target %s is of the kind %s, which runs no "+
				"training jobs; name a cluster, a compute instance or a Kubernetes cluster", name, kind)}
		}
	}
	return deref(found.ID), nil
}
