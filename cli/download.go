package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
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
		ValidArgsFunction: func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return a.completeRuns(cmd, args, s)
			}
			run, err := a.findRun(cmd.Context(), args[0])
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			files, _ := a.past.Artifacts(run)
			var out []string
			for _, f := range files {
				out = append(out, f.Path)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := a.findRun(cmd.Context(), firstArg(args))
			if err != nil {
				return err
			}
			if to == "" {
				to = run.Info.RunID
			}
			files, err := a.past.Artifacts(run)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				if files, err = choose(files, args[1:]); err != nil {
					return err
				}
			}
			if err := os.MkdirAll(to, 0o755); err != nil {
				return usage("--to: %w", err)
			}
			root, err := os.OpenRoot(to)
			if err != nil {
				return usage("--to: %w", err)
			}
			defer root.Close()
			bytes, err := a.save(run, files, root)
			if err != nil {
				return err
			}
			a.say("%d files, %s, in %s", len(files), size.Format(bytes), to)
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the folder (default: the run's id)")
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
				return nil, usage("the pattern %q: %w", p, err)
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
			return nil, usage("the run has no output or log %q%s; aml-train show lists them", p, didYouMean(p, names))
		}
	}
	return out, nil
}

// save writes files below a folder, and nowhere else, whatever they are called and
// whatever links lie there.
func (a *app) save(run *history.Run, files []history.File, root *os.Root) (bytes int64, err error) {
	for _, f := range files {
		n, err := a.saveFile(root, run, f.Path)
		if err != nil {
			return bytes, fmt.Errorf("download %s: %w", f.Path, err)
		}
		bytes += n
	}
	return bytes, nil
}

// downloadAll puts everything that a run made into a folder. A relative one lies in
// the working directory, also where a commit has made it a link to elsewhere.
func (a *app) downloadAll(run *history.Run, to string) error {
	files, err := a.past.Artifacts(run)
	if err != nil {
		return err
	}
	base, within := ".", filepath.Clean(to)
	if filepath.IsAbs(to) {
		base, within = to, "."
		if err := os.MkdirAll(base, 0o755); err != nil {
			return err
		}
	}
	parent, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := parent.MkdirAll(within, 0o755); err != nil {
		return err
	}
	root, err := parent.OpenRoot(within)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = a.save(run, files, root)
	return err
}

func (a *app) saveFile(root *os.Root, run *history.Run, name string) (int64, error) {
	r, err := a.past.OpenArtifact(run, name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	local := filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return 0, err
	}
	w, err := root.Create(local)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, r)
	return n, errors.Join(err, w.Close())
}
