package history

import (
	"slices"
	"strings"
)

// Columns of the runs table by the names of MLflow's attributes
// (mlflow/entities/run_info.py, searchable and orderable attributes).
var runAttributes = map[string]string{
	"run_id": "r.run_uuid", "run_name": "r.name", "Run name": "r.name", "run name": "r.name", "Run Name": "r.name",
	"status": "r.status", "artifact_uri": "r.artifact_uri", "user_id": "r.user_id", "experiment_id": "r.experiment_id",
	"start_time": "r.start_time", "created": "r.start_time", "Created": "r.start_time", "end_time": "r.end_time",
}

var numericAttributes = []string{"start_time", "end_time", "created", "Created"}

var entityTables = map[string]string{"metric": "latest_metrics", "parameter": "params", "tag": "tags"}

func view(v, column string) (string, error) {
	switch v {
	case "", "ACTIVE_ONLY":
		return column + " = 'active'", nil
	case "DELETED_ONLY":
		return column + " = 'deleted'", nil
	case "ALL":
		return "1", nil
	}
	return "", invalid("Invalid view type %q; it can be ACTIVE_ONLY, DELETED_ONLY or ALL", v)
}

// runQuery translates a search of runs into SQL.
func runQuery(q Query) (where, order string, args []any, err error) {
	where, err = view(q.View, "r.lifecycle_stage")
	if err != nil {
		return "", "", nil, err
	}
	if q.ExperimentIDs != nil {
		where += " AND r.experiment_id IN (NULL" + strings.Repeat(",?", len(q.ExperimentIDs)) + ")"
		for _, id := range q.ExperimentIDs {
			args = append(args, id)
		}
	}
	if q.Prefix != "" {
		sql, with := startsWith(q.Prefix)
		where, args = where+" AND "+sql, append(args, with...)
	}
	if q.Submitted {
		// A nested run that MLflow made in the file itself is known by its tag alone.
		where += " AND r.source_name = '' AND NOT EXISTS (SELECT 1 FROM tags x WHERE x.run_uuid = r.run_uuid AND " +
			"x.key = '" + TagParent + "'" +
			" AND NOT EXISTS (SELECT 1 FROM tags y WHERE y.run_uuid = r.run_uuid AND y.key = '" + TagTarget + "'))"
	}
	if q.Owner != "" {
		where, args = where+" AND r.source_name = ?", append(args, q.Owner)
	}
	conditions, err := q.conditions()
	if err != nil {
		return "", "", nil, err
	}
	for _, c := range conditions {
		sql, with, err := c.ofRun()
		if err != nil {
			return "", "", nil, err
		}
		where += " AND " + sql
		args = append(args, with...)
	}
	order, orderArgs, err := runOrder(q.OrderBy)
	return where, order, append(args, orderArgs...), err
}

// ofRun is a condition about runs, as SQL and what it is given.
func (c condition) ofRun() (sql string, args []any, err error) {
	switch c.entity {
	case "attribute":
		column, ok := runAttributes[c.key]
		if !ok {
			return "", nil, invalid("Invalid attribute key '%s' specified. Valid keys are run_id, run_name, "+
				"status, artifact_uri, user_id, start_time, end_time", c.key)
		}
		if c.list != nil && c.key != "run_id" {
			return "", nil, invalid("Only the 'run_id' attribute supports comparison with a list of quoted " +
				"string values.")
		}
		return c.compare(column, slices.Contains(numericAttributes, c.key))
	case "dataset":
		return datasetCondition(c)
	default:
		value := "x.value"
		switch { // the schema holds NaN as a zero with a flag; it differs from every number
		case c.entity == "metric" && c.op == "!=":
			value = "x.is_nan OR x.value"
		case c.entity == "metric":
			value = "NOT x.is_nan AND x.value"
		}
		return c.exists(entityTables[c.entity]+" x WHERE x.run_uuid = r.run_uuid", "key", value,
			c.entity == "metric")
	}
}

func datasetCondition(c condition) (string, []any, error) {
	from := "EXISTS (SELECT 1 FROM inputs i JOIN datasets d ON i.source_id = d.dataset_uuid "
	on := "WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = r.run_uuid AND "
	column := "d." + c.key
	switch c.key {
	case "name", "digest":
	case "context":
		from += "JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context' "
		column = "t.value"
	default:
		return "", nil, invalid("Invalid dataset key '%s'. Valid keys are name, digest, context", c.key)
	}
	sql, args, err := c.compare(column, false)
	return from + on + sql + ")", args, err
}

