package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/org/aml-train/internal/detach"
)

// viewer is an installed program that shows runs on a page of its own: MLflow, or
// TensorBoard.
type viewer struct {
	title   string   // of the program
	program string   // its command
	module  string   // with which a Python starts it
	install string   // the package that brings it
	python  string   // the interpreter that is to start it, "" for the program on PATH
	dir     string   // where it works: a folder without anybody's Python modules
	env     []string // variables that it gets unless they are set, NAME=VALUE
}

// command finds the program. What the checkout names, or holds, does not count: it is run
// outside a run.
func (v viewer) command(ctx context.Context) (*exec.Cmd, error) {
	if v.python != "" {
		path, err := exec.LookPath(v.python)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, usage("--python %s: there is no such interpreter", v.python)
		}
		return exec.CommandContext(ctx, path, "-m", v.module), nil
	}
	if path, err := exec.LookPath(v.program); err == nil {
		return exec.CommandContext(ctx, path), nil
	}
	return nil, usage("there is no %s on PATH: install %s (python -m pip install %s), or name the Python that has it "+
		"with --python", v.program, v.title, v.install)
}

// patience is how long a program has for its first answer, and to end.
const (
	startPatience = 2 * time.Minute
	endPatience   = 5 * time.Second
)

// serve starts the program with its arguments and the port, on loopback, calls ready once it
// answers there, and ends it when the context ends.
func (v viewer) serve(ctx context.Context, port int, args []string, say io.Writer, ready func(address string)) error {
	cmd, err := v.command(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	said := &tail{}
	cmd.Args = append(append(cmd.Args, args...), "--host", "127.0.0.1", "--port", strconv.Itoa(port))
	cmd.Env = append(slices.Clone(v.env), os.Environ()...) // of several of one name, the last holds
	cmd.Dir, cmd.Stdout, cmd.Stderr = v.dir, io.MultiWriter(say, said), io.MultiWriter(say, said)
	cmd.WaitDelay = endPatience
	detach.Session(cmd) // Ctrl-C reaches this program alone, which ends the other one with all its workers
	if err := cmd.Start(); err != nil {
		return usage("%s: %w", cmd.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		select {
		case <-ended:
		case <-time.After(endPatience):
			detach.Kill(cmd)
			<-ended
		}
	}()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for begin := time.Now(); ; {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("%s ended at once (%w):\n%s", v.title, err, strings.TrimSpace(said.String()))
		case <-ctx.Done():
			detach.End(cmd)
			return nil
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(begin) > startPatience {
			detach.End(cmd)
			return fmt.Errorf("%s does not answer at %s:\n%s", v.title, address, strings.TrimSpace(said.String()))
		}
	}
	ready("http://" + address)
	select {
	case err := <-ended:
		ended <- err
		return fmt.Errorf("%s ended (%v):\n%s", v.title, err, strings.TrimSpace(said.String()))
	case <-ctx.Done():
		detach.End(cmd)
		return nil
	}
}

// freePort returns a port on loopback that nobody listens at: the one that was asked for,
// or for 0 any.
func freePort(port int) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, usage("--port %d: it is taken, or cannot be had (%w); 0 takes a free one", port, err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-4000):]
	return len(p), nil
}

// String returns the last lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// words is where a program's own words go: to standard error where each step is told.
func (a *app) words() io.Writer {
	if a.debug {
		return a.err
	}
	return io.Discard
}
