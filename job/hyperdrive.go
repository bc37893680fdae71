package job

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/sweep"
)

// hyperdrive reads the section of a run configuration that says HyperDriveConfig's words, as
// the configuration of "az ml run submit-hyperdrive" had them (SDK and CLI v1), and as the
// service keeps them of a run: its sampling, policy, metric and numbers of runs
// (azureml-train-core, HyperDriveConfig).
func (r *runConfig) hyperdrive(v *value) {
	s := &Sweep{Sampling: sweep.Sampling{Type: "random"}, SearchSpace: sweep.Space{}}
	r.job.Type, r.job.Sweep = sweepKind, s
	minutes := 0
	metric := func(v *value) {
		r.section(v, "hyperdrive.primary_metric_config", map[string]field{
			"name": r.str("hyperdrive.primary_metric_config.name", &s.Objective.PrimaryMetric),
			"goal": r.oneOf("hyperdrive.primary_metric_config.goal", &s.Objective.Goal, "minimize", "maximize"),
		})
	}
	total := r.integer("hyperdrive.max_total_runs", 1, &s.Limits.MaxTotalTrials)
	concurrent := r.integer("hyperdrive.max_concurrent_runs", 1, &s.Limits.MaxConcurrentTrials)
	r.section(v, "hyperdrive", map[string]field{
		"sampling": r.v1Sampling(s), "generatorconfig": r.v1Sampling(s),
		"policy": r.v1Policy(s), "policyconfig": r.v1Policy(s),
		"primarymetricname":   r.str("hyperdrive.primary_metric_name", &s.Objective.PrimaryMetric),
		"primarymetricgoal":   r.oneOf("hyperdrive.primary_metric_goal", &s.Objective.Goal, "minimize", "maximize"),
		"primarymetricconfig": metric,
		"maxtotalruns":        total, "maxtotaljobs": total,
		"maxconcurrentruns": concurrent, "maxconcurrentjobs": concurrent,
		"maxdurationminutes": r.integer("hyperdrive.max_duration_minutes", 1, &minutes),
		"resumefrom": r.replaced("hyperdrive.resume_from", "aml-train run --resume goes on with a sweep that was "+
			"interrupted; none begins with the trials of another"),
		"resumechildruns": r.replaced("hyperdrive.resume_child_runs", "aml-train run --resume goes on with a sweep"),
		"platform":        nil, "platformconfig": nil, "hosturl": nil, "customrunid": nil, // where it ran
	})
	s.Limits.Timeout = minutes * 60
	for _, needed := range []struct {
		missing bool
		key     string
	}{
		{len(s.SearchSpace) == 0, "sampling with a parameter_space"},
		{s.Objective.PrimaryMetric == "", "primary_metric_name"},
		{s.Objective.Goal == "", "primary_metric_goal"}, {s.Limits.MaxTotalTrials == 0, "max_total_runs"},
	} {
		if needed.missing {
			r.report(v.line, v.column, "hyperdrive has no %s, which a sweep needs", needed.key)
		}
	}
	if n := s.Limits.MaxTotalTrials; n > mostTrials {
		r.report(v.line, v.column, "hyperdrive.max_total_runs is %d; the most is %d", n, mostTrials)
	}
	r.checkSampling(s)
}

// v1Sampling reads how values are taken, and the distributions: a list of names,
// expressions and values, or a mapping of names to [expression, values].
func (r *runConfig) v1Sampling(s *Sweep) field {
	return func(v *value) {
		kind := r.oneOf("hyperdrive.sampling.type", &s.Sampling.Type, "random", "grid", "bayesian")
		r.section(v, "hyperdrive.sampling", map[string]field{
			"type": kind, "name": kind, "properties": nil,
			"parameterspace": func(v *value) {
				for _, item := range v.items {
					name, expression := item.get("name"), item.get("expression")
					if name == nil || expression == nil || item.get("values") == nil {
						r.report(item.line, item.column, "a parameter needs a name, an expression and values")
						continue
					}
					r.parameter(s, name.value.literal(), expression.value, item.get("values").value)
				}
				for _, k := range v.keys {
					if k.value.kind != list || len(k.value.items) != 2 {
						r.report(k.line, k.column, "%s has to be an expression with its values, such as "+
							"[uniform, [0, 1]]", k.name)
						continue
					}
					r.parameter(s, k.name, k.value.items[0], k.value.items[1])
				}
			},
		})
	}
}