// orderTerm splits "metrics.`my loss` DESC".
func orderTerm(term string) (entity, key string, descending bool, err error) {
	words, err := scan(term)
	if err != nil {
		return "", "", false, err
	}
	if n := len(words); n > 1 && words[n-1].quote == 0 {
		switch strings.ToUpper(words[n-1].text) {
		case "DESC":
			descending, words = true, words[:n-1]
		case "ASC":
			words = words[:n-1]
		}
	}
	var name string
	for i, w := range words {
		if i > 0 && !w.joined {
			return "", "", false, invalid("Invalid order_by clause '%s'. Write a name such as metrics.loss, then ASC "+
				"or DESC", term)
		}
		name += w.text
	}
	entity, key, found := strings.Cut(name, ".")
	if !found {
		return "attribute", name, descending, nil
	}
	if entity = entityName(entity); entity == "" || key == "" {
		return "", "", false, invalid("Invalid order_by clause '%s'. Write a name such as metrics.loss, then ASC "+
			"or DESC", term)
	}
	return entity, key, descending, nil
}

// runOrder returns the order of a search: what it asks for, runs without a value
// last, then the newest first.
func runOrder(terms []string) (string, []any, error) {
	var parts []string
	var args []any
	for _, term := range terms {
		entity, key, descending, err := orderTerm(term)
		if err != nil {
			return "", nil, err
		}
		way := ""
		if descending {
			way = " DESC"
		}
		if entity == "attribute" {
			column, ok := runAttributes[key]
			if !ok {
				return "", nil, invalid("Invalid attribute key '%s' in order_by", key)
			}
			parts = append(parts, column+" IS NULL, "+column+way)
			continue
		}
		table, ok := entityTables[entity]
		if !ok {
			return "", nil, invalid("Invalid order_by entity '%s'", entity)
		}
		value := "(SELECT x.value FROM " + table + " x WHERE x.run_uuid = r.run_uuid AND x.key = ?)"
		rank := value + " IS NULL"
		if entity == "metric" {
			rank = "coalesce((SELECT x.is_nan FROM latest_metrics x WHERE x.run_uuid = r.run_uuid AND x.key = ?), 2)"
		}
		parts = append(parts, rank+", "+value+way)
		args = append(args, key, key)
	}
	return strings.Join(append(parts, "r.start_time DESC, r.run_uuid"), ", "), args, nil
}

var experimentAttributes = map[string]string{"name": "name", "experiment_id": "CAST(experiment_id AS TEXT)",
	"creation_time": "creation_time", "last_update_time": "last_update_time"}

func experimentFilter(q Query) (string, []any, error) {
	where, err := view(q.View, "lifecycle_stage")
	if err != nil {
		return "", nil, err
	}
	conditions, err := parseFilter(q.Filter)
	if err != nil {
		return "", nil, err
	}
	if q.Name != "" {
		conditions = append(conditions, condition{entity: "attribute", key: "name", op: "=", value: q.Name})
	}
	var args []any
	for _, c := range conditions {
		var sql string
		var with []any
		switch c.entity {
		case "attribute":
			column, ok := experimentAttributes[c.key]
			if !ok {
				return "", nil, invalid("Invalid attribute key '%s' specified. Valid keys are name, experiment_id, "+
					"creation_time, last_update_time", c.key)
			}
			sql, with, err = c.compare(column, strings.HasSuffix(c.key, "_time"))
		case "tag":
			sql, with, err = c.exists("experiment_tags x WHERE x.experiment_id = experiments.experiment_id", "key",
				"x.value", false)
		default:
			err = invalid("Invalid entity type '%s' of experiments. Valid values are attribute and tag", c.entity)
		}
		if err != nil {
			return "", nil, err
		}
		where += " AND " + sql
		args = append(args, with...)
	}
	return where, args, nil
}

func experimentOrder(terms []string) (string, error) {
	var parts []string
	for _, term := range terms {
		_, key, descending, err := orderTerm(term)
		if err != nil {
			return "", err
		}
		column, ok := map[string]string{"name": "name", "experiment_id": "experiment_id",
			"creation_time": "creation_time", "last_update_time": "last_update_time"}[key]
		if !ok {
			return "", invalid("Invalid order_by attribute '%s'", key)
		}
		if descending {
			column += " DESC"
		}
		parts = append(parts, column)
	}
	return strings.Join(append(parts, "creation_time DESC, experiment_id"), ", "), nil
}
