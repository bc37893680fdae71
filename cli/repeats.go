package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/judge"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
	"github.com/org/aml-train/train"
)

// repeatsFlag is --repeats: a number, or decided, at most a number.
type repeatsFlag struct {
	text string
	plan *train.Repeats
}

// Set implements pflag.Value.
func (f *repeatsFlag) Set(text string) error {
	p := train.Repeats{}
	words := strings.Fields(strings.ReplaceAll(text, ",", " "))
	n := settings.UsuallyAtMost
	switch {
	case len(words) == 1 && words[0] == "decided":
	case len(words) == 1 || len(words) == 4 && words[0] == "decided" && words[1] == "at" && words[2] == "most":
		var err error
		if n, err = strconv.Atoi(words[len(words)-1]); err != nil || n < 1 || n > judge.MostAdded {
			return fmt.Errorf("%s is no number of runs from 1 to %d; write 3, or: decided, at most 6",
				words[len(words)-1], judge.MostAdded)
		}
	default:
		return fmt.Errorf("write a number of runs, such as 3, or: decided, at most 6")
	}
	if p.Seeds = n; words[0] == "decided" {
		p.Seeds, p.AtMost = 0, n
	}
	f.text, f.plan = text, &p
	return nil
}

func (f *repeatsFlag) String() string { return f.text }

// Type implements pflag.Value.
func (f *repeatsFlag) Type() string { return "runs" }

func (t *teller) Once() {
	t.say("repeats needs somebody who waits for the runs, to start one after the other: the job is trained once")
}

// Repeated tells of a run which another one stands for in the report.
func (t *teller) Repeated(ctx context.Context, at train.Session, run *history.Run) {
	text := strings.ToLower(string(run.Status()))
	if status := run.Status(); status != history.Completed {
		if reason := run.Tag(history.TagError); reason != "" {
			text += ": " + reason
		}
	} else {
		r := report.Report{Run: run, Key: t.assess.KeyMetrics(run)}
		if m, ok := r.Headline(); ok {
			text += ": " + m.Key + " " + report.Number(float64(m.Value))
		}
	}
	t.say("Run %s %s", run.Info.RunID, oneLine(text))
	t.assess.Add(run)
	if t.shown != nil {
		t.lost(t.shown, run.Info.RunID)
		t.shown = nil
	}
	t.at(at).told(run)
	t.at(at).keep(ctx, run)
}
