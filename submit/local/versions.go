package local

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/client"

	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/limited"
	"github.com/org/aml-train/internal/secret"
	"github.com/org/aml-train/job"
	"github.com/org/aml-train/snapshot"
	"github.com/org/aml-train/submit"
)

// Versions implements submit.Target.
func (t *Target) Versions(ctx context.Context, s submit.Submission) (v submit.Versions, err error) {
	v.Inputs = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Job.Inputs)) {
		switch in := s.Job.Inputs[name]; {
		case in.Literal:
		case inWorkspace(in):
			if err := t.dataVersion(ctx, s.Job, name, &v); err != nil {
				return v, fmt.Errorf("inputs.%s: %w", name, err)
			}
		case job.IsRemote(in.Path):
			v.Fetched(ctx, submit.Secure, name, in.Path)
		default:
			tree, err := s.Job.OpenInput(in)
			if err == nil {
				v.Inputs[name], err = submit.Content(ctx, tree)
				tree.Close()
			}
			if err != nil {
				return v, fmt.Errorf("inputs.%s: %w", name, err)
			}
		}
	}
	if job.IsRemote(s.Job.Code) {
		v.Lacks("the code %s is elsewhere", s.Job.Code)
	}
	var of any
	switch e := s.Job.Environment; {
	case e != nil && e.Build != nil:
		v.Lacks("the image that the job has built of %s is another one on each machine; push it to a registry and "+
			"name it by its digest (environment: {image: NAME@sha256:...})", e.Build.Path)
	case InContainer(s.Job):
		of = t.containerVersion(ctx, s.Job, &v)
	default:
		of = t.machineVersion(ctx, s, &v)
	}
	text, err := json.Marshal(of)
	v.Environment = string(text)
	return v, err
}

// containerVersion is what a job in a container runs in: its image by its content, and
// what is installed on that.
func (t *Target) containerVersion(ctx context.Context, j *job.Job, v *submit.Versions) any {
	name := image(j)
	var list *job.Packages
	if isBuilt(j) {
		name = j.Environment.Image
		list = pinned(j, v)
		if !strings.Contains(name, "@sha256:") {
			v.Lacks("the image %s, on which the job has its packages installed, is named by a tag; name it by its "+
				"digest (%s@sha256:...)", name, name)
		}
		return []any{name, list, runtime.GOARCH}
	}
	if strings.Contains(name, "@sha256:") {
		_, digest, _ := strings.Cut(name, "@")
		return []any{digest, runtime.GOARCH}
	}
	digest, at, err := imageDigest(ctx, name)
	if err != nil {
		v.Lacks("the image %s is named by a tag, and %v; name it by its digest (%s@sha256:...)", name, err, name)
	}
	v.Image = at
	return []any{digest, runtime.GOARCH}
}

// imageDigest returns the digest of an image that is named by a tag: as this machine has
// it, else as its registry does. at names the image so, where it does not lie here yet.
func imageDigest(ctx context.Context, name string) (digest, at string, err error) {
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", "", err
	}
	e, err := openEngine(ctx)
	if err != nil {
		return "", "", err
	}
	defer e.Close()
	found, err := e.ImageInspect(ctx, name)
	if err == nil {
		for _, known := range found.RepoDigests {
			if of, err := reference.ParseNormalizedNamed(known); err == nil && of.Name() == ref.Name() {
				_, digest, _ := strings.Cut(known, "@")
				return digest, "", nil
			}
		}
		return found.ID, "", nil // no registry has it
	}
	if !errdefs.IsNotFound(err) {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	there, err := e.DistributionInspect(ctx, ref.String(), client.DistributionInspectOptions{})
	if err != nil {
		return "", "", fmt.Errorf("it is not on this machine, nor does its registry say which one it is: %w", err)
	}
	digest = there.Descriptor.Digest.String()
	return digest, ref.Name() + "@" + digest, nil
}

// pinned returns what a job has installed, and notes what of it has no version.
func pinned(j *job.Job, v *submit.Versions) *job.Packages {
	list, err := j.Packages()
	if err != nil || list == nil {
		return list // which Check has found
	}
	const most = 3
	if loose := list.Unpinned(); len(loose) > most {
		v.Lacks("%s names no single version of %s and %d more", j.Environment.Text(), strings.Join(loose[:most], ", "),
			len(loose)-most)
	} else if len(loose) > 0 {
		v.Lacks("%s names no single version of %s", j.Environment.Text(), strings.Join(loose, ", "))
	}
	return list
}

