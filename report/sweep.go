package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
)

// What is shown of a sweep at most.
const (
	maxTrials     = 20 // rows, the best
	maxParameters = 8  // columns
	maxEnded      = 10 // trials that a policy ended
	maxSteps      = 8  // of how the objective improved, the last
	barWidth      = 10
)

// trialTable is the trials of a sweep as a table, the best first: the trial's name, its
// value with a bar, and its hyperparameters. A hyperparameter that is a number has a mark
// behind it of where it lies between the least and the greatest of all trials, so that the
// columns show what goes with good values.
func (r *Report) trialTable() (head []string, rows [][]string) {
	s := r.Sweep
	names := map[string]bool{}
	for _, t := range s.Trials {
		for name := range t.Parameters {
			names[name] = true
		}
	}
	parameters := slices.Sorted(maps.Keys(names))
	parameters = parameters[:min(len(parameters), maxParameters)]
	head = append([]string{"trial", s.PrimaryMetric, ""}, parameters...)
	marks := map[string]scale{}
	for _, name := range parameters {
		var values []float64
		for _, t := range s.Trials {
			if v, ok := t.Parameters[name].(float64); ok {
				values = append(values, v)
			}
		}
		marks[name] = scaleOf(values)
	}
	var values []float64
	for _, t := range s.Trials {
		if !t.Failed() {
			values = append(values, t.Value)
		}
	}
	bar := scaleOf(values)
	if s.Goal != "maximize" {
		bar.low, bar.high = bar.high, bar.low
	}
	for _, t := range s.Trials[:min(len(s.Trials), maxTrials)] {
		row := []string{t.Run.Info.RunID, "", ""}
		if !math.IsNaN(t.Value) {
			row[1] = Number(t.Value)
		}
		if !math.IsNaN(t.Value) && !t.Failed() {
			row[2] = strings.Repeat("█", 1+int(bar.at(t.Value)*(barWidth-1)+0.5))
		}
		for _, name := range parameters {
			text := parameterText(t.Parameters[name])
			if v, ok := t.Parameters[name].(float64); ok && marks[name].low < marks[name].high {
				text += " " + string(bars[int(marks[name].at(v)*float64(len(bars)-1)+0.5)])
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return head, rows
}

// scale is where numbers lie, from low to high; log counts factors.
type scale struct {
	low, high float64
	log       bool
}

// scaleOf counts factors where positive numbers span more than two powers of ten.
func scaleOf(values []float64) scale {
	s := scale{low: math.Inf(1), high: math.Inf(-1)}
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			s.low, s.high = min(s.low, v), max(s.high, v)
		}
	}
	s.log = s.low > 0 && s.high/s.low > 100
	return s
}

// at is where a number lies, from 0 to 1; 1 where all are the same.
func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.log {
		low, high, v = math.Log(low), math.Log(high), math.Log(v)
	}
	if f := (v - low) / (high - low); f >= 0 && f <= 1 {
		return f
	}
	return 1
}

// parameterText is a hyperparameter for people.
func parameterText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return Number(v)
	case string:
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// bestText names the best trial with its hyperparameters, "" where there is none.
func (r *Report) bestText() string {
	i := slices.IndexFunc(r.Sweep.Trials, func(t history.Trial) bool {
		return r.Sweep.Best != nil && t.Run.Info.RunID == r.Sweep.Best.Info.RunID
	})
	if i < 0 {
		return ""
	}
	var out []string
	t := r.Sweep.Trials[i]
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		out = append(out, name+" = "+parameterText(t.Parameters[name]))
	}
	return fmt.Sprintf("%s: %s %s with %s", t.Run.Info.RunID, r.Sweep.PrimaryMetric, Number(t.Value),
		strings.Join(out, ", "))
}

// improvedText says how the objective improved, in the order in which trials completed.
func (r *Report) improvedText() string {
	done := slices.DeleteFunc(slices.Clone(r.Sweep.Trials), func(t history.Trial) bool {
		return t.Run.Status() != history.Completed || math.IsNaN(t.Value)
	})
	slices.SortStableFunc(done, func(a, b history.Trial) int { return int(a.Run.Info.EndTime - b.Run.Info.EndTime) })
	var steps []string
	best := math.NaN()
	for i, t := range done {
		if r.Sweep.Better(t.Value, best) {
			best = t.Value
			steps = append(steps, fmt.Sprintf("%s (trial %d)", Number(best), i+1))
		}
	}
	if len(steps) < 2 {
		return ""
	}
	if len(steps) > maxSteps {
		steps = append([]string{steps[0], "…"}, steps[len(steps)-maxSteps+1:]...)
	}
	return strings.Join(steps, " → ")
}

