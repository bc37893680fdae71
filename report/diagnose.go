package report

import (
	"fmt"
	"strings"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/imports"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/screen"
	"github.com/org/aml-train/internal/secret"
)

// Diagnosis is why a run failed, and what to do about it.
type Diagnosis struct {
	Title  string // the error in one line, as the program printed it
	Advice string // what to do; paths and names stand between backticks
	File   string // the user's file that raised it, relative to the source directory
	Line   int
	Code   string // the line of code, where the traceback shows it
}

func (d *Diagnosis) markdown() string {
	var b strings.Builder
	for i, part := range strings.Split(d.Advice, "`") {
		if i%2 == 1 {
			b.WriteString(Code(part))
		} else {
			b.WriteString(Escape(part))
		}
	}
	return b.String()
}

// Context is what a diagnosis may ask about the job.
type Context struct {
	// Why tells what keeps a file of the source directory from travelling: the
	// ignore file's line, "" where none does. The file need not exist.
	Why func(path string) string
	// Repo is the repository as it lies there now, nil where there is none.
	Repo *imports.Repository
	// Install says where a package is added: to a conda file, or with pip.
	Install func(pkg string) string
	// Work is the folder in which the script ran, to be cut from its paths.
	Work string
	// Source is where the source directory lay in the copy that the script ran in, slash-
	// separated: the copy of a local run stands for the whole repository. "" is at its root.
	Source string
}

var (
	exception = lazyregexp.New(
		`^((?:[A-Za-z_][\w]*\.)*[A-Z_]\w*(?:Error|Exception|Warning|Interrupt|Exit|Iteration|NotFound|Group|Timeout|Abort)?)(?:: (.*))?$`)
	noModule = lazyregexp.New(`No module named '?([\w.]+)'?`)
	noFile   = lazyregexp.New(`\[Errno 2\] No such file or directory: '([^']+)'`)
)

// Diagnose finds out why a run failed, from its log and the reason that it ended
// with. It returns nil for a run that did not fail.
func Diagnose(run *history.Run, log []string, c Context) *Diagnosis {
	status, reason := run.Status(), run.Tag(history.TagError)
	if status == history.Completed || status == history.Paused || !status.Terminal() {
		return nil
	}
	if status == history.Canceled {
		d := &Diagnosis{Title: "canceled"}
		switch {
		case strings.HasPrefix(reason, "the maximum duration"):
			d.Title = "canceled: " + reason
			d.Advice = "The run took longer than it was given. Raise `limits.timeout` in the job file (or " +
				"`--max-run-duration-seconds`), or make the script do less. What it had written to `outputs` is kept."
		case reason != "":
			d.Title = reason
		}
		return d
	}
	d := &Diagnosis{Title: reason}
	if reason != "" && run.Tag(history.TagSweep) != "" { // its log says which trials ended, not why
		return d
	}
	t, cause := telling(tracebacks(log), c)
	if t == nil {
		d.fromLog(log, reason, c)
		return d
	}
	d.Title = t.title()
	if f, ok := cause.userFrame(c); ok {
		d.File, d.Line, d.Code = f.File, f.Line, f.Code
	}
	if d.advise(cause, c); cause.title() != d.Title && d.Advice != "" {
		d.Advice = "The cause is `" + strings.ReplaceAll(Shorten(cause.title(), 300), "`", "'") + "`: " + d.Advice
	}
	return d
}

// place is "`src/train.py:12` ".
func (d *Diagnosis) place() string {
	if d.File == "" {
		return "The script "
	}
	return fmt.Sprintf("`%s:%d` ", d.File, d.Line)
}

