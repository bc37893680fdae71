package submit

import (
	"fmt"
	"maps"
	"path/filepath"

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

// Tags says what a run is of, whichever target runs it: tags are what people search for,
// properties never change. None of them is empty.
func (s Submission) Tags() (tags, properties map[string]string) {
	tags = map[string]string{
		history.TagJob:         s.Job.Digest(),
		history.TagPullRequest: s.Git.PullRequest,
		history.TagActor:       s.Git.Actor,
		history.TagBuild:       s.Git.BuildURL,
	}
	properties = s.Git.Properties()
	properties[history.TagJobFile] = s.Job.File
	properties[history.TagScript] = s.Job.Script()
	properties[history.TagSource] = s.Source()
	if s.Snapshot != nil {
		tags[history.TagSnapshot] = s.Snapshot.ID
		properties[history.TagFiles] = fmt.Sprintf("%d %d", len(s.Snapshot.Files), s.Snapshot.Bytes)
	}
	empty := func(_, value string) bool { return value == "" }
	maps.DeleteFunc(tags, empty)
	maps.DeleteFunc(properties, empty)
	return tags, properties
}
