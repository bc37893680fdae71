package submit

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/inside"
	"github.com/org/aml-train/internal/testing/testenv"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
)

// noPart are the fields of a job that are no part of a key, and why. Every other one is, so
// that a new field of a job is one too.
var noPart = map[string]string{
	"Job.Name":        "the name of a run",
	"Job.DisplayName": "the name of a run, for people",
	"Job.Report":      "says how it is told",
	"Job.Warnings":    "what its file says without effect",
	"Job.File":        "where it is written",
	"Job.Dir":         "where that is on this machine: what its paths lead to is the files, inputs and environment",
}

// place is one value of a structure, which can be changed.
type place struct {
	path   string // the names of the fields that lead there
	change func(r *rand.Rand)
}

// places are all the values of a structure that can be changed by themselves, found by
// reflection: what the JSON of a job leaves out is among them.
func places(v reflect.Value, path string, out *[]place) {
	at := func(change func(*rand.Rand)) { *out = append(*out, place{path, change}) }
	switch v.Kind() {
	case reflect.String:
		at(func(r *rand.Rand) { v.SetString(v.String() + strconv.FormatUint(r.Uint64(), 36)) })
	case reflect.Int, reflect.Int64:
		at(func(r *rand.Rand) { v.SetInt(v.Int() + 1 + r.Int64N(1000)) })
	case reflect.Float64:
		at(func(r *rand.Rand) { v.SetFloat(v.Float() + 1 + r.Float64()) })
	case reflect.Bool:
		at(func(*rand.Rand) { v.SetBool(!v.Bool()) })
	case reflect.Pointer:
		at(func(*rand.Rand) { v.SetZero() })
		places(v.Elem(), path, out)
	case reflect.Interface:
		at(func(r *rand.Rand) { v.Set(reflect.ValueOf(any(r.Uint64()))) })
	case reflect.Slice:
		at(func(r *rand.Rand) {
			more := reflect.New(v.Type().Elem()).Elem()
			fill(r, more)
			v.Set(reflect.Append(slice(v), more))
		})
		at(func(*rand.Rand) { v.Set(slice(v).Slice(1, v.Len())) })
		for i := range v.Len() {
			places(v.Index(i), path, out)
		}
	case reflect.Map:
		mapPlaces(v, path, out)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				places(v.Field(i), path+"."+f.Name, out)
			}
		}
	default:
		panic(fmt.Sprintf("%s is a %s", path, v.Kind()))
	}
}

// slice is a copy, so that no other structure changes with it.
func slice(v reflect.Value) reflect.Value {
	return reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v)
}

func mapPlaces(v reflect.Value, path string, out *[]place) {
	keys := v.MapKeys()
	*out = append(*out, place{path, func(r *rand.Rand) {
		value := reflect.New(v.Type().Elem()).Elem()
		fill(r, value)
		v.SetMapIndex(reflect.ValueOf("more-"+strconv.FormatUint(r.Uint64(), 36)), value)
	}})
	for _, key := range keys {
		*out = append(*out, place{path, func(*rand.Rand) { v.SetMapIndex(key, reflect.Value{}) }},
			place{path, func(r *rand.Rand) { // under another name
				v.SetMapIndex(reflect.ValueOf(key.String()+"2"), v.MapIndex(key))
				v.SetMapIndex(key, reflect.Value{})
			}})
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(v.MapIndex(key))
		var within []place
		places(value, path, &within)
		for _, p := range within {
			*out = append(*out, place{p.path, func(r *rand.Rand) { p.change(r); v.SetMapIndex(key, value) }})
		}
	}
}

// fill gives every exported field of a structure a value.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString([]string{"a", "b", "${{inputs.a}}", "x=1", `"`, "é", " "}[r.IntN(7)] + strconv.Itoa(r.IntN(10)))
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + r.Int64N(5))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem())
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{"dependencies": []any{"numpy", r.IntN(5)}}))
	case reflect.Slice:
		for range 1 + r.IntN(2) {
			one := reflect.New(v.Type().Elem()).Elem()
			fill(r, one)
			v.Set(reflect.Append(v, one))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range 1 + r.IntN(2) {
			one := reflect.New(v.Type().Elem()).Elem()
			fill(r, one)
			v.SetMapIndex(reflect.ValueOf(string(rune('a'+i))), one)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(r, v.Field(i))
			}
		}
	}
}

// inputsOfKey is all that a key is made of.
type inputsOfKey struct {
	Job         job.Job
	Snapshot    string
	Environment string
	Variables   []string
	Code        string
	Inputs      map[string]string
	Fork        string
	PullRequest string // of a fork
}

func (k *inputsOfKey) key() string {
	s := Submission{Job: &k.Job, Snapshot: &snapshot.Snapshot{ID: k.Snapshot}}
	s.Git.Fork, s.Git.PullRequest = k.Fork, k.PullRequest
	return s.Key(Versions{Environment: k.Environment, Variables: k.Variables, Code: k.Code, Inputs: k.Inputs})
}

