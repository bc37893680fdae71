package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/org/aml-train/history"
)

// charts draws the curves with Mermaid, which GitHub renders. The title says which line is
// which, because the chart has no legend.
func (r *Report) charts(b *strings.Builder, metrics []history.Metric, most int, drop func(int, string)) {
	var drawn []string
	total := 0
	for _, m := range metrics {
		c := r.Curves[m.Key]
		if len(c.Points) < 2 {
			continue
		}
		total++
		if len(drawn) < most {
			drawn = append(drawn, Chart(m.Key, c, r.BaseCurve[m.Key], r.BaseName))
		}
	}
	if len(drawn) > 0 {
		b.WriteString("\n<details><summary>Curves</summary>\n\n" + strings.Join(drawn, "\n") + "\n</details>\n")
	}
	drop(total-len(drawn), "curves")
}

// Chart is a metric's curve as a fenced Mermaid xychart, with the base's in grey on the
// same axis of steps. Where one of them ends before the other, its line ends there; where
// one begins later, the chart begins there, and says so.
func Chart(name string, c, base history.Curve, baseName string) string {
	d := drawn(name, c, base, baseName)
	low, high := math.Inf(1), math.Inf(-1)
	var lines [][]float64
	for _, points := range d.curves {
		values := until(points, d.first, d.last, d.n)
		lines = append(lines, values)
		a, z := bounds(values)
		low, high = min(low, a), max(high, z)
	}
	if low == high {
		low, high = low-1, high+1
	}
	var b strings.Builder
	fmt.Fprintf(&b, "```mermaid\n%s\nxychart-beta\n    title \"%s\"\n", chartStyle, chartText(d.title))
	fmt.Fprintf(&b, "    x-axis \"step\" %d --> %d\n", d.first, d.last)
	fmt.Fprintf(&b, "    y-axis %s --> %s\n", chartNumber(low), chartNumber(high))
	for _, values := range lines {
		text := make([]string, d.n)
		for i := range text {
			switch {
			case i < len(values):
				text[i] = chartNumber(values[i])
			case i == len(values):
				text[i] = chartEnd
			default:
				text[i] = "0"
			}
		}
		b.WriteString("    line [" + strings.Join(text, ", ") + "]\n")
	}
	b.WriteString("```\n")
	if len(d.notes) > 0 {
		b.WriteString("\n" + Escape(name+": "+strings.Join(d.notes, "; ")) + "\n")
	}
	return b.String()
}

// drawing is what a chart shows.
type drawing struct {
	title       string
	curves      [][]history.Point // the run's, and the base's where both have the same steps
	first, last int64             // steps
	n           int               // points
	notes       []string          // what of them is not drawn
}

func drawn(name string, c, base history.Curve, baseName string) drawing {
	// The chart is 640 pixels wide: a longer title would be cut off.
	d := drawing{title: Shorten(name, 50), curves: [][]history.Point{c.Points}, n: min(len(c.Points), curvePoints)}
	d.first, d.last = ends(c.Points)
	if len(base.Points) > 1 {
		from, to := ends(base.Points)
		switch begin := max(d.first, from); {
		case begin >= min(d.last, to):
			d.notes = append(d.notes, fmt.Sprintf("%s has other steps, %d to %d, and is not drawn", baseName, from, to))
		default:
			if from != d.first {
				d.notes = append(d.notes, fmt.Sprintf("what is before step %d is not drawn: one of both begins there",
					begin))
			}
			if from != d.first || to != d.last {
				d.first, d.last = begin, max(d.last, to)
				d.n = int(min(float64(d.last)-float64(d.first)+1, curvePoints))
			}
			d.curves = append(d.curves, base.Points)
			d.title = Shorten(name, 18) + ": this run (blue), " + Shorten(baseName, 18) + " (grey)"
		}
	}
	if c.Gaps > 0 {
		d.notes = append(d.notes, fmt.Sprintf("%d of %d values are not finite and left out", c.Gaps, c.Count))
	}
	return d
}

func ends(points []history.Point) (first, last int64) {
	return points[0].Step, points[len(points)-1].Step
}

// until reads a curve at n steps from first to last, as resample does, and stops where the
// curve does: the value nearest to its end is its last.
func until(points []history.Point, first, last int64, n int) []float64 {
	values := resample(points, first, last, n)
	_, end := ends(points)
	if end >= last || n < 2 {
		return values
	}
	at := int(math.Round((float64(end) - float64(first)) / (float64(last) - float64(first)) * float64(n-1)))
	at = max(at, 1) // a line has two ends
	values[at] = points[len(points)-1].Value
	return values[:at+1]
}

// chartEnd ends a line before the others: Mermaid spreads the values of each line over the
// whole axis, and has no gap. This one is too large for a number of JavaScript, so that the
// path of the line has an infinite point, and a path is drawn up to its first error
// (w3.org/TR/SVG, "Error handling in path data").
var chartEnd = strings.Repeat("9", 310)

// chartStyle sets the colours, because the usual ones cannot be seen on white.
const chartStyle = `%%{init: {"xyChart": {"height": 240, "width": 640}, "themeVariables": {"xyChart": {` +
	`"plotColorPalette": "#2f81f7, #8b949e", "backgroundColor": "transparent", "titleColor": "#8b949e", ` +
	`"xAxisLabelColor": "#8b949e", "xAxisTitleColor": "#8b949e", ` +
	`"xAxisTickColor": "#8b949e", "xAxisLineColor": "#8b949e", ` +
	`"yAxisLabelColor": "#8b949e", "yAxisTitleColor": "#8b949e", ` +
	`"yAxisTickColor": "#8b949e", "yAxisLineColor": "#8b949e"}}}}%%`

// Shorten cuts the middle out of a text that is too long.
func Shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most/2]) + "…" + string(r[len(r)-most/2+1:])
}

// chartNumber writes a number as Mermaid reads it: without an exponent.
func chartNumber(v float64) string {
	s := strconv.FormatFloat(v, 'g', 5, 64)
	if strings.ContainsAny(s, "eE") {
		v, _ = strconv.ParseFloat(s, 64)
		s = strconv.FormatFloat(v, 'f', -1, 64)
	}
	return s
}

// chartText keeps what Mermaid takes between quotes, and what cannot end the
// fence.
func chartText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ', strings.ContainsRune("`<>;#%{}\\", r):
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
