package azureml

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// tagsOf are the tags and properties of a job, as long as the service takes them.
func tagsOf(s submit.Submission, sent Sent) (tags, properties map[string]string) {
	tags, properties = s.Tags()
	for name, value := range map[string]string{gitmeta.PropMLflowCommit: s.Git.Commit, gitmeta.PropMLflowBranch: s.Git.Branch} {
		if value != "" { // where MLflow looks for it
			tags[name] = value
		}
	}
	if s.Snapshot != nil {
		properties[history.TagSent] = fmt.Sprintf("%d %d", sent.Files, sent.Bytes)
	}
	for _, m := range []map[string]string{tags, properties} {
		for name, value := range m {
			m[name] = clip(value)
		}
	}
	return secret.Of(s.Secrets, tags), secret.Of(s.Secrets, properties)
}

// What the service takes of a run (learn.microsoft.com, "Service limits in Azure Machine
// Learning", Runs). Characters are counted.
const (
	mostTags         = 50 // and as many properties
	longestKey       = 100
	longestValue     = 1000
	longestName      = 256 // of an experiment and of what is displayed
	longestDescribed = 5000
	roomOfOurs       = 16 // tags, and properties, that are added at most
)

// jobNames are the names that a job can have (learn.microsoft.com, "CLI (v2) command job
// YAML schema"; a run's id has at most 256 characters).
var jobNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$`)

// checkLimits says which key of a job is beyond what the service takes, and how; "" is
// none.
func checkLimits(j *job.Job) (key, problem string) {
	long := func(text string, most int) bool { return utf8.RuneCountInString(text) > most }
	switch {
	case j.Name != "" && !jobNames.MatchString(j.Name):
		return "name", fmt.Sprintf("name %q: the name of a job has letters, digits, - and _, at most 255, and begins with a letter or digit", j.Name)
	case long(j.ExperimentName, longestName):
		return "experiment_name", fmt.Sprintf("experiment_name has more than %d characters", longestName)
	case long(j.DisplayName, longestName):
		return "display_name", fmt.Sprintf("display_name has more than %d characters", longestName)
	case long(j.Description, longestDescribed):
		return "description", fmt.Sprintf("description has more than %d characters", longestDescribed)
	}
	for kind, values := range map[string]map[string]string{"tags": j.Tags, "properties": j.Properties} {
		if len(values) > mostTags-roomOfOurs {
			return kind, fmt.Sprintf("a run has at most %d %s, of which aml-train needs %d; the job has %d", mostTags, kind, roomOfOurs, len(values))
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			switch {
			case name == "" || long(name, longestKey):
				return kind, fmt.Sprintf("%s: the name %q has not between 1 and %d characters", kind, clip(name), longestKey)
			case long(values[name], longestValue):
				return kind, fmt.Sprintf("%s.%s has more than %d characters", kind, name, longestValue)
			}
		}
	}
	return "", ""
}

// clip keeps a value of ours within what the service takes for one.
func clip(s string) string {
	if r := []rune(s); len(r) > longestValue {
		s = string(r[:longestValue-4]) + " ..."
	}
	return s
}
