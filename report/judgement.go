package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/judge"
)

// Judgement is what can be said of a run beside those that it is compared with.
type Judgement struct {
	Findings       []judge.Finding
	Outcomes       []judge.Outcome
	Places         []RulePlace // of the outcomes' rules
	Runs, BaseRuns int         // how many of them are judged, repeats included
	Most           int         // so many may be made until the verdict is decided; 0 where that is not asked
	Note           string      // what a reader has to know of where the rules come from; may be ""
}

// RulePlace is where a rule stands; File is "" where it is in no file.
type RulePlace struct {
	File string
	Line int
}

// Broken are the rules that the run breaks; of a nil Judgement there are none.
func (j *Judgement) Broken() (out []judge.Outcome) {
	if j == nil {
		return nil
	}
	for _, o := range j.Outcomes {
		if !o.Passed && !o.Neutral {
			out = append(out, o)
		}
	}
	return out
}

// brokenText is what the heading says of the rules; "" where none is broken.
func (r *Report) brokenText() string {
	broken := len(r.Judgement.Broken())
	if broken == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of %s broken", broken, size.Count(len(r.Judgement.Outcomes), "rule"))
}

// mark is a rule's state.
func mark(o judge.Outcome, passed, neutral, broken string) string {
	switch {
	case o.Passed:
		return passed
	case o.Neutral:
		return neutral
	}
	return broken
}

// judgement tells the rules and the verdicts.
func (r *Report) judgement() string {
	if r.Judgement == nil {
		return ""
	}
	var b strings.Builder
	if len(r.Judgement.Outcomes) > 0 {
		b.WriteString("\n| rule | | |\n|---|---|---|\n")
		for _, o := range r.Judgement.Outcomes {
			state := mark(o, "✅ kept", "⚪ not judged", "❌ **broken**")
			fmt.Fprintf(&b, "| %s | %s | %s |\n", Escape(o.Rule.Text), state, Escape(o.Message))
		}
	}
	if v := r.verdicts(label(r.BaseName), Escape); v != "" {
		b.WriteString("\n" + v + "\n")
	}
	if r.Judgement.Note != "" {
		b.WriteString("\n> ⚠️ " + Escape(r.Judgement.Note) + "\n")
	}
	return b.String()
}

// judgementText is the same for a terminal.
func (r *Report) judgementText(width int) string {
	if r.Judgement == nil {
		return ""
	}
	var b strings.Builder
	for i, o := range r.Judgement.Outcomes {
		if i == 0 {
			b.WriteString("\n")
		}
		state := mark(o, "kept", "not judged", "BROKEN")
		fmt.Fprintf(&b, "  %-10s  %s\n%s\n", state, Line(o.Rule.Text), wrap(Line(o.Message), width, "              "))
	}
	if v := r.verdicts(Line(r.BaseName), Line); v != "" {
		b.WriteString("\n" + wrap(v, width, "  ") + "\n")
	}
	if r.Judgement.Note != "" {
		b.WriteString(wrap("warning: "+Line(r.Judgement.Note), width, "  ") + "\n")
	}
	return b.String()
}

// verdicts says in words which metrics got better or worse beyond noise, or how many
// runs are missing to tell. of names what it is compared with, and name writes a metric's
// name.
func (r *Report) verdicts(of string, name func(string) string) string {
	if r.Base == nil {
		return ""
	}
	names := map[judge.Verdict][]string{}
	judged, missing := 0, 0
	for _, f := range r.Judgement.Findings {
		if f.Verdict != judge.None {
			names[f.Verdict] = append(names[f.Verdict], name(f.Name))
			judged++
		}
		missing = max(missing, f.Missing)
	}
	var parts []string
	for _, v := range []judge.Verdict{judge.Worse, judge.Better} {
		if list := names[v]; len(list) > 0 {
			parts = append(parts, fmt.Sprintf("%s than %s beyond noise: %s", v, of, listed(list)))
		}
	}
	if list := names[judge.Same]; len(list) > 0 {
		parts = append(parts, "within noise: "+listed(list))
	}
	n, base := r.Judgement.Runs, r.Judgement.BaseRuns
	if len(parts) > 0 {
		parts[len(parts)-1] += " (" + r.power(n, base, judged) + ")"
	}
	if list := names[judge.Undecided]; len(list) > 0 {
		text := "cannot be judged: " + listed(list)
		if len(list) == judged {
			text = "whether it is better than noise cannot be judged"
		}
		if slices.ContainsFunc(r.Judgement.Findings, func(f judge.Finding) bool { return f.NoSpread }) {
			text += fmt.Sprintf(": the %s of %s agree to the last digit, which shows no noise", size.Count(base, "run"),
				of)
		} else if missing > 0 {
			text += fmt.Sprintf(": %s of %s, %d are needed", size.Count(base, "run"), of, judge.LeastRuns)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	text := strings.Join(parts, "; ") + "."
	return strings.ToUpper(text[:1]) + text[1:]
}

// power says how often a comparison of so many runs sees a difference. Where runs were added
// and are too few, it says how many may be enough.
func (r *Report) power(n, base, judged int) string {
	most := r.Judgement.Most
	if most == 0 {
		return fmt.Sprintf("%s against %d; a difference of two standard deviations is seen in %.0f %% of cases",
			size.Count(n, "run"), base, 100*judge.Power(n, base, judged, judge.Effect))
	}
	power := judge.PowerAdded(n, base, judged, most, judge.Effect)
	text := fmt.Sprintf("%d of at most %s against %d; a difference of two standard deviations is seen in at least "+
		"%.0f %% of cases", n, size.Count(most, "run"), base, 100*power)
	if enough := judge.Enough(base, judged); n >= most && power < judge.EnoughPower && enough > most {
		text += fmt.Sprintf(", with at most %d in %.0f %%", enough, 100*judge.EnoughPower)
	}
	return text
}

// listed is a list of names that is read at a glance.
func listed(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// ruleAnnotations stand on the lines of the rules that are broken or not judged.
func (r *Report) ruleAnnotations(p Places) (out []Annotation) {
	if r.Judgement == nil {
		return nil
	}
	for i, o := range r.Judgement.Outcomes {
		if o.Passed {
			continue
		}
		a := p.job(mark(o, "", "notice", "error"), mark(o, "", "Rule not judged: ", "Rule broken: ")+o.Rule.Text,
			o.Message)
		if at := r.Judgement.Places[i]; at.File != "" {
			a.File, a.Line = at.File, at.Line
		}
		out = append(out, a)
	}
	return out
}
