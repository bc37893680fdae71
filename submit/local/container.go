package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/kballard/go-shellquote"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/org/aml-train/history"
	"github.com/org/aml-train/internal/lazyregexp"
	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/job"
)

// A job whose environment names an image runs in a container of its own. Nothing
// of this machine is mounted into it: its files go in and come out through the
// Engine API, as they must where this program is in a container itself and does
// not know the paths of the host.

// Labels of a run's container. They tell whose it is when nobody is left to remove
// it.
const (
	labelRun    = "aml-train.run"    // the run's id, for people
	labelMark   = "aml-train.mark"   // plan.Mark
	labelHome   = "aml-train.home"   // of the run history
	labelParent = "aml-train.parent" // the container that the supervisor is in, "" for none
)

// containerRoot is a run's folder in its container. Azure ML has the same one, so
// that a script that writes its own path down writes the same.
func containerRoot(run string) string { return "/mnt/azureml/cr/j/" + run }

// containerTop is where the root of the repository would lie, and containerWork the
// source directory.
func containerTop(run string) string { return containerRoot(run) + "/exe/" + workDir }

func containerWork(p *plan) string {
	rel, err := filepath.Rel(filepath.Join(p.Base, workDir), p.Work)
	if err != nil || !filepath.IsLocal(rel) {
		rel = "."
	}
	return path.Join(containerTop(p.Run), filepath.ToSlash(rel))
}

// engine is the Docker Engine.
type engine struct {
	*client.Client
	self string // the id of the container that this program is in, "" for none
}

func openEngine(ctx context.Context) (*engine, error) {
	c, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("the Docker Engine: %w", err)
	}
	if host := c.DaemonHost(); !strings.HasPrefix(host, "unix:") && !strings.HasPrefix(host, "npipe:") {
		return nil, fmt.Errorf("the Docker Engine: DOCKER_HOST is %s, another machine, from which a run cannot "+
			"reach its history here; use this machine's own Engine", host)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		c.Close()
		hint := "start Docker, or train with this machine's own python (--environment " + job.UserManaged + ")"
		if os.IsPermission(err) || strings.Contains(err.Error(), "permission denied") {
			hint = "the user has to be in the group docker"
		}
		return nil, fmt.Errorf("the environment is a Docker image, and no Docker Engine answers: %w; %s", err, hint)
	}
	return &engine{c, ownContainer()}, nil
}

// containerID finds the id in a line of mountinfo (proc_pid_mountinfo(5)): what is mounted
// at /etc/hostname and its like comes from a folder of that name. The machine itself has
// mounts below such folders, for the containers that run there.
var containerID = lazyregexp.New(`(?m)^\S+ \S+ \S+ \S*/containers/([0-9a-f]{64})/\S+ /etc/(?:hostname|hosts|resolv\.conf) `)

// ownContainer returns the id of the container that this program is in: Docker
// mounts files of its own into every container.
func ownContainer() string {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	return containerOf(mounts)
}

func containerOf(mounts []byte) string {
	if m := containerID.FindSubmatch(mounts); m != nil {
		return string(m[1])
	}
	return ""
}

// dockerArgs puts what a job asks of docker run into the container's settings.
// What would open this machine to the job is refused, by name.
func dockerArgs(r *job.Resources, c *container.Config, h *container.HostConfig) error {
	if r == nil {
		return nil
	}
	if r.ShmSize != "" {
		n, err := size.ParseMemory(r.ShmSize)
		if err != nil {
			return fmt.Errorf("shm_size: %w", err)
		}
		h.ShmSize = n
	}
	words, err := shellquote.Split(r.DockerArgs)
	if err != nil {
		return fmt.Errorf("docker_args: %w", err)
	}
	for len(words) > 0 {
		name, value, given := strings.Cut(words[0], "=")
		words = words[1:]
		if !given {
			if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
				value, words = words[0], words[1:]
			}
		}
		err := dockerArg(name, value, c, h)
		var refused *refusedArg
		switch {
		case errors.As(err, &refused):
			return fmt.Errorf("docker_args: %w", err)
		case err != nil:
			return fmt.Errorf("docker_args: %s=%s: %w", name, value, err)
		case value == "":
			return fmt.Errorf("docker_args: %s: the value is missing", name)
		}
	}
	return nil
}

