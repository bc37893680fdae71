package history

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// registryWrites is every call that changes something of the model registry; NAME stands
// for a registered model, and MODEL for a logged model of one's own.
var registryWrites = [][3]string{
	{"PATCH", "mlflow/registered-models/update", `{"name": "NAME", "description": "changed"}`},
	{"POST", "mlflow/registered-models/set-tag", `{"name": "NAME", "key": "t", "value": "1"}`},
	{"DELETE", "mlflow/registered-models/delete-tag", `{"name": "NAME", "key": "t"}`},
	{"PATCH", "mlflow/model-versions/update", `{"name": "NAME", "version": "1", "description": "changed"}`},
	{"POST", "mlflow/model-versions/set-tag", `{"name": "NAME", "version": 1, "key": "t", "value": "1"}`},
	{"DELETE", "mlflow/model-versions/delete-tag", `{"name": "NAME", "version": "1", "key": "t"}`},
	{"POST", "mlflow/model-versions/transition-stage",
		`{"name": "NAME", "version": "1", "stage": "Production", "archive_existing_versions": true}`},
	{"POST", "mlflow/registered-models/alias", `{"name": "NAME", "alias": "champion", "version": "1"}`},
	{"DELETE", "mlflow/registered-models/alias", `{"name": "NAME", "alias": "champion"}`},
	{"DELETE", "mlflow/model-versions/delete", `{"name": "NAME", "version": "1"}`},
	{"POST", "mlflow/registered-models/rename", `{"name": "NAME", "new_name": "NAMEs"}`},
	{"DELETE", "mlflow/registered-models/delete", `{"name": "NAMEs"}`},
}

// registryCreates add something, under a name that anybody may use.
var registryCreates = []string{"POST mlflow/registered-models/create", "POST mlflow/model-versions/create"}

func TestTokenWritesRegistry(t *testing.T) {
	w := newWorld(t)
	for _, run := range []string{"own", "other"} {
		w.as(run)
		w.must(t, "POST", "mlflow/registered-models/create", fmt.Sprintf(`{"name": "of %s"}`, run))
		w.must(t, "POST", "mlflow/model-versions/create", fmt.Sprintf(`{"name": "of %s", "source": "models:/%s"}`, run,
			w.ids[run+" model"]))
		w.must(t, "POST", "mlflow/registered-models/alias",
			fmt.Sprintf(`{"name": "of %s", "alias": "champion", "version": "1"}`, run))
	}
	w.as("own")
	for _, c := range registryWrites {
		before := w.state(t)
		fill := strings.NewReplacer("NAMEs", "of other", "NAME", "of other")
		code, answer := w.send(t, c[0], c[1], fill.Replace(c[2]))
		require.Equal(t, 403, code, "%s: %v", c, answer)
		require.Equal(t, before, w.state(t), c)
	}
	// A version of one's own under another run's name, and the alias on it, are one's own.
	w.must(t, "POST", "mlflow/model-versions/create", fmt.Sprintf(`{"name": "of other", "source": "models:/%s"}`,
		w.ids["own model"]))
	w.must(t, "POST", "mlflow/model-versions/set-tag", `{"name": "of other", "version": "2", "key": "t", "value": "1"}`)
	w.must(t, "POST", "mlflow/registered-models/alias", `{"name": "of other", "alias": "champion", "version": "2"}`)
	code, _ := w.send(t, "POST", "mlflow/model-versions/transition-stage",
		`{"name": "of other", "version": "2", "stage": "Production", "archive_existing_versions": true}`)
	require.Equal(t, 403, code)
	// The same again is no change.
	w.must(t, "PATCH", "mlflow/registered-models/update", `{"name": "of other", "description": ""}`)

	for _, c := range registryWrites {
		w.must(t, c[0], c[1], strings.ReplaceAll(c[2], "NAME", "of own"))
	}
}

