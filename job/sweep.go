package job

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/sweep"
)

// Sweep is what makes a job many trials of one command, whose hyperparameters come from a
// search space (learn.microsoft.com: "CLI (v2) sweep job YAML schema").
type Sweep struct {
	SearchSpace      sweep.Space
	Sampling         sweep.Sampling
	Objective        sweep.Objective
	Limits           sweep.Limits
	EarlyTermination *sweep.Policy
	Resources        *Resources // where the trial has none of its own
}

// Kinds of jobs.
const (
	commandKind = "command"
	sweepKind   = "sweep"
)

// Trial is the command job that each trial of a sweep is; the job itself where it is no
// sweep. ${{search_space.NAME}} stands in its command.
func (j *Job) Trial() *Job {
	if j.Sweep == nil {
		return j
	}
	t := *j
	t.Type, t.Sweep, t.Limits = commandKind, nil, nil
	t.Resources = cmp.Or(j.Resources, j.Sweep.Resources)
	if n := j.Sweep.Limits.TrialTimeout; n > 0 {
		t.Limits = &Limits{Timeout: n}
	}
	return &t
}

// TrialsDigest identifies the trials of a sweep: what they run, and which values they get.
// How many there are, for how long and which of them end early is no part of it.
func (j *Job) TrialsDigest() string {
	same, of := *j, *j.Sweep
	of.Limits, of.EarlyTermination = sweep.Limits{}, nil
	same.Sweep = &of
	return same.Digest()
}

// MarshalJSON writes a job in its file's vocabulary.
func (j Job) MarshalJSON() ([]byte, error) {
	type fields Job
	s := j.Sweep
	if s == nil {
		return json.Marshal(fields(j))
	}
	type trial struct {
		Command              string            `json:"command"`
		Code                 string            `json:"code,omitempty"`
		Environment          *Environment      `json:"environment,omitempty"`
		EnvironmentVariables map[string]string `json:"environment_variables,omitempty"`
		Distribution         *Distribution     `json:"distribution,omitempty"`
		Resources            *Resources        `json:"resources,omitempty"`
	}
	own := trial{j.Command, j.Code, j.Environment, j.EnvironmentVariables, j.Distribution, j.Resources}
	j.Code, j.Environment, j.EnvironmentVariables, j.Distribution = "", nil, nil, nil
	return json.Marshal(struct {
		fields
		Command          *string         `json:"command,omitempty"` // in place of the job's: it is the trial's
		Trial            trial           `json:"trial"`
		SearchSpace      sweep.Space     `json:"search_space"`
		Sampling         sweep.Sampling  `json:"sampling_algorithm"`
		Objective        sweep.Objective `json:"objective"`
		Limits           sweep.Limits    `json:"limits"`
		EarlyTermination *sweep.Policy   `json:"early_termination,omitempty"`
		Resources        *Resources      `json:"resources,omitempty"`
	}{fields(j), nil, own, s.SearchSpace, s.Sampling, s.Objective, s.Limits, s.EarlyTermination, s.Resources})
}

// sweepJob reads a sweep. Its trial's keys are those of a command job.
func (d *document) sweepJob(root *value, j *Job) {
	s := &Sweep{Sampling: sweep.Sampling{Type: "random"}}
	j.Type, j.Sweep = sweepKind, s
	fields := d.common(j)
	maps.Copy(fields, map[string]field{
		"trial":              d.trial(j),
		"search_space":       d.searchSpace(&s.SearchSpace),
		"sampling_algorithm": d.sampling(&s.Sampling),
		"objective":          d.objective(&s.Objective),
		"limits":             d.sweepLimits(&s.Limits),
		"early_termination":  d.earlyTermination(s),
		"resources":          d.resources(&s.Resources),
	})
	d.object(root, "a sweep", fields)
	for _, needed := range [][2]string{
		{"trial", "the command that each trial is, with its code and environment"},
		{"search_space", "such as \"rate: {type: uniform, min_value: 0.1, max_value: 1}\""},
		{"objective", "such as \"{goal: maximize, primary_metric: accuracy}\""},
		{"limits", "such as \"{max_total_trials: 20, max_concurrent_trials: 4}\""},
	} {
		if root.get(needed[0]) == nil {
			d.report(1, 1, "a sweep needs %s: %s", needed[0], needed[1])
		}
	}
	d.checkSampling(s)
}

