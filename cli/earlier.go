package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/train"
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
	id, at, err := train.ParseEarlier(text)
	if err != nil {
		return in, done, err
	}
	s, run, err := a.findRun(ctx, id)
	if err != nil {
		return in, done, err
	}
	files, at, err := s.EarlierFiles(ctx, run, text, at)
	if err != nil {
		return in, done, err
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
