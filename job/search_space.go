package job

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/sweep"
)

func (d *document) searchSpace(to *sweep.Space) field {
	return func(v *value) {
		if v.kind != mapping {
			d.report(v.line, v.column, "search_space is %s; it has to be a mapping of names to distributions", v.kind)
			return
		}
		*to = sweep.Space{}
		for _, k := range v.keys {
			if !inputName.MatchString(k.name) {
				d.report(k.line, k.column, "the hyperparameter's name %q can hold letters, digits and _ only, "+
					"and not start with a digit", k.name)
			}
			x := sweep.Distribution{}
			d.hyperparameter(k.value, "search_space."+k.name, &x)
			(*to)[k.name] = x // that the command names it is not wrong as well
		}
		if len(v.keys) == 0 {
			d.report(v.line, v.column, "search_space is empty; a sweep needs a hyperparameter at least")
		}
	}
}

// hyperparameter reads a distribution. One with a problem has no type.
func (d *document) hyperparameter(v *value, what string, to *sweep.Distribution) {
	kinds := slices.Sorted(maps.Keys(sweep.Parameters))
	d.at[what] = v
	kind := ""
	if v.kind == mapping && v.get("type") != nil {
		d.oneOf(what+".type", &kind, kinds...)(v.get("type").value)
	} else if v.kind == mapping {
		d.report(v.line, v.column, "%s has no type; it can be %s", what, strings.Join(kinds, ", "))
	} else {
		d.report(v.line, v.column, "%s is %s; it has to be a mapping with a type, such as "+
			"{type: choice, values: [1, 2]}", what, v.kind)
	}
	if kind == "" {
		return
	}
	before := len(d.problems)
	x := sweep.Distribution{Type: kind, Numbers: make([]float64, len(sweep.Parameters[kind]))}
	fields := map[string]field{"type": nil}
	for i, name := range sweep.Parameters[kind] {
		fields[name] = d.number(what+"."+name, &x.Numbers[i])
	}
	needed := sweep.Parameters[kind]
	if kind == "choice" {
		needed = []string{"values"}
		fields["values"] = d.choices(what+".values", &x.Values)
	}
	d.object(v, what, fields)
	for _, name := range needed {
		if v.get(name) == nil {
			d.report(v.line, v.column, "%s is a %s without %s", what, kind, name)
		}
	}
	if len(d.problems) == before {
		d.checkNumbers(v, what, x)
	}
	if len(d.problems) == before {
		*to = x
	}
}

// checkNumbers reports numbers that no value can come from.
func (d *document) checkNumbers(v *value, what string, x sweep.Distribution) {
	at := func(name string) (float64, int, int) {
		i, k := slices.Index(sweep.Parameters[x.Type], name), v.get(name)
		if i < 0 || k == nil {
			return math.NaN(), 0, 0
		}
		return x.Numbers[i], k.value.line, k.value.column
	}
	low, _, _ := at("min_value")
	if high, line, column := at("max_value"); high < low {
		d.report(line, column, "%s.max_value is less than min_value", what)
	}
	if sigma, line, column := at("sigma"); sigma <= 0 {
		d.report(line, column, "%s.sigma is a standard deviation; it has to be positive", what)
	}
	if q, line, column := at("q"); q <= 0 {
		d.report(line, column, "%s.q is what values are rounded to multiples of; it has to be positive", what)
	}
	upper, line, column := at("upper")
	if line > 0 && (upper < 1 || upper != math.Trunc(upper) || upper > math.MaxInt32) {
		d.report(line, column, "%s.upper is the number of integers from 0; it has to be a whole number, at least 1",
			what)
	}
}

// choices reads the values of a choice: whole numbers, numbers, text, or search spaces.
func (d *document) choices(what string, to *[]any) field {
	return func(v *value) {
		if v.kind != list {
			d.report(v.line, v.column, "%s is %s; it has to be a list of values", what, v.kind)
			return
		}
		for _, item := range v.items {
			if item.kind != mapping {
				*to = append(*to, d.choice(item, what))
				continue
			}
			nested := map[string]any{}
			for _, k := range item.keys {
				if k.value.kind == mapping {
					var x sweep.Distribution
					d.hyperparameter(k.value, what+"."+k.name, &x)
					nested[k.name] = x
				} else {
					nested[k.name] = d.choice(k.value, what+"."+k.name)
				}
			}
			*to = append(*to, nested)
		}
		if len(v.items) == 0 {
			d.report(v.line, v.column, "%s is empty; a choice needs a value at least", what)
		}
	}
}

// choice is a value of a choice (azure-ai-ml, ChoiceSchema).
func (d *document) choice(v *value, what string) any {
	switch s := v.scalar.(type) {
	case int64:
		return s
	case float64:
		if !math.IsNaN(s) && !math.IsInf(s, 0) {
			return s
		}
	case string:
		if v.kind == str {
			return s
		}
	}
	d.report(v.line, v.column, "%s has %s among its values; a choice is of numbers and text: put it in quotes", what,
		cmp.Or(v.text, string(v.kind)))
	return nil
}

// number reads a number, or text that is one, as Azure ML's client does: 1e-4 is text in
// YAML 1.1.
func (d *document) number(what string, to *float64) field {
	return func(v *value) {
		d.at[what] = v
		n, ok := v.number()
		if !ok {
			d.report(v.line, v.column, "%s is %s; it has to be a number", what, shown(v))
			return
		}
		*to = n
	}
}

var floatText = lazyregexp.New(`^[-+]?(?:[0-9][0-9_]*)?\.?[0-9_]*(?:[eE][-+]?[0-9]+)?$`)

// number is what Azure ML's client makes of a scalar where it wants a number: Python's
// float(), without truth values and what is not finite.
func (v *value) number() (float64, bool) {
	if i, ok := v.whole(); ok && v.kind == number {
		return float64(i), true
	}
	switch n := v.scalar.(type) {
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	case string:
		text := strings.TrimSpace(n)
		if v.kind != str || !floatText.MatchString(text) {
			return 0, false
		}
		f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
		return f, err == nil
	}
	return 0, false
}

// checkSpace warns of hyperparameters that the command does not name.
func (d *document) checkSpace(j *Job) {
	named := map[string]bool{}
	for _, m := range expression.FindAllStringSubmatch(j.Command, -1) {
		named[normalise(m[1])] = true
	}
	for _, name := range j.Sweep.SearchSpace.Names() {
		if v := d.at["search_space."+name]; v != nil && !named["search_space."+name] {
			d.warn(v, "the command names no ${{search_space.%s}}: the script finds its value in AZUREML_SWEEP_%s alone",
				name, name)
		}
	}
}