func (d *document) trial(j *Job) field {
	return func(v *value) {
		queue := &QueueSettings{}
		fields := d.command(j)
		fields["queue_settings"] = func(v *value) {
			d.queueSettings(&queue)(v)
			d.warn(v, "trial.queue_settings has no effect; queue_settings of the sweep itself replaces it")
		}
		d.object(v, "the trial of a sweep", fields)
		for _, k := range v.keys {
			d.keys[k.name] = k
		}
		if v.kind == mapping && v.get("command") == nil {
			d.report(v.line, v.column, "the trial of a sweep needs a command, such as "+
				"\"command: python train.py --rate ${{search_space.rate}}\"")
		}
	}
}

func (d *document) sampling(to *sweep.Sampling) field {
	kinds := []string{"random", "grid", "bayesian"}
	return func(v *value) {
		d.at["sampling_algorithm.type"] = v
		if v.kind != mapping {
			d.oneOf("sampling_algorithm", &to.Type, kinds...)(v)
			return
		}
		k := v.get("type")
		if k == nil {
			d.report(v.line, v.column, "sampling_algorithm has no type; it can be %s", strings.Join(kinds, ", "))
			return
		}
		d.oneOf("sampling_algorithm.type", &to.Type, kinds...)(k.value)
		fields := map[string]field{"type": nil}
		if to.Type == "random" {
			fields["rule"] = d.oneOf("sampling_algorithm.rule", &to.Rule, "random", "sobol")
			fields["logbase"] = d.logBase(&to.LogBase)
			fields["seed"] = func(v *value) {
				n, before := 0, len(d.problems)
				if d.integer("sampling_algorithm.seed", math.MinInt32, &n)(v); len(d.problems) == before {
					seed := int64(n)
					to.Seed = &seed
				}
			}
		}
		d.object(v, to.Type+" sampling", fields)
	}
}

// logBase reads a positive number, or "e".
func (d *document) logBase(to *any) field {
	return func(v *value) {
		n, ok := v.number()
		switch {
		case v.text == "e":
			*to = "e"
		case !ok || n <= 0 || n == 1:
			d.report(v.line, v.column, "sampling_algorithm.logbase is %s; it has to be e, or a positive number "+
				"other than 1", shown(v))
		default:
			*to = n
		}
	}
}

func (d *document) objective(to *sweep.Objective) field {
	return func(v *value) {
		d.object(v, "objective", map[string]field{
			"goal":           d.oneOf("objective.goal", &to.Goal, "minimize", "maximize"),
			"primary_metric": d.str("objective.primary_metric", &to.PrimaryMetric),
		})
		if v.kind == mapping && v.get("goal") == nil {
			d.report(v.line, v.column, "objective has no goal; it can be minimize, maximize")
		}
		if v.kind == mapping && v.get("primary_metric") == nil {
			d.report(v.line, v.column, "objective has no primary_metric; name the metric that the script logs")
		}
	}
}

// mostTrials is how many trials a sweep has at most ("Hyperparameter tuning a model (v2)",
// Set limits for your sweep job).
const mostTrials = 1000

func (d *document) sweepLimits(to *sweep.Limits) field {
	return func(v *value) {
		trials := func(what string, n *int) field {
			read := d.integer(what, 1, n)
			return func(v *value) {
				if read(v); *n > mostTrials {
					d.report(v.line, v.column, "%s is %d; the most is %d", what, *n, mostTrials)
				}
			}
		}
		d.object(v, "limits", map[string]field{
			"max_total_trials":      trials("limits.max_total_trials", &to.MaxTotalTrials),
			"max_concurrent_trials": trials("limits.max_concurrent_trials", &to.MaxConcurrentTrials),
			"timeout":               d.integer("limits.timeout (seconds)", 1, &to.Timeout),
			"trial_timeout":         d.integer("limits.trial_timeout (seconds)", 1, &to.TrialTimeout),
		})
		if v.kind == mapping && v.get("max_total_trials") == nil {
			d.report(v.line, v.column, "limits has no max_total_trials, how many trials there are at most")
		}
	}
}

