package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/hooks"
	"github.com/org/aml-train/internal/debuglog"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/train"
)

// Exit codes.
const (
	exitOK          = 0
	exitRun         = 1 // the run failed or was canceled
	exitUsage       = 2 // bad usage, job file or configuration: nothing was submitted
	exitRules       = 3 // a rule was broken
	exitUnreachable = 4 // the target could not be reached, or refused
)

// runEnded is the error of a command whose run did not complete. Everything about
// it has been said.
type runEnded struct{ status history.Status }

func (e *runEnded) Error() string { return "the run ended as " + string(e.status) }

// exit says what went wrong and returns the code for it.
func (a *app) exit(err error) int {
	code := a.fault(err)
	if a.brief && err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintln(a.err, hooks.Refused+first)
	}
	debuglog.Step(a.begun, "exit code %d", code)
	return code
}

// fault is exit without the one line.
func (a *app) fault(err error) int {
	var ended *runEnded
	var broken *rulesBroken
	var problems job.Problems
	var several train.Refused
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &several):
		code := exitUnreachable
		for _, one := range several {
			code = min(code, a.fault(one))
		}
		return code
	case errors.As(err, &ended):
		return exitRun
	case errors.As(err, &broken):
		return exitRules
	case errors.As(err, &problems):
		a.fail(annotations(err))
		for _, p := range problems {
			if p.File == "" {
				p.Message = "aml-train: " + p.Message // of a flag; the others say which file they are of
			}
			fmt.Fprintln(a.err, p)
		}
		return exitUsage
	case errors.Is(err, context.Canceled): // by Ctrl-C, before there was a run to cancel
		fmt.Fprintln(a.err, "aml-train: interrupted")
		return exitRun
	}
	a.fail(annotations(err))
	fmt.Fprintln(a.err, "aml-train:", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	if mistake.Is(err) {
		return exitUsage
	}
	return exitUnreachable
}

// annotations are what is wrong, each where it stands.
func annotations(err error) (list []report.Annotation) {
	var problems job.Problems
	if !errors.As(err, &problems) {
		return []report.Annotation{{Level: "error", Title: "aml-train", Message: err.Error()}}
	}
	for _, p := range problems {
		list = append(list, report.Annotation{Level: "error", File: p.File, Line: p.Line,
			Title: "Nothing was submitted", Message: p.Message})
	}
	return list
}
