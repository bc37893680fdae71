// Package report answers: how is it told?
//
// One report serves the pull request's comment, the job summary, a Markdown file
// and the terminal: what happened, is it better, where is it; then the curves,
// the outputs, the end of the log and what ran.
package report

import (
	"context"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/aml-train/gitmeta"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/screen"
)

// Source is where a report's facts come from: a run history.
type Source interface {
	Curve(ctx context.Context, run, key string, points int) (history.Curve, error)
	Artifacts(context.Context, *history.Run) ([]history.File, error)
	OpenArtifact(ctx context.Context, r *history.Run, path string) (io.ReadCloser, error)
}

// Report is what there is to tell of a run.
type Report struct {
	Run       *history.Run
	Name      string   // of the job, for the heading
	Key       []string // the names of the metrics that tell most
	URL       string   // of the run; "" where it has none
	Curves    map[string]history.Curve
	Base      *history.Run // what the metrics are compared with; nil where there is none
	BaseName  string
	BaseNote  string // why there is none, or what a reader has to know of it
	BaseCurve map[string]history.Curve
	// Repeats are the runs that repeat the reported one, it among them, and BaseRepeats
	// those of the base: where there are several, their mean is what counts.
	Repeats, BaseRepeats []*history.Run
	Judgement            *Judgement // nil where nothing is judged
	Reused               *Reuse     // nil where the run was trained for what is reported
	Cost                 *float64   // in USD, of all Repeats together; nil where it is not known
	Files                []history.File
	FileURL              func(path string) string // the link of an output; nil where there are none
	Log                  []string                 // the last lines of the console output
	Diagnosis            *Diagnosis               // of a run that failed
	Children             []*history.Run           // that its script made
	Sweep                *history.Sweep           // of a run that is one, whose children are its trials
	At                   time.Time                // when this was so
}

// Reuse says for which code a run stands that has trained the same before.
type Reuse struct {
	Commit string // "" outside a repository
	Dirty  bool   // with uncommitted changes
}

// reused says that nothing was trained, without any markup but label's; "" where something
// was.
func (r *Report) reused(label func(string) string) string {
	if r.Reused == nil {
		return ""
	}
	what := "what is here"
	if c := r.Reused.Commit; c != "" {
		what = "commit " + label(c[:min(7, len(c))])
		if r.Reused.Dirty {
			what += " with its uncommitted changes"
		}
	}
	return "Reused: this run has trained the same files, job, environment and inputs, so nothing was trained for " +
		what + "."
}

const (
	curvePoints = 60      // in a chart: more cannot be told apart
	curveDetail = 600     // that are read, so that the ends of a curve stay what they are
	logLines    = 40      // of the end of the log
	logBytes    = 256000  // of its end that are read
	rawBytes    = 1 << 20 // of which that much, the states of progress bars included
)