func (d *document) earlyTermination(s *Sweep) field {
	const at = "early_termination"
	kinds := []string{sweep.Bandit, sweep.MedianStopping, sweep.TruncationSelection}
	return func(v *value) {
		p := &sweep.Policy{}
		s.EarlyTermination = p
		if k := v.get("type"); k != nil {
			d.oneOf(at+".type", &p.Type, kinds...)(k.value)
		} else if v.kind == mapping {
			d.report(v.line, v.column, "early_termination has no type; it can be %s", strings.Join(kinds, ", "))
		}
		if v.kind == mapping && p.Type == "" {
			return
		}
		fields := map[string]field{
			"type":                nil,
			"evaluation_interval": d.orNull(d.integer(at+".evaluation_interval", 0, &p.EvaluationInterval)),
			"delay_evaluation":    d.orNull(d.integer(at+".delay_evaluation", 0, &p.DelayEvaluation)),
		}
		switch p.Type {
		case sweep.Bandit:
			fields["slack_factor"] = d.orNull(d.number(at+".slack_factor", &p.SlackFactor))
			fields["slack_amount"] = d.orNull(d.number(at+".slack_amount", &p.SlackAmount))
		case sweep.TruncationSelection:
			fields["truncation_percentage"] = d.integer(at+".truncation_percentage", 1, &p.TruncationPercentage)
		}
		before := len(d.problems)
		d.object(v, at, fields)
		if len(d.problems) == before {
			d.checkPolicy(v, p)
		}
	}
}

// orNull leaves what is null as it is.
func (d *document) orNull(read field) field {
	return func(v *value) {
		if v.kind != null {
			read(v)
		}
	}
}

// checkPolicy reports a policy that could decide nothing (azureml-train-core, policy.py).
func (d *document) checkPolicy(v *value, p *sweep.Policy) {
	at := func(key string) (int, int) {
		if k := v.get(key); k != nil {
			return k.value.line, k.value.column
		}
		return v.line, v.column
	}
	switch {
	case p.SlackFactor < 0 || p.SlackAmount < 0:
		line, column := at("slack_factor")
		if p.SlackAmount < 0 {
			line, column = at("slack_amount")
		}
		d.report(line, column, "the slack of a bandit policy is how far behind the best a trial may be; "+
			"it has to be positive")
	case p.Type == sweep.Bandit && (p.SlackFactor > 0) == (p.SlackAmount > 0):
		d.report(v.line, v.column, "a bandit policy needs one of slack_factor (a ratio) and slack_amount, and not both")
	case p.Type == sweep.TruncationSelection && (p.TruncationPercentage < 1 || p.TruncationPercentage > 99):
		line, column := at("truncation_percentage")
		d.report(line, column, "a truncation selection policy needs truncation_percentage, from 1 to 99")
	}
}

// checkSampling reports distributions that the sampling cannot take values from
// ("Hyperparameter tuning a model (v2)", Sampling the hyperparameter space).
func (d *document) checkSampling(s *Sweep) {
	only := map[string][]string{"grid": {"choice"}, "bayesian": {"choice", "uniform", "quniform"}}[s.Sampling.Type]
	for _, name := range s.SearchSpace.Names() {
		kind := s.SearchSpace[name].Type
		v := d.at["search_space."+name]
		if only != nil && kind != "" && !slices.Contains(only, kind) {
			d.report(v.line, v.column, "search_space.%s is a %s; %s sampling takes %s alone", name, kind,
				s.Sampling.Type, strings.Join(only, ", "))
		} else if s.Sampling.Type == "grid" && !(sweep.Space{name: s.SearchSpace[name]}).Countable() && kind != "" {
			d.report(v.line, v.column, "search_space.%s has a space in which not all are choices; grid sampling takes "+
				"choice alone", name)
		}
	}
	if n := s.SearchSpace.Width(); s.Sampling.Rule == "sobol" && n > sweep.MaxSobol {
		v := d.at["sampling_algorithm.type"]
		d.report(v.line, v.column, "the search space has %d hyperparameters, and sobol takes %d at most; "+
			"rule: random takes any number", n, sweep.MaxSobol)
	}
}

// Text is what a value of a choice or another distribution is for a script: as Python's str()
// writes it, and JSON of a search space that was chosen.
func Text(v any) string {
	switch v := v.(type) {
	case float64:
		return pythonFloat(v)
	case string:
		return v
	case map[string]any:
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // numbers and text
		}
		return string(text)
	}
	return fmt.Sprint(v)
}

// Word is Text in a command line, where JSON has to be one word.
func Word(v any) string {
	if _, is := v.(map[string]any); is {
		return Quote(Text(v))
	}
	return Text(v)
}
