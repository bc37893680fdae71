package history

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/testing/testenv"
)

// A logged model is finalized with PATCH, as MLflow's server has it.
func TestFinalizeModel(t *testing.T) {
	_, base := serve(t, "")
	finalize(t, base, true)
}

// finalize goes through what ends a logged model's upload, on our server or MLflow's own. Of a method
// that the path does not have, MLflow's says so in HTML; ours in JSON, which clients read. The model's
// id MLflow's takes from the body, ours from the path; clients send both.
func finalize(t *testing.T, base string, ours bool) {
	noPOST, inAnswer := http.StatusMethodNotAllowed, "Method Not Allowed"
	if ours {
		noPOST, inAnswer = http.StatusNotFound, codeNoEndpoint
	}
	models := base + "/api/2.0/mlflow/logged-models"
	made := func() string {
		code, text := get(t, "POST", models, `{"experiment_id": "0", "name": "m"}`)
		require.Equal(t, 200, code, text)
		var answer struct{ Model LoggedModel }
		require.NoError(t, json.Unmarshal([]byte(text), &answer))
		require.Equal(t, "LOGGED_MODEL_PENDING", answer.Model.Info.Status)
		return answer.Model.Info.ModelID
	}
	deleted := made()
	code, text := get(t, "DELETE", models+"/"+deleted, "{}")
	require.Equal(t, 200, code, text)
	type row struct {
		model, status string // status as JSON, "" for a body without one
		code          int
		text          string
	}
	rows := []row{
		{made(), `"LOGGED_MODEL_READY"`, 200, "LOGGED_MODEL_READY"},
		{made(), `"LOGGED_MODEL_UPLOAD_FAILED"`, 200, "LOGGED_MODEL_UPLOAD_FAILED"},
		{made(), `"LOGGED_MODEL_PENDING"`, 200, "LOGGED_MODEL_PENDING"},
		{made(), "2", 200, "LOGGED_MODEL_READY"},
		{made(), "null", 400, codeInvalid},
		{made(), "", 400, codeInvalid},
		{deleted, "2", 200, "LOGGED_MODEL_READY"},
		{"m-" + strings.Repeat("0", 32), "2", 404, codeNotFound},
		{"x", `"LOGGED_MODEL_READY"`, 404, codeNotFound},
	}
	if ours { // MLflow's takes some of these for no status, and has an internal error with others
		for _, status := range []string{"0", "4", "-1", "99999999999", "[]", "{}", `"READY"`} {
			rows = append(rows, row{made(), status, 400, codeInvalid})
		}
	}
	for _, test := range rows {
		body := fmt.Sprintf(`{"model_id": %q}`, test.model)
		if test.status != "" {
			body = fmt.Sprintf(`{"model_id": %q, "status": %s}`, test.model, test.status)
		}
		url := models + "/" + test.model
		_, before := get(t, "GET", url, "")
		for _, method := range []string{"POST", "PUT"} {
			code, text := get(t, method, url, body)
			require.Equal(t, noPOST, code, "%s %s: %s", method, body, text)
			require.Contains(t, text, inAnswer)
			_, after := get(t, "GET", url, "")
			require.Equal(t, before, after, "%s %s changed the model", method, body)
		}
		code, text := get(t, "PATCH", url, body)
		require.Equal(t, test.code, code, "PATCH %s: %s", body, text)
		require.Contains(t, text, test.text, "PATCH %s", body)
		if _, after := get(t, "GET", url, ""); test.code != 200 {
			require.Equal(t, before, after, "PATCH %s was refused, and changed the model", body)
		}
	}
}

var (
	patternsOfCalls = regexp.MustCompile(`call\(v, "([A-Z]+ [^"]+)"`)
	fieldsOfCalls   = regexp.MustCompile("`json:\"([a-z_]+)[,\"]")
	inPath          = regexp.MustCompile(`\{[^}]*\}`)
)

// calling makes random requests of the API: each of its paths, with its method or another, with fields
// of any call, which hold what they should or something else.
type calling struct {
	*rand.Rand
	paths, fields, ids []string
}

