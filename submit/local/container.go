package local

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
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

func containerWork(run string) string { return containerRoot(run) + "/exe/" + workDir }

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
		return nil, fmt.Errorf("the Docker Engine: DOCKER_HOST is %s, another machine, from which a run cannot reach its history here; use this machine's own Engine", host)
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

var containerID = regexp.MustCompile(`/containers/([0-9a-f]{64})/`)

// ownContainer returns the id of the container that this program is in: Docker
// mounts files of its own into every container, from a folder of that name.
func ownContainer() string {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if m := containerID.FindSubmatch(mounts); m != nil {
		return string(m[1])
	}
	return ""
}

// network returns the network of a run's container and the host name under which
// it reaches a server on this machine's loopback.
func (e *engine) network(ctx context.Context) (container.NetworkMode, string, error) {
	if e.self != "" {
		return container.NetworkMode("container:" + e.self), "127.0.0.1", nil
	}
	info, err := e.Info(ctx, client.InfoOptions{})
	if err != nil {
		return "", "", err
	}
	if runtime.GOOS != "linux" || info.Info.OperatingSystem == "Docker Desktop" {
		return "bridge", "host.docker.internal", nil
	}
	if slices.Contains(info.Info.SecurityOptions, "name=rootless") {
		return "", "", errors.New("the Docker Engine is rootless, so that a container cannot reach the run history on this machine's loopback; use the system's Engine")
	}
	return "host", "127.0.0.1", nil
}

// dockerArgs puts what a job asks of docker run into the container's settings.
// What would open this machine to the job is refused, by name.
func dockerArgs(r *job.Resources, c *container.Config, h *container.HostConfig) error {
	if r == nil {
		return nil
	}
	if r.ShmSize != "" {
		n, err := size.Parse(r.ShmSize)
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
		var err error
		switch name {
		case "--shm-size":
			h.ShmSize, err = size.Parse(value)
		case "--memory", "-m":
			h.Memory, err = size.Parse(value)
		case "--cpus":
			var n float64
			n, err = strconv.ParseFloat(value, 64)
			h.NanoCPUs = int64(n * 1e9)
		case "--cpuset-cpus":
			h.CpusetCpus = value
		case "--pids-limit":
			var n int64
			n, err = strconv.ParseInt(value, 10, 64)
			h.PidsLimit = &n
		case "--ulimit":
			var u *units.Ulimit
			if u, err = units.ParseUlimit(value); err == nil {
				h.Ulimits = append(h.Ulimits, u)
			}
		case "--user", "-u":
			c.User = value
		case "--gpus":
			gpus := container.DeviceRequest{Count: -1, Capabilities: [][]string{{"gpu"}}}
			if ids, ok := strings.CutPrefix(value, "device="); ok {
				gpus.Count, gpus.DeviceIDs = 0, strings.Split(ids, ",")
			} else if value != "all" {
				gpus.Count, err = strconv.Atoi(value)
			}
			h.DeviceRequests = append(h.DeviceRequests, gpus)
		case "--ipc":
			return errors.New("docker_args: --ipc opens this machine's memory to the job; resources.shm_size gives it as much of its own as it needs")
		case "--env", "-e":
			return errors.New("docker_args: --env; environment variables stand under environment_variables")
		default:
			return fmt.Errorf("docker_args: %s is not allowed on this machine; allowed are --gpus, --shm-size, --memory, --cpus, --cpuset-cpus, --pids-limit, --ulimit and --user", name)
		}
		if err != nil || value == "" {
			return fmt.Errorf("docker_args: %s=%s: %w", name, value, cmp.Or(err, errors.New("the value is missing")))
		}
	}
	return nil
}

// shellOf starts a command as Azure ML does, in bash, where the image has one.
// An image that has Python under the name python3 only gets the other one too, as
// a run on this machine does.
const shellOf = `if ! command -v python >/dev/null 2>&1 && python3=$(command -v python3); then
	mkdir -p /tmp/.aml-train && ln -sf "$python3" /tmp/.aml-train/python && PATH=$PATH:/tmp/.aml-train && export PATH
fi
if command -v bash >/dev/null 2>&1; then exec bash -c "$0"; else exec sh -c "$0"; fi`

