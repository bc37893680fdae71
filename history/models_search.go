package history

import (
	"context"
	"strings"
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
			return "", nil, invalid("Invalid order by field name: %s", clip(o.Field, maxKey))
		}
		direction := " ASC"
		if o.Ascending != nil && !*o.Ascending {
			direction = " DESC"
		}
		terms = append(terms, column+direction+" NULLS LAST")
	}
	return strings.Join(append(terms, "creation_timestamp_ms DESC", "model_id"), ", "), args, nil
}

func (s *Store) searchModels(ctx context.Context, q Query, order []modelOrder) ([]*LoggedModel, string, error) {
	where, args := "lifecycle_stage = 'active' AND experiment_id IN (NULL"+strings.Repeat(",?",
		len(q.ExperimentIDs))+")", []any{}
	for _, id := range q.ExperimentIDs {
		args = append(args, id)
	}
	conditions, err := parseFilter(q.Filter)
	if err != nil {
		return nil, "", err
	}
	tables := map[string][3]string{"tag": {"logged_model_tags", "tag_key", "tag_value"},
		"parameter": {"logged_model_params", "param_key", "param_value"}, "metric": {"logged_model_metrics",
			"metric_name", "metric_value"}}
	for _, c := range conditions {
		column, ok := modelSearchColumns[c.key]
		if c.entity == "attribute" && ok {
			sql, with, err := c.compare(column, strings.Contains(column, "timestamp"))
			if err != nil {
				return nil, "", err
			}
			where, args = where+" AND "+sql, append(args, with...)
			continue
		}
		t, ok := tables[c.entity]
		if !ok {
			return nil, "", invalid("Invalid filter on %s '%s' of logged models", c.entity, c.key)
		}
		sql, with, err := c.exists(t[0]+" x WHERE x.model_id = logged_models.model_id", t[1], "x."+t[2],
			c.entity == "metric")
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
