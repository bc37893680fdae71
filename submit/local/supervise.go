package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/submit"
)

// grace is how long a command has to end after SIGTERM, before it is killed. A
// workflow that is canceled gives this program 10 s for everything.
const grace = 3 * time.Second

// outcome is how a run ended.
type outcome struct {
	status   history.Status
	reason   string
	warnings []string
	evicted  bool // it is not the end of the run, but of an attempt
}

// stoppedBy is how a run ends whose context has.
func stoppedBy(ctx context.Context) outcome {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) { // by a signal, say, without a word
		return outcome{status: history.Canceled, reason: interruptedWord + "aml-train was told to stop"}
	}
	return outcome{status: history.Canceled, reason: cause.Error(), evicted: errors.Is(cause, errEvicted)}
}

// stopped is how a run ends that an error keeps from going on: canceled where the context is,
// as the error then follows from that.
func stopped(ctx context.Context, err error) outcome {
	if ctx.Err() != nil {
		return stoppedBy(ctx)
	}
	return outcome{status: history.Failed, reason: err.Error()}
}

// lose notes that something which the command wrote could not be kept: a run that went
// well otherwise did not, for whoever goes on with its outputs.
func (o *outcome) lose(err error) {
	switch {
	case err == nil:
	case o.status == history.Completed:
		o.status, o.reason = history.Failed, "the command succeeded, but "+err.Error()
	default:
		o.warnings = append(o.warnings, err.Error())
	}
}

// Supervise runs a submitted job to its end. It is called in the process that
// Submit starts, with lock the file that Submit handed over.
func (t *Target) Supervise(ctx context.Context, id string, lock *os.File) error {
	dir, err := t.folder(id, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	if lock == nil { // where a lock cannot be handed over, it is free by now or soon
		if lock, err = waitLock(ctx, dir); err != nil {
			return err
		}
	}
	// Whoever finds the lock free also finds what this process has printed.
	lifeline = append(lifeline, lock)
	run, err := t.Store.Run(ctx, id)
	if err != nil {
		return err
	}
	p, err := t.readPlan(run)
	if err != nil {
		return err
	}
	var end outcome
	if p.Sweep != nil {
		end = t.runSweep(ctx, p, run, dir)
	} else {
		adoptOrphans()
		end = t.run(ctx, p, dir)
	}
	dir.Remove(reserve)
	t.Store.SetStatus(ctx, id, history.Finalizing, "")
	notes, lost := t.collect(ctx, p, run)
	end.lose(lost)
	t.note(ctx, id, append(end.warnings, notes...))
	if err := t.Store.SetStatus(ctx, id, end.status, end.reason); err != nil {
		return err // the lock goes, and the next command finds the run interrupted
	}
	t.remove(id)
	return nil
}

// note keeps what was noticed besides the run's end.
func (t *Target) note(ctx context.Context, run string, warnings []string) {
	if len(warnings) > 0 {
		text := strings.Join(warnings, "\n")
		t.Store.SetTags(ctx, run,
			history.KeyValue{Key: history.TagWarnings, Value: strings.ToValidUTF8(text[:min(len(text), 8000)], "")})
	}
}

// run runs a job whose folder is dir.
func (t *Target) run(ctx context.Context, p *plan, dir *os.Root) outcome {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go listen(ctx, p, dir, stop)

	base, err := t.openBase(p.Run, false)
	if err != nil {
		return stopped(ctx, err)
	}
	defer base.Close()
	values, err := resolve(ctx, p, base)
	if err != nil {
		return stopped(ctx, err)
	}
	secret := rand.Text()
	address, closeServer,
		err := history.NewServer(t.Store, history.Access{Token: secret, Run: p.Run, Room: p.mostOutputs(),
		MaxArtifacts: maxFiles}).Serve("127.0.0.1:0")
	if err != nil {
		return stopped(ctx, fmt.Errorf("the run history cannot be served on loopback: %w", err))
	}
	defer closeServer()
	console, err := t.Store.Files.OpenFile(path.Join(p.Artifacts, history.ConsoleLog), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return stopped(ctx, err)
	}
	defer console.Close()
	// Room for a traceback, should the command fill the disk.
	preallocate(console, 256<<10)
	defer func() {
		if info, err := console.Stat(); err == nil {
			console.Truncate(info.Size()) // gives back what was not needed
		}
	}()
	return t.attempts(ctx, p, base, console, func(ctx context.Context) outcome {
		if p.Image != "" {
			return t.runContainer(ctx, p, values, address, secret, console)
		}
		return t.runHere(ctx, p, base, values, address, secret, console)
	})
}

// runHere runs a job in this machine's own environment, or in one of packages. The history
// is at the address, for who has the secret.
func (t *Target) runHere(ctx context.Context, p *plan, base *os.Root, values map[string]string, address, secret string,
	console *os.File) outcome {
	var packages string // the folder of the environment, "" of the machine's own
	if p.Packages != nil {
		var end outcome
		if packages, end = p.Packages.ready(ctx, p.building(), console); packages == "" {
			return end
		}
		p.Python = pythonOf(packages)
		if _, err := os.Stat(p.Python); err != nil {
			p.Python = "" // a conda environment need not have one
		}
	}
	env, err := t.environment(p, base, address, secret)
	p.tellCheckpoints(env, values)
	if err != nil {
		return stopped(ctx, err)
	}
	if packages != "" {
		p.Packages.use(packages, env)
	}
	warnings := p.inFront(ctx, env)
	for _, w := range warnings { // before it trains for hours
		fmt.Fprintf(console, "aml-train: warning: %s\n", w)
	}
	j := job.Job{Command: p.Command}
	group, err := t.processes(p, base, p.Packages.activate(j.Expand(values)), env, console)
	if err != nil {
		return stopped(ctx, err)
	}
	defer group.close()
	if err := t.Store.SetStatus(ctx, p.Run, history.Running, ""); err != nil {
		return stopped(ctx, err)
	}
	ctx, release := p.limit(ctx)
	defer release()
	end := group.execute(ctx)
	end.warnings = append(warnings, end.warnings...)
	return end
}

// limit ends the context when the run has lasted as long as it may, or the attempt has.
func (p *plan) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	if p.Timeout > 0 {
		ctx, stop = also(ctx, stop, p.Timeout-p.spent, fmt.Errorf("the maximum duration of %s was over", p.Timeout))
	}
	if len(p.Evictions) > 0 && p.Sweep == nil { // of a sweep, each trial is
		ctx, stop = also(ctx, stop, p.Evictions[0], errEvicted)
	}
	return ctx, stop
}

