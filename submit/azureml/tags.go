package azureml

import (
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/clip"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// tagsOf are the tags and properties of a job, as long as the service takes them.
func tagsOf(s submit.Submission, sent Sent) (tags, properties map[string]string) {
	tags, properties = s.Tags()
	for name, value := range map[string]string{gitmeta.PropMLflowCommit: s.Git.Commit,
		gitmeta.PropMLflowBranch: s.Git.Branch} {
		if value != "" { // where MLflow looks for it
			tags[name] = value
		}
	}
	if s.Snapshot != nil {
		properties[history.TagSent] = fmt.Sprintf("%d %d", sent.Files, sent.Bytes)
	}
	for _, m := range []map[string]string{tags, properties} {
		for name, value := range m {
			m[name] = clip.Runes(value, longestValue)
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
	roomOfOurs       = 24 // tags, and properties, that are added at most
)

// jobNames are the names that a job can have (learn.microsoft.com, "CLI (v2) command job
// YAML schema"; a run's id has at most 256 characters).
var jobNames = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$`)

// checkLimits finds what of a job is beyond what the service takes.
func checkLimits(f *job.Findings) {
	j := f.Job
	long := func(text string, most int) bool { return utf8.RuneCountInString(text) > most }
	if j.Name != "" && !jobNames.MatchString(j.Name) {
		f.Add("name", "name %q: the name of a job has letters, digits, - and _, at most 255, "+
			"and begins with a letter or digit", j.Name)
	}
	for _, text := range []struct {
		key, value string
		most       int
	}{{"experiment_name", j.ExperimentName, longestName}, {"display_name", j.DisplayName, longestName},
		{"description", j.Description, longestDescribed}} {
		if long(text.value, text.most) {
			f.Add(text.key, "%s has more than %d characters", text.key, text.most)
		}
	}
	for _, m := range []struct {
		kind   string
		values map[string]string
	}{{"tags", j.Tags}, {"properties", j.Properties}} {
		if len(m.values) > mostTags-roomOfOurs {
			f.Add(m.kind, "a run has at most %d %s, of which aml-train needs %d; the job has %d",
				mostTags, m.kind, roomOfOurs, len(m.values))
		}
		for _, name := range slices.Sorted(maps.Keys(m.values)) {
			if name == "" || long(name, longestKey) {
				f.Add(m.kind, "%s: the name %q has not between 1 and %d characters", m.kind, clip.Runes(name,
					longestValue), longestKey)
			} else if long(m.values[name], longestValue) {
				f.Add(m.kind+" "+name, "%s.%s has more than %d characters", m.kind, name, longestValue)
			}
		}
	}
}
