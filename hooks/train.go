package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/org/aml-train/internal/git"
	"github.com/org/aml-train/snapshot"
)

// Settings is what a push trains, and how: hook in .aml-train.yaml.
type Settings struct {
	Branches []string `yaml:"branches"`               // patterns; without any, every branch
	Paths    []string `yaml:"paths"`                  // patterns, as in .gitignore; without any, every change counts
	Wait     string   `yaml:"wait" oneof:"submitted"` // "submitted" waits until the run is accepted
	Required bool     `yaml:"required"`               // a submission that fails stops the push
}

// Training is one commit that a push gives to one branch.
type Training struct {
	Commit, Branch string
	Settings       Settings
	No             string // why nothing is trained; "" where something is
}

func (t Training) String() string { return t.Branch + " " + t.Commit[:7] }

// Push decides what a push trains, and has it submitted.
type Push struct {
	Repo *git.Repository
	// Commit returns all files of a commit.
	Commit func(ctx context.Context, rev string) (*snapshot.Snapshot, error)
	// Read returns what a commit's settings say, and why there is nothing to train in
	// it, or "".
	Read func(*snapshot.Snapshot) (s Settings, no string, err error)
	// Submit begins to submit a commit of a branch. It goes on by itself, and writes to
	// log, whose last line is the run's id or what is wrong; wait waits for its end.
	Submit func(commit, branch string, log *os.File) (wait func() error, err error)
	// Logs opens the folder of the logs, and makes it.
	Logs func() (*os.Root, error)
	Say  func(format string, args ...any)

	logs      *os.Root
	submitted map[string]Training // by commit
	last      *snapshot.Snapshot  // the commit that was looked at last: many branches may be at it
	lastRev   string
}

// OptIn says how a clone is let train at a push.
const OptIn = "aml-train hook install, or beside another hook manager git config " + Key + " true, opts it in"

// ErrRequired says that something that has to be trained is not, so that the push is to
// stop.
var ErrRequired = errors.New("hook.required is true")

const (
	mostReasons = 5 // of branches of one push that are not trained
	waitAtMost  = 30 * time.Second
)

// Consider decides about one ref of a push.
func (p *Push) Consider(ctx context.Context, u Update) (Training, error) {
	t := Training{Commit: u.Local, Branch: u.Branch()}
	if p.last == nil || p.lastRev != u.Local {
		taken, err := p.Commit(ctx, u.Local)
		if err != nil {
			return t, err
		}
		p.last.Close()
		p.last, p.lastRev = taken, u.Local
	}
	commit := p.last
	t.Commit = commit.Commit // of a tag, what it stands for
	var err error
	if t.Settings, t.No, err = p.Read(commit); err != nil {
		return t, err
	}
	s := t.Settings
	if !matchBranch(s.Branches, t.Branch) {
		t.No = fmt.Sprintf("hook.branches names %s, and not this branch", strings.Join(s.Branches, ", "))
	}
	// Where the remote has nothing to compare with, or what it has is not here,
	// everything counts.
	if t.No != "" || len(s.Paths) == 0 || u.New() {
		return t, nil
	}
	before, err := p.Commit(ctx, u.Remote)
	if err != nil {
		return t, nil
	}
	defer before.Close()
	counts := func(c snapshot.Change) bool { return matchPath(s.Paths, c.Path()) }
	if !slices.ContainsFunc(snapshot.Diff(before, commit), counts) {
		t.No = fmt.Sprintf("nothing below %s changed (hook.paths)", strings.Join(s.Paths, ", "))
	}
	return t, nil
}

// Close lets go of the commit that was looked at last.
func (p *Push) Close() {
	p.last.Close()
	p.last = nil
}

// Run is the hook. It lets the push go on whatever happens, but for a submission that the
// settings require: that is ErrRequired.
func (p *Push) Run(ctx context.Context, updates []Update) error {
	defer func() {
		p.Close()
		if p.logs != nil {
			p.logs.Close()
		}
	}()
	p.submitted = map[string]Training{}
	allowed := Allowed(p.Repo)
	updates = slices.DeleteFunc(updates, func(u Update) bool { return u.Branch() == "" })
	refused, silent := false, 0
	for _, u := range updates {
		t, err := p.Consider(ctx, u)
		if !allowed {
			if err == nil && t.No == "" {
				p.Say("aml-train: %s is not trained: this clone has not opted in; %s", t, OptIn)
				break // once is enough
			}
			continue
		}
		if err == nil && t.No == "" {
			err = p.train(ctx, t)
		}
		if ctx.Err() != nil {
			return ctx.Err() // the push is interrupted as well
		}
		switch {
		case err != nil:
			p.Say("aml-train: %s is not trained: %s", t, firstLine(err.Error()))
			refused = refused || t.Settings.Required
		case t.No != "" && len(updates) > mostReasons:
			silent++
		case t.No != "":
			p.Say("aml-train: %s is not trained: %s", t, t.No)
		}
	}
	if silent > 0 {
		p.Say("aml-train: %d of %d branches are not trained, as hook in their settings says", silent, len(updates))
	}
	if refused {
		return ErrRequired
	}
	return nil
}

// train has a commit submitted, once in a push.
func (p *Push) train(ctx context.Context, t Training) error {
	if first, ok := p.submitted[t.Commit]; ok {
		p.Say("aml-train: %s is the commit of %s, and trained with it", t, first.Branch)
		return nil
	}
	if p.logs == nil {
		var err error
		if p.logs, err = p.Logs(); err != nil {
			return err
		}
		dropLogs(p.logs)
	}
	log, err := newLog(p.logs, t)
	if err != nil {
		return err
	}
	defer log.Close()
	wait, err := p.Submit(t.Commit, t.Branch, log)
	if err != nil {
		return err
	}
	p.submitted[t.Commit] = t
	if t.Settings.Wait == "" && !t.Settings.Required {
		p.Say("aml-train: training %s; aml-train hook status and aml-train watch follow it", t)
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- wait() }()
	select {
	case err := <-done:
		last := Log{p.logs, logName(log)}
		if err != nil {
			delete(p.submitted, t.Commit)
			return errors.New(strings.TrimPrefix(last.Line(), Refused))
		}
		p.Say("aml-train: training %s: run %s", t, strings.TrimSpace(last.Line()+" "+last.Link()))
	case <-time.After(waitAtMost):
		p.Say("aml-train: training %s, which takes a while to be accepted; aml-train hook status shows how it goes", t)
	case <-ctx.Done():
		p.Say("aml-train: interrupted; the submission of %s goes on, and aml-train hook status shows it", t)
	}
	return nil
}

// firstLine is the first line of what is wrong: a caret below a line of a file says
// nothing without the line.
func firstLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(first)
}
