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
	Trials []Trial // the best first, then those that failed, those without a value last
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
		case math.IsNaN(a.Value) != math.IsNaN(b.Value):
			return number(math.IsNaN(a.Value)) - number(math.IsNaN(b.Value))
		case a.Failed() != b.Failed():
			return number(a.Failed()) - number(b.Failed())
		case s.Better(a.Value, b.Value):
			return -1
		case s.Better(b.Value, a.Value):
			return 1
		}
		return TrialNumber(a.Run.Info.RunID) - TrialNumber(b.Run.Info.RunID)
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

// Failed tells whether nothing of the trial can be used, however good its value is.
func (t Trial) Failed() bool {
	return t.Run.Status() == Failed || t.Run.Status() == NotResponding
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TrialNumber is that of a trial in its id: SWEEP_NUMBER, with ".2" behind it where that is
// its second attempt. It is 0 where the id has none.
func TrialNumber(id string) int {
	number, _, _ := strings.Cut(id[strings.LastIndex(id, "_")+1:], ".")
	n, _ := strconv.Atoi(number)
	return n
}
