package github

import (
	"context"
	"time"

	"github.com/org/aml-train/report"
)

// Delivery brings what is told of a run to the people around a workflow: the comment on its pull
// request, the job's summary, annotations and outputs. What cannot be delivered is said, and
// changes nothing about the run.
type Delivery struct {
	*Step
	Token    string // that comments; "" for none
	Identity string // tells the jobs of one workflow apart: what was asked for

	Comments, Summary, Annotations bool // which of them are wanted

	comment *Comment // nil where none is to be written
	link    string   // of the comment
	failed  error    // why there is none
}

// Comment finds out where the comment is to be, or why there is none, and returns nil where that
// is so. Nothing is asked of GitHub for it.
func (d *Delivery) Comment() *Comment {
	w := d.Workflow
	switch {
	case !d.Comments || w.PullRequest == 0 || d.comment != nil:
	case d.Token == "":
		d.failed = &NotAllowedError{Reason: "there is no token to comment on the pull request with; pass " +
			"GITHUB_TOKEN: ${{ github.token }} in the step's env"}
	case w.Asks():
		d.comment, d.failed = w.Answer(d.Token, d.Identity)
	default:
		d.comment, d.failed = NewComment(w, d.Token, d.Identity)
	}
	return d.comment
}

// Refused tells why nothing was submitted, above the result that the comment shows: that is of an
// earlier commit.
func (d *Delivery) Refused(ctx context.Context, r report.Refused) {
	if c := d.Comment(); c != nil {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := c.Write(ctx, r.Markdown, false); err != nil {
			d.Say("aml-train: the pull request could not be told: %v", err)
		}
	}
	d.summarise(r.Markdown)
}

// followEvery is how often the comment follows a run.
const followEvery = time.Minute

// Follow keeps the comment up to date with the latest report, nil where there is none now, until
// stop is called, which does not wait for GitHub. It waits for latest: what that looks for, the last
// report needs as well, and would have to ask for again.
func (d *Delivery) Follow(ctx context.Context, latest func(context.Context) *report.Report) (stop func()) {
	going, cancel := context.WithCancel(ctx)
	if d.comment == nil {
		return cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if r := latest(ctx); r != nil {
				d.write(going, r.Markdown, false)
			}
			select {
			case <-going.Done():
				return
			case <-time.After(followEvery):
			}
		}
	}()
	return func() {
		cancel()
		<-done // two writers would not know of each other's comment
	}
}

// How long GitHub may take to take the last comment about a run: in a workflow that is being
// canceled, the runner ends this program ten seconds after it was first asked to end.
const (
	commentWithin = 3 * time.Minute
	hurriedWithin = 4 * time.Second
)

// Tell tells what a text says; ended is whether it is the last of its run. render is given the
// most bytes that there is room for.
func (d *Delivery) Tell(ctx context.Context, render func(limit int) string, ended, hurry bool) {
	if d.comment != nil {
		most := commentWithin
		if hurry {
			most = hurriedWithin
		}
		ctx, cancel := context.WithTimeout(ctx, most)
		d.write(ctx, render, ended)
		cancel()
	}
	if err := d.failed; err != nil {
		text := err.Error() + "."
		if d.Summary {
			text += " The report is in the job's summary."
		}
		d.Notice("No comment on the pull request", text)
	}
	d.Output("comment-url", d.link)
	d.Output("report", render(CommentLimit))
	d.summarise(render)
}

func (d *Delivery) write(ctx context.Context, render func(limit int) string, ended bool) {
	link, err := d.comment.Write(ctx, render, ended)
	if link != "" {
		d.link = link
	}
	d.failed = err
}

func (d *Delivery) summarise(render func(limit int) string) {
	if d.Summary {
		d.Summarise(render)
	}
}
