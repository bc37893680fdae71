//go:build unix

package local

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/aml-train/internal/detach"
)

// tryLock takes the lock of the run whose folder dir is, nil where somebody else holds
// it. It is
// released when the last process that has the file open closes it, so that it
// can be handed to a child and outlives no holder.
func tryLock(dir *os.Root) (*os.File, error) {
	f, err := dir.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		f.Close()
		return nil, nil
	case err != nil:
		f.Close()
		return nil, err
	}
	return f, nil
}

// inheritedLock is the descriptor under which detached hands the lock over.
const inheritedLock = 3

// InheritedLock is the lock that Submit handed to this process, nil where that is
// not possible.
func InheritedLock() *os.File {
	unix.CloseOnExec(inheritedLock) // the command must not keep it
	return os.NewFile(inheritedLock, "lock")
}

// detached puts the supervisor into a session of its own and hands it the lock.
func detached(cmd *exec.Cmd, lock *os.File) {
	cmd.ExtraFiles = []*os.File{lock}
	detach.Session(cmd)
}

func shell(command string) *exec.Cmd {
	// Azure ML runs commands in bash.
	if bash, err := exec.LookPath("bash"); err == nil {
		return exec.Command(bash, "-c", command)
	}
	return exec.Command("/bin/sh", "-c", command)
}

// terminate asks every process of the command's group to end.
func terminate(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

// waitGroup waits until the command's group has no process left, at most that
// long.
func waitGroup(cmd *exec.Cmd, most time.Duration) {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !hasChildren() && syscall.Kill(-cmd.Process.Pid, 0) != nil {
			return
		}
	}
}

// killAll ends whatever the command left behind: its group, and on Linux every
// descendant that left the group.
func killAll(cmd *exec.Cmd) {
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	killOrphans()
}

func exitStatus(e *exec.ExitError) (code int, signal string) {
	if w, ok := e.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 0, unix.SignalName(w.Signal())
	}
	return e.ExitCode(), ""
}

func signalName(n int) string { return unix.SignalName(syscall.Signal(n)) }

// rename moves a file or folder from one open folder to another. It takes no link on the
// way out of either.
func rename(from *os.Root, name string, to *os.Root, target string) error {
	f, err := from.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := to.Open(path.Dir(target))
	if err != nil {
		return err
	}
	defer t.Close()
	return unix.Renameat(int(f.Fd()), path.Base(name), int(t.Fd()), path.Base(target))
}
