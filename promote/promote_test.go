package promote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/testing/faulttest"
	"github.com/org/aml-train/internal/testing/mlflowtest"
	"github.com/org/aml-train/internal/testing/testenv"
)

var ctx = context.Background()

// theRegistry is the registry of a server that takes every tag, as MLflow's own does, with a
// run whose files can be a version's.
func theRegistry(t *testing.T) (base, source string) {
	store, err := history.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	experiment, err := store.CreateExperiment(ctx, history.NewExperiment{Name: "iris"})
	require.NoError(t, err)
	run, err := store.CreateRun(ctx, history.NewRun{ID: "iris-1", ExperimentID: experiment, Start: time.Now()})
	require.NoError(t, err)
	server := httptest.NewServer(mlflowtest.AnyTags(history.NewServer(store, history.Access{})))
	t.Cleanup(server.Close)
	return server.URL, "runs:/" + run.Info.RunID + "/outputs/model"
}

// merge is the promotion of the n-th merge of a branch whose commits are numbers; the run is
// another one for each, unless run says which.
func merge(model, source string, n int, run string) Promotion {
	return Promotion{Model: model, Alias: "champion", Identity: run, Run: run, Commit: fmt.Sprintf("%040d", n),
		Version: func(context.Context) (history.ModelVersion, error) {
			return history.ModelVersion{Source: source}, nil
		},
		Before: func(_ context.Context, commit, other string) (bool, error) { return commit < other, nil }}
}

// versions are those of a model as text: number, run, last digits of the commit, aliases.
func versions(t *testing.T, r Registry, model string) (list []string) {
	t.Helper()
	all, err := r.ModelVersions(ctx, model)
	require.NoError(t, err)
	for _, v := range all {
		list = append(list, fmt.Sprint(v.Version, " ", v.Tag(TagRun), " ", strings.TrimLeft(v.Tag(TagCommit), "0"), " ",
			v.Aliases))
	}
	return list
}

// A merge is one version, at whichever request it fails, and however: a try that is cut off
// leaves none or that one, and the next try says so and completes it.
func TestFaults(t *testing.T) {
	base, source := theRegistry(t)
	sound := &history.Client{Base: base, HTTP: http.DefaultClient}
	for _, kind := range []faulttest.Fault{{}, {After: true}, {Sick: true}, {Dies: true}, {After: true, Dies: true}} {
		last := 0
		for at := range testenv.Each(1) {
			model := fmt.Sprintf("iris-%v-%v-%v-%d", kind.After, kind.Sick, kind.Dies, at)
			_, err := Run(ctx, sound, merge(model, source, 1, "first"))
			require.NoError(t, err)
			f := &faulttest.Client{Fault: kind, At: at}
			c := &history.Client{Base: base, HTTP: f}
			_, err = Run(ctx, c, merge(model, source, 2, "second"))
			happened := len(f.Asked()) >= at
			if happened && kind.Dies {
				require.Error(t, err)
			}
			there := versions(t, sound, model)
			require.LessOrEqual(t, len(there), 2, there)
			for range 2 {
				out, err := Run(ctx, sound, merge(model, source, 2, "second"))
				require.NoError(t, err)
				require.Equal(t, "2", out.Version.Version)
				require.Nil(t, out.Later)
			}
			require.Equal(t, []string{"1 first 1 []", "2 second 2 [champion]"}, versions(t, sound, model))
			if !happened {
				last = at
				break
			}
		}
		require.Greater(t, last, 6)
	}
}

// The first version of a model, which makes the registered model as well.
func TestFirstFaults(t *testing.T) {
	base, source := theRegistry(t)
	sound := &history.Client{Base: base, HTTP: http.DefaultClient}
	for _, kind := range []faulttest.Fault{{}, {After: true}, {After: true, Dies: true}} {
		last := 0
		for at := range testenv.Each(1) {
			model := fmt.Sprintf("first-%v-%v-%d", kind.After, kind.Dies, at)
			f := &faulttest.Client{Fault: kind, At: at}
			Run(ctx, &history.Client{Base: base, HTTP: f}, merge(model, source, 1, "first"))
			happened := len(f.Asked()) >= at
			_, err := Run(ctx, sound, merge(model, source, 1, "first"))
			require.NoError(t, err)
			require.Equal(t, []string{"1 first 1 [champion]"}, versions(t, sound, model))
			if !happened {
				last = at
				break
			}
		}
		require.Greater(t, last, 7)
	}
}

