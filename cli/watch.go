package cli

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
)

func (a *app) watch() *cobra.Command {
	var p places
	cmd := &cobra.Command{
		Use:   "watch [RUN]",
		Short: "Attach to a run: its output from the beginning, then the report",
		Long: `Attach to a run: print its output from the beginning, wait for its end, and
report. Ctrl-C stops the watching, not the run. Without RUN, the newest one.`,
		Example:           "  aml-train watch iris-3f2a91c-1",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkBaseline(cmd.Context()); err != nil {
				return err
			}
			if err := p.check(true); err != nil {
				return err
			}
			unjudged := a.rulesHere(cmd.Context())
			if err := a.without(unjudged, "the run is shown, and judged by no rules of the settings"); err != nil {
				return err
			}
			s, run, err := a.findRun(cmd.Context(), firstArg(args))
			if err != nil {
				return err
			}
			if !github.InWorkflow(a.getenv) { // there, the step that trains keeps what it trained
				a.keepRecords(nil)
			}
			tell := &teller{app: a, to: p}
			return cmp.Or(a.trainer(nil, tell, "").Follow(cmd.Context(), s.Session, run, false), unjudged)
		},
	}
	a.addBaseline(cmd)
	a.addRules(cmd)
	p.addMarkdown(cmd)
	return cmd
}
