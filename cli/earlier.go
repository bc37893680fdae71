package cli

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
)

// runName is a flag that names a run: an empty one is the variable of a shell that was not set,
// and would train from the beginning without a word.
type runName string

func (n *runName) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("it names no run")
	}
	*n = runName(text)
	return nil
}

func (n *runName) String() string { return string(*n) }

func (*runName) Type() string { return "string" }

// addressed is a history whose runs' files have an address at which other runs reach them.
type addressed interface {
	// Address is that of a folder or file of a run; "" where it has none.
	Address(ctx context.Context, r *history.Run, path string) string
}

// earlier finds the files of an earlier run, RUN or RUN:PATH, for a job that goes on from
// them: where they lie, if the job can reach them there, else in a folder that done removes.
func (a *app) earlier(ctx context.Context, text string, here bool) (in job.Input, done func(), err error) {
	done = func() {}
	id, at, named := strings.Cut(text, ":")
	if id == "" {
		return in, done, usage("--resume-from %s names no run; write RUN, or RUN:PATH for a folder of it", text)
	}
	s, run, err := a.findRun(ctx, id)
	if err != nil {
		return in, done, err
	}
	all, err := s.History.Artifacts(ctx, run)
	if err != nil {
		return in, done, err
	}
	if at = path.Clean(filepath.ToSlash(at)); !named {
		at = resumable(all)
	}
	files := below(all, at)
	if len(files) == 0 {
		return in, done, usage("--resume-from %s: the run has nothing in %s%s", text, at, there(all, run, named))
	}
	in.Type = job.URIFolder
	if files[0].Path == at {
		in.Type = job.URIFile
	}
	if run.Tag(history.TagTarget) == job.Local {
		in.Path = filepath.Join(a.store.ArtifactDir(run), filepath.FromSlash(at))
		return in, done, nil
	}
	if h, ok := s.History.(addressed); ok && !here {
		if in.Path = h.Address(ctx, run, at); in.Path != "" {
			return in, done, nil
		}
	}
	dir, err := os.MkdirTemp("", "aml-train-")
	if err != nil {
		return in, done, err
	}
	done = func() { os.RemoveAll(dir) }
	if _, err = s.save(ctx, run, files, dir); err != nil {
		done()
		return in, func() {}, err
	}
	in.Path = filepath.Join(dir, filepath.FromSlash(at))
	return in, done, nil
}

// resumable is the folder of a run that another one goes on from where nobody names one: its
// checkpoints, else its outputs.
func resumable(files []history.File) string {
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
