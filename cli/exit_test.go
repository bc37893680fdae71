package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/home"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/promote"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/submit"
	"github.com/org/aml-train/train"
)

// The exit code of each kind of error, alone, wrapped, and joined to another one.
func TestExitCodes(t *testing.T) {
	unreached := errors.New("no such host")
	problems := job.Problems{{Message: "no command"}}
	for want, list := range map[int][]error{
		exitOK:  {nil},
		exitRun: {&runEnded{history.Failed}, context.Canceled},
		exitUsage: {mistake.Errorf("no such script"), mistake.Of(unreached), problems, &settings.Error{Err: problems},
			&submit.Refusal{Reason: "no GPU here"}, &home.UntrustedError{Dir: ".aml-train"},
			&promote.OtherJobError{Version: &history.ModelVersion{}}, train.Refused{unreached, problems}},
		exitRules:       {&rulesBroken{[]string{"accuracy >= 0.9"}}},
		exitUnreachable: {unreached, train.Refused{unreached, unreached}},
	} {
		for _, err := range list {
			a := &app{err: io.Discard, out: io.Discard}
			require.Equal(t, want, a.exit(err), "%v", err)
			if err != nil {
				require.Equal(t, want, a.exit(fmt.Errorf("run iris-1: %w", err)), "wrapped: %v", err)
				require.Equal(t, want, a.exit(errors.Join(err, errors.New("the store stays open"))), "joined: %v", err)
			}
		}
	}
}
