package report

import (
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// copied is a deep copy of a value, whose slices have room behind their elements, as those of which a
// caller shows a part, and have been put into another order.
func copied(v reflect.Value, order func(n int, swap func(i, j int))) reflect.Value {
	if !v.IsValid() || v.IsZero() {
		return v
	}
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(copied(v.Elem(), order))
	case reflect.Slice:
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()+20))
		for i := range v.Len() {
			out.Index(i).Set(copied(v.Index(i), order))
		}
		order(out.Len(), reflect.Swapper(out.Interface()))
	case reflect.Map:
		out.Set(reflect.MakeMap(v.Type()))
		for key, value := range v.Seq2() {
			out.SetMapIndex(key, copied(value, order))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(copied(v.Field(i), order))
			}
		}
	}
	return out
}

// dumped is all that a value holds, what lies behind its slices too.
func dumped(v reflect.Value) string {
	var b strings.Builder
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "nil"
		}
		return "&" + dumped(v.Elem())
	case reflect.Slice:
		for i := range v.Cap() {
			b.WriteString(dumped(v.Slice(0, v.Cap()).Index(i)) + ", ")
		}
		return fmt.Sprintf("%d of [%s]", v.Len(), &b)
	case reflect.Map:
		var entries []string
		for key, value := range v.Seq2() {
			entries = append(entries, dumped(key)+": "+dumped(value))
		}
		return "map" + fmt.Sprint(slices.Sorted(slices.Values(entries)))
	case reflect.Struct:
		for i := range v.NumField() {
			b.WriteString(v.Type().Field(i).Name + ": " + dumped(v.Field(i)) + "\n")
		}
		return "{" + b.String() + "}"
	case reflect.Func:
		return "func"
	}
	return fmt.Sprintf("%#v", v)
}

// formats writes a report in all ways that there are.
func formats(r *Report) (texts []string) {
	for _, limit := range []int{commentLimit, 3000, 500} {
		texts = append(texts, r.Markdown(limit))
	}
	headline, _ := r.Headline()
	annotations := r.Annotations(Places{JobFile: "job.yml", Source: "src", Scripts: []string{"train.py"},
		Read: func(string) ([]byte, error) { return nil, fs.ErrNotExist }})
	if r.Base != nil {
		texts = append(texts, fmt.Sprint(r.Compared(), r.Differing()))
	}
	return append(texts, r.Terminal(80, false), r.Terminal(40, true), r.Heading(), r.Sides(80),
		fmt.Sprint(headline, annotations, r.Judgement.Broken()))
}

// A report belongs to its caller: whoever writes it finds it as it was, and can write it again.
func TestReportIsKept(t *testing.T) {
	orders := map[string]func(n int, swap func(i, j int)){
		"as it is": func(int, func(i, j int)) {},
		"reversed": func(n int, swap func(i, j int)) {
			for i := range n / 2 {
				swap(i, n-1-i)
			}
		},
		"the last first": func(n int, swap func(i, j int)) {
			for i := n - 1; i > 0; i-- {
				swap(i, i-1)
			}
		},
	}
	for name, r := range states(t) {
		for order, put := range orders {
			r := copied(reflect.ValueOf(r), put).Interface().(*Report)
			before := dumped(reflect.ValueOf(r))
			texts := formats(r)
			require.Equal(t, before, dumped(reflect.ValueOf(r)), "%s, %s: what was handed over changed", name,
				order)
			require.Equal(t, texts, formats(r), "%s, %s: another text the second time", name, order)
		}
	}
}

// So does the offer of a commit.
func TestOfferIsKept(t *testing.T) {
	o := Offer{Name: "iris", Commit: strings.Repeat("1a", 20), Base: "main 9d0c1e2", Inputs: []string{"b=1", "a=2"},
		Variables: []string{"B", "A"}, Writes: []string{"b", "a"}, Changes: []FileChange{
			{Status: "M", Path: "b", Travels: true}, {Status: "M", Path: "a", Travels: true, Note: "the job file"},
			{Status: "M", Path: "d"}, {Status: "M", Path: "c", Note: "the settings"}}}
	o = copied(reflect.ValueOf(o), func(int, func(i, j int)) {}).Interface().(Offer)
	before := dumped(reflect.ValueOf(o))
	text := o.Markdown(commentLimit)
	require.Equal(t, before, dumped(reflect.ValueOf(o)))
	require.Equal(t, text, o.Markdown(commentLimit))
}
