package azuremltest

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Fields that a command job has (REST reference, "Jobs - Create Or Update", CommandJob).
var jobFields = strings.Fields(`codeId command componentId computeId description displayName distribution environmentId environmentVariables experimentName
	identity inputs isArchived jobType limits notificationSetting outputs properties queueSettings resources services tags parentJobName`)

// Fields that a sweep has (SweepJob), and that its trial has (TrialComponent).
var (
	sweepFields = strings.Fields(`componentId computeId description displayName earlyTermination experimentName identity inputs isArchived
		jobType limits objective outputs properties queueSettings resources samplingAlgorithm searchSpace services tags trial`)
	trialFields = strings.Fields(`codeId command distribution environmentId environmentVariables resources`)
)

// flat is a job's fields with those of its trial among them; "" is what is wrong with them.
func flat(fields map[string]json.RawMessage) (wrong string) {
	known, what := jobFields, "CommandJob"
	if string(fields["jobType"]) == `"Sweep"` {
		known, what = sweepFields, "SweepJob"
		for _, key := range []string{"objective", "samplingAlgorithm", "searchSpace", "trial"} {
			if fields[key] == nil {
				return key + " is required"
			}
		}
	}
	for key := range fields {
		if !slices.Contains(known, key) {
			return "Could not find member '" + key + "' on object of type '" + what + "'"
		}
	}
	var trial map[string]json.RawMessage
	if fields["trial"] != nil && json.Unmarshal(fields["trial"], &trial) != nil {
		return "trial is no object"
	}
	for key, value := range trial {
		if !slices.Contains(trialFields, key) {
			return "Could not find member '" + key + "' on object of type 'TrialComponent'"
		}
		fields[key] = value
	}
	return ""
}

var jobName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$`)

// belowID tells a resource id below another one. Case does not count in them.
func belowID(id, parent string) bool {
	return len(id) > len(parent) && strings.EqualFold(id[:len(parent)], parent)
}

// checkJob is what the service refuses of a job; "" is nothing.
func (w *Workspace) checkJob(name string, header http.Header, body []byte) string {
	var b struct{ Properties map[string]json.RawMessage }
	if err := json.Unmarshal(body, &b); err != nil {
		return "The request is no JSON: " + err.Error()
	}
	text := func(key string) (s string) { json.Unmarshal(b.Properties[key], &s); return s }
	if wrong := flat(b.Properties); wrong != "" {
		return wrong
	}
	var identity struct{ IdentityType string }
	json.Unmarshal(b.Properties["identity"], &identity)
	if identity.IdentityType == "UserIdentity" && !w.holds(header.Get("x-azureml-token"), w.URL+"/ml") {
		return "A job that runs as its user needs the header x-azureml-token with a token for Azure Machine Learning"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch env, code, compute := text("environmentId"), text("codeId"), text("computeId"); {
	case !jobName.MatchString(name):
		return "The job name " + name + " is invalid"
	case text("jobType") != "Command" && text("jobType") != "Sweep":
		return "jobType is required"
	case text("command") == "":
		return "command is required"
	case env == "":
		return "environmentId is required"
	case !strings.HasPrefix(env, "azureml://registries/") && !strings.HasPrefix(env, "azureml:AzureML-") &&
		!belowID(env, root+"/environments/"):
		return "environmentId " + env + " is no resource id"
	case code != "" && !strings.HasPrefix(code, root+"/codes/"):
		return "codeId " + code + " is no resource id"
	case code != "" && w.codes[strings.Replace(strings.TrimPrefix(code, root+"/codes/"), "/versions", "", 1)].ID == nil:
		return "The code asset " + code + " does not exist"
	case compute != "" && !strings.Contains(compute, "/virtualclusters/") &&
		computes[strings.TrimPrefix(compute, root+"/computes/")] == nil:
		return "The compute " + compute + " does not exist"
	}
	for key, value := range map[string]string{"tags": "tag", "properties": "property",
		"environmentVariables": "environment variable"} {
		var m map[string]string
		if raw := b.Properties[key]; raw != nil && json.Unmarshal(raw, &m) != nil {
			return "Each " + value + " has to be a string"
		}
		if key == "environmentVariables" {
			continue
		}
		if len(m) > 50 {
			return "A run has at most 50 of " + key
		}
		for name, text := range m {
			if utf8.RuneCountInString(name) > 100 || utf8.RuneCountInString(text) > 1000 {
				return "The " + value + " " + name + " is too long"
			}
		}
	}
	for key, most := range map[string]int{"displayName": 256, "experimentName": 256, "description": 5000} {
		if utf8.RuneCountInString(text(key)) > most {
			return key + " is too long"
		}
	}
	return ""
}

// promised are the filters that Azure's documentation of querying runs shows
// (learn.microsoft.com, "Query & compare experiments and runs with MLflow").
var promised = regexp.MustCompile(`^(?:(?:(?:tags|params)\.[^ ]+ (?:=|!=) '[^']*'|` +
	`metrics\.[^ ]+ (?:=|!=|<|<=|>|>=) [0-9.e+-]+)(?: AND |$))*$`)

// checkSearch is what the workspace's MLflow refuses of a search; "" is nothing.
func checkSearch(path string, body []byte) string {
	var q struct {
		Filter  string
		OrderBy []string `json:"order_by"`
	}
	if !strings.HasSuffix(path, "/search") || json.Unmarshal(body, &q) != nil {
		return ""
	}
	if strings.HasSuffix(path, "/experiments/search") && q.Filter != "" {
		return "no filter of experiments by anything but id, time and tags is promised: " + q.Filter
	}
	if !promised.MatchString(q.Filter) {
		return "no such filter of runs is promised: " + q.Filter
	}
	for _, by := range q.OrderBy {
		if !strings.HasPrefix(by, "attributes.") {
			return "runs are ordered by attributes alone"
		}
	}
	return ""
}
