// Package viewer answers: how do other programs show runs?
//
// The installed MLflow and TensorBoard have pages of their own. One of them is started on loopback
// with what it needs (Program), and ended with the command: MLflow reads the history's database
// (MLflow), TensorBoard a copy of what runs write for it, which follows them (Mirror).
package viewer

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
	"github.com/org/aml-train/internal/mistake"
)

// Program is an installed program that shows runs on a page of its own.
type Program struct {
	Title   string   // of the program
	Command string   // on PATH
	Module  string   // with which a Python starts it
	Install string   // the package that brings it
	Python  string   // the interpreter that is to start it, "" for the program on PATH
	Dir     string   // where it works: a folder without anybody's Python modules
	Env     []string // variables that it gets unless they are set, NAME=VALUE
}

// Find finds the program; that it is not there is a mistake. What the checkout names, or
// holds, does not count: it is run outside a run.
func (p Program) Find(ctx context.Context) (*exec.Cmd, error) {
	if p.Python != "" {
		path, err := exec.LookPath(p.Python)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, mistake.Errorf("--python %s: there is no such interpreter", p.Python)
		}
		return exec.CommandContext(ctx, path, "-m", p.Module), nil
	}
	if path, err := exec.LookPath(p.Command); err == nil {
		return exec.CommandContext(ctx, path), nil
	}
	return nil, mistake.Errorf("there is no %s on PATH: install %s (python -m pip install %s), or name the Python "+
		"that has it with --python", p.Command, p.Title, p.Install)
}

// How long a program has for its first answer, and to end.
const (
	startPatience = 2 * time.Minute
	endPatience   = 5 * time.Second
)

// Serve starts the program with its arguments and the port, on loopback, calls ready once it
// answers there, and ends it when the context ends. What the program itself says goes to words.
func (p Program) Serve(
	ctx context.Context, port int, args []string, words io.Writer, ready func(address string),
) error {
	cmd, err := p.Find(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	said := &tail{}
	cmd.Args = append(append(cmd.Args, args...), "--host", "127.0.0.1", "--port", strconv.Itoa(port))
	cmd.Env = append(slices.Clone(p.Env), os.Environ()...) // of several of one name, the last holds
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, io.MultiWriter(words, said), io.MultiWriter(words, said)
	cmd.WaitDelay = endPatience
	detach.Session(cmd) // Ctrl-C reaches this program alone, which ends the other one with all its workers
	if err := cmd.Start(); err != nil {
		return mistake.Errorf("%s: %w", cmd.Path, err)
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
			return fmt.Errorf("%s ended at once (%w):\n%s", p.Title, err, strings.TrimSpace(said.String()))
		case <-ctx.Done():
			detach.End(cmd)
			return nil
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(begin) > startPatience {
			detach.End(cmd)
			return fmt.Errorf("%s does not answer at %s:\n%s", p.Title, address, strings.TrimSpace(said.String()))
		}
	}
	ready("http://" + address)
	select {
	case err := <-ended:
		ended <- err
		return fmt.Errorf("%s ended (%v):\n%s", p.Title, err, strings.TrimSpace(said.String()))
	case <-ctx.Done():
		detach.End(cmd)
		return nil
	}
}

// FreePort returns a port on loopback that nobody listens at: the one that was asked for,
// or for 0 any.
func FreePort(port int) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, mistake.Errorf("--port %d: it is taken, or cannot be had (%w); 0 takes a free one", port, err)
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
