package report

import "strings"

// Gone is what there is to tell of a run that nobody waited for and that is not there any more.
type Gone struct {
	Name   string // of the job
	Commit string
	Why    string
}

// Markdown says so as GitHub's Markdown, in at most limit bytes.
func (g Gone) Markdown(limit int) string {
	text := "### ❌ " + Escape(g.Name) + " · no result\n\n**Not known** · commit " +
		label(g.Commit[:min(7, len(g.Commit))]) + "\n\n" + Escape(g.Why) + "\n"
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}
