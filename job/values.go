package job

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/internal/suggest"
)

func (d *document) sorted() Problems { return d.problems.Sorted() }

// field reads one key of a mapping.
type field func(*value)

// object reads a mapping by its fields and reports every other key.
func (d *document) object(v *value, what string, fields map[string]field) {
	known := make([]string, 0, len(fields))
	for name := range fields {
		known = append(known, name)
	}
	if v.kind != mapping {
		keys := ""
		if len(known) <= suggest.MostListed {
			slices.Sort(known)
			keys = " with " + strings.Join(known, ", ")
		}
		d.report(v.line, v.column, "%s is %s; it has to be a mapping%s", what, v.kind, keys)
		return
	}
	for _, k := range v.keys {
		read, ok := fields[k.name]
		if !ok {
			d.report(k.line, k.column, "%s has no key %q%s", what, k.name, suggest.Among(k.name, known, "it has"))
			continue
		}
		if read != nil {
			read(k.value)
		}
	}
}

func (d *document) text(v *value, what string, to *string) {
	d.at[what] = v
	switch v.kind {
	case str:
		*to = v.text
		d.unexpanded(v, what)
	case number, boolean, date:
		// Azure ML's client takes text alone here; what is the same as text stays it.
		if v.kind != boolean && v.literal() == v.text && (v.kind != date || sameDate.MatchString(v.text)) {
			*to = v.text
			return
		}
		d.report(v.line, v.column, "%s is %s, %s in YAML as Azure ML reads it; put it in quotes", what, v.text, v.kind)
	case null:
		d.report(v.line, v.column, "%s has no value", what)
	default:
		d.report(v.line, v.column, "%s is %s; it has to be a string", what, v.kind)
	}
}

// literal reads text, or a number or truth value that Azure ML's client makes text of.
func (d *document) literal(v *value, what string, to *string) {
	if v.kind == number || v.kind == boolean {
		d.at[what] = v
		*to = v.literal()
		return
	}
	d.text(v, what, to)
}

// input reads the value of an input: text, a truth value or a finite number.
func (d *document) input(v *value, what string, to *string) {
	if f, ok := v.scalar.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		d.report(v.line, v.column, "%s is %s, which is no number that Azure ML takes; put it in quotes", what, v.text)
		return
	}
	d.literal(v, what, to)
}

func (d *document) str(what string, to *string) field {
	return func(v *value) { d.text(v, what, to) }
}

func (d *document) integer(what string, least int, to *int) field {
	return func(v *value) {
		d.at[what] = v
		long, ok := v.whole()
		ok = ok && long >= math.MinInt32 && long <= math.MaxInt32
		n := int(long)
		switch {
		case !ok:
			d.report(v.line, v.column, "%s is %s; it has to be a whole number", what, shown(v))
		case n < least:
			d.report(v.line, v.column, "%s is %d; the least is %d", what, n, least)
		default:
			*to = n
		}
	}
}

func (d *document) flag(what string, to *bool) field {
	return func(v *value) {
		b, ok := v.truth()
		if !ok {
			d.report(v.line, v.column, "%s is %s; it has to be true or false", what, shown(v))
		}
		*to = b
	}
}

// oneOf reads a word of a fixed set, in any case, as Azure ML does.
func (d *document) oneOf(what string, to *string, words ...string) field {
	return func(v *value) {
		given := ""
		if v.kind == null && slices.Contains(words, "null") {
			given = "null"
		} else if d.text(v, what, &given); given == "" {
			return
		}
		for _, w := range words {
			if strings.EqualFold(strings.ReplaceAll(given, "_", ""), strings.ReplaceAll(w, "_", "")) {
				*to = w
				return
			}
		}
		d.report(v.line, v.column, "%s is %q; it can be %s%s", what, given, strings.Join(words, ", "),
			suggest.DidYouMean(given, words))
	}
}

// texts reads text by names; read is text or literal.
func (d *document) texts(what string, to *map[string]string, read func(*value, string, *string)) field {
	return func(v *value) {
		if v.kind == null {
			return
		}
		if v.kind != mapping {
			d.report(v.line, v.column, "%s is %s; it has to be a mapping of names to values", what, v.kind)
			return
		}
		*to = make(map[string]string, len(v.keys))
		for _, k := range v.keys {
			s := ""
			if k.value.kind != null {
				read(k.value, what+" "+k.name, &s)
			}
			(*to)[k.name] = s
		}
	}
}

// patterns reads a list of patterns, or a single one.
func (d *document) patterns(what string, to *[]string) field {
	return func(v *value) {
		items := v.items
		if v.kind != list {
			items = []*value{v}
		}
		for _, item := range items {
			s := ""
			if d.text(item, what, &s); s != "" {
				*to = append(*to, s)
			}
		}
	}
}

func shown(v *value) string {
	switch v.kind {
	case mapping, list, null:
		return string(v.kind)
	}
	return strconv.Quote(v.text)
}

// literal is the text that a scalar becomes in a command line. Azure ML's client
// makes it with Python's str() (azure-ai-ml, to_rest_dataset_literal_inputs), so
// true is "True" and 0.10 is "0.1".
func (v *value) literal() string {
	switch s := v.scalar.(type) {
	case bool:
		if s {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(s, 10)
	case uint64:
		return strconv.FormatUint(s, 10)
	case *big.Int:
		return s.String()
	case float64:
		return pythonFloat(s)
	}
	return v.text
}

// pythonFloat writes a number as Python's repr does: the shortest digits that
// read back, an exponent below 1e-4 and from 1e16 on.
func pythonFloat(f float64) string {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsInf(f, 1):
		return "inf"
	case abs != 0 && (abs < 1e-4 || abs >= 1e16):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
