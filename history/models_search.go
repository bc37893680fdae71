package history

import (
	"context"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/clip"
)

// modelSearchColumns are what a search of logged models calls their attributes.
var modelSearchColumns = map[string]string{"name": "name", "model_id": "model_id", "model_type": "model_type",
	"source_run_id": "source_run_id", "creation_timestamp": "creation_timestamp_ms",
	"creation_time": "creation_timestamp_ms", "last_updated_timestamp": "last_updated_timestamp_ms"}

// modelOrder is a term of a search's order (mlflow/protos/service.proto, SearchLoggedModels):
// an attribute, or "metrics." and the name of one, whose last value counts.
type modelOrder struct {
	Field     string `json:"field_name"`
	Ascending *bool  `json:"ascending"`
	Dataset   string `json:"dataset_name"`
	Digest    string `json:"dataset_digest"`
}

// orderModels writes an order, in which what has no value comes last.
func orderModels(order []modelOrder) (by string, args []any, err error) {
	var terms []string
	for _, o := range order {
		column, ok := modelSearchColumns[o.Field]
		entity, metric, dotted := strings.Cut(o.Field, ".")
		switch {
		case dotted && entity == "metrics":
			column = `(SELECT m.metric_value FROM logged_model_metrics m WHERE m.model_id = logged_models.model_id AND
				m.metric_name = ? AND (? = '' OR m.dataset_name = ?) AND (? = '' OR m.dataset_digest = ?)
				ORDER BY m.metric_timestamp_ms DESC, m.metric_step DESC, m.run_id LIMIT 1)`
			args = append(args, metric, o.Dataset, o.Dataset, o.Digest, o.Digest)
		case !ok:
			return "", nil, invalid("Invalid order by field name: %s", clip.Bytes(o.Field, maxKey))
		}
		direction := " ASC"
		if o.Ascending != nil && !*o.Ascending {
			direction = " DESC"
		}
		terms = append(terms, column+direction+" NULLS LAST")
	}
	return strings.Join(append(terms, "creation_timestamp_ms DESC", "model_id"), ", "), args, nil
}

// modelDataset is a dataset whose metrics a search of logged models is about.
type modelDataset struct {
	Name   string  `json:"dataset_name"`
	Digest *string `json:"dataset_digest"`
}

// onDatasets is a condition of the metrics x, that they are of one of the datasets: "" of none.
func onDatasets(list []modelDataset) (sql string, args []any, err error) {
	for _, d := range list {
		if d.Name == "" {
			return "", nil, invalid("`dataset_name` in the `datasets` clause must be specified.")
		}
		if sql += " OR x.dataset_name = ?"; d.Digest != nil {
			sql += " AND x.dataset_digest = ?"
		}
		if args = append(args, d.Name); d.Digest != nil {
			args = append(args, *d.Digest)
		}
	}
	if sql != "" {
		sql = " AND (" + strings.TrimPrefix(sql, " OR ") + ")"
	}
	return sql, args, nil
}

// modelTables are the tables of what a logged model has by name.
var modelTables = map[string]modelTable{"tag": modelTags, "parameter": modelParams,
	"metric": {"metric", "logged_model_metrics", "metric_name", "metric_value"}}

// ofModel writes a condition of a logged model; on is one more of its metrics.
func (c condition) ofModel(on string, of []any) (sql string, args []any, err error) {
	if column, ok := modelSearchColumns[c.key]; c.entity == "attribute" && ok {
		return c.compare(column, strings.Contains(column, "timestamp"))
	}
	t, ok := modelTables[c.entity]
	if !ok {
		return "", nil, invalid("Invalid filter on %s '%s' of logged models", c.entity, c.key)
	}
	if c.entity != "metric" {
		on, of = "", nil
	}
	sql, args, err = c.exists(t.name+" x WHERE x.model_id = logged_models.model_id"+on, t.key, "x."+t.value,
		c.entity == "metric")
	return sql, append(slices.Clone(of), args...), err
}

func (s *Store) searchModels(ctx context.Context, q Query, order []modelOrder, datasets []modelDataset,
) ([]*LoggedModel, string, error) {
	where, args := "lifecycle_stage = 'active' AND experiment_id IN (NULL"+strings.Repeat(",?",
		len(q.ExperimentIDs))+")", []any{}
	for _, id := range q.ExperimentIDs {
		args = append(args, id)
	}
	conditions, err := parseFilter(q.Filter)
	if err != nil {
		return nil, "", err
	}
	on, of, err := onDatasets(datasets)
	if err != nil {
		return nil, "", err
	}
	if on != "" && !slices.ContainsFunc(conditions, func(c condition) bool { return c.entity == "metric" }) {
		where += " AND EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_id = logged_models.model_id" + on +
			")"
		args = append(args, of...)
	}
	for _, c := range conditions {
		sql, with, err := c.ofModel(on, of)
		if err != nil {
			return nil, "", err
		}
		where, args = where+" AND "+sql, append(args, with...)
	}
	offset, limit, err := q.page(100, 1000)
	if err != nil {
		return nil, "", err
	}
	by, with, err := orderModels(order)
	if err != nil {
		return nil, "", err
	}
	args = append(append(args, with...), limit+1, offset)
	list, err := s.models(ctx, where+` ORDER BY `+by+` LIMIT ? OFFSET ?`, args...)
	if err != nil {
		return nil, "", err
	}
	list, token := cut(list, offset, limit)
	return list, token, nil
}