// Collect gathers the report of a run, which is compared with another one.
func Collect(ctx context.Context, src Source, run *history.Run, with history.Baseline) (*Report, error) {
	base := with.Run
	r := &Report{Run: run, Base: base, BaseNote: with.Note, At: time.Now(), Repeats: with.This,
		Curves: map[string]history.Curve{}, BaseCurve: map[string]history.Curve{}}
	if base != nil && len(run.Data.Metrics) > 0 && !slices.ContainsFunc(run.Data.Metrics, func(m history.Metric) bool {
		_, has := base.Metric(m.Key)
		return has
	}) {
		r.Base, r.BaseNote, base = nil, Label(base)+" has none of these metrics", nil
	}
	var err error
	for i, m := range run.Data.Metrics {
		if i >= 200 { // a chart of each would be read by nobody
			break
		}
		if r.Curves[m.Key], err = src.Curve(ctx, run.Info.RunID, m.Key, curveDetail); err != nil {
			return nil, err
		}
		if base != nil && len(r.Curves[m.Key].Points) > 1 {
			if r.BaseCurve[m.Key], err = src.Curve(ctx, base.Info.RunID, m.Key, curveDetail); err != nil {
				return nil, err
			}
		}
	}
	if r.Files, err = src.Artifacts(ctx, run); err != nil {
		return nil, err
	}
	if base != nil {
		r.BaseName, r.BaseRepeats = Label(base), with.Repeats
	}
	if f, err := src.OpenArtifact(ctx, run, "user_logs/std_log.txt"); err == nil {
		defer f.Close()
		if r.Log, err = tail(f); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Label names a run by its branch and commit, else by its id.
func Label(r *history.Run) string {
	commit, branch := r.Tag(gitmeta.PropCommit), r.Tag(gitmeta.PropBranch)
	if len(commit) > 7 {
		commit = commit[:7]
	}
	if commit == "" {
		return r.Info.RunID
	}
	return strings.TrimSpace(branch + " " + commit)
}

// tail returns the last lines of a log, without what a terminal would interpret.
func tail(r io.Reader) ([]string, error) {
	var from int64
	if s, ok := r.(io.Seeker); ok {
		end, err := s.Seek(0, io.SeekEnd)
		if err == nil {
			from, err = s.Seek(max(0, end-rawBytes), io.SeekStart)
		}
		if err != nil {
			return nil, err
		}
	}
	end := &lastBytes{cut: from > 0}
	shown := screen.NewFinal(end)
	if _, err := io.Copy(shown, r); err != nil {
		return nil, err
	}
	if err := shown.Flush(); err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(Plain(string(end.text)), "\n"), "\n")
	if end.cut && len(lines) > 1 {
		lines = lines[1:] // it starts in the middle
	}
	if len(lines) == 1 && lines[0] == "" {
		return nil, nil
	}
	return lines, nil
}

// lastBytes holds the last of what is written to it, at least logBytes.
type lastBytes struct {
	text []byte
	cut  bool // there was more
}

func (l *lastBytes) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	if over := len(l.text) - logBytes; over > logBytes {
		l.text, l.cut = append(l.text[:0], l.text[over:]...), true
	}
	return len(p), nil
}

// outputs are the files that people look for, images first: the console output is the log.
func (r *Report) outputs() (files []history.File, bytes int64) {
	for _, f := range r.Files {
		if strings.HasPrefix(f.Path, "user_logs/") {
			continue
		}
		files = append(files, f)
		bytes += int64(f.Size)
	}
	slices.SortStableFunc(files, func(a, b history.File) int { return first(isImage(a.Path), isImage(b.Path)) })
	return files, bytes
}

func isImage(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp":
		return true
	}
	return false
}

// Title says in one line what happened, without any markup.
func (r *Report) Title() string {
	s := r.Run.Status()
	switch {
	case s == history.Completed:
		if m, ok := r.broken(); ok {
			return m.Key + " is " + Number(float64(m.Value))
		}
		if m, ok := r.Headline(); ok {
			return m.Key + " " + Number(r.now(m.Key).Mean)
		}
		return "completed"
	case r.Diagnosis != nil:
		return r.Diagnosis.Title
	case s == history.Paused:
		return "paused"
	case s == history.Canceled:
		return "canceled"
	case s == history.CancelRequested:
		return "being canceled"
	case s.Terminal():
		return "failed"
	}
	return strings.ToLower(string(s)) + " for " + Duration(r.took())
}

// icon stands before the title: a result that is no number is no success.
func (r *Report) icon() string {
	if len(r.Judgement.Broken()) > 0 {
		return "❌"
	}
	if _, broken := r.broken(); broken && r.Run.Status() == history.Completed {
		return "⚠️"
	}
	return Icon(r.Run.Status())
}

// PublicLink is an address that can be opened from anywhere, else "".
func PublicLink(url string) string {
	if strings.HasPrefix(url, "https:") {
		return url
	}
	return ""
}

