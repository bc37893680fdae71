package report

import (
	"fmt"
	"strings"
)

// Refused is what there is to tell where nothing could be submitted.
type Refused struct {
	Name     string       // of the job, as far as it is known
	Commit   string       // that was to be trained; "" where nobody knows
	Problems []Annotation // why, each with its place
}

// Markdown says so as GitHub's Markdown, in at most limit bytes.
func (r Refused) Markdown(limit int) string {
	head := "### ❌ " + Escape(r.Name) + " · nothing was submitted\n\n**Not submitted**"
	if r.Commit != "" {
		head += " · commit " + label(r.Commit[:min(7, len(r.Commit))])
	}
	var b strings.Builder
	b.WriteString(head + "\n\n")
	for i, p := range r.Problems {
		line := "- " + Escape(Shorten(Line(p.Message), 1000)) + "\n"
		if p.File != "" {
			line = "- " + Code(fmt.Sprintf("%s:%d", p.File, p.Line)) + " " + line[len("- "):]
		}
		more := fmt.Sprintf("\nand %d more\n", len(r.Problems)-i)
		if b.Len()+len(line)+len(more) > limit {
			b.WriteString(more)
			break
		}
		b.WriteString(line)
	}
	return strings.ToValidUTF8(b.String()[:min(b.Len(), limit)], "")
}