// runContainer runs the command in a container to its end. Values are the
// expressions of its command line, with the paths of this machine.
func (t *Target) runContainer(ctx context.Context, p *plan, values map[string]string, port, secret string, console io.Writer) outcome {
	failed := func(err error) outcome {
		if cause := context.Cause(ctx); cause != nil {
			return outcome{status: history.Canceled, reason: cause.Error()}
		}
		return outcome{status: history.Failed, reason: err.Error()}
	}
	e, err := openEngine(ctx)
	if err != nil {
		return failed(err)
	}
	defer e.Close()
	e.sweep(ctx, t.Store.Home)
	if err := t.pull(ctx, e, p); err != nil {
		return failed(err)
	}
	mode, host, err := e.network(ctx)
	if err != nil {
		return failed(err)
	}
	inside, carried := containerPaths(p, values)
	env := runEnvironment(p, "http://"+host+":"+port, secret)
	env["TINI_KILL_PROCESS_GROUP"] = "1" // docker-init is tini: a signal reaches the whole command
	yes := true
	j := job.Job{Command: p.Command}
	c := &container.Config{
		Image: p.Image, Entrypoint: []string{"/bin/sh", "-c", shellOf}, Cmd: []string{j.Expand(inside)},
		WorkingDir: containerWork(p.Run), Env: pairs(env), AttachStdout: true, AttachStderr: true,
		Labels: map[string]string{labelRun: p.Run, labelMark: p.Mark, labelHome: t.Store.Home, labelParent: e.self},
	}
	h := &container.HostConfig{NetworkMode: mode, Init: &yes}
	if err := dockerArgs(p.Resources, c, h); err != nil {
		return failed(err)
	}
	created, err := e.ContainerCreate(ctx, client.ContainerCreateOptions{Config: c, HostConfig: h})
	if err != nil {
		return failed(fmt.Errorf("the container cannot be made: %w", err))
	}
	background := context.WithoutCancel(ctx)
	defer e.remove(background, created.ID)
	if err := e.send(ctx, created.ID, p, carried); err != nil {
		return failed(fmt.Errorf("the files cannot be copied into the container: %w", err))
	}
	stream, err := e.ContainerAttach(background, created.ID, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return failed(err)
	}
	defer stream.Close()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		stdcopy.StdCopy(console, console, stream.Reader)
	}()
	wait := e.ContainerWait(background, created.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := e.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
		if strings.Contains(err.Error(), "/bin/sh") {
			err = fmt.Errorf("the image %s has no /bin/sh to start the command with", p.Image)
		}
		return failed(fmt.Errorf("the container cannot be started: %w", err))
	}
	if err := t.Store.SetStatus(ctx, p.Run, history.Running, ""); err != nil {
		return failed(err)
	}
	ctx, stop := p.limit(ctx)
	defer stop()
	end := func() outcome {
		select {
		case err := <-wait.Error:
			return outcome{status: history.Failed, reason: "the Docker Engine lost the container: " + err.Error()}
		case r := <-wait.Result:
			return e.outcome(background, created.ID, r)
		case <-ctx.Done():
			seconds := int(grace.Seconds())
			e.ContainerStop(background, created.ID, client.ContainerStopOptions{Timeout: &seconds})
			return outcome{status: history.Canceled, reason: context.Cause(ctx).Error()}
		}
	}()
	select {
	case <-copied: // all that it printed
	case <-time.After(time.Minute):
	}
	if err := e.receive(background, created.ID, p); err != nil {
		end.warnings = append(end.warnings, "not everything that the run wrote could be taken out of its container: "+err.Error())
	}
	return end
}

// outcome says how the container ended.
func (e *engine) outcome(ctx context.Context, id string, r container.WaitResponse) outcome {
	if r.Error != nil && r.Error.Message != "" {
		return outcome{status: history.Failed, reason: r.Error.Message}
	}
	if r.StatusCode == 0 {
		return outcome{status: history.Completed}
	}
	if c, err := e.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); err == nil && c.Container.State != nil && c.Container.State.OOMKilled {
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
			return fmt.Errorf("the image %s is not on this machine and cannot be pulled: %w; for a private registry, sign in and pull it before: docker pull %s", p.Image, err, p.Image)
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

// carried is a file or folder of this machine and where it goes in the container.
type carried struct{ from, to string }

// containerPaths turns what a command line names into paths of the container.
func containerPaths(p *plan, values map[string]string) (map[string]string, []carried) {
	inside := map[string]string{}
	var data []carried
	for key, value := range values {
		name := key[strings.IndexByte(key, '.')+1:]
		if _, ok := p.Outputs[name]; ok && strings.HasPrefix(key, "outputs.") {
			inside[key] = path.Join(containerRoot(p.Run), namedDir, name)
			continue
		}
		inside[key] = value
		if in := p.Inputs[name]; !in.Literal {
			from := in.Path
			if strings.HasPrefix(from, "https://") {
				from = value // where it was downloaded to
			}
			to := path.Join(containerRoot(p.Run), inputsDir, name, safeName(filepath.Base(from)))
			inside[key] = to
			data = append(data, carried{from, to})
		}
	}
	return inside, data
}

// send copies the run's files into its container, as one stream. Everybody there
// may write to them: the image may run as any user, and the Engine knows only those
// of the host by name.
func (e *engine) send(ctx context.Context, id string, p *plan, data []carried) error {
	r, w := io.Pipe()
	go func() {
		to := tar.NewWriter(w)
		err := addTree(to, p.Work, containerWork(p.Run), false)
		for _, c := range data {
			err = cmp.Or(err, addTree(to, c.from, c.to, true))
		}
		for name, out := range p.Outputs {
			at := path.Join(containerRoot(p.Run), namedDir, name)
			if out.Type == job.URIFile {
				at = path.Dir(at)
			}
			err = cmp.Or(err, to.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: at[1:] + "/", Mode: 0o777}))
		}
		w.CloseWithError(cmp.Or(err, to.Close()))
	}()
	_, err := e.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: r})
	r.CloseWithError(errors.New("the copying ended")) // where the Engine read to no end
	return err
}