// refusedArg is the error of an argument that this machine does not take, whatever its
// value is.
type refusedArg struct{ reason string }

func (r *refusedArg) Error() string { return r.reason }

// dockerArg puts one argument of docker run into the container's settings.
func dockerArg(name, value string, c *container.Config, h *container.HostConfig) (err error) {
	whole := func() int64 {
		n, wrong := strconv.ParseInt(value, 10, 64)
		if wrong != nil {
			err = errors.New("it takes a whole number")
		}
		return n
	}
	switch name {
	case "--shm-size":
		h.ShmSize, err = size.ParseMemory(value)
	case "--memory", "-m":
		h.Memory, err = size.ParseMemory(value)
	case "--cpus":
		n, wrong := strconv.ParseFloat(value, 64)
		if wrong != nil || !(n >= 0 && n < 1e6) {
			return errors.New("it takes a number, such as 1.5")
		}
		h.NanoCPUs = int64(n * 1e9)
	case "--cpuset-cpus":
		h.CpusetCpus = value
	case "--pids-limit":
		n := whole()
		h.PidsLimit = &n
	case "--ulimit":
		u, wrong := units.ParseUlimit(value)
		if errors.Is(wrong, strconv.ErrSyntax) || errors.Is(wrong, strconv.ErrRange) {
			return errors.New("it takes NAME=SOFT or NAME=SOFT:HARD, which are whole numbers")
		}
		if wrong != nil {
			return wrong
		}
		h.Ulimits = append(h.Ulimits, u)
	case "--user", "-u":
		c.User = value
	case "--gpus":
		gpus := container.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}
		if ids, ok := strings.CutPrefix(value, "device="); ok {
			gpus.Count, gpus.DeviceIDs = 0, strings.Split(ids, ",")
		} else if value != "all" {
			if gpus.Count = int(whole()); err != nil {
				return errors.New("it takes all, how many, or device=ID")
			}
		}
		h.DeviceRequests = append(h.DeviceRequests, gpus)
	case "--ipc":
		return &refusedArg{"--ipc opens this machine's memory to the job; resources.shm_size gives it as much of its " +
			"own as it needs"}
	case "--env", "-e":
		return &refusedArg{"--env; environment variables stand under environment_variables"}
	default:
		return &refusedArg{name + " is not allowed on this machine; allowed are --gpus, --shm-size, --memory, " +
			"--cpus, --cpuset-cpus, --pids-limit, --ulimit and --user"}
	}
	return err
}

// shellOf starts a command as Azure ML does, in bash, where the image has one.
// An image that has Python under the name python3 only gets the other one too, as
// a run on this machine does.
//
// It stays until the rest of the command's process group has ended, as the Engine kills
// what is there when it ends: a shell that is asked to end does so at once, whereas the
// script that it had started may be writing its checkpoint. What the command left in the
// background has a second, as on this machine. The fields are those of proc_pid_stat(5).
// A process may have started another after /proc was listed, and be gone by the time that its
// own file is read: none is left once none was seen, and nothing has begun since. Where other
// programs begin all the time, nine looks do.
const shellOf = `trap ended=1 TERM
if ! command -v python >/dev/null 2>&1 && python3=$(command -v python3); then
	mkdir -p /tmp/.aml-train && ln -sf "$python3" /tmp/.aml-train/python && PATH=$PATH:/tmp/.aml-train && export PATH
fi
shell=sh
if command -v bash >/dev/null 2>&1; then shell=bash; fi
if [ -z "$ended" ]; then
	{ "$shell" -c "$0" 2>&3 3>&-; } 3>&2 2>/dev/null
fi
code=$?
left() {
	listed=
	for look in 1 2 3 4 5 6 7 8 9; do
		set -- /proc/[0-9]*
		[ "$*" = "$listed" ] && return 1
		listed=$*
		for at in $listed; do
			read -r line <"$at/stat" && set -- ${line##*) } && [ "$1" != Z ] && [ "$3" = $$ ] && [ "$at" != /proc/$$ ] && return
		done 2>/dev/null
	done
	return 1
}
if left; then
	tenths=10
	if [ -n "$ended" ]; then tenths=600; else kill -TERM -$$; fi
	while [ $tenths -gt 0 ] && left; do
		sleep 0.1 2>/dev/null || sleep 1
		tenths=$((tenths - 1))
	done
fi
exit $code`

