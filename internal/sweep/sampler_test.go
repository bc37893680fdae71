package sweep

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/testing/testenv"
)

// judged compares samples with SciPy's distributions: for each case the p-value that they
// are of that distribution. What is rounded to multiples of q is compared by the
// probability between the points where the rounding changes.
const judged = `
import json, sys
import numpy as np
from scipy import stats
for case in json.load(sys.stdin):
    x, n, kind = np.array(case["samples"], dtype=float), case["numbers"], case["type"]
    of = kind.removeprefix("q")
    if kind == "choice":
        p = stats.chisquare(np.bincount(x.astype(int), minlength=int(n[0]))).pvalue
    elif kind == "randint":
        d = stats.randint(0, int(n[0]))
        counts = np.bincount(x.astype(int), minlength=int(n[0]))
        p = stats.chisquare(counts, d.pmf(np.arange(int(n[0]))) * len(x)).pvalue
    else:
        d = {"uniform": lambda: stats.uniform(n[0], n[1] - n[0]), "normal": lambda: stats.norm(n[0], n[1]),
             "loguniform": lambda: stats.loguniform(np.exp(n[0]), np.exp(n[1])),
             "lognormal": lambda: stats.lognorm(s=n[1], scale=np.exp(n[0]))}[of]()
        if kind == of:
            p = stats.kstest(x, d.cdf).pvalue
        else:
            q = n[2]
            at, counts = np.unique(np.round(x / q).astype(int), return_counts=True)
            assert np.allclose(x / q, np.round(x / q))
            expected = (d.cdf((at + 0.5) * q) - d.cdf((at - 0.5) * q)) * len(x)
            keep = expected >= 5
            rest = len(x) - expected[keep].sum()
            counts, expected = counts[keep], expected[keep]
            if rest > 5:
                counts, expected = np.append(counts, len(x) - counts.sum()), np.append(expected, rest)
            p = stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue
    print(p)
`

// TestDistributions compares each distribution with its definition, by random and by Sobol
// sampling, and looks whether the comparison notices another distribution.
func TestDistributions(t *testing.T) {
	python := testenv.Python(t)
	space := Space{
		"choice":  {Type: "choice", Values: []any{int64(0), int64(1), int64(2), int64(3), int64(4)}},
		"randint": {"randint", nil, []float64{7}},
		"uniform": {"uniform", nil, []float64{-2, 3}}, "loguniform": {"loguniform", nil, []float64{-4, 1}},
		"quniform": {"quniform", nil, []float64{1, 20, 3}}, "qloguniform": {"qloguniform", nil, []float64{0, 4, 0.5}},
		"normal": {"normal", nil, []float64{10, 3}}, "lognormal": {"lognormal", nil, []float64{1, 0.5}},
		"qnormal": {"qnormal", nil, []float64{0, 5, 2}}, "qlognormal": {"qlognormal", nil, []float64{1, 1, 0.25}},
	}
	require.Len(t, space, len(Parameters))
	type one struct {
		Type    string    `json:"type"`
		Numbers []float64 `json:"numbers"`
		Samples []any     `json:"samples"`
	}
	var cases []one
	for _, rule := range []string{"random", "sobol"} {
		s, err := NewSampler(space, Sampling{Type: "random", Rule: rule}, 7)
		require.NoError(t, err)
		samples := map[string][]any{}
		for i := range 1 << 14 {
			values, ok := s.Trial(i)
			require.True(t, ok)
			for name, v := range values {
				samples[name] = append(samples[name], v)
			}
		}
		for _, name := range space.Names() {
			d := space[name]
			if d.Type == "choice" {
				d.Numbers = []float64{5}
			}
			cases = append(cases, one{d.Type, d.Numbers, samples[name]})
			if rule == "random" && len(d.Numbers) > 1 { // another one, by a tenth of one number
				other := slices.Clone(d.Numbers)
				other[1] *= 1.1
				cases = append(cases, one{d.Type, other, samples[name]})
			}
		}
	}
	text, err := json.Marshal(cases)
	require.NoError(t, err)
	cmd := exec.Command(python, "-c", judged)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.Output()
	require.NoError(t, err)
	lines := bytes.Fields(out)
	require.Len(t, lines, len(cases))
	others := 0
	for i, c := range cases {
		var p float64
		_, err := fmt.Sscan(string(lines[i]), &p)
		require.NoError(t, err)
		if d := space[c.Type]; d.Numbers != nil && !slices.Equal(d.Numbers, c.Numbers) {
			others++
			require.Less(t, p, 1e-4, "%s passes for %v", c.Type, c.Numbers)
			continue
		}
		require.Greater(t, p, 1e-3, c.Type)
	}
	require.Equal(t, 8, others)
}

