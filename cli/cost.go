package cli

import (
	"context"
	"math"
	"strconv"

	"github.com/org/aml-train/history"
)

// cost is what a run has cost, in USD: its time from beginning to end, on each of its nodes,
// by the price of its compute target; of a sweep, what its trials have. It is NaN where that is
// not known.
func (s session) cost(ctx context.Context, run *history.Run) (float64, error) {
	price, known := s.rules.prices[run.Tag(history.TagTarget)]
	if !known {
		return math.NaN(), nil
	}
	runs := []*history.Run{run}
	if run.Tag(history.TagSweep) != "" {
		var err error
		if runs, err = s.children(ctx, run); err != nil {
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
func (s session) costs(ctx context.Context, runs []*history.Run) (sum float64, err error) {
	for _, r := range runs {
		one, err := s.cost(ctx, r)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}