// parameter reads a hyperparameter. HyperDrive hands it to the script as an argument of its
// name.
func (r *runConfig) parameter(s *Sweep, argument string, expression, values *value) {
	name := strings.ReplaceAll(strings.TrimLeft(argument, "-"), "-", "_")
	what := "hyperdrive.parameter_space." + argument
	if !inputName.MatchString(name) {
		r.report(expression.line, expression.column, "the parameter's name %q can hold letters, digits, - and _ only",
			argument)
		return
	}
	kind := strings.ToLower(expression.literal())
	names, known := sweep.Parameters[kind]
	list := values.items
	if kind == "choice" && len(list) == 1 && list[0].kind == mapping || len(list) == 1 && len(list[0].items) > 0 {
		list = list[0].items // choice([1, 2])
	}
	x := sweep.Distribution{Type: kind}
	switch {
	case !known:
		r.report(expression.line, expression.column, "%s is %q, which is no expression of HyperDrive's", what, kind)
		return
	case kind == "choice":
		for _, item := range list {
			x.Values = append(x.Values, r.choice(item, what))
		}
	case len(list) != len(names):
		r.report(values.line, values.column, "%s is a %s, which has %d numbers: %s", what, kind, len(names),
			strings.Join(names, ", "))
		return
	default:
		x.Numbers = make([]float64, len(names))
		for i, item := range list {
			r.number(what+"."+names[i], &x.Numbers[i])(item)
		}
	}
	if i := slices.Index(names, "q"); i >= 0 && x.Numbers[i] <= 0 {
		r.report(values.line, values.column, "%s: q has to be positive", what)
	}
	if kind == "randint" && (x.Numbers[0] < 1 || x.Numbers[0] != math.Trunc(x.Numbers[0])) {
		r.report(values.line, values.column, "%s: the upper bound has to be a whole number, at least 1", what)
	}
	r.at["search_space."+name] = values
	s.SearchSpace[name] = x
	r.tuned = append(r.tuned, tuned{argument: argument, name: name})
}

func (r *runConfig) v1Policy(s *Sweep) field {
	kinds := map[string]string{"bandit": sweep.Bandit, "medianstopping": sweep.MedianStopping,
		"truncationselection": sweep.TruncationSelection, "notermination": "", "default": ""}
	return func(v *value) {
		p := &sweep.Policy{}
		kind := ""
		var at *value
		read := func(v *value) { kind, at = v.literal(), v }
		properties := map[string]field{
			"evaluationinterval":   r.integer("hyperdrive.policy.evaluation_interval", 0, &p.EvaluationInterval),
			"delayevaluation":      r.integer("hyperdrive.policy.delay_evaluation", 0, &p.DelayEvaluation),
			"slackfactor":          r.number("hyperdrive.policy.slack_factor", &p.SlackFactor),
			"slackamount":          r.number("hyperdrive.policy.slack_amount", &p.SlackAmount),
			"truncationpercentage": r.integer("hyperdrive.policy.truncation_percentage", 1, &p.TruncationPercentage),
			"excludefinishedjobs": r.replaced("hyperdrive.policy.exclude_finished_jobs",
				"finished trials are compared with, as HyperDrive does", "false"),
		}
		fields := map[string]field{"type": read, "name": read,
			"properties": func(v *value) { r.section(v, "hyperdrive.policy.properties", properties) }}
		for name, f := range properties {
			fields[name] = f
		}
		r.section(v, "hyperdrive.policy", fields)
		word := strings.TrimSuffix(strings.ToLower(kind), "policy")
		name, known := kinds[word]
		if !known {
			at = cmp.Or(at, v)
			r.report(at.line, at.column, "hyperdrive.policy is %q; it can be BanditPolicy, MedianStoppingPolicy, "+
				"TruncationSelectionPolicy, NoTerminationPolicy", kind)
			return
		}
		if p.Type = name; name != "" {
			s.EarlyTermination = p
			r.checkPolicy(v, p)
		}
	}
}

// tuned is a hyperparameter and the argument of the script that it is.
type tuned struct{ argument, name string }

// tune adds the hyperparameters to the command of a sweep's trials, in place of arguments of
// the same names (azureml-train-core, HyperDriveConfig._remove_duplicate_arguments).
func (r *runConfig) tune() {
	for _, t := range r.tuned {
		flag := t.argument
		if !strings.HasPrefix(flag, "-") {
			flag = "--" + flag
		}
		if i := slices.Index(r.arguments, flag); i >= 0 {
			r.arguments = slices.Delete(r.arguments, i, min(i+2, len(r.arguments)))
		}
	}
}

// tunedArguments are what follows the command of a trial.
func (r *runConfig) tunedArguments() (text string) {
	for _, t := range r.tuned {
		flag := t.argument
		if !strings.HasPrefix(flag, "-") {
			flag = "--" + flag
		}
		text += fmt.Sprintf(" %s ${{search_space.%s}}", flag, t.name)
	}
	return text
}
