package assess

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
)

// Places tells where annotations about a run can stand: in the lines of the code here.
func (a *Assessor) Places(ctx context.Context, run *history.Run) report.Places {
	p := report.Places{Source: run.Tag(history.TagSource), JobFile: run.Tag(history.TagJobFile),
		Read: func(string) ([]byte, error) { return nil, os.ErrNotExist }}
	repo, err := a.Git.Find(".")
	if err != nil || repo == nil {
		p.JobFile = ""
		return p
	}
	if p.JobFile != "" {
		abs, _ := filepath.Abs(p.JobFile)
		if rel, err := filepath.Rel(repo.Root, abs); err == nil && filepath.IsLocal(rel) {
			p.JobFile = filepath.ToSlash(rel)
		} else {
			p.JobFile = ""
		}
	}
	if p.Source == "" {
		return p
	}
	source := filepath.Join(repo.Root, filepath.FromSlash(p.Source))
	root, err := os.OpenRoot(source)
	if err != nil {
		return p
	}
	p.Read = func(path string) ([]byte, error) { return root.ReadFile(filepath.FromSlash(path)) }
	if script := run.Tag(history.TagScript); script != "" {
		p.Scripts = append(p.Scripts, script)
	}
	if s, err := snapshot.Take(ctx, source, snapshot.Options{MaxBytes: -1, Git: a.Git}); err == nil {
		defer s.Close()
		for _, file := range s.Files {
			if strings.HasSuffix(file.Path, ".py") && !slices.Contains(p.Scripts, file.Path) {
				p.Scripts = append(p.Scripts, file.Path)
			}
		}
	}
	return p
}