// addTree adds a file or folder to a tar stream, under the absolute path to. With
// follow, a link to a file is sent as that file: it may lead out of what is sent.
func addTree(w *tar.Writer, from, to string, follow bool) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		if d.Type()&fs.ModeSymlink != 0 {
			if target, err := os.Stat(name); follow && err == nil && target.Mode().IsRegular() {
				info = target
			} else if link, err = os.Readlink(name); err != nil {
				return err
			}
		} else if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		h, err := tar.FileInfoHeader(info, filepath.ToSlash(link))
		if err != nil {
			return err
		}
		h.Name = path.Join(to, filepath.ToSlash(rel))[1:]
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		h.Mode |= 0o666
		if d.IsDir() {
			h.Name += "/"
			h.Mode |= 0o777
		}
		if err := w.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// receive copies what the command left in its special folders out of the
// container, to where a command on this machine would have left it.
func (e *engine) receive(ctx context.Context, id string, p *plan) error {
	var all error
	for _, c := range []carried{
		{containerWork(p.Run) + "/outputs", filepath.Join(p.Work, "outputs")},
		{containerWork(p.Run) + "/logs", filepath.Join(p.Work, "logs")},
		{containerRoot(p.Run) + "/" + namedDir, filepath.Join(filepath.Dir(p.Work), namedDir)},
	} {
		r, err := e.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: c.from})
		if errdefs.IsNotFound(err) {
			continue
		}
		if err == nil {
			removeAll(c.to)
			err = errors.Join(extract(r.Content, c.to), r.Content.Close())
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", path.Base(c.from), err))
		}
	}
	return all
}

// extract unpacks a tar stream with one topmost folder, whose entries go to dir.
// Whatever the stream says, nothing is written outside.
func extract(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for from := tar.NewReader(r); ; {
		h, err := from.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, _ := strings.Cut(path.Clean(h.Name), "/")
		if name == "" {
			if h.Typeflag != tar.TypeDir {
				return errors.New("it is no folder")
			}
			continue
		}
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = extractFile(root, name, h, from)
		case tar.TypeLink:
			if _, target, ok := strings.Cut(path.Clean(h.Linkname), "/"); ok {
				err = root.Link(target, name)
			}
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		}
		if err != nil {
			return err
		}
	}
}

func extractFile(root *os.Root, name string, h *tar.Header, from io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode)&0o111|0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

func (e *engine) remove(ctx context.Context, id string) error {
	_, err := e.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	return err
}

// rescue ends the container of a run whose supervisor was killed, and takes out
// what it had written.
func (e *engine) rescue(ctx context.Context, p *plan) error {
	list, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelMark+"="+p.Mark)})
	if err != nil {
		return err
	}
	for _, c := range list.Items {
		e.ContainerKill(ctx, c.ID, client.ContainerKillOptions{})
		err = errors.Join(err, e.receive(ctx, c.ID, p), e.remove(ctx, c.ID))
	}
	return err
}

func (t *Target) rescue(ctx context.Context, p *plan) []string {
	e, err := openEngine(ctx)
	if err == nil {
		defer e.Close()
		err = e.rescue(ctx, p)
	}
	if err != nil {
		return []string{"the run's container could not be looked after: " + err.Error()}
	}
	return nil
}

// sweep removes the containers of runs that nobody can take up again: those whose
// supervisor's own container is gone, and those whose history was deleted. Their
// runs were lost with it.
func (e *engine) sweep(ctx context.Context, home string) {
	list, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelRun)})
	if err != nil {
		return
	}
	for _, c := range list.Items {
		of, parent := c.Labels[labelHome], c.Labels[labelParent]
		switch {
		case parent == e.self && of == home:
			continue // the history knows it
		case parent != "":
			if p, err := e.ContainerInspect(ctx, parent, client.ContainerInspectOptions{}); err == nil && p.Container.State != nil && p.Container.State.Running || err != nil && !errdefs.IsNotFound(err) {
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