// TestSobol compares the sequence with SciPy's, point by point.
func TestSobol(t *testing.T) {
	out, err := exec.Command(testenv.Python(t), "-c", fmt.Sprintf(`
import json
from scipy.stats import qmc
points = qmc.Sobol(%d, scramble=False, bits=32).random(2048)
print(json.dumps((points * 2**32).astype("int64").tolist()))`, MaxSobol)).Output()
	require.NoError(t, err)
	var want [][]uint32
	require.NoError(t, json.Unmarshal(out, &want))
	require.Len(t, want, 2048)
	for i, point := range want {
		for k, x := range point {
			require.Equal(t, x, sobol(i, k), "point %d, coordinate %d", i, k)
		}
	}
}

// What a trial gets follows from its number and the seed, whichever was asked for before.
func TestTrial(t *testing.T) {
	space := Space{"a": {"uniform", nil, []float64{0, 1}}, "b": {Type: "choice", Values: []any{"x", "y"}},
		"c": {"randint", nil, []float64{3}}}
	counted := Space{"b": space["b"], "c": space["c"]}
	for _, space := range []Space{space, counted} {
		for _, rule := range []string{"", "sobol"} {
			seed := int64(3)
			one, err := NewSampler(space, Sampling{Type: "random", Rule: rule, Seed: &seed}, 99)
			require.NoError(t, err)
			two, err := NewSampler(space, Sampling{Type: "random", Rule: rule}, 3)
			require.NoError(t, err)
			other, err := NewSampler(space, Sampling{Type: "random", Rule: rule}, 4)
			require.NoError(t, err)
			same := 0
			for i := 5; i >= 0; i-- {
				a, ok := one.Trial(5 - i)
				require.True(t, ok)
				_, ok = two.Trial(i)
				require.True(t, ok)
				b, _ := two.Trial(5 - i)
				require.Equal(t, a, b)
				if c, _ := other.Trial(5 - i); fmt.Sprint(c) == fmt.Sprint(a) {
					same++
				}
			}
			require.Less(t, same, 5)
		}
	}
}

// A space that can be counted has each of its combinations once: in the grid in their
// order, by chance in another one.
func TestCounted(t *testing.T) {
	space := Space{"b": {Type: "choice", Values: []any{"x", "y"}},
		"c": {Type: "choice", Values: []any{int64(1), int64(2), int64(3)}}}
	for _, sampling := range []Sampling{{Type: "grid"}, {Type: "random"}, {Type: "random", Rule: "sobol"}} {
		s, err := NewSampler(space, sampling, 1)
		require.NoError(t, err)
		var all []string
		for i := 0; ; i++ {
			values, ok := s.Trial(i)
			if !ok {
				break
			}
			all = append(all, fmt.Sprint(values["b"], " ", values["c"]))
		}
		want := []string{"x 1", "x 2", "x 3", "y 1", "y 2", "y 3"}
		if sampling.Type == "grid" {
			require.Equal(t, want, all)
		}
		require.ElementsMatch(t, want, all)
	}
}

// A sequence that never meets a combination gets it all the same.
func TestCountedInOrder(t *testing.T) {
	s, err := NewSampler(Space{"c": {"randint", nil, []float64{5}}}, Sampling{Type: "random"}, 1)
	require.NoError(t, err)
	s.draws = 64 * (s.size + 1)
	for i := range 5 {
		v, ok := s.Trial(i)
		require.True(t, ok)
		require.Equal(t, int64(i), v["c"])
	}
	_, ok := s.Trial(5)
	require.False(t, ok)
}

func TestSamplerRefuses(t *testing.T) {
	nested := Space{"a": {Type: "choice", Values: []any{map[string]any{"b": Distribution{"randint", nil,
		[]float64{3}}}}}}
	_, err := NewSampler(nested, Sampling{Type: "grid"}, 1)
	require.ErrorContains(t, err, "a grid is of choices")
	many := Space{}
	for i := range MaxSobol + 1 {
		many[fmt.Sprint(i)] = Distribution{"normal", nil, []float64{0, 1}}
	}
	_, err = NewSampler(many, Sampling{Type: "random", Rule: "sobol"}, 1)
	require.ErrorContains(t, err, "has 40 dimensions, and the search space 41")
	_, err = NewSampler(many, Sampling{Type: "bayesian"}, 1)
	require.ErrorContains(t, err, "bayesian")
}

