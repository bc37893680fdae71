package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// Result identifies what comes out of a run of the same files, environment and data, in
// hex. Two jobs with the same one differ at most in their names, in how they are reported
// and in where they are written: of a run of the one, everything is kept that would be of the
// other. Every field of a job is in it, whatever its JSON form leaves out.
func (j *Job) Result() string {
	same := *j
	same.Name, same.DisplayName, same.Report = "", "", nil
	same.Warnings, same.File, same.Dir = nil, "", ""
	hash := sha256.New()
	writeValue(hash, reflect.ValueOf(same))
	return hex.EncodeToString(hash.Sum(nil))
}

// writeValue writes a value so that no two of one type are written alike, but for empty and
// missing maps and lists.
func writeValue(w io.Writer, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		fmt.Fprintf(w, "%q", v.String())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			io.WriteString(w, "nil")
			return
		}
		fmt.Fprintf(w, "%s:", v.Elem().Type())
		writeValue(w, v.Elem())
	case reflect.Struct:
		io.WriteString(w, "{")
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				io.WriteString(w, f.Name+"=")
				writeValue(w, v.Field(i))
				io.WriteString(w, ";")
			}
		}
		io.WriteString(w, "}")
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		io.WriteString(w, "[")
		for _, key := range keys {
			writeValue(w, key)
			io.WriteString(w, "=")
			writeValue(w, v.MapIndex(key))
			io.WriteString(w, ";")
		}
		io.WriteString(w, "]")
	case reflect.Slice, reflect.Array:
		io.WriteString(w, "(")
		for i := range v.Len() {
			writeValue(w, v.Index(i))
			io.WriteString(w, ";")
		}
		io.WriteString(w, ")")
	default:
		fmt.Fprintf(w, "%v", v) // numbers and truth values
	}
}
