package job

import (
	"encoding/json"
	"fmt"

	"github.com/goccy/go-yaml"
)

// schema is what editors and az know a kind of job by.
const schema = "https://azuremlschemas.azureedge.net/latest/%sJob.schema.json"

// YAML writes the job as a job file, for the folder Dir.
func (j *Job) YAML() ([]byte, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	var fields yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(text, &fields, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	file := yaml.MapSlice{{Key: "$schema", Value: fmt.Sprintf(schema, j.Type)}}
	for _, f := range fields {
		switch f.Key {
		case "environment":
			f.Value = j.Environment.written(f.Value)
		case "trial":
			trial := f.Value.(yaml.MapSlice)
			for i := range trial {
				if trial[i].Key == "environment" {
					trial[i].Value = j.Environment.written(trial[i].Value)
				}
			}
		case "inputs":
			f.Value = writtenInputs(j.Inputs, f.Value.(yaml.MapSlice))
		case "compute":
			if j.Compute != Local {
				f.Value = "azureml:" + j.Compute
			}
		}
		file = append(file, f)
	}
	return yaml.MarshalWithOptions(file, yaml.IndentSequence(true))
}

// written is the environment as a job file has it; fields are its JSON form.
func (e *Environment) written(fields any) any {
	switch {
	case e.UserManaged:
		return UserManaged
	case e.Reference != "":
		return e.Reference
	case e.Requirements != "":
		return PipPrefix + e.Requirements
	case e.Image == "" && e.Build == nil && e.CondaFile != "":
		return CondaPrefix + e.CondaFile
	}
	var out yaml.MapSlice
	for _, f := range fields.(yaml.MapSlice) {
		if f.Key == "conda" {
			f.Key = "conda_file"
		}
		out = append(out, f)
	}
	return out
}

// writtenInputs writes literals as the values that they are.
func writtenInputs(inputs map[string]Input, fields yaml.MapSlice) (out yaml.MapSlice) {
	for _, f := range fields {
		if in := inputs[f.Key.(string)]; in.Literal {
			f.Value = in.Value
		}
		out = append(out, f)
	}
	return out
}
