package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/train"
)

// reuseFlag says whether a run that has trained the same will do.
type reuseFlag struct {
	yes choice
	no  bool
}

func (f *reuseFlag) add(s *pflag.FlagSet) {
	s.VarPF(&f.yes, "reuse", "", "report a completed run of the same files, job, environment and inputs instead of "+
		"training, where there is one (default: reuse in .aml-train.yaml)").NoOptDefVal = "true"
	s.BoolVar(&f.no, "no-reuse", false, "train, whatever .aml-train.yaml says")
}

// wanted is nil where nobody says.
func (f *reuseFlag) wanted() (*bool, error) {
	if f.no && f.yes.made != nil && *f.yes.made {
		return nil, mistake.Errorf("--reuse and --no-reuse exclude each other")
	}
	if f.no {
		return new(bool), nil
	}
	return f.yes.made, nil
}

// choice is a flag that is neither true nor false before somebody says.
type choice struct{ made *bool }

func (c *choice) Set(text string) error {
	v, err := strconv.ParseBool(text)
	c.made = &v
	return err
}

func (c *choice) String() string {
	if c.made == nil {
		return ""
	}
	return strconv.FormatBool(*c.made)
}

func (c *choice) Type() string { return "bool" }

func (t *teller) Trains(why string) { t.say("%s", strings.Join(strings.Fields(why), " ")) }

// Reused tells of a run that answers for another commit, and keeps it for the report.
func (t *teller) Reused(ctx context.Context, at train.Session, found train.Reused) {
	t.submitted = true
	t.assess.Reused(found)
	run := found.Run
	t.say("Run %s has trained the same files, job, environment and inputs, %s ago: nothing is trained "+
		"(--no-reuse trains)", run.Info.RunID, report.Duration(time.Since(run.Ended())))
	if url := report.PublicLink(at.History.URL(run)); url != "" {
		t.say("%s", url)
	}
	if t.flow != nil {
		t.flow.started(ctx, t.at(at), run)
		if t.flow.flags.cancelSuperseded {
			at.CancelSuperseded(ctx, t.assess.For(run), t.say)
		}
	}
}
