// Package local answers: how does a job run on this machine?
//
// Every run has a process of its own, the supervisor, that outlives the command
// which started it: it serves the run history on loopback, starts the job's
// command in an isolated copy of the snapshot, ends it when its time is up or
// somebody cancels it, and collects ./outputs and ./logs however it ends. The
// commands that watch and cancel a run need no connection to it: the console
// output is a file, a request to cancel is a file, and a lock on a third file
// tells that the supervisor lives.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// Target runs jobs on this machine. Store keeps their history.
type Target struct {
	Store *history.Store

	// Python is the interpreter that "python" in a command stands for; "" is the
	// python, else the python3, on PATH.
	Python string

	// Supervisor is the command line that calls Supervise in a process of its own;
	// the run's id and the history's folder are added to it.
	Supervisor []string

	// Workspace is where the data lie that inputs name by azureml: addresses. Its error says
	// why none is known. A nil Workspace knows none.
	Workspace func() (Elsewhere, error)

	// Say prints progress.
	Say func(format string, args ...any)

	placed sync.Once
	at     string // see place
}

var _ submit.Target = (*Target)(nil)

// History implements submit.Target.
func (t *Target) History(context.Context) (submit.History, error) { return records{t.Store}, nil }

// Archive implements submit.Target.
func (t *Target) Archive(ctx context.Context, run string, archived bool) error {
	return t.Store.ArchiveRun(ctx, run, archived)
}

// records is the run history of this machine.
type records struct{ *history.Store }

// ExperimentName implements submit.History.
func (r records) ExperimentName(ctx context.Context, run *history.Run) string {
	e, err := r.Experiment(ctx, run.Info.ExperimentID)
	if err != nil {
		return ""
	}
	return e.Name
}

// URL implements submit.History: the folder of the run's artifacts.
func (r records) URL(run *history.Run) string { return fileURL(r.ArtifactDir(run)) }

// FileURL implements submit.History.
func (r records) FileURL(run *history.Run, path string) string {
	return fileURL(filepath.Join(r.ArtifactDir(run), filepath.FromSlash(path)))
}

func fileURL(path string) string {
	return (&url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(path), "/")}).String()
}

// plan is what the supervisor needs to know of a job.
type plan struct {
	Run          string
	Experiment   string
	ExperimentID string
	Command      string // with its expressions
	Inputs       map[string]input
	Params       map[string]string // the inputs, as they are recorded
	Outputs      map[string]job.Output
	Env          map[string]string
	Timeout      time.Duration
	Python       string // absolute; "" where there is none
	Root         string // of the repository, or the source directory that is in none
	Attached     bool
	Keep         []string        // patterns of files that are kept besides outputs and logs
	MaxOutputs   int64           // bytes of outputs and logs that are kept
	Pass         []string        // names of variables that are passed on
	Evictions    []time.Duration // see Submission

	// Where its files lie: locate says that, never a file.
	Base      string `json:"-"` // the folder with the run's files, absolute
	Work      string `json:"-"` // where the command works, within Base
	Artifacts string `json:"-"` // below the history's folder, slash-separated

	Image     string // that the run gets a container of, "" for this machine's own programs
	Resources *job.Resources

	Distribution *job.Distribution
	Sweep        *sweepPlan        // nil of a run that is no sweep
	Space        map[string]string // of a trial: the hyperparameters, as its command gets them
	Packages     *packages         // that are built for it, nil for none
	Build        *imageBuild       // that is built for it, nil for none
	Mark         string            // by which its container is known, nobody else's

	carried []string      // see carry
	spent   time.Duration // by the attempts before this one
}

type input struct {
	Literal bool
	Value   string // of a literal
	Type    string
	Path    string // absolute, or an https: URL
	Place   string // the folder that the path does not leave; "" of a URL
	ETag    string // of a URL, the version that is fetched; "" for any
}

// InContainer tells whether a job trains in a container.
func InContainer(j *job.Job) bool { return isBuilt(j) || image(j) != "" }

// image is the image that a job trains in, "" for this machine's own programs and for one
// that has to be built.
func image(j *job.Job) string {
	if j.Environment == nil {
		return ""
	}
	if isBuilt(j) {
		return ""
	}
	return cmp.Or(j.Environment.Image, curatedImage(j.Environment.Reference))
}

// curated is a name of one of Microsoft's own environments: in a workspace, where it may
// have the prefix of its short form, or in the registry.
var curated = lazyregexp.New(`^(?:azureml:)?(?:AzureML-|//registries/azureml/environments/)([A-Za-z0-9._-]+?)` +
	`(?:(?::|/versions/)([0-9]+)|(?:@|/labels/)latest)?$`)

// curatedImage is the public image of one of Microsoft's environments (mcr.microsoft.com,
// azureml/curated), "" of others.
func curatedImage(reference string) string {
	m := curated.FindStringSubmatch(reference)
	if m == nil {
		return ""
	}
	return "mcr.microsoft.com/azureml/curated/" + strings.ToLower(m[1]) + ":" + cmp.Or(m[2], "latest")
}

// python returns the interpreter as an absolute path.
func (t *Target) python() (string, error) {
	if t.Python != "" {
		p, err := exec.LookPath(t.Python)
		if err != nil {
			return "", fmt.Errorf("there is no interpreter %s (--python, or python in .aml-train.yaml): %w",
				t.Python, errors.Unwrap(err))
		}
		return filepath.Abs(p)
	}
	for _, name := range []string{"python", "python3"} {
		if p, err := exec.LookPath(name); err == nil {
			return filepath.Abs(p)
		}
	}
	return "", errors.New("there is no python on PATH; install Python 3, or name the interpreter with --python")
}

// isWindows is where commands run in Git's bash, else in cmd.
const isWindows = runtime.GOOS == "windows"
