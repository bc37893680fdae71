package local

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/job"
)

// elsewhere are the keys of a job file, and those with keys of their own, that this package need
// not look at, and why.
var elsewhere = map[string]string{
	"Job.Compute":                           "what chose this machine",
	"Job.Report":                            "says how it is told",
	"Job.ParentJobName":                     "a job of a workspace; docs/jobs.md says so",
	"Job.Identity":                          "a workspace's; docs/jobs.md says so",
	"Job.Services":                          "on a workspace's machines; docs/jobs.md says so",
	"Job.QueueSettings":                     "nothing waits for a turn here; docs/jobs.md says so",
	"Resources.InstanceType":                "a workspace's machines; docs/jobs.md says so",
	"Resources.Locations":                   "a workspace's machines; docs/jobs.md says so",
	"Distribution.DashboardPort":            "of Ray, which checkDistribution refuses",
	"Distribution.IncludeDashboard":         "of Ray, which checkDistribution refuses",
	"Distribution.HeadNodeAdditionalArgs":   "of Ray, which checkDistribution refuses",
	"Distribution.WorkerNodeAdditionalArgs": "of Ray, which checkDistribution refuses",
	"Environment.Requirements":              "Job.Packages reads the file",
	"Environment.OSType":                    "an image says it itself",
	"Input.Datastore":                       "part of the path of an azureml: input, which only a workspace reaches",
	"Input.OnCompute":                       "where a workspace's machine mounts it",
}

// TestEveryKeyIsLookedAt: a key of a job file that nothing here looks at, and nothing says why,
// has no effect on this machine, and nobody was told.
func TestEveryKeyIsLookedAt(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	looked := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				looked[s.Sel.Name] = true
			}
			return true
		})
	}
	keys := map[string]bool{}
	fields(reflect.TypeFor[job.Job](), keys)
	require.Greater(t, len(keys), 40)
	for key := range keys {
		_, name, _ := strings.Cut(key, ".")
		assert.NotEqual(t, looked[name], elsewhere[key] != "", "%s is looked at: %v; elsewhere: %q", key, looked[name],
			elsewhere[key])
	}
	for key := range elsewhere {
		require.True(t, keys[key], "%s is no key", key)
	}
}

// fields are those of a structure of package job, and of those within it, as TYPE.FIELD.
func fields(of reflect.Type, into map[string]bool) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of.PkgPath() != reflect.TypeFor[job.Job]().PkgPath() {
		return
	}
	for _, f := range reflect.VisibleFields(of) {
		if key := of.Name() + "." + f.Name; f.IsExported() && f.Tag.Get("json") != "-" && !into[key] {
			into[key] = true
			if of != reflect.TypeFor[job.Job]() || elsewhere[key] == "" {
				fields(f.Type, into)
			}
		}
	}
}
