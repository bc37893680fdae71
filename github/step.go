package github

import (
	"crypto/rand"
	"os"
	"strconv"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/report"
)

// Step is the step of a workflow as its runner sees it: what it puts out, annotates and
// adds to the job's summary. No secret is in any of that.
type Step struct {
	Workflow *Workflow // may be nil where it only annotates
	Log      *Log
	Secrets  *secret.Redactor
	Say      func(format string, args ...any) // tells a person what could not be delivered
	Known    map[string]string                // the outputs that there are
}

// Notice shows a message on the page of the workflow run.
func (s *Step) Notice(title, message string) {
	s.Annotate([]report.Annotation{{Level: "notice", Title: title, Message: message}})
}

// Annotate shows messages on the page of the workflow run, and those with a file beside
// its lines.
func (s *Step) Annotate(list []report.Annotation) {
	s.Log.Commands(func(c *githubactions.Action) {
		for _, n := range list {
			fields := map[string]string{"title": report.Line(s.Secrets.String(n.Title))}
			if n.File != "" {
				fields["file"], fields["line"] = n.File, strconv.Itoa(max(n.Line, 1))
			}
			c = c.WithFieldsMap(fields)
			say := map[string]func(string, ...any){"notice": c.Noticef, "warning": c.Warningf,
				"error": c.Errorf}[n.Level]
			say("%s", report.Plain(s.Secrets.String(n.Message)))
		}
	})
}

// Group folds what do writes to the log away, under a title.
func (s *Step) Group(title string, do func() error) error {
	s.Log.Commands(func(c *githubactions.Action) { c.Group(report.Plain(title)) })
	defer s.Log.Commands(func(c *githubactions.Action) { c.EndGroup() })
	return do()
}

// summaryLimit is the most that GitHub keeps of one step's summary
// (docs.github.com, "Workflow commands", Job summaries: 1 MiB).
const summaryLimit = 1 << 20

// Summarise adds a text to the job's summary. render is given the most bytes that there
// is room for.
func (s *Step) Summarise(render func(limit int) string) {
	room := int64(summaryLimit - 1024)
	if info, err := os.Stat(s.Workflow.Summary); err == nil {
		room -= info.Size() // an earlier run of the same step
	}
	s.fileCommand("step-summary", s.Workflow.Summary, render(int(max(room, 0))))
}

// Output sets an output of the step.
func (s *Step) Output(name, value string) {
	if _, ok := s.Known[name]; !ok {
		panic("no output " + name)
	}
	// The end is one that no value holds: what a script printed is among them.
	end := "end-" + rand.Text()
	s.fileCommand("output", s.Workflow.Output, name+"<<"+end+"\n"+s.Secrets.String(value)+"\n"+end)
}

// fileCommand appends to one of the files that the runner reads when the step has
// ended; act has not all of them.
func (s *Step) fileCommand(name, file, text string) {
	if file == "" {
		return
	}
	defer func() { // the library panics where a file cannot be written
		if err := recover(); err != nil {
			s.Say("aml-train: %s: %v", name, err)
		}
	}()
	getenv := func(string) string { return file }
	githubactions.New(githubactions.WithGetenv(getenv)).IssueFileCommand(&githubactions.Command{Name: name,
		Message: text})
}