// runContainer runs the command in a container to its end. Values are the
// expressions of its command line, with the paths of this machine.
func (t *Target) runContainer(ctx context.Context, p *plan, values map[string]string, base, secret string,
	console io.Writer) outcome {
	failed := func(err error) outcome {
		return stopped(ctx, err)
	}
	e, err := openEngine(ctx)
	if err != nil {
		return failed(err)
	}
	defer e.Close()
	e.sweep(ctx, t.Store.Home)
	if p.Build != nil {
		err = t.build(ctx, e, p, console)
	}
	if err == nil {
		err = t.pull(ctx, e, p)
	}
	if err != nil {
		return failed(err)
	}
	mode, address, disconnect, err := e.connect(ctx, base)
	if err != nil {
		return failed(err)
	}
	defer disconnect()
	warnings, err := leaveObjects(filepath.Join(p.Base, workDir))
	if err != nil {
		return failed(err)
	}
	inside, carried := containerPaths(p, values)
	env := runEnvironment(p, address, secret)
	p.tellCheckpoints(env, inside)
	id, err := e.create(ctx, p, t.Store.Home, inside, env, mode)
	if err != nil {
		return failed(err)
	}
	background := context.WithoutCancel(ctx)
	defer e.remove(background, id)
	if err := e.send(ctx, id, p, carried); err != nil {
		return failed(fmt.Errorf("the files cannot be copied into the container: %w", err))
	}
	end, err := e.runToEnd(ctx, t.Store, p, id, console)
	if err != nil {
		return failed(err)
	}
	end.warnings = warnings
	switch err := t.receive(background, e, id, p); {
	case errors.Is(err, errNoFolder):
		end.warnings = append(end.warnings, err.Error())
	case err != nil:
		end.lose(fmt.Errorf("not everything that it wrote could be taken out of its container: %w", err))
	}
	return end
}

// create makes the container of a run, which does not start yet, and returns its id.
func (e *engine) create(ctx context.Context, p *plan, home string, inside, env map[string]string,
	mode container.NetworkMode) (string, error) {
	trustRepository(env, containerTop(p.Run))
	env["TINI_KILL_PROCESS_GROUP"] = "1" // docker-init is tini: a signal reaches the whole command
	yes := true
	j := job.Job{Command: p.Command}
	c := &container.Config{
		Image: p.Image, Entrypoint: []string{"/bin/sh", "-c", shellOf}, Cmd: []string{j.Expand(inside)},
		WorkingDir: containerWork(p), Env: pairs(env), AttachStdout: true, AttachStderr: true,
		StopSignal: "SIGTERM", // whatever the image says
		Labels:     map[string]string{labelRun: p.Run, labelMark: p.Mark, labelHome: home, labelParent: e.self},
	}
	h := &container.HostConfig{NetworkMode: mode, Init: &yes}
	if err := dockerArgs(p.Resources, c, h); err != nil {
		return "", err
	}
	created, err := e.ContainerCreate(ctx, client.ContainerCreateOptions{Config: c, HostConfig: h})
	if err != nil {
		return "", fmt.Errorf("the container cannot be made: %w", err)
	}
	return created.ID, nil
}

// runToEnd starts a container and copies what it prints to the console until it ends, or
// ctx or the run's time does. The error is of one that could not be started.
func (e *engine) runToEnd(ctx context.Context, store *history.Store, p *plan, id string,
	console io.Writer) (end outcome, err error) {
	background := context.WithoutCancel(ctx)
	stream, err := e.ContainerAttach(background, id,
		client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return end, err
	}
	defer stream.Close()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		stdcopy.StdCopy(console, console, stream.Reader)
	}()
	wait := e.ContainerWait(background, id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := e.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		if strings.Contains(err.Error(), "/bin/sh") {
			err = fmt.Errorf("the image %s has no /bin/sh to start the command with", p.Image)
		}
		return end, fmt.Errorf("the container cannot be started: %w", err)
	}
	if err := store.SetStatus(ctx, p.Run, history.Running, ""); err != nil {
		return end, err
	}
	ctx, stop := p.limit(ctx)
	defer stop()
	select {
	case err := <-wait.Error:
		end = outcome{status: history.Failed, reason: "the Docker Engine lost the container: " + err.Error()}
	case r := <-wait.Result:
		end = e.outcome(background, id, r)
	case <-ctx.Done():
		seconds := int(grace.Seconds())
		e.ContainerStop(background, id, client.ContainerStopOptions{Timeout: &seconds})
		end = stoppedBy(ctx)
	}
	select {
	case <-copied: // all that it printed
	case <-time.After(time.Minute):
	}
	return end, nil
}

