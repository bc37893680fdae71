package history

import (
	"context"
	"strings"

	"github.com/org/aml-train/internal/clip"
)

// registrySearch is what a search of the model registry can name.
type registrySearch struct {
	columns map[string]string // by MLflow's names
	tags    string            // the table of tags, and how its rows belong to the outer row
	named   string            // those of whatever has the outer row's name
	order   string            // the usual one
}

var (
	registeredSearch = registrySearch{
		columns: map[string]string{"name": "name", "last_updated_timestamp": "last_updated_time",
			"timestamp": "last_updated_time"},
		tags:  "registered_model_tags x WHERE x.name = registered_models.name",
		named: "registered_model_tags x WHERE x.name = registered_models.name", order: "name"}
	versionSearch = registrySearch{
		columns: map[string]string{"name": "name", "version_number": "version", "run_id": "run_id",
			"source_path": "source", "creation_timestamp": "creation_time",
			"last_updated_timestamp": "last_updated_time"},
		tags: "model_version_tags x WHERE x.name = model_versions.name AND x.version = " +
			"model_versions.version",
		named: "model_version_tags x WHERE x.name = model_versions.name",
		order: "last_updated_time DESC, name, version DESC"}
)

const promptTag = "mlflow.prompt.is_prompt"

// sql translates a search.
func (r registrySearch) sql(q Query) (where, order string, args []any, err error) {
	conditions, err := parseFilter(q.Filter)
	if err != nil {
		return "", "", nil, err
	}
	// MLflow keeps prompts among the models, told by a tag, and finds only those that are
	// asked for; a model of which one version is a prompt's is a prompt.
	const prompts = " AND x.key = '" + promptTag + "' AND x.value = 'true')"
	where = "NOT EXISTS (SELECT 1 FROM " + r.named + prompts
	for _, c := range conditions {
		if c.entity == "tag" && c.key == promptTag {
			yes := strings.EqualFold(c.value, "true")
			if yes && c.op == "=" || !yes && c.op == "!=" {
				where = "EXISTS (SELECT 1 FROM " + r.tags + prompts
			}
			continue
		}
		var sql string
		var with []any
		column, ok := r.columns[c.key]
		switch {
		case c.entity == "attribute" && ok && !strings.HasSuffix(c.key, "timestamp"):
			sql, with, err = c.compare(column, c.key == "version_number")
		case c.entity == "tag":
			sql, with, err = c.exists(r.tags, "key", "x.value", false)
		default:
			err = invalid("Invalid attribute name: %s", clip.Bytes(c.key, maxKey))
		}
		if err != nil {
			return "", "", nil, err
		}
		where, args = where+" AND "+sql, append(args, with...)
	}
	var terms []string
	for _, term := range q.OrderBy {
		entity, key, descending, err := orderTerm(term)
		column, ok := r.columns[key]
		if err == nil && (entity != "attribute" || !ok) {
			err = invalid("Invalid order by key '%s' specified.", clip.Bytes(key, maxKey))
		}
		if err != nil {
			return "", "", nil, err
		}
		if descending {
			column += " DESC"
		}
		terms = append(terms, column)
	}
	return where, strings.Join(append(terms, r.order), ", "), args, nil
}

// searchRegistered returns a page of registered models and the token of the next one.
func (s *Store) searchRegistered(ctx context.Context, q Query) ([]*RegisteredModel, string, error) {
	return searchRegistry(q, registeredSearch, 100, 1000,
		func(where string, args ...any) ([]*RegisteredModel, error) { return s.registered(ctx, where, args...) })
}

// searchVersions returns a page of versions and the token of the next one.
func (s *Store) searchVersions(ctx context.Context, q Query) ([]*ModelVersion, string, error) {
	return searchRegistry(q, versionSearch, 10_000, 200_000,
		func(where string, args ...any) ([]*ModelVersion, error) { return s.versions(ctx, where, args...) })
}

func searchRegistry[T any](q Query, r registrySearch, usual, most int,
	find func(where string, args ...any) ([]T, error)) ([]T, string, error) {
	where, order, args, err := r.sql(q)
	if err != nil {
		return nil, "", err
	}
	offset, limit, err := q.page(usual, most)
	if err != nil {
		return nil, "", err
	}
	list, err := find(where+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(args, limit+1, offset)...)
	if err != nil {
		return nil, "", err
	}
	list, token := cut(list, offset, limit)
	return list, token, nil
}
