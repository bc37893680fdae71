package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/snapshot"
)

func (a *app) snapshot() *cobra.Command {
	var why, most string
	cmd := &cobra.Command{
		Use:   "snapshot [DIR]",
		Short: "Which files would travel, and the id of their tree",
		Long: `Show which files of a source directory would travel to where the training runs.
The id is that of the git tree that holds them: git add -A and git write-tree
make the same. An .amlignore in the directory replaces its .gitignore files.`,
		Example: "  aml-train snapshot src\n  aml-train snapshot --why data/train.csv",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := cmp.Or(firstArg(args), ".")
			if why != "" {
				return a.why(dir, why)
			}
			var o snapshot.Options
			if most != "" {
				n, err := size.Parse(most)
				if err != nil {
					return usage("--max-snapshot-size: %w", err)
				}
				if o.MaxBytes = n; n == 0 {
					o.MaxBytes = -1
				}
			}
			s, err := snapshot.Take(cmd.Context(), dir, o)
			if err != nil {
				return usageError{err}
			}
			if a.json {
				if s.Excluded == nil {
					s.Excluded = []snapshot.Exclusion{}
				}
				return a.printJSON(struct {
					ID       string               `json:"id"`
					Files    []snapshot.File      `json:"files"`
					Bytes    int64                `json:"bytes"`
					Excluded []snapshot.Exclusion `json:"excluded"`
				}{s.ID, s.Files, s.Bytes, s.Excluded})
			}
			for _, f := range s.Files {
				fmt.Fprintln(a.out, f.Path)
			}
			a.say("%s: %d files, %s; %d ignored", s.ID, len(s.Files), size.Format(s.Bytes), len(s.Excluded))
			return nil
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "name the ignore line that decides over a path")
	cmd.Flags().StringVar(&most, "max-snapshot-size", "", "the most that may travel, such as 500MB (default 300MB)")
	return cmd
}

func (a *app) why(dir, path string) error {
	d, err := snapshot.Why(dir, path)
	if err != nil {
		return usageError{err}
	}
	rule := ""
	if d.Rule != nil {
		rule = fmt.Sprintf("%s:%d:%s", d.Rule.File, d.Rule.Line, d.Rule.Text)
	}
	if a.json {
		return a.printJSON(map[string]any{"path": d.Path, "travels": d.Travels, "tracked": d.Tracked, "rule": rule})
	}
	switch {
	case d.Travels && rule != "" && d.Rule.Negated:
		fmt.Fprintf(a.out, "%s\t%s travels: the line includes it again\n", rule, d.Path)
	case d.Travels && d.Tracked && rule != "":
		fmt.Fprintf(a.out, "%s\t%s travels: git tracks it, so the line does not count\n", rule, d.Path)
	case d.Travels && d.Tracked:
		fmt.Fprintf(a.out, "%s travels: git tracks it\n", d.Path)
	case d.Travels:
		fmt.Fprintf(a.out, "%s travels: no line ignores it\n", d.Path)
	case rule != "":
		fmt.Fprintf(a.out, "%s\t%s does not travel\n", rule, d.Path)
	default:
		fmt.Fprintf(a.out, "%s does not travel: it is not there, or is one of .git and .aml-train\n", d.Path)
	}
	return nil
}