// outcome says how the container ended.
func (e *engine) outcome(ctx context.Context, id string, r container.WaitResponse) outcome {
	if r.Error != nil && r.Error.Message != "" {
		return outcome{status: history.Failed, reason: r.Error.Message}
	}
	if r.StatusCode == 0 {
		return outcome{status: history.Completed}
	}
	if c, err := e.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); err == nil &&
		c.Container.State != nil && c.Container.State.OOMKilled {
		return outcome{status: history.Failed, reason: outOfMemory}
	}
	return outcome{status: history.Failed, reason: exitReason(int(r.StatusCode), "")}
}

// pull gets the image if it is not here yet.
func (t *Target) pull(ctx context.Context, e *engine, p *plan) error {
	found, err := e.ImageInspect(ctx, p.Image)
	if errdefs.IsNotFound(err) {
		t.Store.SetStatus(ctx, p.Run, history.Provisioning, "")
		var r client.ImagePullResponse
		if r, err = e.ImagePull(ctx, p.Image, client.ImagePullOptions{}); err == nil {
			err = r.Wait(ctx)
		}
		if err != nil {
			return fmt.Errorf("the image %s is not on this machine and cannot be pulled: %w; for a private "+
				"registry, sign in and pull it before: docker pull %s; --environment docker:IMAGE names another",
				p.Image, err, p.Image)
		}
		found, err = e.ImageInspect(ctx, p.Image)
	}
	if err != nil {
		return fmt.Errorf("the image %s: %w", p.Image, err)
	}
	what := p.Image
	if !strings.Contains(what, "@") {
		what += " (" + strings.TrimPrefix(found.ID, "sha256:")[:12] + ")"
	}
	return t.Store.SetTags(ctx, p.Run, history.KeyValue{Key: history.TagEnvironment, Value: what})
}

func (e *engine) remove(ctx context.Context, id string) error {
	_, err := e.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	return err
}

// rescue ends the container of a run whose supervisor was killed, and takes out
// what it had written.
func (t *Target) rescue(ctx context.Context, p *plan) []string {
	e, err := openEngine(ctx)
	if err == nil {
		defer e.Close()
		err = t.rescueFrom(ctx, e, p)
	}
	if err != nil {
		return []string{"the run's container could not be looked after: " + err.Error()}
	}
	return nil
}

func (t *Target) rescueFrom(ctx context.Context, e *engine, p *plan) error {
	list, err := e.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: client.Filters{}.Add("label", labelMark+"="+p.Mark)})
	if err != nil {
		return err
	}
	for _, c := range list.Items {
		if c.Labels[labelRun] != p.Run || c.Labels[labelHome] != t.Store.Home {
			continue // a plan names its own container, and no other
		}
		e.ContainerKill(ctx, c.ID, client.ContainerKillOptions{})
		err = errors.Join(err, t.receive(ctx, e, c.ID, p), e.remove(ctx, c.ID))
	}
	return err
}

// sweep removes the containers of runs that nobody can take up again: those whose
// supervisor's own container is gone, and those whose history was deleted. Their
// runs were lost with it.
func (e *engine) sweep(ctx context.Context, home string) {
	list, err := e.ContainerList(ctx, client.ContainerListOptions{All: true,
		Filters: client.Filters{}.Add("label", labelRun)})
	if err != nil {
		return
	}
	for _, c := range list.Items {
		of, parent := c.Labels[labelHome], c.Labels[labelParent]
		switch {
		case parent == e.self && of == home:
			continue // the history knows it
		case parent != "":
			if p, err := e.ContainerInspect(ctx, parent, client.ContainerInspectOptions{}); err == nil &&
				p.Container.State != nil && p.Container.State.Running || err != nil && !errdefs.IsNotFound(err) {
				continue
			}
		default:
			if e.self != "" {
				continue // its history lies where this program cannot look
			}
			if _, err := os.Stat(of); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		e.remove(ctx, c.ID)
	}
}