// also ends a context after a duration as well.
func also(ctx context.Context, stop func(), d time.Duration, why error) (context.Context, context.CancelFunc) {
	ctx, release := context.WithTimeoutCause(ctx, d, why)
	return ctx, func() { release(); stop() }
}

// describe says how a command failed.
func describe(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	return exitReason(exitStatus(exit))
}

const outOfMemory = "the command was killed (SIGKILL); where nobody did that, the machine ran out of memory"

// exitReason writes an exit status for people. A shell reports a child's signal
// as 128 and its number.
func exitReason(code int, signal string) string {
	if signal == "" && code > 128 && code < 160 {
		signal = signalName(code - 128)
	}
	switch signal {
	case "":
		return fmt.Sprintf("the command exited with status %d", code)
	case "SIGKILL":
		return outOfMemory
	}
	return fmt.Sprintf("the command was ended by %s", signal)
}

// listen waits for a request to cancel, and in attached mode for the end of the
// command that started the run.
func listen(ctx context.Context, p *plan, dir *os.Root, stop func(error)) {
	if p.Attached {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			if ctx.Err() != nil {
				return
			}
			// Whoever asks twice to cancel a run does not wait for its end.
			if reason, err := limited.ReadBelow(dir, cancelFile, limited.Config); err == nil {
				stop(errors.New(string(reason)))
			}
			stop(errors.New(interruptedWord + "the aml-train command that started the run was killed"))
		}()
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if reason, err := limited.ReadBelow(dir, cancelFile, limited.Config); err == nil {
			stop(errors.New(string(reason)))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// resolve turns inputs and outputs into what the command line gets: a literal,
// or an absolute path.
func resolve(ctx context.Context, p *plan, base *os.Root) (map[string]string, error) {
	values := spaceValues(p.Space)
	abs := func(name string) string { return filepath.Join(p.Base, filepath.FromSlash(name)) }
	for name, in := range p.Inputs {
		key := "inputs." + name
		if in.Literal {
			values[key] = in.Value
			continue
		}
		dir := path.Join(inputsDir, name)
		if strings.HasPrefix(in.Path, "https://") {
			file, err := download(ctx, in.Path, in.ETag, base, dir)
			if err != nil {
				return nil, fmt.Errorf("inputs.%s: %w", name, err)
			}
			values[key] = abs(file)
			continue
		}
		if _, err := os.Stat(in.Path); err != nil {
			return nil, fmt.Errorf("inputs.%s: %w", name, err)
		}
		values[key] = in.Path
		if !plainPath.MatchString(in.Path) {
			// A link without blanks stands for it: the value is put into a command
			// line as it is.
			if err := base.MkdirAll(dir, 0o755); err != nil {
				return nil, err
			}
			link := path.Join(dir, safeName(filepath.Base(in.Path)))
			if err := base.Symlink(in.Path, link); err != nil {
				return nil, fmt.Errorf("inputs.%s: %w", name, err)
			}
			values[key] = abs(link)
		}
	}
	for name, out := range p.Outputs {
		at := path.Join(namedDir, name)
		made := at
		if out.Type == job.URIFile {
			made = path.Dir(at)
		}
		if err := base.MkdirAll(made, 0o755); err != nil {
			return nil, err
		}
		values["outputs."+name] = abs(at)
	}
	return values, nil
}

var unsafe = lazyregexp.New(`[^A-Za-z0-9_.=+-]+`)

func safeName(name string) string {
	if name = strings.TrimLeft(unsafe.ReplaceAllString(name, "_"), "-"); name == "" {
		return "data"
	}
	return name
}

// download fetches a file over https into the folder dir of base and returns its path
// there. A transfer that breaks is tried again, three times in all.
func download(ctx context.Context, address, etag string, base *os.Root, dir string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	shown := *u
	shown.RawQuery, shown.User = "", nil // a signature is a secret
	if err := base.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := path.Join(dir, safeName(path.Base(u.Path)))
	for try := 1; ; try++ {
		err = fetch(ctx, submit.Secure, address, etag, base, name)
		if err == nil {
			return name, nil
		}
		var final *statusError
		if try == 3 || ctx.Err() != nil || errors.Is(err, errOtherVersion) || errors.As(err, &final) &&
			final.code < 500 && final.code != 429 {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err // its text holds the whole address
			}
			return "", fmt.Errorf("%s: %w", shown.String(), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * time.Second):
		}
	}
}

var errOtherVersion = errors.New("it has changed since the run was submitted; submit it again")

type statusError struct {
	code   int
	status string
}

func (e *statusError) Error() string { return "the server answered " + e.status }

// fetch writes a file that is at an address to base. With an entity tag, it is that
// version or an error.
func fetch(ctx context.Context, client *http.Client, address, etag string, base *os.Root, name string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if etag != "" {
		req.Header.Set("Accept-Encoding", "identity") // as it was asked for
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return &statusError{res.StatusCode, res.Status}
	}
	if etag != "" && res.Header.Get("ETag") != etag {
		return errOtherVersion
	}
	f, err := base.Create(name)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = fmt.Errorf("the transfer ended after %d of %d bytes", n, res.ContentLength)
	}
	return errors.Join(err, f.Close())
}

