package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/judge"
)

// maxChildren is how many runs of a script are shown, and maxColumns how many of what
// they differ in and of what they measure.
const (
	maxChildren = 20
	maxColumns  = 4
)

// runTable is a table of runs that belong together: what they differ in, what they
// share, the best first.
type runTable struct {
	runs            []*history.Run
	params, metrics []string
	more            int
}

// table lays runs out. They are sorted by the metric of the heading, where they have it,
// else by the first that all of them have.
func (r *Report) table(runs []*history.Run) (t runTable) {
	t.runs = slices.Clone(runs)
	values := map[string]map[string]bool{}
	measured := map[string]int{}
	for _, c := range t.runs {
		for _, p := range c.Data.Params {
			if values[p.Key] == nil {
				values[p.Key] = map[string]bool{}
			}
			values[p.Key][p.Value] = true
		}
		for _, m := range c.Data.Metrics {
			measured[m.Key]++
		}
	}
	for key, different := range values {
		if len(different) > 1 || len(t.runs) == 1 {
			t.params = append(t.params, key)
		}
	}
	for key := range measured {
		t.metrics = append(t.metrics, key)
	}
	headline, _ := r.Headline()
	slices.Sort(t.params)
	slices.SortFunc(t.metrics, func(a, b string) int {
		return cmp.Or(first(a == headline.Key, b == headline.Key), measured[b]-measured[a], strings.Compare(a, b))
	})
	t.params, t.metrics = t.params[:min(len(t.params), maxColumns)], t.metrics[:min(len(t.metrics), maxColumns)]
	if len(t.metrics) > 0 {
		sign := -1.0
		if judge.DirectionOf(t.metrics[0]) == judge.LowerIsBetter {
			sign = 1
		}
		slices.SortStableFunc(t.runs, func(a, b *history.Run) int {
			x, hasX := a.Metric(t.metrics[0])
			y, hasY := b.Metric(t.metrics[0])
			return cmp.Or(first(hasX, hasY), cmp.Compare(sign*x, sign*y))
		})
	}
	t.more = max(len(t.runs)-maxChildren, 0)
	t.runs = t.runs[:len(t.runs)-t.more]
	return t
}

// first orders what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func paramOf(r *history.Run, key string) string {
	for _, p := range r.Data.Params {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// cells are the texts of a row: the name, what it differs in, what it measured.
func (t runTable) cells(c *history.Run) []string {
	out := []string{cmp.Or(c.Info.RunName, c.Info.RunID)}
	for _, key := range t.params {
		out = append(out, paramOf(c, key))
	}
	for _, key := range t.metrics {
		text := ""
		if v, ok := c.Metric(key); ok {
			text = Number(v)
		}
		out = append(out, text)
	}
	return out
}

// childrenMarkdown is the table as Markdown, "" where the script made no runs.
func (r *Report) childrenMarkdown() string {
	if r.Sweep != nil {
		return r.sweepMarkdown()
	}
	if len(r.Children) == 0 {
		return ""
	}
	return fmt.Sprintf("\n<details><summary>Runs of the script: %d</summary>\n\n%s\n</details>\n", len(r.Children),
		r.table(r.Children).markdown())
}

// markdown is the table as Markdown.
func (t runTable) markdown() string {
	var b strings.Builder
	b.WriteString("| | run |")
	for _, key := range append(slices.Clone(t.params), t.metrics...) {
		b.WriteString(" " + Escape(key) + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("--:|", len(t.params)+len(t.metrics)) + "\n")
	for _, c := range t.runs {
		b.WriteString("| " + Icon(c.Status()) + " |")
		for _, text := range t.cells(c) {
			b.WriteString(" " + Escape(Shorten(text, 60)) + " |")
		}
		b.WriteString("\n")
	}
	if t.more > 0 {
		fmt.Fprintf(&b, "\nand %d more\n", t.more)
	}
	return b.String()
}

// childrenText is the table for a terminal.
func (r *Report) childrenText(width int) string {
	if r.Sweep != nil {
		return r.sweepText(width)
	}
	if len(r.Children) == 0 {
		return ""
	}
	return fmt.Sprintf("\n  %s of the script:\n", size.Count(len(r.Children), "run")) + r.table(r.Children).text()
}

// text is the table for a terminal.
func (t runTable) text() string {
	rows := [][]string{append(append([]string{"run"}, t.params...), t.metrics...)}
	for _, c := range t.runs[:min(len(t.runs), 10)] {
		rows = append(rows, t.cells(c))
	}
	var b strings.Builder
	b.WriteString(columns(rows))
	if more := len(t.runs) + t.more - (len(rows) - 1); more > 0 {
		fmt.Fprintf(&b, "    and %d more\n", more)
	}
	return b.String()
}

// columns writes rows for a terminal, each column as wide as its longest text.
func columns(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = Line(Shorten(row[i], 60))
			width[i] = max(width[i], len([]rune(row[i])))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := "   "
		for i, text := range row {
			line += " " + pad(text, width[i]+1)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
