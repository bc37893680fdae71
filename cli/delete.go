package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/submit/local"
)

func (a *app) delete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete RUN...",
		Short: "Delete runs for good",
		Long: `Delete runs of this machine for good: what is recorded of them, their outputs and logs,
and the runs that their scripts made. archive only hides runs, also those of a workspace.`,
		Example:           "  aml-train delete iris-3f2a91c-1\n  aml-train delete --yes iris-3f2a91c-1 iris-3f2a91c-2",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var runs []*history.Run
			for _, id := range args { // all of them, before one is gone
				if id == "" {
					return mistake.Errorf("name a run; aml-train runs lists them")
				}
				s, run, err := a.findRun(ctx, id)
				if err != nil {
					return err
				}
				if _, here := s.Target.(*local.Target); !here {
					return mistake.Errorf("run %s is the workspace's, and delete removes runs of this machine; "+
						"archive hides it", run.Info.RunID)
				}
				runs = append(runs, run)
			}
			for _, run := range runs {
				if err := a.deleteRun(ctx, run, yes); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// deleteRun deletes a run, unless whoever is asked says no.
func (a *app) deleteRun(ctx context.Context, run *history.Run, yes bool) error {
	id := run.Info.RunID
	if status := run.Status(); !status.Terminal() {
		return mistake.Errorf("run %s has not ended: %s; aml-train cancel %s ends it", id, status, id)
	}
	if !yes {
		question, err := a.deleteQuestion(ctx, run)
		if err != nil {
			return err
		}
		if yes, err = a.confirm(question, "--yes deletes it without asking"); err != nil {
			return err
		}
		if !yes {
			a.say("Kept run %s.", id)
			return nil
		}
	}
	if err := a.local("").Delete(ctx, id); err != nil {
		return mistake.Of(err)
	}
	a.say("Deleted run %s.", id)
	return nil
}

// deleteQuestion says what would be gone.
func (a *app) deleteQuestion(ctx context.Context, run *history.Run) (string, error) {
	family, err := a.store.Family(ctx, run.Info.RunID)
	if err != nil {
		return "", err
	}
	files, bytes := 0, int64(0)
	for _, r := range family {
		whole, err := a.store.Run(ctx, r.Info.RunID)
		if err != nil {
			return "", err
		}
		list, err := a.store.Artifacts(ctx, whole)
		if err != nil {
			return "", err
		}
		for _, f := range list {
			files++
			bytes += int64(f.Size)
		}
	}
	text := "Delete run " + run.Info.RunID
	if name := run.DisplayName(); name != "" {
		text += " (" + report.Line(name) + ")"
	}
	text += fmt.Sprintf(" with %s, %s", size.Count(files, "file"), size.Format(bytes))
	if n := len(family) - 1; n > 0 {
		text += ", and " + size.Count(n, "run") + " of its script"
	}
	return text + ", for good?", nil
}

// confirm asks a question on the terminal. Where there is none, the error says what answers
// it.
func (a *app) confirm(question, instead string) (bool, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) || !isTerminal(a.err) {
		return false, mistake.Errorf("%s There is no terminal to ask on; %s", question, instead)
	}
	fmt.Fprint(a.err, question, " [y/N] ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return false, nil // the end of the input is no yes
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
