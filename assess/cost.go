package assess

import (
	"context"
	"math"
	"strconv"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/train"
)

// Cost is what a run has cost, in USD: its time from beginning to end, on each of its nodes,
// by the price of its compute target; of a sweep, what its trials have. It is NaN where that is
// not known.
func (a *Assessor) Cost(ctx context.Context, at train.Session, run *history.Run) (float64, error) {
	price, known := a.Terms.Prices[run.Tag(history.TagTarget)]
	if !known {
		return math.NaN(), nil
	}
	runs := []*history.Run{run}
	if run.Tag(history.TagSweep) != "" {
		var err error
		if runs, err = Children(ctx, at.History, run); err != nil {
			return 0, err
		}
	}
	nodes := 1
	if n, err := strconv.Atoi(run.Tag(history.TagNodes)); err == nil {
		nodes = n
	}
	sum := 0.0
	for _, r := range runs {
		if r.Started().IsZero() || r.Ended().IsZero() {
			return math.NaN(), nil
		}
		sum += r.Ended().Sub(r.Started()).Hours() * float64(nodes) * price
	}
	return sum, nil
}

// costs is what several runs have cost together.
func (a *Assessor) costs(ctx context.Context, at train.Session, runs []*history.Run) (sum float64, err error) {
	for _, r := range runs {
		one, err := a.Cost(ctx, at, r)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}
