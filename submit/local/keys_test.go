package local

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
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
	"Job.Type":                              "a job with a sweep is one",
	"Job.Limits":                            "Job.MaxDuration",
	"Job.Properties":                        "of a workspace's job; docs/jobs.md says so",
	"Job.Compute":                           "what chose this machine",
	"Job.Report":                            "says how it is told",
	"Job.ParentJobName":                     "a job of a workspace; docs/jobs.md says so",
	"Job.Identity":                          "a workspace's; docs/jobs.md says so",
	"Job.Services":                          "on a workspace's machines; docs/jobs.md says so",
	"Job.QueueSettings":                     "nothing waits for a turn here; docs/jobs.md says so",
	"Resources.InstanceType":                "a workspace's machines; docs/jobs.md says so",
	"Resources.Properties":                  "a workspace's machines; docs/jobs.md says so",
	"Resources.Locations":                   "a workspace's machines; docs/jobs.md says so",
	"Distribution.Address":                  "of Ray, which checkDistribution refuses",
	"Distribution.Port":                     "of Ray, which checkDistribution refuses",
	"Distribution.DashboardPort":            "of Ray, which checkDistribution refuses",
	"Distribution.IncludeDashboard":         "of Ray, which checkDistribution refuses",
	"Distribution.HeadNodeAdditionalArgs":   "of Ray, which checkDistribution refuses",
	"Distribution.WorkerNodeAdditionalArgs": "of Ray, which checkDistribution refuses",
	"Environment.Requirements":              "Job.Packages reads the file",
	"Environment.Name":                      "of the environment in a workspace",
	"Environment.Descriptor":                "of the environment in a workspace",
	"Environment.Tags":                      "of the environment in a workspace",
	"Environment.OSType":                    "an image says it itself",
	"Input.Datastore":                       "part of the path of an azureml: input, which only a workspace reaches",
	"Input.OnCompute":                       "where a workspace's machine mounts it",
	"Output.Path":                           "of a workspace's storage; docs/jobs.md says where it lies here",
	"Output.Mode":                           "of a workspace's storage; docs/jobs.md says where it lies here",
	"Output.Name":                           "an asset of a workspace; docs/jobs.md says where it lies here",
	"Output.Version":                        "an asset of a workspace; docs/jobs.md says where it lies here",
}

// TestEveryKeyIsLookedAt: a key of a job file that nothing here looks at, and nothing says why,
// has no effect on this machine, and nobody was told.
func TestEveryKeyIsLookedAt(t *testing.T) {
	looked := lookedAt(t)
	keys := map[string]bool{}
	fields(reflect.TypeFor[job.Job](), keys)
	require.Greater(t, len(keys), 40)
	for key := range keys {
		assert.NotEqual(t, looked[key], elsewhere[key] != "", "%s is looked at: %v; elsewhere: %q", key, looked[key],
			elsewhere[key])
	}
	for key := range elsewhere {
		require.True(t, keys[key], "%s is no key", key)
	}
}

// lookedAt are the fields of package job's structures that this package selects, as TYPE.FIELD.
func lookedAt(t *testing.T) map[string]bool {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f",
		"{{.ImportPath}}={{.Export}}={{if not .DepOnly}}{{join .GoFiles \",\"}}{{end}}", ".").Output()
	require.NoError(t, err)
	set, exported := token.NewFileSet(), map[string]string{}
	var files []*ast.File
	for line := range strings.Lines(string(out)) {
		at := strings.Split(strings.TrimSpace(line), "=")
		exported[at[0]] = at[1]
		for name := range strings.SplitSeq(at[2], ",") {
			if name != "" {
				file, err := parser.ParseFile(set, name, nil, 0)
				require.NoError(t, err)
				files = append(files, file)
			}
		}
	}
	of := importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exported[path]) })
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	_, err = (&types.Config{Importer: of}).Check("local", set, files, info)
	require.NoError(t, err)
	jobs, err := of.Import(reflect.TypeFor[job.Job]().PkgPath())
	require.NoError(t, err)
	names := map[types.Object]string{}
	for _, name := range jobs.Scope().Names() {
		if s, ok := jobs.Scope().Lookup(name).Type().Underlying().(*types.Struct); ok {
			for f := range s.Fields() {
				names[f] = name + "." + f.Name()
			}
		}
	}
	looked := map[string]bool{}
	for _, s := range info.Selections {
		looked[names[s.Obj()]] = true
	}
	return looked
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
