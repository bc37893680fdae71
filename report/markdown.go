package report

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/internal/size"
)

// extent is how much of each part a text holds.
type extent struct{ metrics, charts, files, log int }

// Markdown writes the report as GitHub's Markdown in at most limit bytes. What
// matters least goes first where it does not fit, and the text says what went.
func (r *Report) Markdown(limit int) string {
	e := extent{metrics: 200, charts: 6, files: 100, log: logLines}
	for {
		text, left := r.markdown(e)
		if len(left) > 0 {
			text += "\nLeft out to fit: " + strings.Join(left, ", ") + ".\n"
		}
		if len(text) <= limit {
			return text
		}
		switch {
		case e.charts > 0:
			e.charts--
		case e.files > 5:
			e.files /= 2
		case e.log > 5:
			e.log /= 2
		case e.metrics > 5:
			e.metrics /= 2
		case e.log > 0:
			e.log = 0
		case e.files > 0:
			e.files = 0
		default:
			return strings.ToValidUTF8(text[:max(limit, 0)], "")
		}
	}
}

func (r *Report) markdown(e extent) (text string, left []string) {
	var b strings.Builder
	drop := func(n int, what string) {
		if n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
	}
	b.WriteString("### " + r.icon() + " " + Escape(r.Name) + " · " + Escape(r.Title()) + r.titleChange() +
		r.brokenText())
	b.WriteString("\n\n" + r.statusLine() + "\n")
	if text := r.reused(label); text != "" {
		b.WriteString("\n" + text + "\n")
	}
	if d := r.Diagnosis; d != nil && d.Advice != "" {
		b.WriteString("\n" + d.markdown() + "\n")
	} else if reason := r.Run.Tag(history.TagError); reason != "" && reason != r.Title() {
		b.WriteString("\n" + Escape(reason) + "\n")
	}
	metrics := r.metrics()
	if what := r.waitsFor(); what != "" {
		b.WriteString("\nIt waits for " + Escape(what) + ".\n")
	}
	r.metricTables(&b, metrics[:min(len(metrics), e.metrics)])
	drop(len(metrics)-e.metrics, "metrics")
	b.WriteString(r.judgement())
	b.WriteString(r.comparison())
	if r.silent() {
		b.WriteString("\n" + Escape(noMetrics) + "\n")
	}
	r.charts(&b, metrics, e.charts, drop)
	if e.files > 0 { // where there is room for lists
		b.WriteString(r.repeatsMarkdown())
		b.WriteString(r.childrenMarkdown())
	} else {
		drop(len(r.Children), "runs of the script")
	}
	if files, bytes := r.outputs(); len(files) > 0 {
		links := make([]string, 0, e.files)
		for _, f := range files[:min(len(files), e.files)] {
			links = append(links, r.link(f)+" "+size.Format(int64(f.Size)))
		}
		fmt.Fprintf(&b, "\n<details><summary>Outputs: %s, %s</summary>\n\n%s\n\n</details>\n",
			size.Count(len(files), "file"), size.Format(bytes), strings.Join(links, " · "))
		drop(len(files)-e.files, "outputs")
	}
	if log := r.Log[max(0, len(r.Log)-e.log):]; len(log) > 0 && e.log > 0 && r.Run.Status() != history.Completed {
		fmt.Fprintf(&b, "\n<details><summary>End of the log</summary>\n\n%s\n</details>\n",
			Fence(strings.Join(clipped(log), "\n")))
	}
	b.WriteString("\n<details><summary>What ran</summary>\n\n" + r.whatRan() + "\n\n</details>\n")
	if w := r.Run.Tag(history.TagWarnings); w != "" {
		b.WriteString("\n")
		for line := range strings.SplitSeq(w, "\n") {
			b.WriteString("> ⚠️ " + Escape(line) + "\n")
		}
	}
	return b.String(), left
}

// Heading says in one line what happened, how that compares, and whether rules are broken,
// without any markup.
func (r *Report) Heading() string { return r.Title() + r.titleChange() + r.brokenText() }

// titleChange is how the metric in the title differs from the base's, "" where it does not.
func (r *Report) titleChange() string {
	m, ok := r.Headline()
	if !ok || r.Run.Status() != history.Completed {
		return ""
	}
	now := r.now(m.Key).Mean
	before, ok := r.before(m.Key)
	if !ok || before.Mean == now || Change(now, before.Mean) == "" {
		return ""
	}
	arrow, _, _ := strings.Cut(Change(now, before.Mean), " (")
	return strings.TrimRight(" "+arrow+" "+r.Verdict(m.Key, now, before.Mean), " ")
}

// clipped cuts lines of which nobody reads the end.
func clipped(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		if out[i] = l; len(l) > 1000 {
			out[i] = strings.ToValidUTF8(l[:1000], "") + " …"
		}
	}
	return out
}

// statusLine is the second line: status, time, target, run, commit.
func (r *Report) statusLine() string {
	line := fmt.Sprintf("**%s** %s %s", r.Run.Status(), r.sinceWord(), Duration(r.took()))
	if target := r.Run.Tag(history.TagTarget); target != "" {
		line += " on " + Code(target)
	}
	if text := r.cost(); text != "" {
		line += ", " + text
	}
	run := Code(r.Run.Info.RunID)
	if r.URL != "" {
		run = "[" + run + "](" + r.URL + ")"
	}
	line += " · run " + run
	if c := r.Run.Tag(gitmeta.PropCommit); c != "" {
		line += " · commit " + label(c[:min(7, len(c))])
		if r.Run.Tag(gitmeta.PropDirty) == "True" {
			line += " with uncommitted changes"
		}
	}
	return line
}

