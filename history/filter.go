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

// word is one of a filter: an identifier or number, a quoted string, or a
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
