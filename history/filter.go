package history

import (
	"slices"
	"strconv"
	"strings"
)

// condition is one comparison of a filter.
type condition struct {
	entity string // metric, parameter, tag, attribute or dataset
	key    string
	op     string // upper case
	value  string
	list   []string // of IN and NOT IN
	number bool     // value is a number
}

// token is a word of a filter: an identifier or number, a quoted string, or a
// sign.
type word struct {
	text   string
	quote  byte // of a string: ' or " or `
	joined bool // stands directly after a "." that ends the word before
}

func scan(s string) ([]word, error) {
	var out []word
	joined := false
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			joined = false
		case c == '\'' || c == '"' || c == '`':
			end := strings.IndexByte(s[i+1:], c)
			if end < 0 {
				return nil, invalid("Invalid filter: the %c at character %d of %q has no end", c, i+1, s)
			}
			out = append(out, word{s[i+1 : i+1+end], c, joined})
			i += end + 2
			joined = false
		case strings.IndexByte("(),", c) >= 0:
			out = append(out, word{text: string(c)})
			i++
		case strings.IndexByte("<>=!", c) >= 0:
			n := 1
			if i+1 < len(s) && s[i+1] == '=' {
				n = 2
			}
			out = append(out, word{text: s[i : i+n]})
			i += n
		default:
			start := i
			for i < len(s) && strings.IndexByte(" \t\n\r'\"`(),<>=!", s[i]) < 0 {
				i++
			}
			out = append(out, word{text: s[start:i]})
			joined = s[i-1] == '.'
		}
	}
	return out, nil
}

// filterParser takes the words of a filter off, one after the other.
type filterParser struct {
	filter string // the whole, for errors
	words  []word
}

func (p *filterParser) bad(what string) error {
	return invalid("Invalid filter %q: %s. Write comparisons such as metrics.loss < 0.1 or tags.\"my tag\" = 'x', "+
		"joined by AND", p.filter, what)
}