func (r *Report) link(f history.File) string {
	if r.FileURL != nil {
		if url := r.FileURL(f.Path); url != "" {
			return "[" + Escape(f.Path) + "](" + url + ")"
		}
	}
	return Code(f.Path)
}

func (r *Report) whatRan() string {
	t := r.Run.Tag
	parts := []string{Code(t(history.TagCommand))}
	if s := t(history.TagSource); s != "" && s != "." {
		parts[0] += " in " + Code(s+"/")
	}
	if e := t(history.TagEnvironment); e != "" {
		parts = append(parts, "environment "+Code(e))
	}
	if id := t(history.TagSnapshot); id != "" {
		s := "snapshot " + Code(id[:min(7, len(id))])
		var files int
		var bytes int64
		if n, _ := fmt.Sscanf(t(history.TagFiles), "%d %d", &files, &bytes); n == 2 {
			s += fmt.Sprintf(" (%s, %s", size.Count(files, "file"), size.Format(bytes))
			if n, _ := fmt.Sscanf(t(history.TagSent), "%d %d", &files, &bytes); n == 2 && files > 0 {
				s += fmt.Sprintf("; %d sent, %s", files, size.Format(bytes))
			}
			s += ")"
		}
		parts = append(parts, s)
	}
	if n := t(history.TagAttempts); n != "" {
		parts = append(parts, Escape(n)+" attempts")
	}
	if d := t("mlflow.note.content"); d != "" {
		parts = append(parts, "described as “"+Escape(Shorten(strings.Join(strings.Fields(d), " "), 300))+"”")
	}
	if tags := r.tags(); len(tags) > 0 {
		parts = append(parts, "tags "+Code(strings.Join(tags, " ")))
	}
	if b := t(gitmeta.PropBranch); b != "" {
		parts = append(parts, "branch "+Code(b))
	}
	if params := slices.Clone(r.Run.Data.Params); len(params) > 0 {
		sort.Slice(params, func(i, j int) bool { return params[i].Key < params[j].Key })
		text := make([]string, 0, 12)
		for _, p := range params[:min(len(params), 12)] {
			text = append(text, p.Key+"="+p.Value)
		}
		s := "parameters " + Code(strings.Join(text, " "))
		if n := len(params) - len(text); n > 0 {
			s += fmt.Sprintf(" and %d more", n)
		}
		parts = append(parts, s)
	}
	if a := t(history.TagActor); a != "" {
		parts = append(parts, "started by "+Escape(a))
	}
	return strings.Join(parts, ", ")
}

// tags are those that the job or its script gave the run, by name.
func (r *Report) tags() (out []string) {
	for _, t := range r.Run.Data.Tags {
		ours := false
		for _, prefix := range []string{"aml-train.", "mlflow.", "azureml."} {
			ours = ours || strings.HasPrefix(strings.ToLower(t.Key), prefix)
		}
		if !ours && len(out) < 12 {
			out = append(out, Shorten(t.Key+"="+t.Value, 100))
		}
	}
	slices.Sort(out)
	return out
}

// special is what Markdown, HTML and GitHub's own references are made of.
var special = strings.NewReplacer(
	"\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "~", "\\~", "|", "\\|", "$", "\\$",
	"&", "&amp;", "<", "&lt;", ">", "&gt;",
	// A mention or reference is made from the text that a reader sees; a comment
	// between its parts takes it apart and shows nothing.
	"@", "@<!-- -->", "#", "#<!-- -->", "://", ":<!-- -->//", "www.", "www<!-- -->.",
	apart, "<!-- -->",
	"\r\n", " ", "\n", " ", "\r", " ", "\t", " ",
)

// apart stands where a reference is taken apart: visible text has no such sign.
const apart = "\x01"

// references are the words that GitHub makes links of: GH-1, and what may be a commit's id
// (docs.github.com, "Autolinked references and URLs"). The others have signs that special
// takes apart.
var references = lazyregexp.New(`(?i)\b(gh)(-\d)|\b([0-9a-f]{3})([0-9a-f]{4,37})\b`)

// label writes what names a run of this program's: its branch, and its commit, of which
// GitHub's link is welcome.
func label(s string) string {
	i := strings.LastIndexByte(s, ' ') + 1
	if !commitID.MatchString(s[i:]) {
		return Escape(s)
	}
	return Escape(s[:i]) + s[i:]
}

var commitID = lazyregexp.New(`^[0-9a-f]{7}$`)

// Escape writes text so that GitHub's Markdown shows it as it is: no markup, no
// mention, no reference, in one line.
func Escape(s string) string {
	return special.Replace(references.ReplaceAllString(secret.Visible(s), "${1}${3}"+apart+"${2}${4}"))
}

var ticks = lazyregexp.New("`+")

func longestTicks(s string) int {
	n := 0
	for _, t := range ticks.FindAllString(s, -1) {
		n = max(n, len(t))
	}
	return n
}

// Code writes text as a code span.
func Code(s string) string {
	s = strings.Join(strings.Fields(secret.Visible(s)), " ")
	if s == "" {
		return ""
	}
	fence := strings.Repeat("`", longestTicks(s)+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// Fence writes text as a block of code that nothing in it can end.
func Fence(s string) string {
	fence := strings.Repeat("`", max(3, longestTicks(s)+1))
	// What a comment is known by stands in it once.
	s = strings.ReplaceAll(secret.Visible(s), "<!-- aml-train", "<!- - aml-train")
	return fence + "text\n" + s + "\n" + fence + "\n"
}
