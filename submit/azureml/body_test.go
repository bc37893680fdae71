package azureml

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/job"
)

// notInBody are the keys of a job file that are no part of a job's body as they are, and why.
var notInBody = map[string]string{
	"Type":        "a job with a sweep is one",
	"Name":        "in the address",
	"Code":        "an asset, whose id is",
	"Environment": "an asset, whose id is",
	"Compute":     "a resource, whose id is",
	"Keep":        "of this machine; what has no effect in a workspace is said",
	"Report":      "says how it is told, and is a property",
}

// TestEveryKeyTravels has each key of a job file change what is sent to the workspace: a new one
// is no part of a job there until it is.
func TestEveryKeyTravels(t *testing.T) {
	sent := func(j *job.Job) string {
		b, _ := body(j, assetIDs{}, Workspace{"s", "g", "w"}, nil, nil)
		text, err := json.Marshal(b)
		require.NoError(t, err)
		return string(text)
	}
	without := sent(&job.Job{})
	keys := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[job.Job]()) {
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		keys++
		j := &job.Job{}
		value := some(f.Type)
		if q, ok := value.Interface().(*job.QueueSettings); ok {
			q.JobTier, q.Priority = "spot", "low" // of those that there are
		}
		reflect.ValueOf(j).Elem().FieldByIndex(f.Index).Set(value)
		if why := notInBody[f.Name]; why != "" {
			require.Equal(t, without, sent(j), "%s: %s", f.Name, why)
		} else {
			require.NotEqual(t, without, sent(j), "%s is read, and not sent", f.Name)
			within(t, f.Name, reflect.ValueOf(j).Elem().FieldByIndex(f.Index), func() string { return sent(j) })
		}
	}
	require.Greater(t, keys, 15)
	require.Less(t, len(notInBody), keys)
}

// kinds are the values of a key on which it depends which of those beside it count.
var kinds = map[string][]string{
	"Distribution.Type":     {"mpi", "pytorch", "tensorflow", "ray"},
	"Identity.Type":         {"managed", "user_identity"},
	"QueueSettings.JobTier": {"spot", "standard"},
}

// within has each key of a mapping change what is sent, too, of one of its kinds at least.
func within(t *testing.T, name string, v reflect.Value, sent func() string) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return
	}
	travels := func(field reflect.Value) bool {
		whole, value := sent(), reflect.ValueOf(field.Interface())
		field.SetZero()
		defer field.Set(value)
		return sent() != whole
	}
	for i := range v.NumField() {
		found := travels(v.Field(i))
		for j := range v.NumField() {
			for _, kind := range kinds[name+"."+v.Type().Field(j).Name] {
				v.Field(j).SetString(kind)
				found = found || travels(v.Field(i))
			}
		}
		require.True(t, found, "%s.%s is read, and not sent", name, v.Type().Field(i).Name)
	}
}

// some is a value with something in each of its fields.
func some(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		v.Elem().Set(some(t.Elem()))
	case reflect.Slice:
		v.Set(reflect.Append(v, some(t.Elem())))
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(some(t.Key()), some(t.Elem()))
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() && !strings.HasPrefix(t.Field(i).Tag.Get("json"), "-") {
				v.Field(i).Set(some(t.Field(i).Type))
			}
		}
	}
	return v
}
