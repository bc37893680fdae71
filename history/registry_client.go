package history

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/internal/clip"
)

// The model registry as a client of it uses it: that of a server (MLflow's "REST API",
// registered-models and model-versions), and that of the store here. Both have the same methods.

// versionsPage is how many versions are asked for at once, mostVersions and mostVersionPages what
// is read of them: a server may answer without end.
const (
	versionsPage     = 500
	mostVersions     = 100_000
	mostVersionPages = 1000
)

// filterable tells a name of a registered model that can stand in a filter on every server.
func filterable(name string) bool {
	return checkModelName(name) == nil && !strings.ContainsAny(name, `'"\`)
}

// ModelVersions lists all versions of a registered model with their aliases, by number; none
// where there is no such model.
func (c *Client) ModelVersions(ctx context.Context, name string) ([]*ModelVersion, error) {
	if !filterable(name) {
		return nil, fmt.Errorf("%q is no name of a registered model", clip.Bytes(name, 256))
	}
	var model struct {
		Model *RegisteredModel `json:"registered_model"`
	}
	err := c.call(ctx, "GET", "registered-models/get", url.Values{"name": {name}}, nil, &model)
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if model.Model == nil || model.Model.Name != name {
		return nil, fmt.Errorf("tracking server %s: it does not answer as MLflow does", c.Base)
	}
	var all []*ModelVersion
	// Of the filters, every server has this one.
	query := url.Values{"filter": {"name = '" + name + "'"}, "max_results": {strconv.Itoa(versionsPage)}}
	for pages := 1; ; pages++ {
		var page struct {
			Versions []*ModelVersion `json:"model_versions"`
			Next     string          `json:"next_page_token"`
		}
		if err := c.call(ctx, "GET", "model-versions/search", query, nil, &page); err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			if v != nil && v.Name == name {
				all = append(all, v)
			}
		}
		if page.Next == "" || page.Next == query.Get("page_token") {
			break
		}
		if pages == mostVersionPages || len(all) > mostVersions {
			return nil, fmt.Errorf("tracking server %s: its list of the versions of %s does not end after %d "+
				"pages and %d versions", c.Base, name, pages, len(all))
		}
		query.Set("page_token", page.Next)
	}
	return withAliases(all, model.Model.Aliases), nil
}

// withAliases sorts versions by their numbers and adds what they are called.
func withAliases(all []*ModelVersion, aliases []Alias) []*ModelVersion {
	slices.SortFunc(all, func(a, b *ModelVersion) int { return a.Number() - b.Number() })
	for _, v := range all {
		v.Aliases = nil
		for _, a := range aliases {
			if a.Version == v.Version {
				v.Aliases = append(v.Aliases, a.Alias)
			}
		}
	}
	return all
}

// Number is the version as a number, 0 where it is none.
func (v *ModelVersion) Number() int {
	n, _ := strconv.Atoi(v.Version)
	return n
}

// Tag returns a tag's value, "" where the version has none of that name.
func (v *ModelVersion) Tag(key string) string {
	for _, t := range v.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// AddModelVersion adds a version with the source, run and tags of v, and makes the registered
// model where there is none. Twice, it adds two.
func (c *Client) AddModelVersion(ctx context.Context, v ModelVersion) error {
	body := map[string]any{"name": v.Name, "source": v.Source, "tags": v.Tags}
	if v.RunID != "" {
		body["run_id"] = v.RunID
	}
	if v.RunLink != "" {
		body["run_link"] = v.RunLink
	}
	add := func() error { return c.call(ctx, "POST", "model-versions/create", nil, body, nil) }
	err := add()
	if !NotFound(err) {
		return err
	}
	made := c.call(ctx, "POST", "registered-models/create", nil, map[string]any{"name": v.Name}, nil)
	var e *Error
	if made != nil && (!errors.As(made, &e) || e.Code != codeExists) { // somebody else made it
		return made
	}
	return add()
}

// RemoveModelVersion deletes a version. One that is not there is no error.
func (c *Client) RemoveModelVersion(ctx context.Context, name, version string) error {
	err := c.call(ctx, "DELETE", "model-versions/delete", nil, map[string]any{"name": name, "version": version}, nil)
	if NotFound(err) {
		return nil
	}
	return err
}

// TagModelVersion sets a tag of a version.
func (c *Client) TagModelVersion(ctx context.Context, name, version, key, value string) error {
	return c.call(ctx, "POST", "model-versions/set-tag", nil,
		map[string]any{"name": name, "version": version, "key": key, "value": value}, nil)
}

// AliasModel points an alias of a registered model to a version.
func (c *Client) AliasModel(ctx context.Context, name, alias, version string) error {
	return c.call(ctx, "POST", "registered-models/alias", nil,
		map[string]any{"name": name, "alias": alias, "version": version}, nil)
}

// ModelVersions lists all versions of a registered model with their aliases, by number; none
// where there is no such model.
func (s *Store) ModelVersions(ctx context.Context, name string) ([]*ModelVersion, error) {
	m, err := s.registeredModel(ctx, name)
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := s.versions(ctx, `name = ?`, name)
	return withAliases(all, m.Aliases), err
}

// AddModelVersion adds a version with the source, run and tags of v, and makes the registered
// model where there is none.
func (s *Store) AddModelVersion(ctx context.Context, v ModelVersion) error {
	_, err := s.registerModel(ctx, RegisteredModel{Name: v.Name})
	var e *Error
	if err == nil || errors.As(err, &e) && e.Code == codeExists {
		_, err = s.createVersion(ctx, v)
	}
	return err
}

// RemoveModelVersion deletes a version. One that is not there is no error.
func (s *Store) RemoveModelVersion(ctx context.Context, name, version string) error {
	err := s.deleteVersion(ctx, name, version)
	if NotFound(err) {
		return nil
	}
	return err
}

// TagModelVersion sets a tag of a version.
func (s *Store) TagModelVersion(ctx context.Context, name, version, key, value string) error {
	return s.tagVersion(ctx, name, version, KeyValue{key, value})
}

// AliasModel points an alias of a registered model to a version.
func (s *Store) AliasModel(ctx context.Context, name, alias, version string) error {
	return s.setAlias(ctx, name, alias, version)
}

// ModelSource is the source of a version that is a file or folder among a run's artifacts: the
// logged model itself, where it lies in one.
func (s *Store) ModelSource(ctx context.Context, run *Run, name string) (string, error) {
	logged, err := s.modelDirs(ctx, run)
	if err != nil {
		return "", err
	}
	if f, ok := logged[name]; ok {
		return "models:/" + f.model, nil
	}
	return "runs:/" + run.Info.RunID + "/" + name, nil
}