func (p *filterParser) next() (word, bool) {
	if len(p.words) == 0 {
		return word{}, false
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w, true
}

// keyword takes the next word off if it is that one.
func (p *filterParser) keyword(k string) bool {
	if len(p.words) > 0 && p.words[0].quote == 0 && strings.EqualFold(p.words[0].text, k) {
		p.words = p.words[1:]
		return true
	}
	return false
}

// parseFilter reads a filter: comparisons joined by AND.
func parseFilter(filter string) ([]condition, error) {
	words, err := scan(filter)
	if err != nil {
		return nil, err
	}
	p := &filterParser{filter, words}
	var out []condition
	for len(p.words) > 0 {
		if len(out) > 0 && !p.keyword("AND") {
			return nil, p.bad("AND is missing before " + strconv.Quote(p.words[0].text))
		}
		c, err := p.condition()
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// condition reads a name, what it is compared by, and with what.
func (p *filterParser) condition() (c condition, err error) {
	w, ok := p.next()
	if !ok {
		return c, p.bad("it ends after AND")
	}
	name := w.text
	if w.quote == 0 && len(p.words) > 0 && p.words[0].joined {
		key, _ := p.next()
		name += key.text
	}
	c = condition{entity: "attribute", key: name}
	if entity, key, found := strings.Cut(name, "."); found && w.quote == 0 {
		c.entity, c.key = entityName(entity), key
		if c.entity == "" {
			return c, invalid("Invalid entity type '%s'. Valid values are ['metric', 'parameter', 'tag', "+
				"'attribute', 'dataset']", entity)
		}
	}
	if c.op, err = p.operator(name); err != nil {
		return c, err
	}
	switch c.op {
	case "IS NULL", "IS NOT NULL":
	case "IN", "NOT IN":
		c.list, err = p.list(c.op)
	default:
		err = p.value(&c)
	}
	return c, err
}

func (p *filterParser) operator(name string) (string, error) {
	switch {
	case p.keyword("IS"):
		op := "IS NULL"
		if p.keyword("NOT") {
			op = "IS NOT NULL"
		}
		if !p.keyword("NULL") {
			return "", p.bad("IS is followed by neither NULL nor NOT NULL")
		}
		return op, nil
	case p.keyword("NOT"):
		if !p.keyword("IN") {
			return "", p.bad("NOT is not followed by IN")
		}
		return "NOT IN", nil
	}
	w, _ := p.next()
	op := strings.ToUpper(w.text)
	if !slices.Contains([]string{"=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN"}, op) || w.quote != 0 {
		return "", p.bad("no comparison follows " + strconv.Quote(name))
	}
	return op, nil
}

// list reads quoted strings in parentheses.
func (p *filterParser) list(op string) (list []string, err error) {
	if w, _ := p.next(); w.text != "(" || w.quote != 0 {
		return nil, p.bad("no list follows " + op)
	}
	for {
		w, ok := p.next()
		if !ok || w.quote == 0 || w.quote == '`' {
			return nil, p.bad("the list after " + op + " holds quoted strings")
		}
		list = append(list, w.text)
		w, _ = p.next()
		if w.text == ")" && w.quote == 0 {
			return list, nil
		}
		if w.text != "," || w.quote != 0 {
			return nil, p.bad("the list after " + op + " has no end")
		}
	}
}

// value reads a number or a quoted string.
func (p *filterParser) value(c *condition) error {
	w, ok := p.next()
	if !ok || w.quote == '`' {
		return p.bad("no value follows " + c.op)
	}
	c.value = w.text
	if w.quote == 0 {
		if _, err := strconv.ParseFloat(w.text, 64); err != nil {
			return p.bad("the value " + w.text + " is neither a number nor quoted")
		}
		c.number = true
	}
	return nil
}

func entityName(s string) string {
	switch strings.Trim(s, "`\"") {
	case "metric", "metrics":
		return "metric"
	case "parameter", "parameters", "param", "params":
		return "parameter"
	case "tag", "tags":
		return "tag"
	case "attribute", "attributes", "attr", "run":
		return "attribute"
	case "dataset", "datasets":
		return "dataset"
	}
	return ""
}

// compare returns the SQL of a comparison with a column.
func (c condition) compare(column string, numeric bool) (string, []any, error) {
	switch c.op {
	case "IS NULL", "IS NOT NULL":
		return column + " " + c.op, nil, nil
	case "IN", "NOT IN":
		if numeric {
			return "", nil, invalid("%s cannot be compared with %s", c.key, c.op)
		}
		args := make([]any, len(c.list))
		for i, v := range c.list {
			args[i] = v
		}
		return column + " " + c.op + " (?" + strings.Repeat(",?", len(args)-1) + ")", args, nil
	case "ILIKE":
		if numeric {
			return "", nil, invalid("%s is a number and cannot be compared with ILIKE", c.key)
		}
		return "lower(" + column + ") LIKE lower(?)", []any{c.value}, nil
	case "LIKE", "=", "!=":
	default:
		if !numeric {
			return "", nil, invalid("%s is text and can be compared with =, !=, LIKE, ILIKE, not with %s", c.key, c.op)
		}
	}
	if numeric {
		v, err := strconv.ParseFloat(c.value, 64)
		if err != nil || !c.number || c.op == "LIKE" {
			return "", nil, invalid("%s is a number and has to be compared with one, not with '%s'", c.key, c.value)
		}
		return column + " " + c.op + " ?", []any{v}, nil
	}
	if c.number {
		return "", nil, invalid("%s is text: its value has to be quoted, as in %s = '%s'", c.key, c.key, c.value)
	}
	return column + " " + c.op + " ?", []any{c.value}, nil
}

// exists returns the SQL of a comparison with a value of an entity table: one that
// holds a row for each key. from is the table as x, and how its rows belong to the
// outer row; value is the left side of the comparison.
func (c condition) exists(from, key, value string, numeric bool) (string, []any, error) {
	row := "EXISTS (SELECT 1 FROM " + from + " AND x." + key + " = ?"
	switch c.op {
	case "IS NULL":
		return "NOT " + row + ")", []any{c.key}, nil
	case "IS NOT NULL":
		return row + ")", []any{c.key}, nil
	}
	sql, args, err := c.compare(value, numeric)
	return row + " AND (" + sql + "))", append([]any{c.key}, args...), err
}

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
		var sql string
		var with []any
		switch c.entity {
		case "attribute":
			column, ok := runAttributes[c.key]
			if !ok {
				return "", "", nil, invalid("Invalid attribute key '%s' specified. Valid keys are run_id, run_name, "+
					"status, artifact_uri, user_id, start_time, end_time", c.key)
			}
			if c.list != nil && c.key != "run_id" {
				return "", "", nil, invalid("Only the 'run_id' attribute supports comparison with a list of quoted " +
					"string values.")
			}
			sql, with, err = c.compare(column, slices.Contains(numericAttributes, c.key))
		case "dataset":
			sql, with, err = datasetCondition(c)
		default:
			value := "x.value"
			switch { // the schema holds NaN as a zero with a flag; it differs from every number
			case c.entity == "metric" && c.op == "!=":
				value = "x.is_nan OR x.value"
			case c.entity == "metric":
				value = "NOT x.is_nan AND x.value"
			}
			sql, with, err = c.exists(entityTables[c.entity]+" x WHERE x.run_uuid = r.run_uuid", "key", value,
				c.entity == "metric")
		}
		if err != nil {
			return "", "", nil, err
		}
		where += " AND " + sql
		args = append(args, with...)
	}
	order, orderArgs, err := runOrder(q.OrderBy)
	return where, order, append(args, orderArgs...), err
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
