package azuremltest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/org/aml-train/internal/sweep"
	"github.com/org/aml-train/job"
)

// kindOf is the command job that a job is, or that the trials of a sweep are; nil of others.
func kindOf(body armmachinelearning.JobBase) (*armmachinelearning.CommandJob, *armmachinelearning.SweepJob) {
	switch p := body.Properties.(type) {
	case *armmachinelearning.CommandJob:
		return p, nil
	case *armmachinelearning.SweepJob:
		return &armmachinelearning.CommandJob{
			Command: p.Trial.Command, EnvironmentID: p.Trial.EnvironmentID, CodeID: p.Trial.CodeID,
			EnvironmentVariables: p.Trial.EnvironmentVariables, ComputeID: p.ComputeID,
			ExperimentName: p.ExperimentName, Inputs: p.Inputs, Outputs: p.Outputs, Properties: p.Properties,
			Tags: p.Tags,
		}, p
	}
	return nil, nil
}

// sweepOf is what the service does with a sweep, as far as the double does.
func sweepOf(p *armmachinelearning.SweepJob) (*job.Sweep, error) {
	s := &job.Sweep{SearchSpace: sweep.Space{}, Sampling: sweep.Sampling{Type: "random"}}
	if _, grid := p.SamplingAlgorithm.(*armmachinelearning.GridSamplingAlgorithm); grid {
		s.Sampling.Type = "grid"
	}
	text, err := json.Marshal(p.SearchSpace)
	if err != nil {
		return nil, err
	}
	var space map[string][2]json.RawMessage
	if err := json.Unmarshal(text, &space); err != nil {
		return nil, err
	}
	for name, expression := range space {
		d := sweep.Distribution{}
		if err := json.Unmarshal(expression[0], &d.Type); err != nil {
			return nil, err
		}
		if d.Type == "choice" { // whole numbers stay what they are, as a job file has them
			var values [1]json.RawMessage
			if err = json.Unmarshal(expression[1], &values); err == nil {
				err = json.Unmarshal(fmt.Appendf(nil, `{"type": "choice", "values": %s}`, values[0]), &d)
			}
		} else {
			err = json.Unmarshal(expression[1], &d.Numbers)
		}
		if err != nil || len(d.Numbers) != len(sweep.Parameters[d.Type]) {
			return nil, fmt.Errorf("the expression %s of %s is none", text, name)
		}
		s.SearchSpace[name] = d
	}
	s.Objective = sweep.Objective{Goal: strings.ToLower(string(*p.Objective.Goal)),
		PrimaryMetric: *p.Objective.PrimaryMetric}
	s.Limits.MaxTotalTrials = int(*p.Limits.MaxTotalTrials)
	if n := p.Limits.MaxConcurrentTrials; n != nil {
		s.Limits.MaxConcurrentTrials = int(*n)
	}
	return s, nil
}
