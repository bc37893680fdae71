package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/train"
)

func (a *app) snapshot() *cobra.Command {
	var why, most, commit, since string
	cmd := &cobra.Command{
		Use:   "snapshot [DIR]",
		Short: "Which files would travel, and the id of their tree",
		Long: `Show which files of a source directory would travel to where the training runs.
The id is that of the git tree that holds them: git add -A and git write-tree
make the same. An .amlignore in the directory replaces its .gitignore files.

With --commit, the files are those of a commit, whatever the working tree holds.
With --diff, what changed since a commit is listed, as git diff --name-status does.`,
		Example: "  aml-train snapshot src\n  aml-train snapshot --why data/train.csv\n  aml-train snapshot --commit " +
			"main\n  aml-train snapshot --diff HEAD~1",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := cmp.Or(firstArg(args), ".")
			if why != "" {
				if commit != "" || since != "" {
					return mistake.Errorf("--why looks at the working tree; it does not go with --commit or --diff")
				}
				return a.why(cmd.Context(), dir, why)
			}
			limit, err := sizeFlag("--max-snapshot-size", most)
			if err != nil {
				return err
			}
			s, err := train.TakeSnapshot(cmd.Context(), &a.git, dir, commit, limit)
			if err != nil {
				return err
			}
			defer s.Close()
			if since != "" {
				list, err := s.Since(cmd.Context(), &a.git, dir, since)
				if err != nil {
					return mistake.Of(err)
				}
				return a.changes(list)
			}
			return a.listSnapshot(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&commit, "commit", "", "the files of a commit, such as HEAD, a branch or a tag")
	cmd.Flags().StringVar(&since, "diff", "", "what changed since a commit")
	cmd.Flags().StringVar(&why, "why", "", "name the ignore line that decides over a path")
	cmd.Flags().StringVar(&most, "max-snapshot-size", "", "the most that may travel, such as 500MB (default 300MiB)")
	return cmd
}

// listSnapshot prints the files of a snapshot, one a line or as JSON.
func (a *app) listSnapshot(ctx context.Context, s *snapshot.Snapshot) error {
	if a.json {
		if err := s.Sizes(ctx); err != nil {
			return mistake.Of(err)
		}
		return printSnapshot(a.out, s)
	}
	out := bufio.NewWriter(a.out)
	for i := range s.Files {
		out.WriteString(s.Files[i].Path)
		out.WriteByte('\n')
	}
	if err := out.Flush(); err != nil {
		return err
	}
	bytes := ""
	if s.Bytes > 0 {
		bytes = ", " + size.Format(s.Bytes)
	}
	a.say("%s: %s%s; %d ignored", s.ID, size.Count(len(s.Files), "file"), bytes, len(s.Excluded))
	return nil
}

// printSnapshot prints a snapshot as one JSON object, a file a line.
func printSnapshot(w io.Writer, s *snapshot.Snapshot) error {
	if s.Excluded == nil {
		s.Excluded = []snapshot.Exclusion{}
	}
	excluded, err := json.MarshalIndent(s.Excluded, "  ", "  ")
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintf(out, "{\n  \"id\": %q,\n  \"files\": [", s.ID)
	var line []byte
	for i := range s.Files {
		line = append(line[:0], ",\n    "...)
		line = s.Files[i].AppendJSON(line)
		if i == 0 {
			line = line[1:]
		}
		out.Write(line)
	}
	fmt.Fprintf(out, "\n  ],\n  \"bytes\": %d,\n  \"excluded\": %s\n}\n", s.Bytes, excluded)
	return out.Flush()
}

// changes prints what two snapshots do not have alike.
func (a *app) changes(list []snapshot.Change) error {
	type change struct {
		Status string         `json:"status"`
		Path   string         `json:"path"`
		Old    *snapshot.File `json:"old,omitempty"`
		New    *snapshot.File `json:"new,omitempty"`
	}
	all := make([]change, len(list))
	for i, c := range list {
		all[i] = change{c.Status(), c.Path(), c.Old, c.New}
	}
	if a.json {
		return a.printJSON(all)
	}
	for _, c := range all {
		fmt.Fprintf(a.out, "%s\t%s\n", c.Status, c.Path)
	}
	return nil
}

func (a *app) why(ctx context.Context, dir, path string) error {
	d, err := snapshot.Why(ctx, &a.git, dir, path)
	if err != nil {
		return mistake.Of(err)
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
	case d.Never:
		fmt.Fprintf(a.out, "%s does not travel: nothing in .git and .aml-train does\n", d.Path)
	default:
		fmt.Fprintf(a.out, "%s does not travel: it is not there\n", d.Path)
	}
	return nil
}