// Merges whose workflows run at once, each promoted by several, with faults at random: one
// version each, and the alias is with the latest.
func TestTogether(t *testing.T) {
	base, source := theRegistry(t)
	for n := range testenv.Cases(30) {
		seed := testenv.Seed() + n
		rng := rand.New(rand.NewPCG(uint64(seed), 0))
		model := fmt.Sprint("together-", seed)
		merges := 1 + rng.IntN(3)
		var wg sync.WaitGroup
		for i := range merges * 2 {
			p := merge(model, source, 1+i%merges, fmt.Sprint("run-", 1+i%merges))
			f := &faulttest.Client{At: rng.IntN(12), Fault: faulttest.Fault{After: rng.IntN(2) == 0}}
			wg.Go(func() {
				var err error
				for range 10 {
					if _, err = Run(ctx, &history.Client{Base: base, HTTP: f}, p); err == nil {
						return
					}
				}
				t.Errorf("seed %d: %v", seed, err)
			})
		}
		wg.Wait()
		c := &history.Client{Base: base, HTTP: http.DefaultClient}
		all, err := c.ModelVersions(ctx, model)
		require.NoError(t, err)
		var runs []string
		for _, v := range all {
			runs = append(runs, v.Tag(TagRun))
			require.Equal(t, v.Tag(TagRun) == fmt.Sprint("run-", merges), slices.Contains(v.Aliases, "champion"),
				"seed %d: %v", seed, versions(t, c, model))
		}
		slices.Sort(runs)
		require.Len(t, runs, merges, "seed %d: %v", seed, runs)
		require.Equal(t, len(runs), len(slices.Compact(runs)), "seed %d: %v", seed, runs)
	}
}

// A merge that changes no file of the training has the version that there is; a revert gives the
// alias back; a workflow that is run again, or late, takes it from nobody.
func TestAlias(t *testing.T) {
	base, source := theRegistry(t)
	c := &history.Client{Base: base, HTTP: http.DefaultClient}
	promote := func(n int, run string) Promoted {
		t.Helper()
		out, err := Run(ctx, c, merge("iris", source, n, run))
		require.NoError(t, err)
		return out
	}
	require.True(t, promote(1, "tree").Made)
	require.False(t, promote(2, "tree").Made)
	require.Equal(t, []string{"1 tree 2 [champion]"}, versions(t, c, "iris"))
	promote(4, "deeper")
	require.Equal(t, []string{"1 tree 2 []", "2 deeper 4 [champion]"}, versions(t, c, "iris"))
	late := promote(3, "wider")
	require.Equal(t, "2", late.Later.Version)
	require.Equal(t, []string{"1 tree 2 []", "2 deeper 4 [champion]", "3 wider 3 []"}, versions(t, c, "iris"))
	require.Equal(t, "2", promote(2, "tree").Later.Version)
	require.Nil(t, promote(5, "tree").Later) // the revert
	require.Equal(t, "1", promote(1, "tree").Version.Version)
	require.Equal(t, []string{"1 tree 5 [champion]", "2 deeper 4 []", "3 wider 3 []"}, versions(t, c, "iris"))
	require.Equal(t, "1", promote(4, "deeper").Later.Version)

	// Another run of the same files answers for a merge no second time.
	other := promote(4, "deeper again")
	require.Equal(t, "2", other.Version.Version)
	require.False(t, other.Made)

	// Of another job's, nobody could tell which of them the alias names.
	p := merge("iris", source, 4, "of another job")
	p.Series = "other"
	_, err := Run(ctx, c, p)
	var job *OtherJobError
	require.ErrorAs(t, err, &job)
	require.ErrorContains(t, err, "version 2 of the model iris is of this merge already, and run deeper, which")

	// Who names a run means it.
	p = merge("iris", source, 3, "wider")
	p.Before = nil
	_, err = Run(ctx, c, p)
	require.NoError(t, err)
	require.Equal(t, []string{"1 tree 5 []", "2 deeper 4 []", "3 wider 3 [champion]"}, versions(t, c, "iris"))

	// Without an alias none is touched, and what a script or a person has registered is left alone.
	require.NoError(t, c.AddModelVersion(ctx, history.ModelVersion{Name: "iris", Source: source}))
	p = merge("iris", source, 6, "last")
	p.Alias = ""
	_, err = Run(ctx, c, p)
	require.NoError(t, err)
	require.Equal(t, []string{"1 tree 5 []", "2 deeper 4 []", "3 wider 3 [champion]", "4   []", "5 last 6 []"},
		versions(t, c, "iris"))
}

