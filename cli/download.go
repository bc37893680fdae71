package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/deliver"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/internal/suggest"
)

func (a *app) download() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "download [RUN [PATH...]]",
		Short: "Outputs and logs of a run to a folder",
		Long: `Download the outputs and logs of a run. PATH is a file, a folder or a pattern
among them, such as outputs, outputs/model.json or "logs/*.txt"; without one,
everything is downloaded. Without RUN, from the newest run.`,
		Example: "  aml-train download iris-3f2a91c-1 outputs --to model",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.completeRuns(cmd, args, begin)
			}
			s, run, err := a.findRun(cmd.Context(), args[0])
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			files, _ := s.History.Artifacts(cmd.Context(), run)
			var out []string
			for _, f := range files {
				out = append(out, f.Path)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, run, err := a.findRun(cmd.Context(), firstArg(args))
			if err != nil {
				return err
			}
			if to == "" && !history.ValidID(run.Info.RunID) {
				return mistake.Errorf("the run's id %q is no name for a folder here; name one with --to",
					run.Info.RunID)
			}
			to = cmp.Or(to, run.Info.RunID)
			if err := deliver.CheckFolder(to); err != nil {
				return mistake.Errorf("--to: %w", err)
			}
			files, err := s.History.Artifacts(cmd.Context(), run)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				if files, err = choose(files, args[1:]); err != nil {
					return err
				}
			}
			bytes, err := s.save(cmd.Context(), run, files, to)
			if err != nil {
				return err
			}
			a.say("%s, %s, in %s", size.Count(len(files), "file"), size.Format(bytes), to)
			return nil
		},
	}
	cmd.Flags().Var(placeFlag{&to}, "to", "the folder (default: the run's id)")
	return cmd
}

// choose keeps the files that one of the patterns names. A pattern that names
// nothing is a mistake.
func choose(files []history.File, patterns []string) ([]history.File, error) {
	var out []history.File
	taken := map[string]bool{}
	for _, p := range patterns {
		p = strings.Trim(path.Clean(filepath.ToSlash(p)), "/")
		found := false
		for _, f := range files {
			match, err := path.Match(p, f.Path)
			if err != nil {
				return nil, mistake.Errorf("the pattern %q: %w", p, err)
			}
			if !match && f.Path != p && !strings.HasPrefix(f.Path, p+"/") && p != "." {
				continue
			}
			found = true
			if !taken[f.Path] {
				taken[f.Path] = true
				out = append(out, f)
			}
		}
		if !found {
			var names []string
			for _, f := range files {
				names = append(names, f.Path)
			}
			return nil, mistake.Errorf("the run has no output or log %q%s", p,
				cmp.Or(suggest.DidYouMean(p, names), "; aml-train show lists them"))
		}
	}
	return out, nil
}

// save writes files below a folder, and nowhere else, whatever they are called and
// whatever links lie there. A file that cannot be written costs no other.
func (s session) save(ctx context.Context, run *history.Run, files []history.File, to string) (bytes int64, err error) {
	folder, err := deliver.Open(to)
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	var failed []string
	for _, f := range files {
		n, err := s.saveFile(ctx, folder, run, f.Path)
		if bytes += n; err != nil {
			failed = append(failed, fmt.Sprintf("download %s: %v", f.Path, err))
		}
	}
	if len(failed) == 0 {
		return bytes, nil
	}
	more := ""
	if n := len(failed) - 10; n > 0 {
		failed, more = failed[:10], fmt.Sprintf("\nand %d more", n)
	}
	return bytes, fmt.Errorf("not everything of run %s is in %s:\n%s%s", run.Info.RunID, to,
		strings.Join(failed, "\n"), more)
}

// downloadAll puts everything that a run made into a folder.
func (s session) downloadAll(ctx context.Context, run *history.Run, to string) error {
	files, err := s.History.Artifacts(ctx, run)
	if err != nil {
		return err
	}
	_, err = s.save(ctx, run, files, to)
	return err
}

func (s session) saveFile(ctx context.Context, folder *deliver.Folder, run *history.Run, name string) (int64, error) {
	r, err := s.openArtifact(ctx, run, name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return folder.Write(name, r)
}

// openArtifact opens a file of a run. What the run has printed is text for people, and
// goes without secrets; any other file is as the script made it.
func (s session) openArtifact(ctx context.Context, run *history.Run, name string) (io.ReadCloser, error) {
	f, err := s.History.OpenArtifact(ctx, run, name)
	if err == nil && strings.HasPrefix(name, "user_logs/") {
		f = secret.NewReader(f, &s.secrets)
	}
	return f, err
}
