package job

import (
	"fmt"
	"reflect"
	"strings"
)

// Settings reads YAML into a pointer to a struct, whose fields are named by their yaml
// tags: strings, flags, whole numbers from 1 on, lists of strings or of Items, numbers by
// their names, and structs of those. A field's tag "oneof" lists the words that it can be.
// Everything else in the text is a problem, and so is what check reports about a key, that
// many characters behind its beginning. The error is Problems, in the file that is shown.
func Settings(text []byte, shown string, to any,
	check func(report func(key string, offset int, message string))) error {
	d := newDocument(shown, "a file of settings")
	if root := d.decode(text); root != nil {
		d.keys = map[string]key{}
		for _, k := range root.keys {
			d.keys[k.name] = k
		}
		d.into(root, "a file of settings", "", reflect.ValueOf(to).Elem())
		check(func(key string, offset int, message string) {
			p := d.problemOf(key, message)
			if at := d.at[key]; at != nil {
				p = d.problem(at.line, at.column, message)
			}
			p.Column += offset
			d.problems = append(d.problems, p)
		})
	}
	if len(d.problems) > 0 {
		return d.sorted()
	}
	return nil
}

// Item is a text in a list, and where it stands.
type Item struct {
	Text         string
	Line, Column int
}

// placed reads a list of texts. They are known as "rules.0" and so on.
func (d *document) placed(what string, to *[]Item) field {
	return func(v *value) {
		items := v.items
		if v.kind != list {
			items = []*value{v}
		}
		for i, item := range items {
			s := Item{Line: item.line, Column: item.column}
			d.text(item, fmt.Sprintf("%s.%d", what, i), &s.Text)
			*to = append(*to, s)
		}
	}
}

// numbers reads a mapping of names to numbers. They are known as "prices.NAME" and so on.
func (d *document) numbers(what string, to *map[string]float64) field {
	return func(v *value) {
		if v.kind != mapping {
			d.report(v.line, v.column, "%s is %s; it has to be a mapping of names to numbers", what, v.kind)
			return
		}
		*to = make(map[string]float64, len(v.keys))
		for _, k := range v.keys {
			d.at[what+"."+k.name] = k.value
			switch n := k.value.scalar.(type) {
			case float64:
				(*to)[k.name] = n
			case int64:
				(*to)[k.name] = float64(n)
			default:
				d.report(k.value.line, k.value.column, "%s.%s is %s; it has to be a number", what, k.name,
					shown(k.value))
			}
		}
	}
}

// into reads a mapping into a struct.
func (d *document) into(v *value, what, prefix string, to reflect.Value) {
	fields := map[string]field{}
	for i := range to.NumField() {
		name, words := to.Type().Field(i).Tag.Get("yaml"), to.Type().Field(i).Tag.Get("oneof")
		key := prefix + name
		switch at := to.Field(i).Addr().Interface().(type) {
		case *string:
			if fields[name] = d.str(key, at); words != "" {
				fields[name] = d.oneOf(key, at, strings.Fields(words)...)
			}
		case *bool:
			fields[name] = d.flag(key, at)
		case *int:
			fields[name] = d.integer(key, 1, at)
		case *map[string]float64:
			fields[name] = d.numbers(key, at)
		case *[]Item:
			fields[name] = d.placed(key, at)
		case *[]string:
			fields[name] = d.patterns(key, at)
		default:
			if to.Field(i).Kind() != reflect.Struct {
				panic(fmt.Sprintf("%s: settings have no %T", key, at))
			}
			fields[name] = func(v *value) { d.into(v, key, key+".", to.Field(i)) }
		}
		if read := fields[name]; read != nil {
			fields[name] = func(v *value) {
				if v.kind != null { // a key without a value says nothing
					read(v)
				}
			}
		}
	}
	d.object(v, what, fields)
}
