package cli

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/report"
)

// runColumns are what a list says of each run; a run's own row begins with its id, that of
// a run that its script made with the name, further in.
var runColumns = []string{"RUN", "STATUS", "STARTED", "TOOK", "EXPERIMENT", "NAME", "RESULT", "COMMIT"}

// Places in a row.
const (
	columnRun = iota
	columnStatus
	columnStarted
	columnTook
	columnExperiment
	columnName
	columnResult
	columnCommit
)

// widest is how wide a column gets of which the middle can be left out, and narrowest how
// narrow; the rest is shown in whole.
var widest = map[int]int{columnExperiment: 30, columnName: 30, columnResult: 60}

var narrowest = map[int]int{columnExperiment: 12, columnName: 12, columnResult: 24}

// table prints the runs, and below each those that its script made: in columns where they
// fit into the width, else each run in lines of its own. A width of 0 has room for all.
func (a *app) table(runs []listed, width int) error {
	var rows [][]string
	for _, l := range runs {
		r := secret.Of(&a.secrets, l.Run)
		rows = append(rows, runRow(r, r.Info.RunID, a.secrets.String(l.experiment), r.DisplayName()))
		for _, c := range secret.Of(&a.secrets, l.children) {
			rows = append(rows, runRow(c, "  "+cmp.Or(c.Info.RunName, c.Info.RunID), "", ""))
		}
	}
	if columns := fit(rows, width); columns != nil {
		w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, strings.Join(runColumns, "\t"))
		for _, row := range rows {
			for i, most := range columns {
				row[i] = report.Shorten(row[i], most)
			}
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		return w.Flush()
	}
	var b strings.Builder
	for _, row := range rows {
		stack(&b, row, width)
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

// runRow is what a list says of a run.
func runRow(r *history.Run, id, experiment, name string) []string {
	took := report.Duration(time.Since(r.Started()))
	if !r.Ended().IsZero() {
		took = report.Duration(r.Ended().Sub(r.Started()))
	}
	result := ""
	if m, ok := (&report.Report{Run: r}).Headline(); ok {
		result = m.Key + " " + report.Number(float64(m.Value))
	}
	if why := r.Tag(history.TagError); why != "" {
		result = why
	}
	commit := r.Tag(gitmeta.PropCommit)
	commit = commit[:min(7, len(commit))]
	if commit != "" && r.Tag(gitmeta.PropDirty) == "True" {
		commit += "+"
	}
	indent := id[:len(id)-len(strings.TrimLeft(id, " "))]
	return []string{indent + strings.TrimLeft(report.Line(id), " "), string(r.Status()),
		r.Started().Format(time.DateTime), took,
		report.Line(experiment), report.Line(name), report.Line(result), commit}
}

// fit returns how wide the columns can be that are cut, nil where the width is too little
// for them. The last ones are cut first.
func fit(rows [][]string, width int) map[int]int {
	natural := make([]int, len(runColumns))
	for i, title := range runColumns {
		natural[i] = len(title)
		for _, row := range rows {
			natural[i] = max(natural[i], utf8.RuneCountInString(row[i]))
		}
		if most, cut := widest[i]; cut {
			natural[i] = min(natural[i], most)
		}
	}
	over := 2*(len(runColumns)-1) - width
	for _, n := range natural {
		over += n
	}
	columns := map[int]int{}
	for _, i := range []int{columnResult, columnName, columnExperiment} {
		columns[i] = natural[i]
		if less := min(over, natural[i]-narrowest[i]); width > 0 && less > 0 {
			columns[i] -= less
			over -= less
		}
	}
	if width > 0 && over > 0 {
		return nil
	}
	return columns
}

// stack writes a run in lines of its own: its id and status, and below them the rest, a
// line as full as it gets.
func stack(b *strings.Builder, row []string, width int) {
	indent := row[columnRun][:len(row[columnRun])-len(strings.TrimLeft(row[columnRun], " "))]
	line, room := row[columnRun], max(width, 20)
	add := func(text, between string) {
		text = report.Shorten(text, room-len(indent)-2)
		if utf8.RuneCountInString(line+between+text) > room {
			fmt.Fprintln(b, line)
			line, between = indent, "  "
		}
		line += between + text
	}
	add(row[columnStatus], "  ")
	fmt.Fprintln(b, line)
	line = indent
	between := "  "
	for _, i := range []int{columnResult, columnExperiment, columnName, columnStarted, columnTook, columnCommit} {
		if row[i] != "" {
			add(row[i], between)
			between = " · "
		}
	}
	fmt.Fprintln(b, line)
}
