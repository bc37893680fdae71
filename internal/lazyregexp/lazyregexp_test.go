package lazyregexp_test

import (
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/lazyregexp"
)

// TestMethods calls every method, and regexp's of the same name beside it.
func TestMethods(t *testing.T) {
	const pattern, text = `(\w)=(\d+)`, "a=1 b=22 c d=3"
	arguments := map[reflect.Type]any{
		reflect.TypeFor[string]():              text,
		reflect.TypeFor[[]byte]():              []byte(text),
		reflect.TypeFor[int]():                 2,
		reflect.TypeFor[func(string) string](): func(s string) string { return "<" + s + ">" },
		reflect.TypeFor[func([]byte) []byte](): func(b []byte) []byte { return b[1:] },
	}
	ours, theirs := reflect.ValueOf(lazyregexp.New(pattern)), reflect.ValueOf(regexp.MustCompile(pattern))
	for i := range ours.NumMethod() {
		name := ours.Type().Method(i).Name
		call := func(of reflect.Value) (results []any) {
			var in []reflect.Value
			for k := range of.MethodByName(name).Type().NumIn() {
				in = append(in, reflect.ValueOf(arguments[of.MethodByName(name).Type().In(k)]))
			}
			for _, v := range of.MethodByName(name).Call(in) {
				results = append(results, v.Interface())
			}
			return results
		}
		require.Equal(t, call(theirs), call(ours), name)
	}
	require.Panics(t, func() { lazyregexp.New("(").MatchString("") })
}
