package settle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/promote"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/settings"
)

// Note is what is noted with a run that nobody waits for: where its end is told, and what the
// workflow's step asked of it.
type Note struct {
	github.Note
	Require  []string `json:"require,omitempty"`
	Strict   bool     `json:"strict,omitempty"`
	Baseline string   `json:"baseline,omitempty"`

	Promote *promote.Settings `json:"promote,omitempty"` // what the run of a merge becomes
}

// NoteOf reads what is noted with a run; ok is false where nothing is.
func NoteOf(run *history.Run) (n Note, ok bool) {
	err := json.Unmarshal([]byte(run.Tag(history.TagSettle)), &n)
	return n, err == nil && n.Context != "" && n.Commit != ""
}

// longestNote is the most characters that a workspace takes of a property
// (learn.microsoft.com, "Service limits in Azure Machine Learning", Runs).
const longestNote = 1000

// properties are those of a run with a note.
func (n Note) properties() (map[string]string, error) {
	text, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	if utf8.RuneCount(text) > longestNote {
		return nil, mistake.Errorf("what --require and --baseline say has %d characters, of which at most %d are "+
			"noted with a run that nobody waits for; write the rules into %s", utf8.RuneCount(text), longestNote,
			settings.File)
	}
	return map[string]string{history.TagSettle: string(text)}, nil
}

// statusWithin is how long GitHub may take to take a status.
const statusWithin = 3 * time.Minute

// Left is the pending status of a run as its workflow leaves it.
type Left struct {
	statuses *github.Statuses
	status   github.Status
	secrets  *secret.Redactor
}

// Leave sets a pending status before anything is submitted: where that is not allowed, nobody
// would hear of the run's end. It returns what is to be noted with the run, its properties.
func Leave(
	ctx context.Context, w *github.Workflow, token string, secrets *secret.Redactor, n Note,
) (*Left, map[string]string, error) {
	properties, err := n.properties()
	if err != nil {
		return nil, nil, err
	}
	statuses, err := github.NewStatuses(w, token)
	if err != nil {
		return nil, nil, mistake.Of(err)
	}
	l := &Left{statuses, github.Status{Commit: n.Commit, Context: n.Context, State: github.Pending,
		Description: "being submitted", URL: w.RunURL()}, secrets}
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	if err := statuses.Set(ctx, l.status); err != nil {
		return nil, nil, refusedStatus(err)
	}
	return l, properties, nil
}

// refusedStatus is the error of a status that cannot be set: a mistake in the workflow, unless
// GitHub is not well.
func refusedStatus(err error) error {
	err = fmt.Errorf("nothing was submitted, as nobody would tell how the run ends (wait: false): %w", err)
	var refused *github.NotAllowedError
	if errors.As(err, &refused) || errors.Is(err, github.ErrNoCommit) {
		return mistake.Of(err)
	}
	return err
}

// Trains has the status name the run, with the address of its page where that can be opened from
// anywhere. Where it cannot be told, a Settler finds the run by the workflow's link.
func (l *Left) Trains(ctx context.Context, run, page string) error {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	status := l.status
	status.Description = run + " trains; aml-train settle tells how it ends"
	if link := report.PublicLink(page); link != "" {
		status.URL = link
	}
	if err := l.statuses.Set(ctx, status); err != nil {
		return fmt.Errorf("the commit status does not name run %s: %w", run, err)
	}
	return nil
}

// Ended ends the status of a run that has ended before the workflow did. An error says that the
// status stays pending.
func (l *Left) Ended(ctx context.Context, r *report.Report) error {
	return l.conclude(ctx, concluded(l.status, r))
}

// Unsubmitted ends the status where nothing was submitted after all, and says why. An error says
// that it stays pending.
func (l *Left) Unsubmitted(ctx context.Context, why error) error {
	status := l.status
	status.State, status.Description = github.Error, "nothing was submitted: "+l.secrets.String(why.Error())
	return l.conclude(ctx, status)
}

func (l *Left) conclude(ctx context.Context, status github.Status) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusWithin)
	defer cancel()
	if _, err := l.statuses.Complete(ctx, l.status, status); err != nil {
		return fmt.Errorf("the commit status %s stays pending: %w", status.Context, err)
	}
	return nil
}

// concluded is the status of a run that has ended, in place of a pending one. Its link is the
// run's own: who wrote the pending one, nobody knows.
func concluded(pending github.Status, r *report.Report) github.Status {
	status := pending
	status.State, status.Description, status.URL = github.Success, r.Heading(), report.PublicLink(r.URL)
	switch {
	case r.Run.Status() == history.Failed, len(r.Judgement.Broken()) > 0:
		status.State = github.Failure
	case r.Run.Status() != history.Completed:
		status.State = github.Error
	}
	return status
}
