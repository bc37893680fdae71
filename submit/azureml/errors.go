package azureml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/org/aml-train/internal/suggest"
	"github.com/org/aml-train/submit"
)

// noWorkspace explains why a workspace cannot be had.
func (c *connection) noWorkspace(ctx context.Context, w Workspace, err error) error {
	switch status(err) {
	case http.StatusNotFound:
		var names []string
		pager := c.clients.NewWorkspacesClient().NewListByResourceGroupPager(w.ResourceGroup, nil)
		for len(names) < 200 && pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				break
			}
			for _, one := range page.Value {
				names = append(names, deref(one.Name))
			}
		}
		return &submit.Refusal{Reason: fmt.Sprintf("there is no workspace %s in the resource group %s of "+
			"subscription %s%s", w.Name, w.ResourceGroup, w.Subscription, suggest.Among(w.Name, names, "there are"))}
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("who is signed in may not use the workspace %s; give it the role AzureML Data "+
			"Scientist there: %w", w.Name, short(err))
	}
	return fmt.Errorf("workspace %s: %w", w.Name, short(err))
}

// status is the HTTP status of a refusal, 0 where there was no answer.
func status(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// short is an error of the Azure SDK in one line, without secrets: its own quotes the
// whole answer, and of a network failure the signed address.
func short(err error) error {
	var answer *azcore.ResponseError
	var told *azureError
	if errors.As(err, &told) {
		return err
	}
	if !errors.As(err, &answer) {
		var u *url.Error
		if errors.As(err, &u) { // its text holds the whole address, a SAS among it
			shown, _, _ := strings.Cut(u.URL, "?")
			return &azureError{fmt.Sprintf("%s %s: %v", strings.ToUpper(u.Op), shown, u.Err), err}
		}
		return err
	}
	message := ""
	if answer.RawResponse != nil && answer.RawResponse.Body != nil {
		var body struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if text, rerr := runtime.Payload(answer.RawResponse); rerr == nil && json.Unmarshal(text, &body) == nil {
			message = ": " + strings.Join(strings.Fields(body.Error.Message), " ")
		}
	}
	return &azureError{fmt.Sprintf("Azure answers %d %s%s", answer.StatusCode, answer.ErrorCode, message), err}
}

type azureError struct {
	text string
	error
}

func (e *azureError) Error() string { return e.text }
func (e *azureError) Unwrap() error { return e.error }

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