// environment is what the command runs with: this process's own variables, what
// Azure ML sets for a run, and the job's.
func (t *Target) environment(p *plan, base *os.Root, address, token string) (map[string]string, error) {
	env := p.machine()
	search, err := t.tools(p, base, env["PATH"])
	if err != nil {
		return nil, err
	}
	env["PATH"], env["PWD"] = search, p.Work
	fence(env, p.Base)
	for _, name := range []string{"NO_PROXY", "no_proxy"} { // the history is on this machine
		env[name] = strings.TrimPrefix(env[name]+",127.0.0.1,localhost", ",")
	}
	maps.Copy(env, runEnvironment(p, address, token))
	return env, nil
}

// machine is what of this process's variables its command gets.
func (p *plan) machine() map[string]string {
	env := map[string]string{}
	for _, kv := range scripts(os.Environ(), p.Pass) {
		if !belongsToRepository(kv) {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
		}
	}
	return env
}

// building is what the tools get that build its environment: the same, and the job's own,
// such as the address of an index.
func (p *plan) building() map[string]string {
	env := p.machine()
	maps.Copy(env, p.Env)
	return env
}

// runEnvironment is what a run finds in its environment wherever it runs: what
// Azure ML sets, and the job's own variables.
func runEnvironment(p *plan, base, token string) map[string]string {
	env := map[string]string{
		"PYTHONUNBUFFERED":       "1", // a line appears when it is printed
		"MLFLOW_TRACKING_URI":    base,
		"MLFLOW_TRACKING_TOKEN":  token,
		"MLFLOW_RUN_ID":          p.Run,
		"MLFLOW_EXPERIMENT_ID":   p.ExperimentID,
		"MLFLOW_EXPERIMENT_NAME": p.Experiment,
		"AZUREML_RUN_ID":         p.Run,
		// An address of this machine's loopback is gone when somebody reads it.
		"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
	}
	for _, name := range p.Pass {
		env[name] = os.Getenv(name)
	}
	maps.Copy(env, p.Env)
	return env
}

func pairs(env map[string]string) []string {
	out := make([]string, 0, len(env)+1)
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

// tools returns the PATH on which "python" is the interpreter of the run. One
// that has another name there, python3 or what --python gave, is called through
// a script of that name: a link would hide a virtual environment from Python.
func (t *Target) tools(p *plan, base *os.Root, search string) (string, error) {
	if p.Python == "" || isWindows {
		return search, nil
	}
	if found, err := exec.LookPath("python"); err == nil && t.Python == "" {
		if abs, _ := filepath.Abs(found); abs == p.Python {
			return search, nil
		}
	}
	if err := base.MkdirAll(toolsDir, 0o755); err != nil {
		return "", err
	}
	script := "#!/bin/sh\nexec '" + strings.ReplaceAll(p.Python, "'", `'\''`) + "' \"$@\"\n"
	names := []string{"python"}
	if filepath.Base(p.Python) != "python3" {
		names = append(names, "python3")
	}
	for _, name := range names {
		if err := base.WriteFile(path.Join(toolsDir, name), []byte(script), 0o755); err != nil {
			return "", err
		}
	}
	// The interpreter's own folder next: pip and the like belong to it.
	return strings.Join([]string{filepath.Join(p.Base, toolsDir), filepath.Dir(p.Python), search},
		string(os.PathListSeparator)), nil
}