func newCalling(t *testing.T, ids []string) *calling {
	c := &calling{Rand: rand.New(rand.NewPCG(uint64(testenv.Seed()), 4)), ids: ids}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range patternsOfCalls.FindAllStringSubmatch(string(text), -1) {
			c.paths = append(c.paths, m[1])
		}
		for _, m := range fieldsOfCalls.FindAllStringSubmatch(string(text), -1) {
			c.fields = append(c.fields, m[1])
		}
	}
	slices.Sort(c.fields)
	c.fields = slices.Compact(c.fields)
	require.Greater(t, len(c.paths), 50)
	require.Greater(t, len(c.fields), 50)
	return c
}

func pick[T any](c *calling, of ...T) T { return of[c.IntN(len(of))] }

func (c *calling) value(depth int) any {
	switch c.IntN(8) {
	case 0:
		return pick[any](c, nil, true, 0, -1, 1.5, 1e300, 1<<62, "NaN")
	case 1:
		return pick(c, "", "x", "0", "-1", "name = 'm'", "metrics.m > 0", "a/b", "\x00", strings.Repeat("ü", 300))
	case 2, 3:
		if depth > 0 {
			list := make([]any, c.IntN(3))
			for i := range list {
				list[i] = c.value(depth - 1)
			}
			return list
		}
	case 4, 5:
		if depth > 0 {
			return c.object(depth - 1)
		}
	}
	return pick(c, c.ids...)
}

func (c *calling) object(depth int) map[string]any {
	object := map[string]any{}
	for range c.IntN(4) {
		object[pick(c, c.fields...)] = c.value(depth)
	}
	return object
}

// request has the fields that most calls want, some of them wrong or missing, and others.
func (c *calling) request() map[string]any {
	fields := c.object(2)
	for name, right := range map[string]any{"run_id": "a", "experiment_id": "0", "experiment_ids": []string{"0"},
		"model_id": c.ids[2], "name": "m", "key": "k", "value": "1", "version": "1", "timestamp": 1, "metric_key": "m",
		"status": 2, "max_results": 5, "source": "x"} {
		switch c.IntN(12) {
		case 0:
			fields[name] = c.value(2)
		case 1:
		default:
			fields[name] = right
		}
	}
	return fields
}

// Whatever a client asks is answered with JSON, and never with the server's own fault.
func TestEveryCallAnswers(t *testing.T) {
	s := open(t)
	newRun(t, s, "a")
	server := NewServer(s, Access{})
	ask := func(method, path string, body any) *httptest.ResponseRecorder {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		r := httptest.NewRequest(method, "/api/2.0/mlflow/"+path, strings.NewReader(string(text)))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r) // a panic ends the test
		return w
	}
	var answer struct{ Model LoggedModel }
	require.NoError(t, json.Unmarshal(ask("POST", "logged-models", map[string]any{"experiment_id": "0"}).Body.Bytes(),
		&answer))
	require.Equal(t, 200, ask("POST", "registered-models/create", map[string]any{"name": "m"}).Code)
	c := newCalling(t, []string{"a", "0", answer.Model.Info.ModelID, "m", "1"})
	answered := map[int]int{}
	for range testenv.Cases(5000) {
		method, path, _ := strings.Cut(pick(c, c.paths...), " ")
		if c.IntN(4) == 0 {
			method = pick(c, "GET", "POST", "PATCH", "PUT", "DELETE")
		}
		path = inPath.ReplaceAllStringFunc(path, func(string) string {
			return pick(c, append(slices.Clone(c.ids), c.ids[2], c.ids[2], "x", "%00", "m-0")...)
		})
		var body any = c.request()
		if c.IntN(10) == 0 {
			body = c.value(2)
		}
		if fields, ok := body.(map[string]any); ok && method == "GET" {
			path += "?"
			for name, value := range fields {
				path += name + "=" + url.QueryEscape(fmt.Sprint(value)) + "&"
			}
		}
		w := ask(method, path, body)
		answered[w.Code]++
		asked := clip.Bytes(fmt.Sprintf("%s %s %v: %s", method, path, body, w.Body), 2000)
		require.Less(t, w.Code, 500, asked)
		require.True(t, json.Valid(w.Body.Bytes()), "%d, %s", w.Code, asked)
		require.NotRegexp(t, `json: |\bGo (struct|value)\b`, w.Body.String(), asked)
	}
	t.Log(answered)
	require.NotZero(t, answered[200])
	require.NotZero(t, answered[400])
	require.NotZero(t, answered[404])
}
