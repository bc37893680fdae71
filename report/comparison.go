package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/size"
)

// maxDiffering is how many parameters are shown of those in which a run and its base
// differ.
const maxDiffering = 12

// differing are the parameters in which the run and its base differ, as many as are shown,
// and how many more there are.
func (r *Report) differing() (list []history.Difference, more int) {
	if r.Base == nil || len(r.Run.Data.Params) == 0 && !r.Run.Status().Terminal() {
		return nil, 0 // a run's inputs are recorded at its end
	}
	list = r.Differing()
	more = max(len(list)-maxDiffering, 0)
	return list[:len(list)-more], more
}

// Differing are all parameters in which the run and its base differ; not their seeds, where
// one of them has several.
func (r *Report) Differing() []history.Difference {
	list := history.Differing(r.Run, r.Base)
	if len(r.Repeats) > 1 || len(r.BaseRepeats) > 1 {
		list = slices.DeleteFunc(list, func(d history.Difference) bool { return history.IsSeed(d.Name) })
	}
	return list
}

// comparison is what stands below the metrics: in which parameters the run and its base
// differ, and what a reader has to know of the base.
func (r *Report) comparison() string {
	var b strings.Builder
	if list, more := r.differing(); len(list) > 0 {
		fmt.Fprintf(&b, "\n| parameter | this run | %s |\n|---|--:|--:|\n", label(r.BaseName))
		for _, d := range list {
			fmt.Fprintf(&b, "| %s | **%s** | %s |\n", Escape(d.Name), Escape(orNone(d.This)), Escape(orNone(d.Base)))
		}
		if more > 0 {
			fmt.Fprintf(&b, "\nand %d more parameters differ\n", more)
		}
	}
	switch {
	case r.BaseNote == "":
	case r.Base != nil:
		b.WriteString("\nOf the comparison: " + Escape(r.BaseNote) + ".\n")
	case r.firstOfItsKind():
		b.WriteString("\nNothing to compare with: " + Escape(r.BaseNote) + ".\n")
	}
	return b.String()
}

// comparisonText is the same for a terminal.
func (r *Report) comparisonText(width int) string {
	var b strings.Builder
	if r.Base != nil {
		repeats := ""
		if n := len(r.BaseRepeats); n > 1 {
			repeats = ", the mean of " + size.Count(n, "run")
		}
		b.WriteString("  compared with " + Line(r.Base.Info.RunID))
		if r.BaseName != r.Base.Info.RunID {
			b.WriteString(" (" + Line(r.BaseName) + ")")
		}
		b.WriteString(repeats + "\n")
		list, more := r.differing()
		for _, d := range list {
			fmt.Fprintf(&b, "    %s = %s, there %s\n", Line(d.Name), Line(orNone(d.This)), Line(orNone(d.Base)))
		}
		if more > 0 {
			fmt.Fprintf(&b, "    and %d more parameters differ\n", more)
		}
	}
	if r.BaseNote != "" && (r.Base != nil || r.firstOfItsKind()) {
		before := "of the comparison: "
		if r.Base == nil {
			before = "nothing to compare with: "
		}
		b.WriteString(wrap(before+Line(r.BaseNote), width, "  ") + "\n")
	}
	return b.String()
}

// firstOfItsKind tells whether there is a result, and nothing to compare it with.
func (r *Report) firstOfItsKind() bool {
	return r.Base == nil && len(r.Run.Data.Metrics) > 0 && r.Run.Status() == history.Completed
}

func orNone(value string) string {
	if value == "" {
		return "–"
	}
	return Shorten(value, 100)
}