// overtaken is a registry in which something happens right before each time an alias is set.
type overtaken struct {
	Registry
	before []func()
}

func (o *overtaken) AliasModel(ctx context.Context, model, alias, version string) error {
	if len(o.before) > 0 {
		first := o.before[0]
		o.before = o.before[1:]
		first()
	}
	return o.Registry.AliasModel(ctx, model, alias, version)
}

// A later merge that is promoted while an earlier one is about to take the alias has it in the
// end, and so has one after that.
func TestOvertaken(t *testing.T) {
	base, source := theRegistry(t)
	c := &history.Client{Base: base, HTTP: http.DefaultClient}
	later := func(n int) func() {
		return func() {
			_, err := Run(ctx, c, merge("iris", source, n, fmt.Sprint("run-", n)))
			require.NoError(t, err)
		}
	}
	o := &overtaken{c, []func(){later(2), later(3)}}
	out, err := Run(ctx, o, merge("iris", source, 1, "run-1"))
	require.NoError(t, err)
	require.Equal(t, "run-3", out.Later.Tag(TagRun))
	require.Empty(t, o.before)
	require.Equal(t, []string{"1 run-1 1 []", "2 run-2 2 []", "3 run-3 3 [champion]"}, versions(t, c, "iris"))
}

// removing is a registry in which something happens right before a version is removed.
type removing struct {
	Registry
	before func()
}

func (o *removing) RemoveModelVersion(ctx context.Context, model, version string) error {
	o.before()
	return o.Registry.RemoveModelVersion(ctx, model, version)
}

// Two promote a merge at once and make a version each, of which one is about to be removed: an earlier
// merge that is promoted meanwhile makes room for the other one, and where the alias went with the
// version that is removed, who has removed it sets it again.
func TestAliasOfRemoved(t *testing.T) {
	base, source := theRegistry(t)
	c := &history.Client{Base: base, HTTP: http.DefaultClient}
	twice := func(model string) {
		for range 2 {
			require.NoError(t, c.AddModelVersion(ctx, history.ModelVersion{Name: model, Source: source,
				Tags: []history.KeyValue{{Key: TagIdentity, Value: "second"}, {Key: TagRun, Value: "second"},
					{Key: TagCommit, Value: fmt.Sprintf("%040d", 2)}}}))
		}
	}
	o := &overtaken{c, []func(){func() { twice("iris") }}}
	out, err := Run(ctx, o, merge("iris", source, 1, "first"))
	require.NoError(t, err)
	require.Equal(t, "2", out.Later.Version)
	require.Equal(t, []string{"1 first 1 []", "2 second 2 [champion]", "3 second 2 []"}, versions(t, c, "iris"))

	twice("other")
	require.NoError(t, c.AliasModel(ctx, "other", "champion", "1"))
	r := &removing{c, func() { require.NoError(t, c.AliasModel(ctx, "other", "champion", "2")) }}
	_, err = Run(ctx, r, merge("other", source, 2, "second"))
	require.NoError(t, err)
	require.Equal(t, []string{"1 second 2 [champion]"}, versions(t, c, "other"))
}

// outrun is a registry in which another run's version takes the number of the first one that is
// added, as in a workspace.
type outrun struct {
	Registry
	other func()
}

func (o *outrun) AddModelVersion(context.Context, history.ModelVersion) error {
	o.other()
	return errors.New("there is a version of that number")
}

// A merge that another run is promoted for meanwhile has that one's version, and made none; of
// another job's it is refused, as it is a moment later.
func TestOutrun(t *testing.T) {
	base, source := theRegistry(t)
	c := &history.Client{Base: base, HTTP: http.DefaultClient}
	for model, series := range map[string]string{"same": "", "another": "of another job"} {
		o := &outrun{c, func() {
			other := merge(model, source, 1, "run-1")
			other.Series = series
			_, err := Run(ctx, c, other)
			require.NoError(t, err)
		}}
		out, err := Run(ctx, o, merge(model, source, 1, "run-2"))
		require.Equal(t, []string{"1 run-1 1 [champion]"}, versions(t, c, model))
		if series != "" {
			var job *OtherJobError
			require.ErrorAs(t, err, &job)
			continue
		}
		require.NoError(t, err)
		require.False(t, out.Made)
		require.Equal(t, "run-1", out.Version.Tag(TagRun))
	}
}

