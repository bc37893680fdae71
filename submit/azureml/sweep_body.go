package azureml

import (
	"strings"

	"github.com/org/aml-train/internal/sweep"
	"github.com/org/aml-train/job"
)

// sweepBody is what a sweep has besides what its trials run.
func sweepBody(s *job.Sweep) object {
	space := object{}
	for name, d := range s.SearchSpace {
		space[name] = expressionBody(d)
	}
	sampling := object{"samplingAlgorithmType": strings.ToUpper(s.Sampling.Type[:1]) + s.Sampling.Type[1:]}
	sampling.set("rule", s.Sampling.Rule)
	sampling.set("logbase", s.Sampling.LogBase)
	if s.Sampling.Seed != nil {
		sampling["seed"] = *s.Sampling.Seed
	}
	limits := object{"jobLimitsType": "Sweep", "maxTotalTrials": s.Limits.MaxTotalTrials}
	limits.set("maxConcurrentTrials", s.Limits.MaxConcurrentTrials)
	if n := s.Limits.Timeout; n > 0 {
		limits["timeout"] = duration(n)
	}
	if n := s.Limits.TrialTimeout; n > 0 {
		limits["trialTimeout"] = duration(n)
	}
	o := object{"jobType": "Sweep", "searchSpace": space, "samplingAlgorithm": sampling, "limits": limits,
		"objective": object{"goal": s.Objective.Goal, "primaryMetric": s.Objective.PrimaryMetric}}
	o.set("earlyTermination", policyBody(s.EarlyTermination))
	return o
}

// expressionBody is a distribution: its name, and its numbers or values.
func expressionBody(d sweep.Distribution) []any {
	if d.Type != "choice" {
		return []any{d.Type, d.Numbers}
	}
	values := []any{}
	for _, v := range d.Values {
		if nested, ok := v.(map[string]any); ok {
			of := object{}
			for name, v := range nested {
				if inner, ok := v.(sweep.Distribution); ok {
					v = expressionBody(inner)
				}
				of[name] = v
			}
			v = of
		}
		values = append(values, v)
	}
	return []any{d.Type, []any{values}}
}

// policyBody is a policy with the defaults of Microsoft's client.
func policyBody(p *sweep.Policy) object {
	if p == nil {
		return nil
	}
	o := object{"delayEvaluation": p.DelayEvaluation, "evaluationInterval": p.EvaluationInterval}
	switch p.Type {
	case sweep.Bandit:
		o["policyType"], o["slackFactor"], o["slackAmount"] = "Bandit", p.SlackFactor, p.SlackAmount
	case sweep.MedianStopping:
		o["policyType"], o["evaluationInterval"] = "MedianStopping", max(p.EvaluationInterval, 1)
	default:
		o["policyType"], o["truncationPercentage"] = "TruncationSelection", p.TruncationPercentage
	}
	return o
}