// Icon stands for a status.
func Icon(s history.Status) string {
	switch s {
	case history.Completed:
		return "✅"
	case history.Canceled:
		return "⚪"
	case history.Failed, history.NotResponding:
		return "❌"
	}
	return "⏳"
}

// Number writes a value with four significant digits, whole numbers in full.
func Number(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 0):
		return strings.Replace(strconv.FormatFloat(v, 'g', -1, 64), "Inf", "∞", 1)
	case v == math.Trunc(v) && abs < 1e9:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case abs >= 1e-3 && abs < 1e6:
		digits := 3 - int(math.Floor(math.Log10(abs)))
		s := strconv.FormatFloat(v, 'f', max(digits, 0), 64)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// Change writes what became of a value: "▲ 0.013 (1.4 %)".
func Change(now, before float64) string {
	d := now - before
	if math.IsNaN(d) || math.IsInf(d, 0) {
		return ""
	}
	if d == 0 {
		return "="
	}
	arrow := "▲"
	if d < 0 {
		arrow = "▼"
	}
	s := arrow + " " + significant(math.Abs(d))
	if before != 0 {
		if percent := math.Abs(d/before) * 100; percent < 1000 {
			s += " (" + significant(percent) + " %)"
		}
	}
	return s
}

func significant(v float64) string {
	s := strconv.FormatFloat(v, 'g', 2, 64)
	if strings.Contains(s, "e") {
		if v >= 100 {
			return strconv.FormatFloat(v, 'f', 0, 64)
		}
		if v >= 1e-5 {
			return strings.TrimRight(strconv.FormatFloat(v, 'f', 6, 64), "0")
		}
	}
	return s
}

// Duration writes a time for people: 840 ms, 41 s, 3 min 12 s, 2 h 5 min.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", math.Floor(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// sinceWord stands between a status and a duration.
func (r *Report) sinceWord() string {
	switch s := r.Run.Status(); {
	case s == history.Completed:
		return "in"
	case s.Terminal():
		return "after"
	}
	return "for"
}

// took is how long the run has lasted.
func (r *Report) took() time.Duration {
	if r.Run.Info.EndTime != 0 {
		return r.Run.Ended().Sub(r.Run.Started())
	}
	return r.At.Sub(r.Run.Started())
}

// waitsFor says what a run waits for that has waited for long.
func (r *Report) waitsFor() string {
	if r.took() < 5*time.Minute {
		return ""
	}
	return r.Run.Status().WaitsFor()
}

var bars = []rune("▁▂▃▄▅▆▇█")

// Sparkline draws a curve in at most width characters.
func Sparkline(points []history.Point, width int) string {
	if len(points) < 2 {
		return ""
	}
	values := resample(points, points[0].Step, points[len(points)-1].Step, min(width, len(points)))
	low, high := bounds(values)
	var b strings.Builder
	for _, v := range values {
		i := 0
		if high > low {
			i = int((v - low) / (high - low) * float64(len(bars)-1) * 1.0001)
		}
		b.WriteRune(bars[min(max(i, 0), len(bars)-1)])
	}
	return b.String()
}

func bounds(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	return low, high
}

// resample reads a curve at n steps spread evenly from first to last, between
// its points on the straight line.
func resample(points []history.Point, first, last int64, n int) []float64 {
	out := make([]float64, n)
	j := 0
	for i := range out {
		at := float64(first)
		if n > 1 {
			at += (float64(last) - float64(first)) * float64(i) / float64(n-1)
		}
		for j+1 < len(points)-1 && float64(points[j+1].Step) < at {
			j++
		}
		a, b := points[j], points[min(j+1, len(points)-1)]
		out[i] = a.Value
		if span := float64(b.Step) - float64(a.Step); span > 0 {
			f := min(max((at-float64(a.Step))/span, 0), 1)
			out[i] = a.Value*(1-f) + b.Value*f
		}
	}
	return out
}