// conditional is a choice of two kinds of models, with hyperparameters of their own.
var conditional = Space{
	"model": {Type: "choice", Values: []any{
		map[string]any{"kind": "tree",
			"depth": Distribution{Type: "choice", Values: []any{int64(2), int64(4), int64(8)}}},
		map[string]any{"kind": "net", "width": Distribution{Type: "choice", Values: []any{2.0, map[string]any{
			"layers": Distribution{Type: "choice", Values: []any{"a", "b"}}}}}, "rate": 0.5},
		"none",
	}},
	"seed": {Type: "choice", Values: []any{int64(1), int64(2)}},
}

// TestConditional has each combination of nested spaces once, and no other.
func TestConditional(t *testing.T) {
	var want []string
	for _, model := range []string{
		`{"depth":2,"kind":"tree"}`, `{"depth":4,"kind":"tree"}`, `{"depth":8,"kind":"tree"}`,
		`{"kind":"net","rate":0.5,"width":2}`, `{"kind":"net","rate":0.5,"width":{"layers":"a"}}`,
		`{"kind":"net","rate":0.5,"width":{"layers":"b"}}`, `"none"`} {
		want = append(want, model+" 1", model+" 2")
	}
	text, err := json.Marshal(conditional)
	require.NoError(t, err)
	var again Space
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, conditional, again, "as the supervisor of a sweep reads it")
	require.Equal(t, 5, conditional.Width())
	for _, sampling := range []Sampling{{Type: "grid"}, {Type: "random"}, {Type: "random", Rule: "sobol"}} {
		s, err := NewSampler(conditional, sampling, 1)
		require.NoError(t, err)
		var all []string
		for i := range 20 {
			if values, ok := s.Trial(i); ok {
				model, err := json.Marshal(values["model"])
				require.NoError(t, err)
				all = append(all, fmt.Sprint(string(model), " ", values["seed"]))
			}
		}
		if sampling.Type == "grid" {
			require.Equal(t, want, all)
		}
		require.ElementsMatch(t, want, all)
	}
}

// TestConditionalChance draws each space as often as the others, and in it each value as its
// distribution says.
func TestConditionalChance(t *testing.T) {
	uniform := Distribution{"uniform", nil, []float64{10, 20}}
	space := Space{"model": {Type: "choice", Values: []any{map[string]any{"rate": uniform},
		map[string]any{"width": Distribution{"randint", nil, []float64{4}}}}}}
	for _, rule := range []string{"", "sobol"} {
		s, err := NewSampler(space, Sampling{Type: "random", Rule: rule}, 7)
		require.NoError(t, err)
		const n = 4096
		rates, widths := 0, [4]int{}
		sum := 0.0
		for i := range n {
			values, ok := s.Trial(i)
			require.True(t, ok)
			model := values["model"].(map[string]any)
			require.Len(t, model, 1)
			if rate, is := model["rate"]; is {
				rates++
				sum += rate.(float64)
				continue
			}
			widths[model["width"].(int64)]++
		}
		require.InDelta(t, n/2, rates, 160, "five standard deviations")
		require.InDelta(t, 15, sum/float64(rates), 0.33)
		for _, count := range widths {
			require.InDelta(t, n/8, count, 110)
		}
	}
}

func TestValues(t *testing.T) {
	d := Distribution{"quniform", nil, []float64{0, 10, 4}}
	require.Equal(t, int64(8), d.at(0.9, math.E))
	require.Equal(t, 8.5, Distribution{"quniform", nil, []float64{0, 10, 0.5}}.at(0.86, math.E))
	tens := Distribution{"loguniform", nil, []float64{1, 3}}.at(0.5, Sampling{LogBase: int64(10)}.base())
	require.InDelta(t, 100, tens, 1e-9)
	for kind, names := range Parameters { // the ends are values too
		d := Distribution{Type: kind, Values: []any{"a", int64(2), 2.0, 0.5}, Numbers: []float64{1, 2, 3}[:len(names)]}
		for _, u := range []float64{0, 1 - 0x1p-53} {
			if v, ok := d.at(u, math.E).(float64); ok {
				require.False(t, math.IsInf(v, 0) || math.IsNaN(v), kind)
			}
		}
		text, err := json.Marshal(d)
		require.NoError(t, err)
		var back Distribution
		require.NoError(t, json.Unmarshal(text, &back))
		if kind != "choice" {
			d.Values = nil
		}
		require.Equal(t, kind, back.Type)
		require.Equal(t, d.Values, back.Values)
		require.True(t, slices.Equal(d.Numbers, back.Numbers), kind)
	}
}