// machineVersion is what a job on this machine runs in: its interpreter and its packages. It
// notes the variables that it gets.
func (t *Target) machineVersion(ctx context.Context, s submit.Submission, v *submit.Versions) any {
	v.Variables = variablesOf(scripts(os.Environ(), s.Pass), s.Pass)
	built, err := t.packagesOf(s.Job)
	if built != nil && err == nil {
		list := pinned(s.Job, v)
		if built.Conda != "" {
			return []any{list, runtime.GOOS, runtime.GOARCH}
		}
		python, err := askPython(ctx, built.Tool, nil)
		if err != nil {
			v.Lacks("the interpreter %s does not say which one it is: %v", built.Tool, err)
		}
		return []any{list, python.Python, python.Platform}
	}
	if !s.Job.StartsPython() {
		v.Lacks("the command starts a program of this machine, of which nobody knows the version; start it in an "+
			"image (--environment docker:IMAGE), or with python (%s)", firstLine(s.Job.Command))
		return nil
	}
	program, err := t.python()
	if err == nil {
		program, err = interpreter(program)
	}
	if err == nil && s.Job.EnvironmentVariables["PATH"] != "" {
		err = errors.New("the job sets PATH, so that its python may be another than this machine's")
	}
	if err != nil {
		v.Lacks("%v", err)
		return nil
	}
	python, err := askPython(ctx, program, s.Job.EnvironmentVariables)
	if err != nil {
		v.Lacks("the interpreter %s does not say what it has: %v", program, err)
		return nil
	}
	folders := map[string]string{}
	for _, dir := range slices.Sorted(maps.Keys(python.Folders)) {
		files, err := builtIn(dir, s.Snapshot)
		if err != nil {
			v.Lacks("%s imports from the folder %s (%s), %v", program, dir, python.Folders[dir], err)
		}
		folders[python.Folders[dir]] = files
	}
	python.Folders = folders
	return []any{python, release()}
}

// release names the system that this machine has (os-release(5)), "" where it does not say.
func release() string {
	text, err := limited.Read("/etc/os-release", limited.Config)
	if err != nil {
		return ""
	}
	return string(text)
}

func firstLine(command string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(command), "\n")
	if len(line) > 60 {
		line = strings.ToValidUTF8(line[:60], "") + " ..."
	}
	return line
}

//go:embed version.py
var versionProbe string

// pythonVersion is what an interpreter says of itself.
type pythonVersion struct {
	Python   string            `json:"python"`   // sys.version
	Platform string            `json:"platform"` // of the machine, such as linux-x86_64
	Packages [][3]string       `json:"packages"` // name, version, hash of what its installation recorded
	Conda    []string          `json:"conda"`    // packages of conda, with their builds
	Folders  map[string]string `json:"folders"`  // from which it imports as they are, and why
}

// askPython asks an interpreter what it is.
func askPython(ctx context.Context, program string, env map[string]string) (v pythonVersion, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-c", versionProbe)
	cmd.Env = scripts(os.Environ(), nil)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Dir = filepath.Dir(program) // what is relative on PYTHONPATH means the snapshot
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return v, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr[max(0, len(exit.Stderr)-300):])))
	}
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(out, &v)
}

// mostBuilt bounds what is read of built files, in bytes.
const mostBuilt = 256 << 20

// builtIn identifies what a run takes of a folder that is installed as it is, besides the
// files of the snapshot: what a build has put there (see carry). The error is of a folder
// that is not the snapshot's.
func builtIn(dir string, s *snapshot.Snapshot) (string, error) {
	none := errors.New("whose files have no version; install it without -e, or let code hold it")
	if s == nil {
		return "", none
	}
	rel, err := filepath.Rel(s.Dir, dir)
	if err != nil || !filepath.IsLocal(rel) {
		return "", none
	}
	folders := map[string]bool{".": true}
	for _, f := range s.Files {
		for at := filepath.Dir(filepath.FromSlash(f.Path)); !folders[at]; at = filepath.Dir(at) {
			folders[at] = true
		}
	}
	var list []string
	left := int64(mostBuilt)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := filepath.Rel(s.Dir, name)
		if err != nil {
			return err
		}
		if d.IsDir() && !folders[at] {
			return fs.SkipDir
		}
		ext := filepath.Ext(name)
		if d.IsDir() || !d.Type().IsRegular() || ext != ".py" && ext != ".so" && ext != ".pyd" ||
			s.Find(filepath.ToSlash(at)) != nil {
			return nil
		}
		text, err := limited.Read(name, left)
		left -= int64(len(text))
		list = append(list, fmt.Sprintf("%q %x", at, sha256.Sum256(text)))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("of which not everything can be read: %w", err)
	}
	return strings.Join(list, "\n"), nil
}

// ofSession are variables that name who works where, and not on what: what a shell, a
// terminal, a desktop and a workflow set anew each time. All others count.
var ofSession = lazyregexp.New(`^(_|PWD|OLDPWD|SHLVL|HOME|USER|LOGNAME|MAIL|SHELL|HOSTNAME|EDITOR|VISUAL|PAGER|` +
	`TERM|COLORTERM|NO_COLOR|CLICOLOR|COLUMNS|LINES|LS_COLORS|DISPLAY|WINDOWID|TMPDIR|TMP|TEMP|PATH|CI|` +
	`INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|STY|` +
	`(TERM|SSH|TMUX|XDG|DBUS|WAYLAND|GNOME|KDE|VSCODE|ITERM|GPG|GIT|GITHUB|RUNNER|ACTIONS|LESS)_.*)$`)

// variable is a name that a shell passes on.
var variable = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variablesOf are those that may decide what comes out, by name. What signs in somewhere
// counts by its name alone: it is another one each day.
func variablesOf(environ, pass []string) []string {
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case !variable.MatchString(name):
		case ofSession.MatchString(name) && !slices.Contains(pass, name):
		case secret.Named(name):
			out = append(out, name)
		default:
			out = append(out, kv)
		}
	}
	slices.Sort(out)
	return out
}