func (d *Diagnosis) advise(t *traceback, c Context) {
	kind := t.name()
	switch {
	case known(t.title()+"\n"+t.rest) != "":
		d.Advice = known(t.title() + "\n" + t.rest)
	case noModule.MatchString(t.text):
		d.missingModule(noModule.FindStringSubmatch(t.text)[1], c)
	case noFile.MatchString(t.text):
		d.missingFile(noFile.FindStringSubmatch(t.text)[1], c)
	case kind == "MemoryError", strings.Contains(t.text, "out of memory"), kind == "OutOfMemoryError":
		what := "memory"
		if strings.Contains(t.text, "CUDA") {
			what = "the GPU's memory"
		}
		d.Advice = d.place() + "needed more than there was of " + what + ". Use smaller batches, load the data in " +
			"parts, or name a larger compute target."
	case kind == "KeyboardInterrupt":
		d.Advice = "The script was interrupted."
	case d.File != "":
		d.Advice = d.place() + "raised it"
		if d.Code != "" {
			d.Advice += ": `" + strings.ReplaceAll(d.Code, "`", "'") + "`"
		} else {
			d.Advice += "."
		}
		if hint := t.absent(c); hint != "" {
			d.Advice = strings.TrimSuffix(d.Advice, ".") + ". " + hint
		}
	}
}

// fromLog is for programs other than Python, and for ends that no program can
// print.
func (d *Diagnosis) fromLog(log []string, reason string, c Context) {
	if d.Title == "" {
		d.Title = "failed"
	}
	last := ""
	if n := len(log); n > 0 {
		last = strings.TrimSpace(log[n-1])
	}
	for _, line := range log[max(0, len(log)-20):] {
		if m := noModule.FindStringSubmatch(line); m != nil && strings.Contains(line, "python") {
			d.Title = strings.TrimSpace(line)
			d.missingModule(m[1], c)
			return
		}
	}
	for _, line := range log[max(0, len(log)-20):] {
		if mend := known(line); mend != "" {
			d.Title, d.Advice = strings.TrimSpace(line), mend
			return
		}
	}
	switch {
	case strings.Contains(reason, "out of memory"):
		d.Title = "killed, probably out of memory"
		d.Advice = "The command was killed with SIGKILL, which is what the kernel does when memory runs out. Use " +
			"smaller batches, load the data in parts, or name a larger compute target."
	case strings.HasSuffix(reason, "status 127"):
		d.Title = last
		d.Advice = "The shell did not find a command. Check its spelling, and that the environment has it on PATH."
	case strings.Contains(last, "can't open file"):
		d.Title = last
		d.Advice = "Python did not find the script. Its path is relative to the source directory (`code:` in " +
			"the job file)."
	case strings.HasPrefix(reason, "interrupted"):
		d.Title = "interrupted"
		d.Advice = reason + ". What the run had logged and written to `outputs` is kept."
	case last != "":
		d.Advice = "The last line it printed: `" +
			strings.ReplaceAll(strings.ToValidUTF8(last[:min(len(last), 300)], ""), "`", "'") + "`"
	}
}

// known is the mend of an error of Azure ML's own libraries whose text does not tell it
// (learn.microsoft.com, "Known issues and troubleshooting in Azure Machine Learning";
// azure-sdk-for-python#16035; MachineLearningNotebooks#1013), "" of other errors.
func known(text string) string {
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("RoundTripLoader") && has("comment_handling"):
		return "This version of ruamel.yaml does not go with `azureml-core`: put " +
			"`ruamel.yaml>=0.15.35,<0.17.5` into the environment, or a newer `azureml-core`."
	case has("DecodeError") && has("algorithms") && has("decode"):
		return "`PyJWT` 2 does not go with this `azureml-core`: put `PyJWT<2` into the environment, or a newer " +
			"`azureml-core`."
	case has("Metric Document is too large"):
		return "Azure ML takes a metric in small parts: log a list or table in pieces of at most 250 values, or " +
			"each value by itself with its step, as `mlflow.log_metric(name, value, step=i)` does."
	}
	return ""
}

var escapes = lazyregexp.New("\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[@-Z\\\\-_]")

// Plain is console output without what a terminal would interpret: colours and
// other escape sequences, and lines that a carriage return overwrote, as progress
// bars do.
func Plain(s string) string {
	return secret.Visible(escapes.ReplaceAllString(screen.Text(s), ""))
}

// Line is Plain in one line: of a name, which a script can have given more.
func Line(s string) string {
	return strings.Join(strings.FieldsFunc(Plain(strings.ReplaceAll(s, "\r", "\n")), func(r rune) bool {
		return r == '\n' || r == '\t' || r == '\u2028' || r == '\u2029' || r == '\u0085'
	}), " ")
}
