package cli

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/aml-train/github"
	"github.com/org/aml-train/internal/deliver"
	"github.com/org/aml-train/internal/mistake"
	"github.com/org/aml-train/report"
	"github.com/org/aml-train/snapshot"
)

// places are where flags have something written once a run has ended: they are looked at before
// it starts, since a slip of the pen is not to cost hours of training.
type places struct {
	markdown string // a file, or - for standard output; "" for none
	download string // a folder; "" for none
}

// runFolders are those that the files of a run lie in, but for what keep names.
var runFolders = []string{"outputs", "logs", "user_logs"}

// placeFlag is the value of a flag that names a place. An empty one is a variable that is not set.
type placeFlag struct{ name *string }

func (f placeFlag) String() string { return "" }
func (f placeFlag) Type() string   { return "string" }

func (f placeFlag) Set(text string) error {
	if text == "" {
		return errors.New("it is empty; name a place, or leave the flag out")
	}
	*f.name = text
	return nil
}

func (p *places) addMarkdown(cmd *cobra.Command) {
	cmd.Flags().Var(placeFlag{&p.markdown}, "markdown",
		"write the report as Markdown to a file; - is standard output")
}

func (p *places) addDownload(cmd *cobra.Command) {
	cmd.Flags().Var(placeFlag{&p.download}, "download-outputs", "a folder to put the run's outputs and logs into")
}

// check finds places to which nothing can be written, and leaves them as they are. Where nobody
// waits for the run's end, nothing would be.
func (p *places) check(wait bool) error {
	var wrong []error
	for _, f := range [][2]string{{"--markdown", p.markdown}, {"--download-outputs", p.download}} {
		if f[1] != "" && !wait {
			wrong = append(wrong, mistake.Errorf("%s: nothing is written to %s, as --wait=false does not wait for the "+
				"run's end; leave one of them out", f[0], f[1]))
		}
	}
	if p.markdown != "" && p.markdown != "-" {
		if err := deliver.Check(p.markdown); err != nil {
			wrong = append(wrong, mistake.Errorf("--markdown: %w", err))
		}
	}
	if p.download != "" {
		if err := deliver.CheckFolder(p.download, runFolders...); err != nil {
			wrong = append(wrong, mistake.Errorf("--download-outputs: %w", err))
		}
		if p.markdown != "" && p.markdown != "-" && deliver.Within(p.download, p.markdown) {
			wrong = append(wrong, mistake.Errorf("--download-outputs: %s is the file of --markdown; name another place",
				p.markdown))
		}
	}
	return errors.Join(wrong...)
}

func (a *app) writeMarkdown(ctx context.Context, r *report.Report, name string) error {
	text := r.Markdown(github.CommentLimit)
	if name == "-" {
		_, err := io.WriteString(a.out, text)
		return err
	}
	if err := deliver.File(name, strings.NewReader(text)); err != nil {
		return mistake.Errorf("--markdown: %w", err)
	}
	left, err := snapshot.LeaveOut(ctx, &a.git, name)
	switch {
	case err != nil:
		a.say("aml-train: %s travels with the next snapshot, unless an ignore file names it: %v", name, err)
	case left:
		a.say("%s is no part of the next snapshot: .git/info/exclude names it now", name)
	}
	return nil
}
