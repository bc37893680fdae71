// Package sweep answers: which values does a trial of a sweep get, and which trial is not
// worth its time?
//
// Its functions are those of Azure ML's sweep jobs and know no run: what a trial gets
// follows from the sweep and the trial's number, and what a policy decides from the values
// that the trials have logged so far.
package sweep

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/stat/distuv"
)

// Parameters are the numbers of each distribution, in the order of the REST API
// (learn.microsoft.com, "CLI (v2) sweep job YAML schema", Parameter expressions). A choice
// has values in their place.
var Parameters = map[string][]string{
	"choice": nil, "randint": {"upper"},
	"uniform": {"min_value", "max_value"}, "loguniform": {"min_value", "max_value"},
	"quniform": {"min_value", "max_value", "q"}, "qloguniform": {"min_value", "max_value", "q"},
	"normal": {"mu", "sigma"}, "lognormal": {"mu", "sigma"},
	"qnormal": {"mu", "sigma", "q"}, "qlognormal": {"mu", "sigma", "q"},
}

// Distribution is where a hyperparameter's values come from.
type Distribution struct {
	Type    string    // one of Parameters
	Values  []any     // of a choice: int64, float64, string, or map[string]any of values and Distributions
	Numbers []float64 // of the others, as Parameters names them
}

// MarshalJSON writes a distribution as a job file has it, its type first.
func (d Distribution) MarshalJSON() ([]byte, error) {
	names, values := []string{"type"}, []any{d.Type}
	if d.Type == "choice" {
		list := slices.Clone(d.Values)
		for i, v := range list {
			list[i] = written(v)
			if nested, is := v.(map[string]any); is {
				nested = maps.Clone(nested)
				for name, v := range nested {
					nested[name] = written(v)
				}
				list[i] = nested
			}
		}
		names, values = append(names, "values"), append(values, list)
	}
	for i, name := range Parameters[d.Type] {
		names, values = append(names, name), append(values, d.Numbers[i])
	}
	var out []byte
	for i, name := range names {
		value, err := json.Marshal(values[i])
		if err != nil {
			return nil, err
		}
		out = fmt.Appendf(out, ",%q:%s", name, value)
	}
	out[0] = '{'
	return append(out, '}'), nil
}

// written is a value that is no whole number when it is read, if it is none.
func written(v any) any {
	if f, ok := v.(float64); ok && f == math.Trunc(f) && math.Abs(f) < 1e16 {
		return json.RawMessage(strconv.FormatFloat(f, 'f', 1, 64))
	}
	return v
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Distribution) UnmarshalJSON(text []byte) error {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return err
	}
	*d = Distribution{}
	d.Type, _ = fields["type"].(string)
	values, _ := fields["values"].([]any)
	var err error
	for _, v := range values {
		if nested, is := v.(map[string]any); is {
			for name, v := range nested {
				if nested[name], err = read(v); err != nil {
					return err
				}
			}
		} else if v, err = read(v); err != nil {
			return err
		}
		d.Values = append(d.Values, v)
	}
	for _, name := range Parameters[d.Type] {
		n, _ := fields[name].(json.Number)
		f, err := n.Float64()
		if err != nil {
			return err
		}
		d.Numbers = append(d.Numbers, f)
	}
	return nil
}

// read is a value of a choice, or of a nested search space, that was JSON.
func read(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i, nil
		}
		return v.Float64()
	case map[string]any:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		var d Distribution
		err = json.Unmarshal(text, &d)
		return d, err
	}
	return v, nil
}

// at is the value at a quantile u of [0, 1), by the formulas of "Hyperparameter tuning a
// model (v2)", Define the search space: int64 where values are whole, else float64, or a
// value of the choice. base is that of the logarithms.
func (d Distribution) at(u, base float64) any {
	n := d.Numbers
	normal := func() float64 { return n[0] + n[1]*distuv.UnitNormal.Quantile(max(u, 0x1p-54)) }
	uniform := func() float64 { return n[0] + u*(n[1]-n[0]) }
	power := func(x float64) float64 {
		if base == math.E {
			return math.Exp(x)
		}
		return math.Pow(base, x)
	}
	switch d.Type {
	case "choice":
		return d.Values[min(int(u*float64(len(d.Values))), len(d.Values)-1)]
	case "randint":
		return min(int64(u*n[0]), int64(n[0])-1)
	case "uniform":
		return uniform()
	case "loguniform":
		return power(uniform())
	case "quniform":
		return quantized(uniform(), n[2])
	case "qloguniform":
		return quantized(power(uniform()), n[2])
	case "normal":
		return normal()
	case "lognormal":
		return power(normal())
	case "qnormal":
		return quantized(normal(), n[2])
	}
	return quantized(power(normal()), n[2]) // qlognormal
}

// quantized is the nearest multiple of q, whole where q is: a script then reads it as an
// integer as well as a number.
func quantized(x, q float64) any {
	v := math.RoundToEven(x/q) * q
	if q == math.Trunc(q) && math.Abs(v) < 1<<53 {
		return int64(v)
	}
	return v
}

// Space is the distributions of the hyperparameters by their names.
type Space map[string]Distribution

// Countable tells whether all values are those of choices, in nested spaces too: a grid takes
// no others.
func (s Space) Countable() bool {
	for _, d := range s {
		if d.Type != "choice" {
			return false
		}
		for _, v := range d.Values {
			if nested, is := v.(map[string]any); is && !distributionsOf(nested).Countable() {
				return false
			}
		}
	}
	return true
}

// Width is how many distributions there are, in nested spaces too.
func (s Space) Width() int {
	width := 0
	dimensions(s, &width)
	return width
}

// Names are the hyperparameters in their order.
func (s Space) Names() []string { return slices.Sorted(maps.Keys(s)) }

// Sampling is how values are taken from the search space.
type Sampling struct {
	Type    string `json:"type"` // random, grid or bayesian
	Seed    *int64 `json:"seed,omitempty"`
	Rule    string `json:"rule,omitempty"`    // of random: random or sobol
	LogBase any    `json:"logbase,omitempty"` // of random: a positive number, or "e"
}

// base is that of the logarithms, e unless one is named (azure-ai-ml,
// RandomSamplingAlgorithm).
func (s Sampling) base() float64 {
	switch b := s.LogBase.(type) {
	case int64:
		return float64(b)
	case float64:
		return b
	}
	return math.E
}

// Objective is what a sweep is for.
type Objective struct {
	Goal          string `json:"goal"` // minimize or maximize
	PrimaryMetric string `json:"primary_metric"`
}

// Better tells whether a is a better value of the metric than b.
func (o Objective) Better(a, b float64) bool {
	switch {
	case math.IsNaN(a):
		return false
	case math.IsNaN(b):
		return true
	case o.Goal == "maximize":
		return a > b
	}
	return a < b
}

// Best is the best of the values that a trial has logged; it is not there where no value is
// a number (azureml-train-core, HyperDriveRun.get_children_sorted_by_primary_metric takes
// the best, not the last).
func (o Objective) Best(values []float64) (best float64, ok bool) {
	best = math.NaN()
	for _, v := range values {
		if o.Better(v, best) {
			best = v
		}
	}
	return best, !math.IsNaN(best)
}

// Limits bound a sweep. Times are in seconds; 0 is none.
type Limits struct {
	MaxTotalTrials      int `json:"max_total_trials"`
	MaxConcurrentTrials int `json:"max_concurrent_trials,omitempty"`
	Timeout             int `json:"timeout,omitempty"`
	TrialTimeout        int `json:"trial_timeout,omitempty"`
}
