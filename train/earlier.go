package train

import (
	"context"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
)

// ParseEarlier reads what --resume-from says: RUN, or RUN:PATH for a folder or file of it; at is
// "" where it names none.
func ParseEarlier(text string) (run, at string, err error) {
	run, at, named := strings.Cut(text, ":")
	if run == "" {
		return "", "", mistake.Errorf("--resume-from %s names no run; write RUN, or RUN:PATH for a folder of it", text)
	}
	if named {
		at = path.Clean(filepath.ToSlash(at))
	}
	return run, at, nil
}

// EarlierFiles are the files of an earlier run that another one goes on from: those at a path, or
// for "" of its checkpoints, else of its outputs. The folder or file that they lie in is returned as
// well. That there are none is a mistake, about text, which named them.
func (s Session) EarlierFiles(
	ctx context.Context, run *history.Run, text, at string,
) (files []history.File, in string, err error) {
	all, err := s.History.Artifacts(ctx, run)
	if err != nil {
		return nil, "", err
	}
	named := at != ""
	if !named {
		at = usualFolder(all)
	}
	if files = below(all, at); len(files) == 0 {
		return nil, "", mistake.Errorf("--resume-from %s: the run has nothing in %s%s", text, at, there(all, run,
			named))
	}
	return files, at, nil
}

// usualFolder is the folder of a run that another one goes on from where nobody names one: its
// checkpoints, else its outputs.
func usualFolder(files []history.File) string {
	const kept = "named_outputs/" + job.Checkpoints
	if len(below(files, kept)) > 0 {
		return kept
	}
	return "outputs"
}

// below are the files in a folder of a run, or the file of that path.
func below(files []history.File, at string) []history.File {
	return slices.DeleteFunc(slices.Clone(files), func(f history.File) bool {
		return f.Path != at && !strings.HasPrefix(f.Path, at+"/") && at != "."
	})
}

// there says what a run has instead.
func there(files []history.File, run *history.Run, named bool) string {
	var folders []string
	for _, f := range files {
		if dir := path.Dir(f.Path); dir != "." && dir != "user_logs" && !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	switch {
	case !run.Status().Terminal():
		return "; it has not ended"
	case len(folders) == 0:
		return ", nor any other output"
	}
	slices.Sort(folders)
	hint := "; it has " + strings.Join(folders[:min(len(folders), 8)], ", ")
	if !named {
		hint += " (--resume-from " + run.Info.RunID + ":" + folders[0] + ")"
	}
	return hint
}