// What was promoted twice at once, by two merges, is one version; none that is gone is told of.
func TestTwice(t *testing.T) {
	base, source := theRegistry(t)
	c := &history.Client{Base: base, HTTP: http.DefaultClient}
	for n := range 2 {
		require.NoError(t, c.AddModelVersion(ctx, history.ModelVersion{Name: "iris", Source: source,
			Tags: []history.KeyValue{{Key: TagIdentity, Value: "tree"}, {Key: TagRun, Value: "tree"},
				{Key: TagCommit, Value: fmt.Sprintf("%040d", n+1)}}}))
	}
	out, err := Run(ctx, c, merge("iris", source, 1, "tree"))
	require.NoError(t, err)
	require.Nil(t, out.Later)
	require.Equal(t, []string{"1 tree 1 [champion]"}, versions(t, c, "iris"))
	_, err = Run(ctx, c, merge("iris", source, 2, "tree"))
	require.NoError(t, err)
	require.Equal(t, []string{"1 tree 2 [champion]"}, versions(t, c, "iris"))
}

// A registry that forgets what it has taken is given up.
func TestForgets(t *testing.T) {
	asked := 0
	forgets := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		fmt.Fprint(w, `{"registered_model": {"name": "iris"}}`)
	})
	server := httptest.NewServer(forgets)
	defer server.Close()
	_, err := Run(ctx, &history.Client{Base: server.URL, HTTP: http.DefaultClient}, merge("iris", "x", 1, "run"))
	require.ErrorContains(t, err, "does not list the version of iris that it has taken")
	require.Less(t, asked, 20)
}

func TestChoose(t *testing.T) {
	for _, c := range []struct{ files, named, want, wrong string }{
		{"outputs/metrics.json outputs/model.json user_logs/std_log.txt", "", "outputs/model.json", ""},
		{"outputs/model/a outputs/model/b/c outputs/models.txt", "",
			"outputs/model outputs/model/a outputs/model/b/c", ""},
		{"models/model/MLmodel models/model/model.pkl outputs/model.txt", "",
			"models/model MLflow models/model/MLmodel models/model/model.pkl", ""},
		{"outputs/m/MLmodel outputs/m/artifacts/inner/MLmodel", "",
			"outputs/m MLflow outputs/m/MLmodel outputs/m/artifacts/inner/MLmodel", ""},
		{"outputs/a/MLmodel outputs/b/MLmodel", "", "", "nobody can tell which of outputs/a, outputs/b is the model"},
		{"outputs/model.pkl outputs/model.onnx", "", "", "which of outputs/model.onnx, outputs/model.pkl is the model"},
		{"outputs/a/MLmodel outputs/b/MLmodel", "outputs/b/", "outputs/b MLflow outputs/b/MLmodel", ""},
		{"outputs/weights.bin outputs/metrics.json", "", "", "; it has outputs/metrics.json, outputs/weights.bin"},
		{"outputs/weights.bin", "outputs/weight", "", "it has nothing at outputs/weight; it has outputs/weights.bin"},
		{"user_logs/std_log.txt", "", "", "it has no outputs"},
		{"MLmodel", "", "", "nothing among its outputs is a model"},
	} {
		got, err := Choose(strings.Fields(c.files), c.named)
		if c.wrong != "" {
			var choice *ChoiceError
			require.ErrorAs(t, err, &choice, c.files)
			require.ErrorContains(t, err, c.wrong)
			continue
		}
		require.NoError(t, err, c.files)
		text := got.Path
		if got.MLflow {
			text += " MLflow"
		}
		if got.Path != got.Files[0] {
			text += " " + strings.Join(got.Files, " ")
		}
		require.Equal(t, c.want, text)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{"iris": "iris ", "iris@champion": "iris champion",
		"a.b_c-1@x": "a.b_c-1 x"} {
		model, alias, err := Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, model+" "+alias)
	}
	for _, text := range []string{"", "@x", "iris@", "a/b", "a b@x", "iris@latest", "iris@v1", "iris@a b", "-x",
		"models:/x"} {
		_, _, err := Parse(text)
		require.Error(t, err, text)
	}
}