// counted says how many trials there are, and what became of those that did not complete.
func (r *Report) counted() string {
	ended, by := 0, map[history.Status]int{}
	for _, t := range r.Sweep.Trials {
		if t.Ended != "" {
			ended++
		} else {
			by[t.Run.Status()]++
		}
	}
	text := size.Count(len(r.Sweep.Trials), "trial")
	for _, s := range history.Statuses {
		if s != history.Completed && by[s] > 0 {
			text += fmt.Sprintf(", %d %s", by[s], s)
		}
	}
	if ended > 0 {
		text += fmt.Sprintf(", %d ended by the policy", ended)
	}
	return text
}

// ended are the trials that a policy ended, each with why.
func (r *Report) ended() (lines [][2]string, more int) {
	for _, t := range r.Sweep.Trials {
		if t.Ended != "" {
			lines = append(lines, [2]string{t.Run.Info.RunID, t.Ended})
		}
	}
	more = max(len(lines)-maxEnded, 0)
	return lines[:len(lines)-more], more
}

// sweepMarkdown is the trials of a sweep as Markdown.
func (r *Report) sweepMarkdown() string {
	if len(r.Sweep.Trials) == 0 {
		return ""
	}
	var b strings.Builder
	if best := r.bestText(); best != "" {
		b.WriteString("\n**Best trial** " + Escape(best) + "\n")
	}
	if improved := r.improvedText(); improved != "" {
		b.WriteString("\n" + Escape(r.Sweep.PrimaryMetric+" improved: "+improved) + "\n")
	}
	head, rows := r.trialTable()
	fmt.Fprintf(&b, "\n<details><summary>%s</summary>\n\n| |", r.counted())
	for _, text := range head {
		b.WriteString(" " + Escape(text) + " |")
	}
	b.WriteString("\n|---|---|--:|---|" + strings.Repeat("--:|", len(head)-3) + "\n")
	for i, row := range rows {
		b.WriteString("| " + Icon(r.Sweep.Trials[i].Run.Status()) + " |")
		for _, text := range row {
			b.WriteString(" " + Escape(Shorten(text, 60)) + " |")
		}
		b.WriteString("\n")
	}
	if more := len(r.Sweep.Trials) - len(rows); more > 0 {
		fmt.Fprintf(&b, "\nand %d more\n", more)
	}
	lines, more := r.ended()
	if len(lines) > 0 {
		b.WriteString("\nEnded by the policy:\n\n")
	}
	for _, l := range lines {
		b.WriteString("- " + Escape(l[0]) + ": " + Escape(l[1]) + "\n")
	}
	if more > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more)
	}
	b.WriteString("\n</details>\n")
	return b.String()
}

// sweepText is the trials of a sweep for a terminal.
func (r *Report) sweepText(width int) string {
	if len(r.Sweep.Trials) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %s:\n", r.counted())
	head, rows := r.trialTable()
	rows = append([][]string{head}, rows[:min(len(rows), 10)]...)
	b.WriteString(columns(rows))
	if more := len(r.Sweep.Trials) - (len(rows) - 1); more > 0 {
		fmt.Fprintf(&b, "    and %d more\n", more)
	}
	if best := r.bestText(); best != "" {
		b.WriteString("\n" + wrap("The best is "+Line(best), width, "  ") + "\n")
	}
	if improved := r.improvedText(); improved != "" {
		b.WriteString(wrap(Line(r.Sweep.PrimaryMetric)+" improved: "+improved, width, "  ") + "\n")
	}
	lines, more := r.ended()
	for _, l := range lines {
		b.WriteString(wrap(Line(l[0])+": "+Line(l[1]), width, "  ") + "\n")
	}
	if more > 0 {
		fmt.Fprintf(&b, "  and %d more that the policy ended\n", more)
	}
	return b.String()
}