// Every call of the API that changes something is in one of the tables of these tests.
func TestTokenTablesAreWhole(t *testing.T) {
	known := map[string]bool{"POST mlflow/experiments/create": true, "POST mlflow/runs/create": true,
		"POST mlflow/logged-models":        true,
		"POST mlflow/logged-models/search": true, "POST mlflow/experiments/search": true,
		"POST mlflow/runs/search": true, "POST mlflow/registered-models/get-latest-versions": true}
	for _, c := range registryCreates {
		known[c] = true
	}
	for _, calls := range writes {
		for _, c := range calls {
			known[c[0]+" "+strings.NewReplacer("logged-models/ID", "logged-models/{model_id}", "/tags/t",
				"/tags/{tag_key...}").Replace(c[1])] = true
		}
	}
	for _, c := range registryWrites {
		known[c[0]+" "+c[1]] = true
	}
	files, err := filepath.Glob("server*.go")
	require.NoError(t, err)
	n := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`call\(v, "([A-Z]+) ([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			n++
			require.True(t, m[1] == "GET" || known[m[1]+" mlflow/"+m[2]],
				"%s %s changes something, and no test tries it with another run's token", m[1], m[2])
		}
	}
	require.Greater(t, n, 50)
}

// The server knows no SQL, and the store no HTTP.
func TestServerAndStoreAreApart(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	sql := regexp.MustCompile(`"database/sql"|\b(SELECT|INSERT|UPDATE|DELETE) .*\b(FROM|INTO|SET)\b`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		server := strings.HasPrefix(f, "server") || f == "access.go"
		switch {
		case strings.HasSuffix(f, "_test.go") || f == "client.go":
		case server:
			require.NotRegexp(t, sql, string(text), f)
		default:
			require.NotContains(t, string(text), `"net/http"`, f)
		}
		if f != "store.go" && !strings.HasSuffix(f, "_test.go") { // where write is, through which all writes go
			require.NotRegexp(t, `\.BeginTx\(|\.Begin\(|db\.Exec`, string(text), f)
		}
	}
}

// Nothing outside the history can be the source of a version.
func TestVersionSource(t *testing.T) {
	w := newWorld(t)
	w.must(t, "POST", "mlflow/registered-models/create", `{"name": "m"}`)
	for _, source := range []string{"file:///etc", "/etc", "s3://bucket/x", "http://127.0.0.1/x", "models:/m-0",
		"models:/m/7", "models://x/m", "runs:/none/x", "runs:/own/../../x", "runs:/own/%2e%2e/x",
		"mlflow-artifacts:/../..", "mlflow-artifacts://host/0/own/artifacts",
		"mlflow-artifacts:/0/own/artifacts/../../../..", "dbfs:/x", "x", "models:/"} {
		code, answer := w.send(t, "POST", "mlflow/model-versions/create",
			fmt.Sprintf(`{"name": "m", "source": %q}`, source))
		require.Contains(t, []int{400, 404}, code, "%s: %v", source, answer)
	}
	for source, uri := range map[string]string{
		"runs:/own/model/x":                       "mlflow-artifacts:/0/own/artifacts/model/x",
		"models:/" + w.ids["own model"]:           "mlflow-artifacts:/0/models/" + w.ids["own model"] + "/artifacts",
		"mlflow-artifacts:/0/other/artifacts/any": "mlflow-artifacts:/0/other/artifacts/any",
	} {
		v := w.must(t, "POST", "mlflow/model-versions/create",
			fmt.Sprintf(`{"name": "m", "source": %q}`, source))["model_version"].(map[string]any)
		got := w.must(t, "GET", "mlflow/model-versions/get-download-uri?name=m&version="+v["version"].(string), "")
		require.Equal(t, uri, got["artifact_uri"])
		again := w.must(t, "POST", "mlflow/model-versions/create",
			fmt.Sprintf(`{"name": "m", "source": "models:/m/%s"}`, v["version"]))["model_version"].(map[string]any)
		got = w.must(t, "GET", "mlflow/model-versions/get-download-uri?name=m&version="+again["version"].(string), "")
		require.Equal(t, uri, got["artifact_uri"], "a copy")
	}
}

// A server whose list of versions has no end, of pages or within them, is given up.
func TestVersionsWithoutEnd(t *testing.T) {
	for _, each := range []int{0, 1, 5000} {
		page := strings.Repeat(`{"name": "iris", "version": "1"},`, each) + `{"name": "other"}`
		asked := 0
		endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			fmt.Fprintf(w, `{"registered_model": {"name": "iris"}, "model_versions": [%s], "next_page_token": "%d"}`,
				page, asked)
		})
		_, err := (&Client{Base: "http://endless", HTTP: answerer{endless}}).ModelVersions(ctx, "iris")
		require.ErrorContains(t, err, "http://endless: its list of the versions of iris does not end after ")
		require.LessOrEqual(t, asked, mostVersionPages+1)
	}
}
