package history

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/org/aml-train/internal/sweep"
)

// ObjectiveTag is what TagSweep says of a sweep.
func ObjectiveTag(o sweep.Objective) string {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // two texts
	}
	return string(text)
}

// Sweep is a run that is a sweep, with its trials.
type Sweep struct {
	sweep.Objective
	Trials []Trial // the best first; those without a value last, in their order
	Best   *Run    // the best that completed, nil where none did
}

// Trial is one run of a sweep.
type Trial struct {
	Run        *Run
	Parameters map[string]any // its hyperparameters
	Value      float64        // of the objective; NaN where there is none
	Ended      string         // why a policy ended it, "" where none did
}

// SweepOf is what a run says of itself as a sweep, and the runs that it made; nil where it is
// none.
func SweepOf(run *Run, children []*Run) *Sweep {
	s := &Sweep{}
	if json.Unmarshal([]byte(run.Tag(TagSweep)), &s.Objective) != nil || s.PrimaryMetric == "" {
		return nil
	}
	for _, c := range children {
		s.Trials = append(s.Trials, s.trial(run, c))
	}
	slices.SortStableFunc(s.Trials, func(a, b Trial) int {
		switch {
		case s.Better(a.Value, b.Value):
			return -1
		case s.Better(b.Value, a.Value):
			return 1
		}
		return number(a.Run) - number(b.Run)
	})
	for i := range s.Trials {
		t := &s.Trials[i]
		if named := run.Tag(TagBest); named == t.Run.Info.RunID || named == "" && s.Best == nil &&
			t.Run.Status() == Completed && !math.IsNaN(t.Value) {
			s.Best = t.Run
		}
	}
	return s
}

// trial reads a trial. A workspace notes the hyperparameters with the sweep
// (azureml-train-core, HyperDriveRun.get_hyperparameters), and no best value: there it is
// the last.
func (s *Sweep) trial(parent, run *Run) Trial {
	t := Trial{Run: run, Value: math.NaN(), Ended: run.Tag(TagPolicy)}
	id := run.Info.RunID
	for _, text := range []string{run.Tag(TagTrial), parent.Tag("_aml_system_" + id), parent.Tag(id)} {
		if t.Parameters == nil {
			json.Unmarshal([]byte(text), &t.Parameters)
		}
	}
	if v, err := strconv.ParseFloat(run.Tag(TagObjective), 64); err == nil {
		t.Value = v
	} else if v, ok := run.Metric(s.PrimaryMetric); ok {
		t.Value = v
	}
	return t
}

// number is that of a trial in its id, SWEEP_NUMBER.
func number(r *Run) int {
	id := r.Info.RunID
	n, _ := strconv.Atoi(id[strings.LastIndex(id, "_")+1:]) // 0 where it is none
	return n
}
