package submit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/org/aml-train/history"
)

// Source is the source directory, relative to the root of its repository and
// slash-separated; "" where no code is sent, or there is no repository.
func (s Submission) Source() string {
	if s.Snapshot == nil || s.Git.Root == "" {
		return ""
	}
	rel, err := filepath.Rel(s.Git.Root, s.Snapshot.Dir)
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return filepath.ToSlash(rel)
}

// series says which job it is, in 16 hex digits: by its file, of a job in flags by its
// script or command, and by the name that people gave it, which tells the jobs of a matrix
// apart. Inputs and code may differ from run to run.
func (s Submission) series() string {
	file := s.Job.File
	if abs, err := filepath.Abs(file); file != "" && err == nil {
		if rel, err := filepath.Rel(s.Git.Root, abs); s.Git.Root != "" && err == nil && filepath.IsLocal(rel) {
			file = filepath.ToSlash(rel) // from wherever it was named
		} else {
			file = filepath.Base(file)
		}
	}
	of := []string{file, "", "", s.Job.DisplayName}
	if file == "" {
		of[1], of[2] = s.Source(), cmp.Or(s.Job.Script(), s.Job.Command)
	}
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// Parameters are the values of the job's inputs as they are recorded of a run: of data
// where they lie, without what signs in there.
func (s Submission) Parameters() map[string]string {
	values := map[string]string{}
	for name, in := range s.Job.Inputs {
		if values[name] = in.Value; in.Run != "" {
			values[name] = in.Run
		} else if !in.Literal {
			values[name], _, _ = strings.Cut(in.Path, "?") // a signature is a secret
		}
	}
	maps.Copy(values, s.Data)
	return values
}

// Tags says what a run is of, whichever target runs it: tags are what people search for,
// properties never change. None of them is empty.
func (s Submission) Tags() (tags, properties map[string]string) {
	tags = map[string]string{
		history.TagJob:         s.Job.Digest(),
		history.TagKey:         s.Reuse,
		history.TagSeries:      s.series(),
		history.TagRepeats:     s.Repeats,
		history.TagPullRequest: s.Git.PullRequest,
		history.TagFork:        s.Git.Fork,
		history.TagActor:       s.Git.Actor,
		history.TagBuild:       s.Git.BuildURL,
	}
	properties = s.Git.Properties()
	properties[history.TagJobFile] = s.Job.File
	properties[history.TagScript] = s.Job.Script()
	for _, name := range []string{history.TagKey, history.TagSeries, history.TagPullRequest, history.TagFork} {
		properties[name] = tags[name] // where no script changes it: whose code it is, and what it stands for
	}
	if s.Job.Report != nil {
		properties[history.TagReport] = strings.Join(s.Job.Report.Metrics, "\n")
	}
	if w := s.Job.Sweep; w != nil {
		properties[history.TagSweep] = history.ObjectiveTag(w.Objective)
		tags[history.TagTrials] = s.Job.TrialsDigest()
	}
	if r := s.Job.Trial().Resources; r != nil && r.InstanceCount > 1 {
		properties[history.TagNodes] = strconv.Itoa(r.InstanceCount)
	}
	properties[history.TagSource] = s.Source()
	properties[history.TagBaseBranch] = s.Git.BaseBranch
	if s.Snapshot != nil {
		tags[history.TagSnapshot], properties[history.TagSnapshot] = s.Snapshot.ID, s.Snapshot.ID
		properties[history.TagFiles] = fmt.Sprintf("%d %d", len(s.Snapshot.Files), s.Snapshot.Bytes)
	}
	maps.Copy(properties, s.Properties)
	empty := func(_, value string) bool { return value == "" }
	maps.DeleteFunc(tags, empty)
	maps.DeleteFunc(properties, empty)
	return tags, properties
}