// TestKey changes one of all the values that a key is made of, and looks whether the key is
// another one: a run of the one must never be taken for a run of the other.
func TestKey(t *testing.T) {
	wrong, same, seen := 0, 0, map[string]int{}
	for i := 0; wrong+same+len(seen) == 0 || sum(seen) < testenv.Cases(10_000); i++ {
		one := func() *inputsOfKey {
			k, r := &inputsOfKey{}, rand.New(rand.NewPCG(uint64(testenv.Seed()), uint64(i)))
			fill(r, reflect.ValueOf(k).Elem())
			return k
		}
		before, after := one(), one()
		require.Equal(t, before.key(), after.key(), "the same is the same")
		var all []place
		places(reflect.ValueOf(after).Elem(), "", &all)
		r := rand.New(rand.NewPCG(uint64(i), 1))
		p := all[r.IntN(len(all))]
		if i%2 == 0 { // no place is left out by chance
			p = slices.MinFunc(all, func(a, b place) int { return seen[a.path] - seen[b.path] })
		}
		p.change(r)
		if reflect.DeepEqual(before, after) {
			continue
		}
		seen[p.path]++
		part := noPart[field(p.path)] == ""
		if changed := before.key() != after.key(); changed != part {
			wrong++
			t.Errorf("case %d: %s is changed, and the key is another one: %v", i, p.path, changed)
		} else if !changed {
			same++
		}
		require.Less(t, wrong, 20)
	}
	t.Logf("%d single changes at %d places: %d wrong reuses, %d of what is no part", sum(seen), len(seen), wrong, same)
	var all []place
	k := &inputsOfKey{}
	fill(rand.New(rand.NewPCG(1, 1)), reflect.ValueOf(k).Elem())
	places(reflect.ValueOf(k).Elem(), "", &all)
	for _, p := range all {
		require.Contains(t, seen, p.path, "a place that was never changed")
	}
}

// field is the first name of a path in a job, with the job's.
func field(path string) string {
	for name := range noPart {
		if path == "."+name || len(path) > len(name)+1 && path[:len(name)+2] == "."+name+"." {
			return name
		}
	}
	return ""
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// What has no version has no key; a fork's key is nobody else's.
func TestKeyOrigin(t *testing.T) {
	s := Submission{Job: &job.Job{Command: "python train.py"}}
	require.Empty(t, s.Key(Versions{Without: []string{"x"}}))
	keys := map[string]bool{s.Key(Versions{}): true}
	for _, fork := range []string{"ada/x", "unknown"} {
		for _, pr := range []string{"", "7", "8"} {
			s.Git.Fork, s.Git.PullRequest = fork, pr
			keys[s.Key(Versions{})] = true
		}
	}
	require.Len(t, keys, 7)
	s.Git.Fork, s.Git.PullRequest = "", "7" // of the repository's own pull requests, the number says nothing
	require.True(t, keys[s.Key(Versions{})])
	require.Equal(t, []string{"files", "origin"}, Unlike("v1 files=a job=b origin=", "v1 files=b job=b origin=c"))
	require.Equal(t, []string{"job"}, Unlike("v1 files=a job=b", "v1 files=a"))
}

// Data are known by what lies there, and not by when.
func TestContent(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	content := func(name string) string {
		tree, err := inside.Named(filepath.Join(dir, name))
		require.NoError(t, err)
		defer tree.Close()
		id, err := Content(t.Context(), tree)
		require.NoError(t, err)
		return id
	}
	write("a/x", "1")
	write("a/b/y", "2")
	ids := []string{content("a"), content("a/b"), content("a/x")}
	write("a/x", "1")
	require.Equal(t, ids[0], content("a"))
	for _, change := range []func(){
		func() { write("a/x", "2") }, func() { write("a/z", "") },
		func() { require.NoError(t, os.Rename(filepath.Join(dir, "a/z"), filepath.Join(dir, "a/w"))) },
		func() { require.NoError(t, os.Chmod(filepath.Join(dir, "a/w"), 0o755)) },
	} {
		change()
		require.False(t, slices.Contains(ids, content("a")))
		ids = append(ids, content("a"))
	}
}

// The version of a file that is fetched is what its server promises of its bytes.
func TestETag(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tag := r.URL.Query().Get("etag"); tag != "" {
			w.Header().Set("ETag", tag)
		}
		if r.URL.Path == "/gone" || r.Header.Get("Accept-Encoding") != "identity" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	for path, want := range map[string]string{`/?etag="1"&sig=secret`: "", `/?etag=W/"1"&sig=secret`: "a weak ETag",
		"/?sig=secret": "no ETag", "/gone?sig=secret": "404"} {
		v := Versions{Inputs: map[string]string{}}
		v.Fetched(t.Context(), server.Client(), "data", server.URL+path)
		if want == "" {
			require.Equal(t, map[string]string{"data": `"1"`}, v.Inputs)
			require.Equal(t, v.Inputs, v.ETags)
			require.Empty(t, v.Without)
			continue
		}
		require.Len(t, v.Without, 1)
		require.Contains(t, v.Without[0], want)
		require.NotContains(t, v.Without[0], "secret")
		require.Contains(t, v.Without[0], "inputs.data")
	}
}
