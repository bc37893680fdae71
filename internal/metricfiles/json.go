package metricfiles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strings"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/lazyregexp"
)

// bare is what Python's json writes for numbers that JSON does not have, and how
// they are quoted. A string holds it only between quotes.
var bare = lazyregexp.New(`"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b`)

// readJSON reads a file of numbers by name, or of JSON lines.
func readJSON(r *reading, f File) ([]Value, error) {
	text, err := r.text(f)
	if err != nil {
		return nil, err
	}
	return r.parseJSON(f.Path, text)
}

func (r *reading) parseJSON(name string, text []byte) ([]Value, error) {
	objects, err := decode(name, text)
	if err != nil {
		return nil, err
	}
	w := &walk{reading: r, name: name}
	if len(objects) == 1 {
		w.object("", objects[0])
		return w.values, nil
	}
	for i, o := range objects {
		w.step = int64(i)
		for _, key := range []string{"step", "iteration", "epoch"} {
			if n, ok := o[key].(json.Number); ok {
				if step, err := n.Int64(); err == nil {
					w.step = step
					delete(o, key)
					break
				}
			}
		}
		w.object("", o)
	}
	return w.values, nil
}

// decode returns the objects that stand in a text one after the other. Whatever else
// stands there is an error that says where.
func decode(name string, text []byte) (objects []map[string]any, err error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if bytes.Contains(text, []byte("NaN")) || bytes.Contains(text, []byte("Infinity")) {
		text = bare.ReplaceAllFunc(text, func(b []byte) []byte {
			if b[0] == '"' {
				return b
			}
			return []byte(`"` + string(b) + `"`)
		})
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	counted, line := 0, 1
	lineAt := func(offset int64) int {
		at := min(max(int(offset), counted), len(text))
		line += bytes.Count(text[counted:at], []byte("\n"))
		counted = at
		return line
	}
	for {
		var value any
		switch err := d.Decode(&value); {
		case err == io.EOF && len(objects) > 0:
			return objects, nil
		case err != nil:
			at := int64(len(text)) // it ends too early
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) && err != io.ErrUnexpectedEOF {
				at = syntax.Offset
			}
			if len(objects) > 0 {
				return nil, fmt.Errorf("%s:%d: after the first value stands something that is no JSON: %v; write one "+
					"object, or one on each line", name, lineAt(at), err)
			}
			return nil, fmt.Errorf("%s:%d: not valid JSON: %v; write an object of numbers, such as "+
				"{\"accuracy\": 0.97}", name, lineAt(at), err)
		}
		object, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s:%d: holds no object; write one such as {\"accuracy\": 0.97}", name,
				lineAt(d.InputOffset()))
		}
		objects = append(objects, object)
	}
}

// walk collects the numbers of a nested object.
type walk struct {
	*reading
	name   string
	step   int64
	values []Value
}

func (w *walk) note(key, format string, args ...any) {
	w.warn("%s: %q %s", w.name, clip.Bytes(key, longestShown), fmt.Sprintf(format, args...))
}

func (w *walk) object(prefix string, o map[string]any) {
	keys := make([]string, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		w.value(prefix+k, o[k])
	}
}

func (w *walk) value(key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if strings.Count(key, "/") > 50 {
			w.note(key, "is nested too deeply")
			return
		}
		w.object(key+"/", v)
		return
	case []any:
		left := 0
		for step, item := range v {
			if f, ok := number(item); ok {
				w.values = append(w.values, Value{Name: key, Value: f, Step: w.step + int64(step)})
			} else if item != nil {
				left++
			}
		}
		if left > 0 {
			w.note(key, "holds %d values that are no numbers", left)
		}
		return
	}
	if f, ok := number(v); ok {
		w.values = append(w.values, Value{Name: key, Value: f, Step: w.step})
	} else if v != nil {
		w.note(key, "is no number")
	}
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil || math.IsInf(f, 0)
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		switch v {
		case "NaN":
			return math.NaN(), true
		case "Infinity":
			return math.Inf(1), true
		case "-Infinity":
			return math.Inf(-1), true
		}
	}
	return 0, false
}
