package cli

import (
	"cmp"
	"fmt"
	"sort"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/snapshot"
)

func (a *app) metadata() *cobra.Command {
	return &cobra.Command{
		Use:   "metadata [DIR]",
		Short: "The git metadata that would be attached to a run",
		Long: "Show the git metadata that a run of the source directory would carry, under the\nnames that Azure " +
			"ML's own clients use. Outside a repository there is none.",
		Example: "  aml-train metadata --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := cmp.Or(firstArg(args), ".")
			repo, err := a.git.Find(dir)
			if err != nil {
				return mistake.Of(err)
			}
			info, err := a.codeOf(repo)
			if err != nil {
				return mistake.Of(err)
			}
			if info.Root != "" && info.Dirty == nil {
				dirty, err := snapshot.Dirty(cmd.Context(), &a.git, dir)
				if err != nil {
					return mistake.Of(err)
				}
				info.SetDirty(dirty)
			}
			p := info.Properties()
			if a.json {
				return a.printJSON(p)
			}
			keys := make([]string, 0, len(p))
			for k := range p {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			for _, k := range keys {
				fmt.Fprintf(a.out, "%s=%s\n", k, p[k])
			}
			return nil
		},
	}
}

// codeOf is what is known of the code in a repository, with what the workflow knows.
func (a *app) codeOf(repo *git.Repository) (gitmeta.Info, error) {
	w, err := github.ReadWorkflow(a.getenv)
	if err != nil {
		return gitmeta.Info{}, err
	}
	return gitmeta.Of(repo, w, a.getenv)
}
