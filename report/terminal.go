package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
)

// Terminal writes the report for a terminal of the given width, in colours if
// color is set.
func (r *Report) Terminal(width int, color bool) string {
	paint := func(code, s string) string {
		if !color || s == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	broken, isBroken := r.broken()
	var b strings.Builder
	b.WriteString(r.headingText(isBroken, paint))
	if text := r.reused(Line); text != "" {
		b.WriteString(wrap(text, max(width, 40), "  ") + "\n")
	}
	if isBroken {
		fmt.Fprintf(&b, "\n  %s\n", paint("1", Line(broken.Key)+" is "+Number(float64(broken.Value))))
	}
	if d := r.Diagnosis; d != nil {
		fmt.Fprintf(&b, "\n  %s\n", paint("1", Line(d.Title)))
		if d.Advice != "" {
			b.WriteString(wrapAdvice(Plain(d.Advice), max(width, 40), "  ") + "\n")
		}
	}
	b.WriteString(r.metricsText(max(width, 40), paint))
	if r.silent() {
		b.WriteString("\n" + wrap(noMetrics, max(width, 40), "  ") + "\n")
	}
	b.WriteString(r.judgementText(max(width, 40)))
	b.WriteString(r.repeatsText())
	b.WriteString(r.childrenText(max(width, 40)))
	b.WriteString(r.outputsText())
	if w := r.Run.Tag(history.TagWarnings); w != "" {
		b.WriteString("\n")
		for line := range strings.SplitSeq(w, "\n") {
			b.WriteString("  warning: " + Plain(line) + "\n")
		}
	}
	return b.String()
}

// headingText says how the run ended, and how long it took.
func (r *Report) headingText(isBroken bool, paint func(code, s string) string) string {
	status := r.Run.Status()
	mark, tone := "•", "33"
	switch status {
	case history.Completed:
		mark, tone = "✓", "32"
	case history.Failed, history.NotResponding:
		mark, tone = "✗", "31"
	case history.Canceled:
		mark, tone = "-", "33"
	}
	if isBroken && status == history.Completed {
		mark, tone = "!", "33"
	}
	if len(r.Judgement.Broken()) > 0 {
		mark, tone = "✗", "31"
	}
	name := Line(r.Run.Info.RunID)
	if n := Line(r.Run.Info.RunName); n != "" && n != name {
		name += " (" + Shorten(n, 60) + ")"
	}
	cost := r.cost()
	if cost != "" {
		cost = ", " + cost
	}
	return fmt.Sprintf("%s %s %s %s%s\n", paint(tone, mark+" "+name), strings.ToLower(string(status)), r.sinceWord(),
		Duration(r.took()), cost)
}

// outputsText lists the first outputs.
func (r *Report) outputsText() string {
	files, bytes := r.outputs()
	if len(files) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %s, %s:\n", size.Count(len(files), "output"), size.Format(bytes))
	for _, f := range files[:min(len(files), 10)] {
		fmt.Fprintf(&b, "    %s  %s\n", Line(f.Path), size.Format(int64(f.Size)))
	}
	if len(files) > 10 {
		fmt.Fprintf(&b, "    and %d more\n", len(files)-10)
	}
	return b.String()
}

// metricsText is a line for each metric, and what they are compared with.
func (r *Report) metricsText(width int, paint func(code, text string) string) string {
	var b strings.Builder
	metrics := r.metrics()
	most := 30
	if n := min(len(metrics), most); n > 0 {
		b.WriteString("\n")
		name, value, change := 0, 0, 0
		changes := make([]string, n)
		for i, m := range metrics[:n] {
			name = max(name, utf8.RuneCountInString(Line(m.Key)))
			value = max(value, utf8.RuneCountInString(r.now(m.Key).String()))
			if before, ok := r.before(m.Key); ok {
				changes[i] = r.change(m.Key, r.now(m.Key).Mean, before.Mean)
			}
			change = max(change, utf8.RuneCountInString(changes[i]))
		}
		for i, m := range metrics[:n] {
			line := fmt.Sprintf("  %s  %s", pad(Line(m.Key), name),
				paint("1", padLeft(r.now(m.Key).String(), value)))
			if change > 0 {
				line += "  " + pad(changes[i], change)
			}
			if s := Sparkline(r.Curves[m.Key].Points, 12); s != "" {
				line += "  " + paint("34", s)
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		if len(metrics) > n {
			fmt.Fprintf(&b, "  and %d more\n", len(metrics)-n)
		}
		b.WriteString(r.comparisonText(width))
	}
	return b.String()
}

func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

func padLeft(s string, n int) string {
	return strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s))) + s
}

func wrap(s string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		if column > 0 && column+1+n > width-len(indent) {
			b.WriteString("\n")
			column = 0
		}
		if column == 0 {
			b.WriteString(indent)
		} else {
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// wrapAdvice wraps an advice without the marks of its code, of which each piece stays whole:
// a command is there to be copied.
func wrapAdvice(s string, width int, indent string) string {
	const space = "\x01"
	parts := strings.Split(s, "`")
	for i := 1; i < len(parts); i += 2 {
		if n := utf8.RuneCountInString(parts[i]); n < width-len(indent)-2 {
			parts[i] = strings.ReplaceAll(parts[i], " ", space)
		}
	}
	return strings.ReplaceAll(wrap(strings.Join(parts, ""), width, indent), space, " ")
}
